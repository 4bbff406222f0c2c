"""Short answers by rule, from CUAD's own quotes: how many are those of CUAD's table. Errors on train and dev were read
while the rules were written; those on test never were.
"""

import time
from collections import Counter

from benchmarks.measure import keep

SPLITS = ('train', 'dev', 'test')
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
    from legal_llm.answering import answer_contract
    from legal_llm.answers import DATES, Parties, find_dates, parse_answer, same_answer

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


def score(contracts, written: dict[str, dict[str, str]]) -> dict:
    "Exact answers by category, with 95% bootstrap intervals over contracts."
    import numpy as np

    from legal_llm.answers import ANSWERED, unreadable
    from legal_llm.bootstrap import bootstrap
    from legal_llm.official import from_counts, ratio

    start = time.perf_counter()
    judged = [judge(c, written.get(c.title, {})) for c in contracts]
    seconds = time.perf_counter() - start
    groups = [*ANSWERED, 'all', 'full dates']
    counts = np.zeros((len(contracts), len(groups), 2))
    for i, rows in enumerate(judged):
        for row in rows:
            for group in (row['category'], 'all', *(['full dates'] if row['full_date'] else [])):
                counts[i, groups.index(group)] += row['right'], 1
    statistic = from_counts(
        [c.title for c in contracts], counts, lambda sums: {g: ratio(*sums[:, i].T) for i, g in enumerate(groups)}
    )
    intervals, n = bootstrap(statistic), counts.sum(0)[:, 1]
    rows = [row for rows in judged for row in rows]
    how = {h: [r['right'] for r in rows if r['how'] == h] for h in ('found', 'computed', 'look')}
    terms = [r['terms'] for r in rows if 'terms' in r]
    return dict(
        contracts=len(contracts),
        seconds_per_contract=round(seconds / len(contracts), 4),
        exact={g: dict(n=int(n[i]), **intervals[g].to_dict()) for i, g in enumerate(groups)},
        how={h: dict(right=sum(r), n=len(r)) for h, r in how.items()},
        terms=dict(right=sum(terms), n=len(terms)),
        unreadable=dict(Counter(k for _, k, _ in unreadable({c.title: written.get(c.title, {}) for c in contracts}))),
    )


def main(splits=SPLITS) -> None:
    "Score the rules on each split, and keep the results. Says so where CUAD or its answers are not at hand."
    from legal_llm.answers import load_answers
    from legal_llm.dataset import DataSettings, split_data
    from legal_llm.readers import load_contracts
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
    keep('answers', dict(splits=results, unread_half=unread))
