"""Short answers by a writer, from CUAD's own quotes, beside those of the rules and of the base model: how many are
those of CUAD's table. For which categories the writer is used is chosen on dev; test is scored once.
"""

import json
import random
import time
from dataclasses import replace

from benchmarks.measure import keep

SHOTS, SEED = 3, 42  # worked examples for the base model, and the seed that draws them from train, and its contracts
ASKED = 15  # dev contracts that the base model is asked about: with worked examples a question is four times as long


def judge(contracts, answers: list[dict], written: dict[str, dict[str, str]]) -> list[list[dict]]:
    "For each contract: category, whether the answer to each clause is right, and what is said of it."
    from legal_llm.contracts.answers import parse_answer, same_answer

    out = []
    for contract, given in zip(contracts, answers):
        rows = []
        for category, text in written.get(contract.title, {}).items():
            value = given[category].value if category in given else None
            right = value is not None and same_answer(category, value, parse_answer(category, text))
            how = given[category].how if category in given else 'look'
            rows.append(dict(category=category, right=right, how=how))
        out.append(rows)
    return out


def summary(contracts, judged: list[list[dict]]) -> dict:
    "Exact answers by category, with 95% bootstrap intervals over contracts, and by what is said of them."
    import numpy as np

    from legal_llm.contracts.answers import ANSWERED
    from legal_llm.scores.bootstrap import bootstrap
    from legal_llm.scores.official import from_counts, ratio

    groups = [*ANSWERED, 'all']
    counts = np.zeros((len(contracts), len(groups), 2))
    for i, rows in enumerate(judged):
        for row in rows:
            for group in (row['category'], 'all'):
                counts[i, groups.index(group)] += row['right'], 1
    titles = [c.title for c in contracts]
    intervals = bootstrap(from_counts(titles, counts, lambda s: {g: ratio(*s[:, i].T) for i, g in enumerate(groups)}))
    rows = [row for rows in judged for row in rows]
    return dict(
        exact={g: dict(n=int(counts[:, i, 1].sum()), **intervals[g].to_dict()) for i, g in enumerate(groups)},
        how={
            h: dict(right=sum(r['right'] for r in rows if r['how'] == h), n=sum(r['how'] == h for r in rows))
            for h in ('found', 'computed', 'look')
        },
    )


def show(name: str, result: dict) -> None:
    print(name, {k: f"{100 * r['value']:.1f} ({r['n']})" for k, r in result['exact'].items() if r['n']}, flush=True)


def worked_examples(train, written) -> dict[str, list]:
    "For each category a few training examples, none of them long."
    from legal_llm.contracts.answers import ANSWERED
    from legal_llm.contracts.chat import chat_examples

    rng, examples = random.Random(SEED), [e for c in train for e in chat_examples(c, written.get(c.title, {}))]
    short = {
        k: [e for e in examples if e.category == k and len(e.question) < 400 and len(e.answer) < 80] for k in ANSWERED
    }
    return {k: rng.sample(found, SHOTS) for k, found in short.items()}


def main(run: str, splits=('dev', 'test')) -> None:
    """Score a writer, the rules and the base model on each split, keep the results, and write the categories that the
    writer is used for into its record. Says so where CUAD or its answers are not at hand.
    """
    from legal_llm.contracts.answers import ANSWERED, load_answers
    from legal_llm.contracts.readers import load_contracts
    from legal_llm.evaluation.exact import choose_categories, right_answers
    from legal_llm.machine.files import save_json
    from legal_llm.pipeline.answering import answer_contract, prefer_written
    from legal_llm.pipeline.models import PORTABLE
    from legal_llm.pipeline.writer import find_writer, load_writer, write
    from legal_llm.pipeline.writing import CHOSEN, write_answers
    from legal_llm.training.dataset import DataSettings, split_data
    from tests.development import find_dev_answers, find_dev_cuad

    if not find_dev_cuad() or not find_dev_answers():
        print("skipped: this needs CUAD and its written answers; LEGAL_LLM_CUAD and LEGAL_LLM_ANSWERS name their files")
        return
    written = load_answers(find_dev_answers())
    contracts = split_data(load_contracts(find_dev_cuad()), DataSettings())
    writer = load_writer(run)
    shots = worked_examples(contracts['train'], written)
    results, chosen = {}, None
    for split in splits:
        here, rows = contracts[split], {}
        rules = [answer_contract(c) for c in here]
        rows['rules'] = judge(here, rules, written)
        start = time.perf_counter()
        answers = write_answers(here, writer.write)
        seconds = (time.perf_counter() - start) / len(here)
        rows['writer'] = judge(here, answers, written)
        both = [{k: prefer_written(a.get(k), r[k]) for k in r} for r, a in zip(rules, answers)]
        if chosen is None:  # on dev
            with_answers = [replace(c, answers=written.get(c.title, {})) for c in here]
            chosen = choose_categories(right_answers(with_answers, rules), right_answers(with_answers, both))
        better = [r | {k: b[k] for k in chosen if k in b} for r, b in zip(rules, both)]
        rows['better of both'] = judge(here, better, written)
        results[split] = {name: summary(here, judged) for name, judged in rows.items()}
        results[split]['writer']['seconds_per_contract'] = round(seconds, 2)
        for name in rows:
            show(f'{split}, {name}', results[split][name])
        if split == 'dev':
            some = random.Random(SEED).sample(here, ASKED)
            with writer.model.disable_adapter():
                base = write_answers(
                    some, lambda examples: write(writer.model, writer.tokenizer, examples, shots=shots)
                )
            results[split]['base model, asked'] = summary(some, judge(some, base, written))
            show(f'{split}, base model, asked', results[split]['base model, asked'])
        keep_results(writer.record, results, chosen)
    folder = find_writer(run)
    save_json(folder / PORTABLE, json.loads((folder / PORTABLE).read_text(encoding='utf-8')) | {CHOSEN: list(chosen)})
    print('the writer answers', ', '.join(chosen) or f'none of {len(ANSWERED)} categories', flush=True)


def keep_results(record: dict, results: dict, chosen) -> None:
    kept = {k: record[k] for k in ('steps', 'tokens', 'minutes', 'dev_exact', 'learning_rate')}
    keep('writer', dict(writer=kept, splits=results, chosen=list(chosen)))
