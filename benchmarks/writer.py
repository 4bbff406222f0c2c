"""Short answers by a writer, beside those of the rules and of the base model: how many are those of CUAD's table, from
its own quotes and from whole contracts. For which categories the writer is used is chosen on dev; test is scored once.
"""

import json
import time
from dataclasses import replace

from benchmarks.answers import load_extractor
from benchmarks.measure import keep

ASKED = 15  # contracts that the base model is asked about: with worked examples a question is four times as long


def main(run: str, data: str | None = None, splits=('dev', 'test')) -> None:
    """Score a writer, the rules and the base model on each split, keep the results, and write the categories that the
    writer is used for into its record. `data` is a prepared folder whose screen has seen neither split. Says so where
    CUAD or its answers are not at hand.
    """
    from legal_llm.contracts.answers import load_answers
    from legal_llm.contracts.readers import load_contracts
    from legal_llm.evaluation.exact import choose_on_dev, score_answers, worked_examples
    from legal_llm.pipeline.writer import load_writer
    from legal_llm.training.dataset import DataSettings, split_data
    from tests.development import find_dev_answers, find_dev_cuad

    if not find_dev_cuad() or not find_dev_answers():
        print("skipped: this needs CUAD and its written answers; LEGAL_LLM_CUAD and LEGAL_LLM_ANSWERS name their files")
        return
    written = load_answers(find_dev_answers())
    contracts = {
        split: [replace(c, answers=written.get(c.title, {})) for c in some]
        for split, some in split_data(load_contracts(find_dev_cuad()), DataSettings()).items()
    }
    writer, results = load_writer(run), {}
    extractor = load_extractor(data, [c.title for s in splits for c in contracts[s]])
    shots = worked_examples(contracts['train'])
    start = time.perf_counter()
    choose_on_dev(writer, contracts['dev'])
    seconds = (time.perf_counter() - start) / len(contracts['dev'])
    for split in splits:
        reviews = [extractor.extract(c.text, c.title) for c in contracts[split]]
        scores = score_answers(writer, contracts[split], reviews, shots, ASKED)
        results[split] = scores.to_dict()
        print(f'{split}\n{json.dumps(results[split]["against"], indent=1)}\n{scores._repr_markdown_()}', flush=True)
        kept = {k: writer.record[k] for k in ('steps', 'tokens', 'minutes', 'dev_exact', 'learning_rate', 'chosen')}
        keep('writer', dict(writer=kept, seconds_per_contract=round(seconds, 2), splits=results))
