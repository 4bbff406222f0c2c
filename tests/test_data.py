"Week 1 as a whole: nothing is dropped, nothing depends on how many processes cut the windows, and what is asked follows the stated ratios."
import json
from collections import Counter

import pytest

import legal_llm.data as week1
from legal_llm.cuad import CATEGORIES, find_dev_cuad, save_squad
from legal_llm.data import DataSettings, prepare_data, sample_examples
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
