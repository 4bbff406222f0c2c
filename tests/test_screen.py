"""The linear screen: what it learns, that it is the same wherever and however often it is fitted, and that what is
stored is what was fitted.
"""

import json
import subprocess
import sys

import numpy as np
import pytest

from legal_llm.contracts.categories import CATEGORIES, Category
from legal_llm.contracts.contracts import Clause, Contract
from legal_llm.contracts.sentences import label_sentences, split_sentences
from legal_llm.contracts.synthetic import write_contracts
from legal_llm.machine.files import LegalLLMError
from legal_llm.pipeline.screen import ScreenSettings, fit_screen, load_screen, save_screen, why

NAMES = [c.name for c in CATEGORIES]


@pytest.fixture(scope='module')
def fitted():
    return fit_screen(write_contracts(40, seed=1, words=500), CATEGORIES)


def test_it_knows_clauses_of_contracts_it_has_not_seen(fitted):
    screen, hits, n = fitted[0], 0, 0
    for c in write_contracts(5, seed=77, words=500):
        spans = split_sentences(c.text)
        odds = screen.log_odds(c.text, spans)
        gold = label_sentences(spans, c.clauses, NAMES)
        present = gold.any(0)
        hits += sum(gold[odds[:, k].argmax(), k] for k in np.flatnonzero(present))
        n += present.sum()
    assert hits / n > 0.7


def test_a_second_fit_is_the_same_and_the_order_of_the_contracts_matters_little(fitted):
    contracts = write_contracts(40, seed=1, words=500)
    again, fresh = fit_screen(contracts, CATEGORIES)
    assert (again.weights == fitted[0].weights).all() and all((a == b).all() for a, b in zip(fresh, fitted[1]))
    text = contracts[0].text
    spans = split_sentences(text)
    other, _ = fit_screen(contracts[::-1], CATEGORIES)
    assert np.corrcoef(other.log_odds(text, spans).ravel(), again.log_odds(text, spans).ravel())[0, 1] > 0.9


def test_what_is_stored_screens_alike_and_needs_neither_sklearn_nor_torch(fitted, tmp_path):
    screen = fitted[0]
    save_screen(screen, tmp_path / 'all', keep=1)
    save_screen(screen, tmp_path / 'some')
    c = write_contracts(1, seed=78, words=500)[0]
    spans = split_sentences(c.text)
    want = screen.log_odds(c.text, spans)
    gold = label_sentences(spans, c.clauses, NAMES)
    assert np.abs(load_screen(tmp_path / 'all').log_odds(c.text, spans) - want).max() < 0.05
    assert np.abs(load_screen(tmp_path / 'some').log_odds(c.text, spans) - want)[gold].mean() < 0.5
    assert (tmp_path / 'some' / 'screen.npz').stat().st_size < (tmp_path / 'all' / 'screen.npz').stat().st_size
    (tmp_path / 'c.txt').write_text(c.text)
    code = (
        "import sys; from pathlib import Path; from legal_llm.pipeline.extract import Extractor; "
        "from legal_llm.pipeline.screen import load_screen\n"
        f"r = Extractor(load_screen(r'{tmp_path / 'all'}')).extract(Path(r'{tmp_path / 'c.txt'}').read_text()); "
        "assert r.extractions\n"
        "print(sorted({'torch', 'sklearn', 'scipy', 'transformers', 'joblib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.strip() == '[]', done.stdout + done.stderr


@pytest.mark.parametrize('spoil', ['gone', 'cut', 'version', 'json', 'pickle'])
def test_a_damaged_screen_is_refused(fitted, tmp_path, spoil):
    save_screen(fitted[0], tmp_path)
    about = json.loads((tmp_path / 'screen.json').read_text())
    if spoil == 'gone':
        (tmp_path / 'screen.npz').unlink()
    if spoil == 'cut':
        (tmp_path / 'screen.npz').write_bytes((tmp_path / 'screen.npz').read_bytes()[:-100])
    if spoil == 'version':
        (tmp_path / 'screen.json').write_text(json.dumps(dict(about, format=0)))
    if spoil == 'json':
        (tmp_path / 'screen.json').write_text('{')
    if spoil == 'pickle':  # an array that would run code when it is read
        import hashlib

        np.savez(tmp_path / 'screen.npz', counts=np.array([print], object))
        (tmp_path / 'screen.json').write_text(
            json.dumps(dict(about, sha256=hashlib.sha256((tmp_path / 'screen.npz').read_bytes()).hexdigest()))
        )
    with pytest.raises(LegalLLMError, match='screen'):
        load_screen(tmp_path)


def test_a_handful_of_labels_of_ones_own():
    own = (Category('Applicable law', '', ''), Category('Never there', '', ''))
    contracts = [
        Contract(c.title, c.text, [Clause('Applicable law', x.start, x.text) for x in c.spans('Governing Law')])
        for c in write_contracts(8, seed=9, words=400)
    ]
    screen, _ = fit_screen(contracts[:6], own)
    for c in contracts[6:]:
        spans = split_sentences(c.text)
        odds = screen.log_odds(c.text, spans)
        gold = label_sentences(spans, c.clauses, [o.name for o in own])
        if gold[:, 0].any():
            assert gold[odds[:, 0].argmax(), 0]
        assert odds[:, 1].max() < 0  # nothing is known of it


def test_what_cannot_be_fitted_is_refused():
    one = write_contracts(1, seed=1, words=400)
    with pytest.raises(LegalLLMError, match='bring more training contracts'):
        fit_screen(one, CATEGORIES)
    with pytest.raises(LegalLLMError, match='no contract has a clause'):
        fit_screen([Contract('a', 'Nothing here.'), Contract('b', 'Nor here.')], CATEGORIES)
    for bad in (dict(C=0), dict(folds=1)):
        with pytest.raises(LegalLLMError, match='must be'):
            ScreenSettings(**bad)


def test_it_says_why(fitted):
    said = why(fitted[0], 'This Agreement shall be governed by the laws of the State of Delaware.', 'Governing Law')
    assert (
        said
        and {'governed', 'laws', 'governed by', 'the laws', 'laws of', 'law'} & {t for t, _ in said}
        and said[0][1] >= said[-1][1] > 0
    )
    with pytest.raises(LegalLLMError, match='has no category'):
        why(fitted[0], 'x', 'Weather')


def test_a_sentence_without_a_known_word_is_no_fault(fitted):
    text = 'Zzyzx qwrtp. Xyzzy.\n\nThis Agreement is governed by the laws of Ohio.'
    spans = split_sentences(text)
    odds = fitted[0].log_odds(text, spans)
    assert np.isfinite(odds).all() and odds.shape == (len(spans), 41)


def test_a_review_is_the_same_again(fitted):
    from legal_llm.pipeline.extract import Extractor

    extractor, c = Extractor(fitted[0]), write_contracts(1, seed=79, words=500)[0]
    one, two = (extractor.extract(c.text, c.title) for _ in range(2))
    assert one.extractions == two.extractions and one.confidences == two.confidences
    assert all(f.quote == c.text[f.start : f.end] for f in one.extractions)
