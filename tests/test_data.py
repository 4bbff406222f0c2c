"Week 1 as a whole: no sentence is lost, what is known of each is right, and the same contracts give the same data set."

import json
from dataclasses import replace

import numpy as np
import pytest

import legal_llm.training.dataset as dataset
from legal_llm.contracts.categories import CATEGORIES, Category
from legal_llm.contracts.chat import CHAT, load_chat
from legal_llm.contracts.contracts import Clause, Contract
from legal_llm.contracts.sentences import label_sentences, split_sentences
from legal_llm.contracts.squad import save_squad, to_squad
from legal_llm.contracts.synthetic import write_contracts
from legal_llm.data import prepare_data
from legal_llm.machine.files import LegalLLMError
from legal_llm.pipeline.models import load_tokenizer
from legal_llm.training.dataset import DataSettings, doubt_by_category

NAMES = [c.name for c in CATEGORIES]


@pytest.fixture(scope='module')
def tokenizer():
    return load_tokenizer('smollm2')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    "A data set of 40 synthetic contracts"
    folder = tmp_path_factory.mktemp('data')
    save_squad(write_contracts(40, seed=5, words=500), folder / 'contracts.json')
    return prepare_data(DataSettings(source=str(folder / 'contracts.json')), folder / 'data', progress=False)


def test_every_sentence_of_the_training_split_is_there(data):
    rows = data.sentences()[:]
    for c in data.contracts('train'):
        own = [i for i, t in enumerate(rows['title']) if t == c.title]
        spans = split_sentences(c.text)
        assert [(rows['start'][i], rows['end'][i]) for i in own] == [tuple(s) for s in spans.tolist()]
        assert [rows['label'][i] for i in own] == [
            np.flatnonzero(y).tolist() for y in label_sentences(spans, c.clauses, NAMES)
        ]
    assert data.info['sentences'] == len(rows['title']) and data.info['labelled'] == sum(map(bool, rows['label']))


def test_examples_know_what_the_table_knows(data, tokenizer):
    odds, at = np.array(data.sentences()['odds'], np.float32), 0
    for c in data.contracts('train'):
        n = len(split_sentences(c.text))
        known, at = odds[at : at + n], at + n
        examples = data.examples('train', tokenizer, window_tokens=128)
        break
    asked = [i for e in examples for i in e.window.sentences.tolist() if e.window.sentences is not None]
    first = [e for e in examples if len(e.window.ids)][0]
    assert np.allclose(first.offset, known[first.window.sentences]) and asked
    assert all(len(e) <= 128 and e.doubt.all() and (e.offset > np.log(0.05 / 0.95)).any() for e in examples)


def test_odds_of_training_contracts_are_those_of_screens_that_have_not_seen_them(data):
    screen, odds, at = data.screen(), np.array(data.sentences()['odds']), 0
    seen, fresh = [], []
    for c in data.contracts('train'):
        spans = split_sentences(c.text)
        y = label_sentences(spans, c.clauses, NAMES)
        seen.append(screen.log_odds(c.text, spans)[y])
        fresh.append(odds[at : at + len(spans)][y])
        at += len(spans)
    assert np.concatenate(seen).mean() > np.concatenate(fresh).mean() + 0.3


def test_the_dev_split_is_screened_by_the_stored_screen(data, tokenizer):
    c = data.contracts('dev')[0]
    e = data.examples('dev', tokenizer, limit=1)[0]
    assert np.allclose(e.offset, data.screen().log_odds(c.text, split_sentences(c.text))[e.window.sentences])


def test_what_is_left_of_an_interrupted_preparation_is_nothing(data, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(dataset, 'write_sentences', fail)
    with pytest.raises(KeyboardInterrupt):
        prepare_data(DataSettings(**data.info['settings']), tmp_path / 'half', progress=False)
    assert not list(tmp_path.iterdir())


def test_what_the_screen_passes_on(data):
    rows = doubt_by_category(data)
    assert all(0 <= r['kept'] <= 1 and r['read'] >= r['kept'] for r in rows) and {r['category'] for r in rows} <= set(
        NAMES
    )
    assert sum(r['kept'] * r['clauses'] for r in rows) / sum(r['clauses'] for r in rows) == pytest.approx(
        data.info['kept']
    )


def test_data_json_says_what_was_done(data):
    info = json.loads((data.path / 'data.json').read_text())
    assert (
        info['settings']['seed'] == 42 and info['contracts'] == 40 and info['fingerprint'] == data.info['fingerprint']
    )


def test_written_answers_become_chat_examples(data):
    "Those that contracts bring; the same split as the contracts'"
    for split in ('train', 'dev', 'test'):
        examples = load_chat(data.path / CHAT, split)
        assert len(examples) == data.info['answers'][split] > 0
        assert {e.title for e in examples} == {c.title for c in data.contracts(split)}
        assert all(e.answer for e in examples)


def test_answers_of_a_table_are_joined_by_title(tmp_path):
    contracts = [replace(c, answers={}) for c in write_contracts(12, seed=6, words=400)]
    source = save_squad(contracts, tmp_path / 'contracts.json')
    rows = [dict(title=c.title, category='Document Name', answer='A Lease') for c in contracts]
    (tmp_path / 'answers.json').write_text(json.dumps(rows))
    without = prepare_data(DataSettings(source=str(source)), tmp_path / 'without', progress=False)
    assert not (without.path / CHAT).exists()
    settings = DataSettings(source=str(source), answers=str(tmp_path / 'answers.json'))
    joined = prepare_data(settings, tmp_path / 'joined', progress=False)
    assert joined.info['fingerprint'] != without.info['fingerprint']
    assert sum(joined.info['answers'].values()) == 12
    (tmp_path / 'answers.json').write_text(json.dumps([dict(rows[0], title='Another')]))
    with pytest.raises(LegalLLMError, match="no contract has an answer there; its first title is 'Another'"):
        prepare_data(settings, tmp_path / 'wrong', progress=False)
    assert not (tmp_path / 'wrong').exists()


def test_every_form_gives_the_same_data_set(tmp_path):
    import zipfile

    contracts = write_contracts(12, seed=6, words=400)
    forms = [save_squad(contracts, tmp_path / 'CUADv1.json'), save_squad(contracts[::-1], tmp_path / 'mine.json.gz')]
    with zipfile.ZipFile(tmp_path / 'data.zip', 'w') as z:
        z.write(forms[0], 'CUADv1.json')
    forms.append(tmp_path / 'data.zip')
    sets = [
        prepare_data(DataSettings(source=str(f)), tmp_path / f'out{i}', progress=False) for i, f in enumerate(forms)
    ]
    assert (
        len({d.info['fingerprint'] for d in sets}) == 1
        and sets[0].sentences()[:] == sets[1].sentences()[:] == sets[2].sentences()[:]
    )
    assert prepare_data(DataSettings(source=str(forms[2])), tmp_path / 'out0').reused
    with pytest.raises(LegalLLMError, match='other contracts or other settings'):
        prepare_data(DataSettings(source=str(forms[0]), dev=0.2), tmp_path / 'out0')


def test_bad_records_are_set_aside_and_counted(tmp_path):
    squad = to_squad(write_contracts(12, seed=6, words=400))
    qa = next(q for q in squad['data'][3]['paragraphs'][0]['qas'] if q['answers'])
    qa['answers'][0]['answer_start'] += 1
    (tmp_path / 'CUADv1.json').write_text(json.dumps(squad))
    data = prepare_data(DataSettings(source=str(tmp_path / 'CUADv1.json')), tmp_path / 'data', progress=False)
    lines = [json.loads(x) for x in (data.path / 'quarantine.jsonl').read_text().splitlines()]
    assert (
        data.info['quarantined'] == len(lines) == 1
        and lines[0]['record'] == qa['id']
        and 'quarantine.jsonl' in str(data)
    )


def test_near_duplicates_stay_on_one_side_and_are_listed(tmp_path):
    contracts = write_contracts(20, seed=6, words=400)
    twin = Contract('Renamed', contracts[0].text + ' Amended and restated.', contracts[0].clauses)
    save_squad([*contracts, twin], tmp_path / 'CUADv1.json')
    data = prepare_data(DataSettings(source=str(tmp_path / 'CUADv1.json')), tmp_path / 'data', progress=False)
    sides = {
        s for s in ('train', 'dev', 'test') for c in data.contracts(s) if c.title in (contracts[0].title, 'Renamed')
    }
    assert len(sides) == 1 and '| Renamed |' in (data.path / 'split.md').read_text()


def test_labels_of_ones_own_become_questions_of_ones_own(tmp_path):
    contracts = write_contracts(10, seed=9, words=400)
    rows = [
        dict(contract=c.text, title=c.title, category='Applicable law', quote=' '.join(x.text.split()))
        for c in contracts
        for x in c.spans('Governing Law')
    ]
    rows += [
        dict(contract=c.text, title=c.title, category='Parties', quote=x.text)
        for c in contracts
        for x in c.spans('Parties')
    ]
    (tmp_path / 'labels.jsonl').write_text('\n'.join(json.dumps(r) for r in rows))
    data = prepare_data(DataSettings(source=str(tmp_path / 'labels.jsonl')), tmp_path / 'data', progress=False)
    assert (
        [c.name for c in data.categories] == ['Parties', 'Applicable law']
        and data.info['questions'] == 2 * 10
        and data.info['spans'] == len({(r['title'], r['quote']) for r in rows})
    )
    assert {c for y in data.sentences()['label'] for c in y} == {0, 1}


def test_too_few_contracts_are_refused_with_nothing_written(tmp_path):
    save_squad(write_contracts(2, seed=6, words=400), tmp_path / 'CUADv1.json')
    with pytest.raises(LegalLLMError, match='leave none for'):
        prepare_data(DataSettings(source=str(tmp_path / 'CUADv1.json')), tmp_path / 'data', progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ['CUADv1.json']


def test_categories_that_a_file_names_are_asked_as_it_names_them(tmp_path):
    own = (
        Category('Price', 'what it costs', 'What does it cost?'),
        Category('Parties', 'who they are', 'Who are they?'),
        Category('Ghost', 'never there', 'Is there one?'),
    )
    contracts = write_contracts(12, seed=6, words=400)
    for c in contracts:
        c.clauses = [Clause('Price', 20, c.text[20:60]), *c.spans('Parties')]
    save_squad(contracts, tmp_path / 'CUADv1.json', own)
    data = prepare_data(DataSettings(source=str(tmp_path / 'CUADv1.json')), tmp_path / 'data', progress=False)
    assert (
        data.categories == own
        and data.info['questions'] == 36
        and {c for y in data.sentences()['label'] for c in y} == {0, 1}
    )
