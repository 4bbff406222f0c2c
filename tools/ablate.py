"""Train the same number of tokens many times, one setting changed at a time, and measure each on contracts of dev.

    python tools/ablate.py                  # all cases that nbs/results/ablation.json does not hold yet
    python tools/ablate.py lr=4e-4 r=64     # these only

CUAD's training half where it is at hand, else the embedded contracts. A case is a process of its own, a few minutes long, and is kept as soon as it is done.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / 'nbs/results/ablation.json'
TOKENS = 48_000  # that each case trains on
SIZE = 512  # tokens in a window; a quarter of it is shared with the next
CONTRACTS, LONGEST = 6, 40_000  # contracts of dev to screen whole, each of so many characters at most
PACKS = 40  # windows of dev with a clause, and a quarter as many without, to score quotes on

CASES = {
    'as it is': {},
    'as it is, seed 43': dict(seed=43),
    'as it is, seed 44': dict(seed=44),
    'one mean over all tokens': dict(plain=True),
    'edge=.3': dict(edge=0.3),
    'text=1': dict(text=1.0),
    'yes=no=1': dict(yes=1.0, no=1.0),
    'questions=6': dict(questions=6, absent=2),
    'questions=24': dict(questions=24),
    'empty=.4': dict(empty=0.4),
    'windows of 256': dict(size=256),
    'windows of 1,024': dict(size=1024),
    'bare names': dict(question='{name}?'),
    'lr=4e-4': dict(lr=4e-4),
    'lr=1.6e-3': dict(lr=1.6e-3),
    'r=4': dict(r=4, alpha=8),
    'r=64': dict(r=64, alpha=128),
    'accumulation=4': dict(accumulation=4),
}


def contract_ap(model, prompt, contracts, size: int) -> tuple[float, float]:
    "Average precision of (contract, category) pairs, ranked by the likeliest window, and the share of pairs that are present."
    import numpy as np

    from legal_llm.engine import screen
    from legal_llm.trainer import average_precision
    from legal_llm.windows import make_windows, tokenise

    scores, present = [], []
    for contract in contracts:
        tokens = tokenise(contract.text, prompt.tokenizer)
        windows = make_windows(tokens, size, size // 4)
        scores.append(np.max([screen(model, prompt, tokens.ids[w.start : w.stop]).margins for w in windows], axis=0))
        held = {clause.category for clause in contract.clauses}
        present.append([c.name in held for c in prompt.categories])
    present = np.concatenate(present)
    return average_precision(np.concatenate(scores), present), float(present.mean())


def run_case(name: str) -> dict:
    "Train one case in a folder that is deleted afterwards, and measure its adapter as it was saved."
    import random

    import numpy as np

    from legal_llm import prompts
    from legal_llm.cuad import find_dev_cuad
    from legal_llm.data import DataSettings, prepare_data
    from legal_llm.models import load_adapter, load_base, load_tokenizer
    from legal_llm.packing import use_attention
    from legal_llm.trainer import dev_packs, score_packs
    from legal_llm.train import TrainSettings, sample_packs, train

    changed = dict(CASES[name])
    size = changed.pop('size', SIZE)
    prompts.QUESTION = changed.pop('question', prompts.QUESTION)
    tokenizer, source = load_tokenizer('smollm2'), find_dev_cuad()
    prompt = prompts.Prompt(tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        data = prepare_data(DataSettings(source=str(source or 'sample'), size=size, overlap=size // 4), f'{folder}/data', tokenizer, progress=False)
        fixed = dict(data=str(data.path), dropout=0.0, budget=4096, save_every=10**6, dev_every=0, epochs=1.0)
        lengths = [len(p) for p in sample_packs(data, prompt, TrainSettings(**{**fixed, **changed, 'max_packs': 400}), 4096)]
        fixed['max_packs'] = int(np.searchsorted(np.cumsum(lengths), TOKENS)) + 1
        run = train(TrainSettings(**{**fixed, **changed}), f'{folder}/run', progress=False, watch=False)
        model = load_adapter(load_base('smollm2', run.record['dtype']), run.path)
        dev = [c for c in data.contracts('dev') if len(c.text) <= LONGEST]
        chosen = random.Random(0).sample(sorted(dev, key=lambda c: c.title), min(CONTRACTS, len(dev)))
        ap, base_rate = contract_ap(model, prompt, chosen, size)
        use_attention(model)
        scores = score_packs(model, dev_packs(data, prompt, PACKS), prompt)
    kept = {k: run.record[k] for k in ('packs', 'steps', 'tokens', 'dtype', 'lr')}
    return dict(case=name, changed=CASES[name], **kept, minutes=round(run.record['minutes'], 1), contract_ap=ap, present=base_rate, contracts=len(chosen), **scores)


def main() -> int:
    from legal_llm.cuad import find_dev_cuad
    from legal_llm.env import hardware, save_json

    parser = argparse.ArgumentParser(description='Train the same number of tokens with one setting changed at a time')
    parser.add_argument('cases', nargs='*', help=f"of: {', '.join(CASES)}")
    parser.add_argument('--one', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(run_case(args.one)))
        return 0
    if unknown := [c for c in args.cases if c not in CASES]:
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(CASES)}")
    machine = hardware()
    about = dict(source='CUAD' if find_dev_cuad() else 'written', machine=dict(cpu=machine.cpu, cores=machine.cores), tokens=TOKENS, size=SIZE)
    kept = json.loads(RESULTS.read_text())['rows'] if RESULTS.exists() else []
    for name in args.cases or [c for c in CASES if c not in {r['case'] for r in kept}]:
        done = subprocess.run([sys.executable, __file__, '--one', name], capture_output=True, text=True)
        if done.returncode:
            print(done.stderr[-4000:], file=sys.stderr)
            return 1
        row = json.loads(done.stdout.splitlines()[-1])
        kept = [r for r in kept if r['case'] != name] + [row]
        kept.sort(key=lambda r: list(CASES).index(r['case']))
        save_json(RESULTS, dict(about, rows=kept))
        print(f"{name:26} AP {row['contract_ap']:.3f}  windows {row['dev_ap']:.3f}  exact {row['dev_exact']:.3f}  {row['minutes']} min", flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
