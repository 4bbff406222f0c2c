"""Short answers by rule, from CUAD's own quotes and from whole contracts: how many are those of CUAD's table. Errors on
train and dev were read while the rules were written; those on test never were.
"""

import random
import time
from collections import Counter

from benchmarks.measure import keep

SPLITS = ('train', 'dev', 'test')
SHEETS, SEED = 10, 42  # deal sheets that are judged line by line, and the seed that draws their contracts from dev
# Right and all answers on 163 of the 326 training contracts, counted once with rules written on the other 163, before
# these were read.
UNREAD_HALF = {
    'Document Name': (163, 163),
    'Parties': (134, 162),
    'Agreement Date': (138, 147),
    'Effective Date': (107, 115),
    'Expiration Date': (86, 102),
    'Renewal Term': (35, 54),
    'Notice Period To Terminate Renewal': (32, 35),
    'Governing Law': (134, 135),
}


def judge(contract, written: dict[str, str]) -> list[dict]:
    "Each written answer of a contract, and whether the rules give it: category, how, right, and if a date is complete."
    from legal_llm.contracts.answers import DATES, Parties, find_dates, parse_answer, same_answer
    from legal_llm.pipeline.answering import answer_contract

    rows, answers = [], answer_contract(contract)
    for category, text in written.items():
        gold, answer = parse_answer(category, text), answers.get(category)
        value = None if answer is None else answer.value
        right = value is not None and same_answer(category, value, gold)
        quotes = [c.text for c in contract.clauses if c.category == category]
        full = category in DATES and any(f.value.to_date() for q in quotes for f in find_dates(q))
        row = dict(category=category, how=answer.how if answer else 'look', right=right, full_date=full)
        if right and isinstance(gold, Parties):
            left, other = ({t.lower() for p in v.parties for t in p.terms} for v in (value, gold))
            row['terms'] = left == other
        rows.append(row)
    return rows


def exact_by_group(titles: list[str], judged: list[list[dict]]) -> dict[str, dict]:
    """Answers and the share that is right, by category, of all and of full dates, with 95% bootstrap intervals over
    contracts. `judged` has a list for each contract.
    """
    import numpy as np

    from legal_llm.contracts.answers import ANSWERED
    from legal_llm.scores.bootstrap import bootstrap
    from legal_llm.scores.official import from_counts, ratio

    groups = [*ANSWERED, 'all', 'full dates']
    counts = np.zeros((len(titles), len(groups), 2))
    for i, rows in enumerate(judged):
        for row in rows:
            for group in (row['category'], 'all', *(['full dates'] if row.get('full_date') else [])):
                counts[i, groups.index(group)] += row['right'], 1
    statistic = from_counts(titles, counts, lambda sums: {g: ratio(*sums[:, i].T) for i, g in enumerate(groups)})
    intervals, n = bootstrap(statistic), counts.sum(0)[:, 1]
    return {g: dict(n=int(n[i]), **intervals[g].to_dict()) for i, g in enumerate(groups)}


def score(contracts, written: dict[str, dict[str, str]]) -> dict:
    "Exact answers by category, with 95% bootstrap intervals over contracts."
    from legal_llm.contracts.answers import unreadable

    start = time.perf_counter()
    judged = [judge(c, written.get(c.title, {})) for c in contracts]
    seconds = time.perf_counter() - start
    rows = [row for rows in judged for row in rows]
    how = {h: [r['right'] for r in rows if r['how'] == h] for h in ('found', 'computed', 'look')}
    terms = [r['terms'] for r in rows if 'terms' in r]
    return dict(
        contracts=len(contracts),
        seconds_per_contract=round(seconds / len(contracts), 4),
        exact=exact_by_group([c.title for c in contracts], judged),
        how={h: dict(right=sum(r), n=len(r)) for h, r in how.items()},
        terms=dict(right=sum(terms), n=len(terms)),
        unreadable=dict(Counter(k for _, k, _ in unreadable({c.title: written.get(c.title, {}) for c in contracts}))),
    )


def judge_review(review, contract, written: dict[str, str]) -> list[dict]:
    """Each short answer that a contract has in CUAD's table or in its review, and whether the review's is right. An
    answer to a clause that is not there is wrong, and so is one that is missing; a clause without an answer in the
    table is left out.
    """
    from legal_llm.contracts.answers import ANSWERED, parse_answer, same_answer

    rows = []
    for category in ANSWERED:
        answer, text = review.answers.get(category), written.get(category)
        if text is None and (answer is None or category in contract.categories):
            continue
        right = bool(answer and text and same_answer(category, answer.value, parse_answer(category, text)))
        rows.append(dict(category=category, right=right, there=text is not None, status=answer and answer.status))
    return rows


def score_reviews(extractor, contracts, written: dict[str, dict[str, str]]) -> dict:
    "From contract to answer: exact ones by category, and by what the review says of them."
    judged = [judge_review(extractor.extract(c.text, c.title), c, written.get(c.title, {})) for c in contracts]
    rows = [row for rows in judged for row in rows]
    return dict(
        contracts=len(contracts),
        exact=exact_by_group([c.title for c in contracts], judged),
        status={
            s: dict(right=sum(r['right'] for r in rows if r['status'] == s), n=sum(r['status'] == s for r in rows))
            for s in ('found', 'check')
        },
        missing=sum(r['status'] is None for r in rows),
        not_there=sum(not r['there'] for r in rows),
    )


def judge_sheet(review, contract, written: dict[str, str]) -> Counter:
    """The lines of a deal sheet by what is true of them: `right`, `wrong`, `no answer` (the quote has to be read), or
    `not judged` where CUAD's table has nothing to compare with. Of the wrong ones, `wrong and found` say nothing of a
    check. `missing` counts answers of the table without a line.
    """
    from legal_llm.contracts.answers import Date, Duration, parse_answer, same_answer
    from legal_llm.pipeline.answering import deadlines
    from legal_llm.pipeline.deal import LINES, deal_lines

    gold = {name: parse_answer(c, written[c]) for name, c in LINES.items() if c in written and name != 'Term'}
    end, notice = gold.get('Expiration date'), gold.pop('Last day for notice', None)
    if isinstance(end, Date) and isinstance(notice, Duration) and (days := deadlines(end, notice)):
        gold['Last day for notice'] = days[0].day
    out, lines = Counter(), deal_lines(review.rows())
    for line in lines:
        category = 'Expiration Date' if line.name == 'Last day for notice' else LINES[line.name]
        if not line.answer:
            said = 'no answer'
        elif line.name in gold:
            said = 'right' if same_answer(category, line.answer, gold[line.name]) else 'wrong'
        else:
            said = 'not judged' if line.name == 'Term' or LINES[line.name] in contract.categories else 'wrong'
        out[said] += 1
        out['wrong and found'] += said == 'wrong' and line.status == 'found'
    out['missing'] = len(gold.keys() - {line.name for line in lines})
    return out


def load_extractor(data: str | None, unseen: list[str]):
    """The screen and context stage of a prepared folder, with thresholds from its training contracts out of fold; None:
    the default that comes with the package. Raises ValueError where the folder's training has a title of `unseen`.
    """
    from legal_llm.evaluation.scoring import out_of_fold, with_thresholds
    from legal_llm.pipeline.calibration import Calibration
    from legal_llm.pipeline.extract import Extractor
    from legal_llm.training.dataset import open_data

    if data is None:
        return Extractor.load(fast=True)
    prepared = open_data(data)
    if seen := {c.title for c in prepared.contracts('train')} & set(unseen):
        raise ValueError(f'{data}: {len(seen)} contracts that are to be scored were trained on; prepare CUAD as it is')
    extractor = Extractor(prepared.screen(), context=prepared.context(), name='screen and context stage')
    contracts, scores = out_of_fold(prepared)
    system = 'screen' if extractor.context is None else 'context'
    fresh = Calibration(reader=0.0, contracts=len(contracts))
    extractor.calibration = with_thresholds(fresh, extractor, contracts, scores[system])
    return extractor


def end_to_end(data: str | None, contracts: dict[str, list], written: dict[str, dict[str, str]]) -> dict:
    "The answers of whole reviews on dev and test, and some deal sheets line by line."
    extractor = load_extractor(data, [c.title for s in ('dev', 'test') for c in contracts[s]])
    drawn = random.Random(SEED).sample([c for c in contracts['dev'] if c.title in written], SHEETS)
    sheets = sum((judge_sheet(extractor.extract(c.text, c.title), c, written[c.title]) for c in drawn), Counter())
    trained = (
        'the training contracts and contracts of the library\'s own' if data else 'all contracts, these among them'
    )
    return dict(
        model=f'screen and context stage, fitted on {trained}',
        splits={s: score_reviews(extractor, contracts[s], written) for s in ('dev', 'test')},
        sheets=dict(contracts=SHEETS, seed=SEED, lines=dict(sheets)),
    )


def main(splits=SPLITS, data: str | None = None) -> None:
    """Score the rules on each split, and whole reviews on dev and test, and keep the results. `data` is a prepared
    folder whose screen has seen neither. Says so where CUAD or its answers are not at hand.
    """
    from legal_llm.contracts.answers import load_answers
    from legal_llm.contracts.readers import load_contracts
    from legal_llm.training.dataset import DataSettings, split_data
    from tests.development import find_dev_answers, find_dev_cuad

    if not find_dev_cuad() or not find_dev_answers():
        print("skipped: this needs CUAD and its written answers; LEGAL_LLM_CUAD and LEGAL_LLM_ANSWERS name their files")
        return
    written = load_answers(find_dev_answers())
    contracts = split_data(load_contracts(find_dev_cuad()), DataSettings())
    results = {s: score(contracts[s], written) for s in splits}
    for split, result in results.items():
        shares = {k: f"{100 * r['value']:.1f} ({r['n']})" for k, r in result['exact'].items() if r['n']}
        print(split, shares, flush=True)
    unread = {k: dict(right=right, n=n) for k, (right, n) in UNREAD_HALF.items()}
    reviews = end_to_end(data, contracts, written)
    for split, result in reviews['splits'].items():
        shares = {k: f"{100 * r['value']:.1f} ({r['n']})" for k, r in result['exact'].items() if r['n']}
        print(split, 'from the contract', shares, flush=True)
    keep('answers', dict(splits=results, unread_half=unread, reviews=reviews))
