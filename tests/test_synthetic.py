"""The seeded writer: the same bytes everywhere, exact labels, all categories, and held-out wordings that training never
shows.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter

import pytest

from legal_llm.contracts.answers import ANSWERED, parse_answer
from legal_llm.contracts.categories import CATEGORIES
from legal_llm.contracts.contracts import corpus_stats, validate
from legal_llm.contracts.splits import split_contracts
from legal_llm.contracts.squad import to_squad
from legal_llm.contracts.synthetic import BOILERPLATE, DISTRACTORS, PATTERNS, SECTIONS, WORDINGS, write_contracts
from legal_llm.machine.files import LegalLLMError

# SHA-256 of twenty contracts. A change of any wording changes it: then every score on synthetic contracts changes, too,
# so say so in the change's description.
FINGERPRINT = '5453e841287b9b384798d39bb3563e5f7e938e122c4ad51c8e1e08d4077c19f2'


def fingerprint():
    contracts = write_contracts(10) + write_contracts(5, seed=7, wordings='held_out') + write_contracts(5, words=2000)
    return hashlib.sha256(json.dumps(to_squad(contracts), sort_keys=True).encode()).hexdigest()


def test_the_same_seed_gives_the_same_bytes_everywhere():
    assert fingerprint() == FINGERPRINT


def test_hash_randomisation_changes_nothing():
    code = 'import sys; sys.path.insert(0, "tests"); from test_synthetic import fingerprint; print(fingerprint())'
    for seed in ('0', '1', '12345'):
        done = subprocess.run(
            [sys.executable, '-c', code],
            capture_output=True,
            text=True,
            env={**os.environ, 'PYTHONHASHSEED': seed, 'PYTHONPATH': '.'},
            cwd=os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
        )
        assert done.stdout.strip() == FINGERPRINT, done.stderr


def test_a_contract_depends_on_its_number_and_settings_alone():
    five = write_contracts(5)
    assert write_contracts(3) == five[:3]
    others = [write_contracts(1, **kw)[0] for kw in (dict(seed=43), dict(wordings='held_out'), dict(words=701))]
    assert len({c.text for c in [five[0], *others]}) == len({c.title for c in [five[0], *others]}) == 4


@pytest.mark.parametrize('wordings', ['train', 'held_out'])
def test_short_answers_stand_in_their_clauses(wordings):
    "And are in canonical form once they are read"
    from legal_llm.pipeline.writing import supported  # which needs torch, and the rest of these tests does not

    counts = Counter()
    for contract in write_contracts(60, seed=9, wordings=wordings):
        for category, answer in contract.answers.items():
            quotes = [' '.join(c.text.split()) for c in contract.spans(category)]
            value = parse_answer(category, answer)
            assert supported(value, [' '.join(quotes)]), (contract.title, category, answer, quotes)
            counts[category] += 1
    assert set(counts) == set(ANSWERED) - {'Renewal Term'}
    assert min(counts.values()) > 3


@pytest.mark.parametrize('wordings', ['train', 'held_out'])
@pytest.mark.parametrize('words', [400, 700, 3000, 15_000])
def test_labels_lengths_and_shares(wordings, words):
    contracts = write_contracts(60 if words < 5000 else 20, seed=5, wordings=wordings, words=words)
    assert validate(contracts) == []
    lengths = [len(c.text.split()) for c in contracts]
    assert 0.8 * words < sum(lengths) / len(lengths) < 1.25 * words and max(lengths) < 1.7 * words
    covered = [len({i for s in c.clauses for i in range(s.start, s.end)}) / len(c.text) for c in contracts]
    assert sum(covered) / len(covered) < 0.4
    stats = corpus_stats(contracts)
    if words >= 700:
        assert 0.28 < stats.positives / stats.questions < 0.45
    assert all(c.spans('Document Name') and len(c.spans('Parties')) >= 4 for c in contracts)
    assert not any(mark in c.text for c in contracts for mark in '{}⟦⟧|' if mark != '|')


def test_every_category_occurs_in_both_groups_with_several_spans_and_overlaps():
    for wordings in ('train', 'held_out'):
        contracts = write_contracts(250, wordings=wordings)
        by_category = corpus_stats(contracts).by_category
        assert min(n for n, _ in by_category.values()) >= 15, by_category
        pairs = {
            frozenset((a.category, b.category))
            for c in contracts
            for a in c.clauses
            for b in c.clauses
            if a.category < b.category and a.start < b.end and b.start < a.end
        }
        for pair in (
            ('Cap On Liability', 'Uncapped Liability'),
            ('Renewal Term', 'Notice Period To Terminate Renewal'),
            ('License Grant', 'Non-Transferable License'),
            ('Agreement Date', 'Effective Date'),
        ):
            assert frozenset(pair) in pairs, pair
        assert sum(len(c.spans(k)) > 1 for c in contracts for k in c.categories) > 200
    assert frozenset(('Exclusivity', 'Non-Compete')) in {
        frozenset((a.category, b.category))
        for c in write_contracts(250)
        for a in c.clauses
        for b in c.clauses
        if a.category != b.category and a.start == b.start
    }


def text_of(wording):
    return wording if isinstance(wording, str) else wording[0]


def test_wordings_are_complete_and_independent():
    assert set(WORDINGS) | {'Document Name', 'Parties', 'Agreement Date', 'Effective Date'} == {
        c.name for c in CATEGORIES
    }
    assert sorted(k for s in SECTIONS.values() for k in s['home']) == sorted(WORDINGS)
    for category, w in WORDINGS.items():
        assert len(w['train']) >= 5 and len(w['held_out']) >= 3, category
        for links in [x[1:] for group in w.values() for x in group if not isinstance(x, str)]:
            assert all(k.lstrip('>') in WORDINGS for k in links), (category, links)
    assert sum(len(b['train']) for b in BOILERPLATE.values()) + len(DISTRACTORS['train']) + len(PATTERNS['train']) >= 60
    assert (
        sum(len(b['held_out']) for b in BOILERPLATE.values()) + len(DISTRACTORS['held_out']) + len(PATTERNS['held_out'])
        >= 60
    )


def test_no_held_out_sentence_is_a_training_sentence():
    "Neither as a template nor as written: no sentence, and no run of eight words within a clause, is shared"

    def words(text):
        return re.findall(r"[\w’']+", text.lower())

    def shingles(contracts):
        return {
            tuple(w[i : i + 8]) for c in contracts for s in c.clauses if (w := words(s.text)) for i in range(len(w) - 7)
        }

    shared = shingles(write_contracts(300)) & shingles(write_contracts(300, wordings='held_out'))
    assert not shared, sorted(shared)[:3]
    for category, w in WORDINGS.items():
        for a in w['train']:
            for b in w['held_out']:
                x, y = (set(words(re.sub(r'\{[^{}|]*\}', ' ', text_of(t)))) for t in (a, b))
                assert len(x & y) / len(x | y) < 0.5, (category, a, b)


def test_distractors_and_boilerplate_are_never_labelled():
    "Words that a lazy reader would take for a clause stand in the text without a label"
    contracts = write_contracts(150, words=1500)
    for cue, _category in (
        ('customs charges are shown', 'Insurance'),
        ('are audited every year', 'Audit Rights'),
        ('is not a party to it', 'Third Party Beneficiary'),
        ('material breach', 'Termination For Convenience'),
        ('escrow account', 'Source Code Escrow'),
    ):
        found = [(c, m.start()) for c in contracts for m in re.finditer(cue.replace(' ', r'\s'), c.text, re.I)]
        assert len(found) > 5, cue
        assert not any(s.start <= at < s.end for c, at in found for s in c.clauses), cue


def test_splits_of_written_contracts():
    splits = split_contracts(write_contracts(100, words=400))
    assert {s: len(cs) for s, cs in splits.items()} == {'train': 80, 'dev': 10, 'test': 10}


def test_hundreds_in_seconds():
    start = time.perf_counter()
    write_contracts(500)
    assert time.perf_counter() - start < 15


@pytest.mark.parametrize(
    'wrong, message',
    [
        (dict(wordings='test'), "choose 'train' or 'held_out'"),
        (dict(words=399), '400 to 15,000'),
        (dict(words=15_001), '400 to 15,000'),
        (dict(n=-1), 'cannot be negative'),
    ],
)
def test_wrong_arguments(wrong, message):
    with pytest.raises(LegalLLMError, match=re.escape(message)):
        write_contracts(**{'n': 1, **wrong})
