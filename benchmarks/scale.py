"Week 1 at scale: seconds and memory of each stage, on CUAD where it is at hand, and on synthetic contracts."

import tempfile
from pathlib import Path

from benchmarks.measure import Stage, alone, keep

SIZES = (250, 500, 1000)


def week1(n: int) -> dict:
    "Week 1 on `n` synthetic contracts, or on CUAD where `n` is 0: what each stage takes."
    from legal_llm.contracts.categories import CATEGORIES
    from legal_llm.contracts.readers import load_contracts
    from legal_llm.contracts.sentences import split_sentences
    from legal_llm.contracts.splits import split_contracts, verify_no_leak
    from legal_llm.contracts.squad import save_squad
    from legal_llm.contracts.synthetic import write_contracts
    from legal_llm.data import prepare_data
    from legal_llm.pipeline.models import load_tokenizer
    from legal_llm.pipeline.screen import fit_screen
    from legal_llm.training.dataset import DataSettings
    from tests.development import find_dev_cuad

    tokenizer, stages = load_tokenizer('smollm2'), {}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / 'contracts.json' if n else find_dev_cuad()
        if n:
            with Stage('write contracts', stages):
                save_squad(write_contracts(n, seed=3), source)
        with Stage('load and validate', stages):
            contracts = load_contracts(source)
        with Stage('split', stages):
            splits = split_contracts(contracts)
        with Stage('verify the split', stages):
            verify_no_leak(splits)
        with Stage('cut into sentences', stages):
            sentences = [split_sentences(c.text) for c in contracts]
        with Stage('fit the screen', stages):
            screen, _ = fit_screen(splits['train'], CATEGORIES)
        with Stage('screen all contracts', stages):
            for c, s in zip(contracts, sentences):
                screen.log_odds(c.text, s)
        count = len(contracts)
        characters = sum(len(c.text) for c in contracts)
        cut = sum(map(len, sentences))
        del contracts, splits, sentences, screen
        settings = DataSettings(source=str(source))
        with Stage('the whole of week 1', stages):
            data = prepare_data(settings, f'{folder}/data', progress=False)
        with Stage('the same again, reused', stages):
            prepare_data(settings, f'{folder}/data', progress=False)
        with Stage('windows for the reader', stages):
            examples = data.examples('train', tokenizer)
    kept = {k: data.info[k] for k in ('quarantined', 'doubtful', 'pairs', 'kept')}
    counts = dict(
        contracts=count,
        characters=characters,
        sentences=cut,
        windows=len(examples),
        tokens=sum(map(len, examples)),
        **kept,
    )
    return dict(source='written' if n else Path(source).name, **counts, stages=stages)


def main(sizes=SIZES, cuad: bool = True) -> None:
    "Measure every size, and keep the results."
    from tests.development import find_dev_cuad

    rows = []
    for n in ([0] if cuad and find_dev_cuad() else []) + list(sizes):
        rows.append(alone(week1, n=n))
        print(n or 'CUAD', {k: (v['seconds'], v['megabytes']) for k, v in rows[-1]['stages'].items()}, flush=True)
        keep('scale', dict(rows=rows))
