"Week 1 as a whole: nothing is dropped, nothing depends on how many processes cut the windows, and what is asked follows the stated ratios."
import json
from collections import Counter

import pytest

import legal_llm.data as week1
from legal_llm.cuad import CATEGORIES, Category, Clause, Contract, find_dev_cuad, save_squad, to_squad
from legal_llm.data import DataSettings, prepare_data, sample_examples
from legal_llm.env import LegalLLMError
from legal_llm.models import load_tokenizer
from legal_llm.synthetic import write_contracts
from legal_llm.windows import make_windows, normalise, tokenise


@pytest.fixture(scope='module')
def tokenizer(): return load_tokenizer('smollm2')


@pytest.fixture(scope='module')
def data(tmp_path_factory, tokenizer):
    "A data set of 40 written contracts, small windows"
    folder = tmp_path_factory.mktemp('data')
    save_squad(write_contracts(40, seed=5, words=500), folder/'contracts.json')
    return prepare_data(DataSettings(source=str(folder/'contracts.json'), size=128, overlap=32), folder/'data', tokenizer, progress=False)


def test_windows_hold_the_whole_training_split(data, tokenizer):
    train, rows = {c.title: c for c in data.contracts('train')}, data.windows()
    by_title = {}
    for r in rows: by_title.setdefault(r['title'], []).append(r)
    assert set(by_title) == set(train)
    for title, cut in by_title.items():
        tokens = tokenise(train[title].text, tokenizer)
        assert [(r['start'], r['stop']) for r in cut] == [(w.start, w.stop) for w in make_windows(tokens, 128, 32)]
        assert all(r['ids'] == tokens.ids[r['start']:r['stop']].tolist() for r in cut)
        whole = {j for r in cut for j in r['whole']}
        for j, clause in enumerate(train[title].clauses): # a clause that is whole in a window is asked there, in its own words
            for r in cut:
                if j in r['whole']:
                    assert normalise(clause.text).text in r['spans'][r['present'].index([c.name for c in CATEGORIES].index(clause.category))]
        assert whole <= set(range(len(train[title].clauses)))
    covered, spans = (sum(x) for x in zip(*data.info['coverage'].values()))
    assert (covered, spans) == (data.info['covered'], data.info['train_spans']) and spans == sum(len(c.clauses) for c in train.values())


def test_processes_do_not_change_the_windows(data, tokenizer, tmp_path, monkeypatch):
    settings = DataSettings(**{**data.info['settings']})
    monkeypatch.setattr(week1, '_workers', lambda contracts: 2)
    two = prepare_data(settings, tmp_path/'two', tokenizer, progress=False)
    assert two.windows()[:] == data.windows()[:] and two.info == data.info


def test_what_is_left_of_an_interrupted_preparation_is_nothing(data, tokenizer, tmp_path, monkeypatch):
    def fail(*args, **kwargs): raise KeyboardInterrupt
    monkeypatch.setattr(week1, '_window_rows', fail)
    with pytest.raises(KeyboardInterrupt): prepare_data(DataSettings(**data.info['settings']), tmp_path/'half', tokenizer, progress=False)
    assert not list(tmp_path.iterdir())


def test_examples_keep_every_positive_and_the_ratios(data):
    rows, examples = data.windows(), sample_examples(data, questions=10, absent=3, empty=.25)
    titles, present = list(rows['title']), list(rows['present'])
    full = [i for i, p in enumerate(present) if p]
    asked = {e.window: dict(e.questions) for e in examples}
    assert len(asked) == len(examples) and set(full) <= set(asked)
    for i, questions in asked.items():
        assert {c for c, spans in questions.items() if spans} == set(present[i])
        assert sum(not s for s in questions.values()) >= 3 and len(questions) >= 10 and not set(questions) & set(rows[i]['partial'])
    assert len(asked) - len(full) <= len(full) * .25 / .75 and set(titles[i] for i in asked) <= {titles[i] for i in full}


def test_empty_windows_are_a_share_of_each_contract():
    import random
    titles = ['a'] * 12 + ['b'] * 12 + ['c'] * 12
    full, empty = [0, 1, 2, 3, 12, 13, 24, 25, 26, 27], [i for i in range(36) if i not in (0, 1, 2, 3, 12, 13, 24, 25, 26, 27)]
    def drawn(empty):
        take = week1._take_windows(titles, full, empty, 1 / 3, random.Random(0))
        assert len(set(take)) == len(take) and set(full) <= set(take) <= {*full, *empty}
        return Counter(titles[i] for i in take if i not in full)
    assert drawn(empty) == dict(a=2, b=1, c=2)
    assert drawn([i for i in empty if titles[i] != 'a']) == dict(b=3, c=2)  # b and c give what a lacks
    assert drawn([]) == {}


def test_epochs_and_limits(data):
    n = sum(map(bool, data.windows()['present']))
    twice, half = sample_examples(data, epochs=2, empty=0), sample_examples(data, epochs=.5, empty=0)
    assert len(twice) == 2 * n and len(half) == round(n / 2) and set(Counter(e.window for e in twice).values()) == {2}
    assert sample_examples(data, limit=7) == sample_examples(data)[:7] and sample_examples(data, seed=1) != sample_examples(data, seed=2)


def test_data_json_says_what_was_done(data):
    info = json.loads((data.path/'data.json').read_text())
    assert info['settings']['size'] == 128 and info['contracts'] == 40 and info['fingerprint'] == data.info['fingerprint']


def test_every_form_gives_the_same_data_set(tmp_path, tokenizer):
    import zipfile
    contracts = write_contracts(12, seed=6, words=400)
    forms = [save_squad(contracts, tmp_path/'CUADv1.json'), save_squad(contracts[::-1], tmp_path/'mine.json.gz')]
    with zipfile.ZipFile(tmp_path/'data.zip', 'w') as z: z.write(forms[0], 'CUADv1.json')
    forms.append(tmp_path/'data.zip')
    sets = [prepare_data(DataSettings(source=str(f), size=128, overlap=32), tmp_path/f'out{i}', tokenizer, progress=False) for i, f in enumerate(forms)]
    assert len({d.info['fingerprint'] for d in sets}) == 1 and sets[0].windows()[:] == sets[1].windows()[:] == sets[2].windows()[:]
    assert prepare_data(DataSettings(source=str(forms[2]), size=128, overlap=32), tmp_path/'out0', tokenizer).reused
    with pytest.raises(LegalLLMError, match='other contracts or other settings'):
        prepare_data(DataSettings(source=str(forms[0]), size=128, overlap=16), tmp_path/'out0', tokenizer)


def test_bad_records_are_set_aside_and_counted(tmp_path, tokenizer):
    squad = to_squad(write_contracts(12, seed=6, words=400))
    qa = next(q for q in squad['data'][3]['paragraphs'][0]['qas'] if q['answers'])
    qa['answers'][0]['answer_start'] += 1
    (tmp_path/'CUADv1.json').write_text(json.dumps(squad))
    data = prepare_data(DataSettings(source=str(tmp_path/'CUADv1.json'), size=128, overlap=32), tmp_path/'data', tokenizer, progress=False)
    lines = [json.loads(x) for x in (data.path/'quarantine.jsonl').read_text().splitlines()]
    assert data.info['quarantined'] == len(lines) == 1 and lines[0]['record'] == qa['id'] and 'quarantine.jsonl' in str(data)


def test_near_duplicates_stay_on_one_side_and_are_listed(tmp_path, tokenizer):
    contracts = write_contracts(20, seed=6, words=400)
    twin = Contract('Renamed', contracts[0].text + ' Amended and restated.', contracts[0].clauses)
    save_squad([*contracts, twin], tmp_path/'CUADv1.json')
    data = prepare_data(DataSettings(source=str(tmp_path/'CUADv1.json'), size=128, overlap=32), tmp_path/'data', tokenizer, progress=False)
    sides = {s for s in ('train', 'dev', 'test') for c in data.contracts(s) if c.title in (contracts[0].title, 'Renamed')}
    assert len(sides) == 1 and '| Renamed |' in (data.path/'split.md').read_text()


def test_labels_of_ones_own_become_questions_of_ones_own(tmp_path, tokenizer):
    contracts = write_contracts(10, seed=9, words=400)
    rows = [dict(contract=c.text, title=c.title, category='Applicable law', quote=' '.join(x.text.split())) for c in contracts for x in c.spans('Governing Law')]
    rows += [dict(contract=c.text, title=c.title, category='Parties', quote=x.text) for c in contracts for x in c.spans('Parties')]
    (tmp_path/'labels.jsonl').write_text('\n'.join(json.dumps(r) for r in rows))
    data = prepare_data(DataSettings(source=str(tmp_path/'labels.jsonl'), size=128, overlap=32), tmp_path/'data', tokenizer, progress=False)
    assert [c.name for c in data.categories] == ['Parties', 'Applicable law'] and data.info['questions'] == 2 * 10 and data.info['spans'] == len({(r['title'], r['quote']) for r in rows})
    assert {c for e in sample_examples(data) for c, _ in e.questions} == {0, 1}


def test_week_1_on_the_408_training_contracts(tmp_path, tokenizer):
    if find_dev_cuad() is None: pytest.skip('CUAD is not here: set LEGAL_LLM_CUAD to its path')
    data = prepare_data(DataSettings(source=str(find_dev_cuad()), size=1024, overlap=256), tmp_path/'data', tokenizer, progress=False)
    i = data.info
    assert (i['contracts'], i['questions'], i['positives'], i['spans'], i['quarantined']) == (408, 16_728, 5_458, 11_180, 0)
    assert i['splits'] == dict(train=326, dev=41, test=41) and i['covered'] / i['train_spans'] > .998
    assert '28 pairs; each is on one side' in (data.path/'split.md').read_text()


def test_too_few_contracts_are_refused_with_nothing_written(tmp_path, tokenizer):
    save_squad(write_contracts(2, seed=6, words=400), tmp_path/'CUADv1.json')
    with pytest.raises(LegalLLMError, match='leave none for'):
        prepare_data(DataSettings(source=str(tmp_path/'CUADv1.json'), size=128, overlap=32), tmp_path/'data', tokenizer, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ['CUADv1.json']


def test_categories_that_a_file_names_are_asked_as_it_names_them(tmp_path, tokenizer):
    own = Category('Price', 'what it costs', 'What does it cost?'), Category('Parties', 'who they are', 'Who are they?'), Category('Ghost', 'never there', 'Is there one?')
    contracts = write_contracts(12, seed=6, words=400)
    for c in contracts: c.clauses = [Clause('Price', 20, c.text[20:60]), *c.spans('Parties')]
    save_squad(contracts, tmp_path/'CUADv1.json', own)
    data = prepare_data(DataSettings(source=str(tmp_path/'CUADv1.json'), size=128, overlap=32), tmp_path/'data', tokenizer, progress=False)
    assert data.categories == own and data.info['questions'] == 36 and {c for e in sample_examples(data) for c, _ in e.questions} == {0, 1, 2}
