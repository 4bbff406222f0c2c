"""What a lawyer says of a review becomes what the next screen learns; what nobody looked at is neither present nor
absent, wherever labels are used.
"""

import csv
import io
import warnings
from dataclasses import replace

import numpy as np
import pytest

from legal_llm.contracts.categories import CATEGORIES, Category
from legal_llm.contracts.contracts import Clause, Contract, corpus_stats, gold_answers
from legal_llm.contracts.readers import fingerprint, load_contracts
from legal_llm.contracts.sentences import known_labels, label_sentences, split_sentences
from legal_llm.contracts.squad import save_squad
from legal_llm.contracts.synthetic import write_contracts
from legal_llm.contracts.verdicts import are_verdicts, guard, join_verdicts, load_verdicts, read_verdicts, unguard
from legal_llm.data import prepare_data
from legal_llm.documents.documents import Document
from legal_llm.evaluation.scoring import labels_of, predictions_of, states_statistic
from legal_llm.machine.files import LegalLLMError, json_text
from legal_llm.pipeline.calibration import Scores
from legal_llm.pipeline.context import ContextSettings, fit_context
from legal_llm.pipeline.extract import Extractor
from legal_llm.pipeline.review import COLUMNS, Extraction, Review, csv_of, xlsx_of
from legal_llm.pipeline.screen import fit_screen
from legal_llm.scores.metrics import average_precision
from legal_llm.scores.official import is_among, official_scores
from legal_llm.scores.tables import load_gold
from legal_llm.training.dataset import DataSettings, read_source

NAMES = [c.name for c in CATEGORIES]
LEASE = (
    'LEASE between Baker and Carver. This lease is governed by the laws of Oregon. '
    + 'The rent is paid on the first day of each month. The tenant keeps the shop clean. ' * 4
    + '=Pets= The tenant may keep one cat. Either party may end this lease on three months notice.'
)


def span(words):
    at = LEASE.index(words)
    return words, at, at + len(words)


def lease_review():
    quotes = dict(
        [('Governing Law', 'governed by the laws of Oregon'), ('Parties', 'LEASE between Baker')]
        + [('Insurance', 'keeps the shop clean'), ('Exclusivity', '=Pets= The tenant may keep one cat.')]
    )
    found = [Extraction(c, *span(q), 0.9) for c, q in quotes.items()]
    names = *quotes, 'Audit Rights', 'Cap On Liability', 'Non-Compete'
    return Review('lease', LEASE, found, names, run_key='0123456789abcdef')


SAID = {  # category -> verdict, corrected quote
    'Governing Law': ('accept', ''),
    'Parties': ('', 'Baker and Carver'),
    'Insurance': ('reject', ''),
    'Exclusivity': ('accept', ''),
    'Audit Rights': ('accept', ''),
    'Non-Compete': ('', 'Either party may end this lease on three months notice.'),
}


def save(folder, form, said=SAID, review=None):
    "A review as it is saved, with what a lawyer writes into it"
    folder.mkdir(exist_ok=True)
    (folder / 'contracts').mkdir(exist_ok=True)
    (folder / 'contracts' / 'lease.txt').write_text(LEASE)
    review = review or lease_review()
    path = folder / f'lease-clauses.{form}'
    if form == 'json':
        kept = review.to_dict()
        for c in kept['clauses']:
            for row in c['quotes'] or [c]:
                row['verdict'], row['corrected quote'] = said.get(c['category'], (None, None))
        path.write_text(json_text(kept))
        return path
    rows = [r | dict(zip(('verdict', 'corrected quote'), said.get(r['category'], (None, None)))) for r in review.rows()]
    path.write_bytes(csv_of(rows).encode('utf-8-sig') if form == 'csv' else xlsx_of(rows, about=dict(model='m')))
    return path


@pytest.mark.parametrize('form', ['xlsx', 'csv', 'json'])
def test_verdicts_become_labels(tmp_path, form):
    "In every form: accepted, corrected and overlooked clauses with their places, rejected ones none, the rest unknown"
    path = save(tmp_path, form)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        (contract,) = load_verdicts(path)
    assert contract.title == 'lease' and contract.text == LEASE
    assert {(c.category, c.text, c.start, c.end) for c in contract.clauses} == {
        ('Governing Law', *span('governed by the laws of Oregon')),
        ('Parties', *span('Baker and Carver')),
        ('Exclusivity', *span('=Pets= The tenant may keep one cat.')),
        ('Non-Compete', *span('Either party may end this lease on three months notice.')),
    }
    assert contract.unknown == {'Cap On Liability'}
    assert {v.run_key for v in read_verdicts(path)} == {'0123456789abcdef'}
    contracts, categories = read_source(str(tmp_path))
    assert contracts == [contract] and [c.name for c in categories] == [n for n in NAMES if n in contract.categories]


def test_a_sheet_offers_the_two_verdicts():
    from openpyxl import load_workbook

    sheet = load_workbook(io.BytesIO(xlsx_of(lease_review().rows()))).active
    (choice,) = sheet.data_validations.dataValidation
    column = [c.value for c in sheet[1]].index('verdict')
    assert choice.formula1 == '"accept,reject"' and sheet.cell(2, column + 1).coordinate in choice.sqref
    assert all(sheet.cell(i, column + 1).value is None for i in range(2, sheet.max_row + 1))
    assert {'corrected quote', 'corrected answer', 'text_sha256', 'run_key'} < set(COLUMNS)


@pytest.mark.parametrize('text', ['=1+1', '+1', '-x', '@x', '\tx', "'tis", "'=x", '', "it's"])
def test_the_guard_against_formulas_is_undone(text):
    (row,) = csv.DictReader(io.StringIO(csv_of([dict.fromkeys(COLUMNS) | dict(quote=text)])))
    assert row['quote'] == guard(text) and (unguard(guard(text)) == text or text == "'=x")


def test_a_lawyer_adds_rows(tmp_path):
    "Without a title, the contract is that of the row above; a category of one's own is one more"
    path = save(tmp_path, 'csv', {'Governing Law': ('accept', '')})
    lines = list(csv.DictReader(io.StringIO(path.read_text('utf-8-sig'))))
    lines += [{'category': 'House Pets', 'corrected quote': 'The tenant may keep one cat.'}]
    lines += [{'category': 'Governing Law', 'corrected quote': 'Either party may end this lease'}]
    path.write_text(csv_of([dict.fromkeys(COLUMNS, '') | line for line in lines]))
    (contract,) = load_verdicts(path)
    assert [(c.category, c.text) for c in contract.clauses] == [
        ('Governing Law', 'governed by the laws of Oregon'),
        ('Governing Law', 'Either party may end this lease'),
        ('House Pets', 'The tenant may keep one cat.'),
    ]
    assert contract.unknown == set(lease_review().categories) - {'Governing Law'}


def test_the_untouched_file_beside_takes_nothing_back(tmp_path):
    "As `extract --out` leaves a folder: a JSON file for each contract, and a table that the lawyer fills in"
    save(tmp_path, 'csv')
    save(tmp_path, 'json', {})
    (contract,) = load_verdicts(tmp_path)
    assert len(contract.clauses) == 4 and contract.unknown == {'Cap On Liability'}


def test_two_who_contradict_each_other_leave_it_unknown(tmp_path):
    save(tmp_path, 'csv')
    save(tmp_path, 'json', SAID | {'Governing Law': ('reject', '')})
    with pytest.warns(UserWarning, match="contradict each other: 'Governing Law' stays unknown"):
        (contract,) = load_verdicts(tmp_path)
    assert 'Governing Law' in contract.unknown and 'Governing Law' not in contract.categories


def test_another_text_is_said_and_its_quotes_are_found_by_their_words(tmp_path):
    path = save(tmp_path, 'xlsx')
    (tmp_path / 'contracts' / 'lease.txt').write_text('Revised. ' + LEASE)
    with pytest.warns(UserWarning, match='lease.txt is not the text that was reviewed'):
        (contract,) = load_verdicts(path)
    assert [c.text for c in contract.spans('Governing Law')] == ['governed by the laws of Oregon']
    assert all(contract.text[c.start : c.end] == c.text for c in contract.clauses) and len(contract.clauses) == 4


def test_what_is_wrong_with_verdicts_is_said(tmp_path):
    path = save(tmp_path, 'csv', {})
    assert are_verdicts(path) and are_verdicts(tmp_path) and not are_verdicts(tmp_path / 'contracts')
    with pytest.raises(LegalLLMError, match='no verdicts in it: write accept or reject'):
        load_verdicts(path)
    with pytest.raises(LegalLLMError, match="row 2: .*'maybe' is neither accept nor reject"):
        load_verdicts(save(tmp_path, 'csv', {'Governing Law': ('maybe', '')}))
    with pytest.raises(LegalLLMError, match='the quote is not in the contract'):
        load_verdicts(save(tmp_path, 'csv', SAID | {'Parties': ('', 'Smith and Jones of Delaware')}))
    path = save(tmp_path, 'csv')
    (tmp_path / 'contracts' / 'lease.txt').unlink()
    with pytest.raises(LegalLLMError, match="the contract 'lease' is not there: put its file beside"):
        load_verdicts(path)


def test_verdicts_beside_other_labels(tmp_path):
    "Each knows nothing of the other's categories; where both have a contract, the verdicts count"
    path = save(tmp_path, 'csv')
    old = Contract('lease', LEASE, [Clause('Insurance', 0, 'LEASE'), Clause('Audit Rights', 0, 'LEASE')])
    old.clauses.append(Clause('Cap On Liability', 0, 'LEASE'))
    other = write_contracts(1, seed=3, words=400)[0]
    asked = tuple(c for c in CATEGORIES if c.name != 'Non-Compete')
    contracts, categories = join_verdicts([old, other], asked, path)
    assert len(contracts) == 2 and [c.name for c in categories] == [*(c.name for c in asked), 'Non-Compete']
    kept = {c.category for c in contracts[0].clauses}
    assert kept == {'Governing Law', 'Parties', 'Exclusivity', 'Non-Compete', 'Cap On Liability'}
    assert contracts[0].unknown == frozenset() and contracts[1].unknown == {'Non-Compete'}
    _, mine = join_verdicts([other], CATEGORIES, path)[0]
    assert mine.unknown == set(NAMES) - set(SAID)


# what is unknown


LAW = CATEGORIES[NAMES.index('Governing Law')]


def of_one_category(contracts):
    return [replace(c, clauses=c.spans(LAW)) for c in contracts]


def test_the_screen_learns_nothing_from_what_is_unknown():
    "Clauses that nobody marked pull a category down where they count as absent, and not where they are unknown"
    contracts, mean = of_one_category(write_contracts(12, seed=4, words=400)), {}
    there = np.concatenate([label_sentences(split_sentences(c.text), c.clauses, [LAW.name]) for c in contracts])
    for unknown in (frozenset([LAW.name]), frozenset()):
        labelled = [replace(c, clauses=[], unknown=unknown) if i % 2 else c for i, c in enumerate(contracts)]
        mean[bool(unknown)] = np.concatenate(fit_screen(labelled, (LAW,))[1])[there].mean()
    assert mean[True] > mean[False] + 1


def test_clauses_alone_teach_no_category():
    "Where all that is known of a category are clauses, it is not found everywhere"
    contracts, pets = of_one_category(write_contracts(6, seed=4, words=400)), Category('Pets', 'pets', 'pets')
    labelled = [
        replace(c, clauses=[*c.clauses, Clause('Pets', 0, c.text[:20])], unknown=frozenset(['Pets'])) for c in contracts
    ]
    screen, fresh = fit_screen(labelled, (LAW, pets))
    assert np.concatenate(fresh)[:, 1].max() < 0 < np.concatenate(fresh)[:, 0].max()


def test_the_context_stage_hears_no_unknown_label():
    rng = np.random.default_rng(0)
    spans = np.stack([np.arange(20) * 10, np.arange(20) * 10 + 9], 1)
    labels = [rng.random((20, 2)) < 0.2 for _ in range(40)]
    odds = [np.where(y, 1.0, -1.0).astype(np.float32) + rng.normal(0, 1, y.shape).astype(np.float32) for y in labels]
    known = [np.tile([True, i % 2 == 0], (20, 1)) for i in range(40)]
    settings = ContextSettings(max_iter=10, min_samples_leaf=5)
    said = [
        fit_context([spans] * 40, odds, [y ^ (~k & flip) for y, k in zip(labels, known)], None, None, settings, known)[
            0
        ]
        for flip in (False, True)
    ]
    assert all(np.array_equal(said[0].log_odds(spans, o), said[1].log_odds(spans, o)) for o in odds[:3])
    assert np.array_equal(said[0].base, said[1].base)


def test_what_is_unknown_is_kept_and_not_scored(tmp_path):
    "Through files, fingerprints, statistics, gold, predictions and calibration"
    contracts = [replace(c, unknown=frozenset(['Parties', 'Insurance'])) for c in write_contracts(2, seed=5, words=400)]
    back = load_contracts(save_squad(contracts, tmp_path / 'a.json'))
    assert [c.unknown for c in back] == [c.unknown for c in contracts]
    known = [replace(c, unknown=frozenset()) for c in contracts]
    assert fingerprint(back) == fingerprint(contracts) != fingerprint(known)
    gold = gold_answers(contracts)
    assert gold == load_gold(tmp_path / 'a.json') and len(gold) == 2 * 39 == corpus_stats(contracts).questions
    assert corpus_stats(contracts).positives == sum(map(bool, gold.values()))
    reviews = {}
    for c in contracts:
        found = [Extraction(x.category, x.text, x.start, x.end, 0.9) for x in c.clauses]
        reviews[c.title] = Review(c.title, c.text, found, tuple(NAMES)).leave_out(c.unknown)
    assert official_scores(predictions_of(reviews), gold)['recall'] == 1
    assert states_statistic(reviews, gold).value()['found'] == 1
    sentences = split_sentences(contracts[0].text)
    nothing = np.zeros((len(sentences), len(NAMES)), np.float32)
    (label,) = labels_of(contracts[:1], {contracts[0].title: Scores(sentences, nothing, nothing)}, NAMES)
    assert np.array_equal(~label.mask, known_labels(label.data, contracts[0].unknown, NAMES)) and label.mask.any()


# the round trip


def lawyer(review, gold):
    "Verdicts of somebody who knows all clauses, on what is quoted and what was missed; the rest is left as it is"
    for r in review.rows():
        clauses = [c.text for c in gold.spans(r['category'])]
        if r['quote']:
            right = is_among(r['quote'], clauses)
            yield r | dict(verdict='accept' if right else 'reject')
            missed = [] if right else [c for c in clauses if not is_among(c, [f.quote for f in review.shown()])]
        else:
            yield r
            missed = clauses
        for c in missed:
            yield (
                dict.fromkeys(COLUMNS)
                | {k: r[k] for k in ('title', 'category', 'text_sha256')}
                | {'corrected quote': c}
            )


def reached(screen, contracts):
    "Average precision of a screen over all pairs of sentence and category"
    odds, labels = [], []
    for c in contracts:
        sentences = split_sentences(c.text)
        odds.append(screen.log_odds(c.text, sentences))
        labels.append(label_sentences(sentences, c.clauses, NAMES))
    return float(average_precision(np.concatenate(odds).ravel(), np.concatenate(labels).ravel()))


def test_what_a_lawyer_corrects_becomes_what_the_model_learns(tmp_path):
    "Review, verdicts in Excel, data, screen, review: better on contracts that nobody gave verdicts on"
    written = write_contracts(24, seed=11, words=400)
    first, reviewed, others = written[:4], written[4:16], written[16:]
    before = fit_screen(first, CATEGORIES)[0]
    extractor = Extractor(before)
    folder = tmp_path / 'reviews'
    (folder / 'contracts').mkdir(parents=True)
    for i, c in enumerate(reviewed):
        (folder / 'contracts' / f'{i}.txt').write_text(c.text)
        rows = list(lawyer(extractor.extract(Document(c.text, f'{i}')), c))
        (folder / f'{i}-clauses.xlsx').write_bytes(xlsx_of(rows))
    settings = DataSettings(source=str(save_squad(first, tmp_path / 'first.json')), reviews=str(folder))
    data = prepare_data(settings, tmp_path / 'data', progress=False)
    assert data.info['contracts'] == 16 and data.info['unknown'] and 'nobody has said anything' in str(data)
    after = data.screen()
    assert reached(after, others) > reached(before, others) + 0.1
    gold = gold_answers(others)
    shown = [
        states_statistic({c.title: Extractor(s).extract(c.text, c.title) for c in others}, gold).value()['shown']
        for s in (before, after)
    ]
    assert shown[1] > shown[0]
