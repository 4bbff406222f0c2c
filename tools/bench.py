"""Measure, and keep what was measured.

    python tools/bench.py scale    # week 1 on CUAD, where it is at hand, and on 500 to 5,000 written contracts: seconds and memory of each stage
    python tools/bench.py train    # TRL, separate sequences and packs on the same examples: examples and tokens a second, memory, loss, gradients
    python tools/bench.py extract [--run RUN]   # of a run, or of one that is trained first: the engine and plain `generate` on the same windows, seconds and memory of some hundred windows, several candidates against one answer

Each size runs in a process of its own, so that one does not warm up or fill the memory of the next. Figures go to nbs/results, where the docs read them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import bench_extract
import bench_train

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / 'nbs/results'


class Stage:
    "Seconds, and the most memory (MB, of this process and its children together) that a stage took"

    def __init__(self, name: str, into: dict):
        self.name, self.into = name, into

    def __enter__(self):
        self.most, self.over = 0.0, threading.Event()
        self.watch = threading.Thread(target=self._watch)
        self.watch.start()
        self.start = time.perf_counter()

    def _watch(self):
        import psutil

        me = psutil.Process()
        while True:
            total = 0
            for p in (me, *me.children(recursive=True)):
                try:
                    total += p.memory_full_info().pss  # shared pages count once: processes are forked
                except psutil.Error:
                    pass
            self.most = max(self.most, total / 1e6)
            if self.over.wait(0.05):
                return

    def __exit__(self, *_):
        self.into[self.name] = dict(seconds=round(time.perf_counter() - self.start, 2))
        self.over.set()
        self.watch.join()
        self.into[self.name]['megabytes'] = round(self.most)


def scale(n: int) -> dict:
    "Week 1 on `n` written contracts, or on CUAD where `n` is 0: what each stage takes."
    from legal_llm.cuad import find_dev_cuad, load_contracts, save_squad
    from legal_llm.data import DataSettings, prepare_data, sample_examples
    from legal_llm.models import load_tokenizer
    from legal_llm.splits import split_contracts, verify_no_leak
    from legal_llm.synthetic import write_contracts

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
        count, characters = len(contracts), sum(len(c.text) for c in contracts)
        del contracts, splits
        with Stage('the whole of week 1', stages):
            data = prepare_data(DataSettings(source=str(source), size=512, overlap=128), f'{folder}/data', tokenizer, progress=False)
        with Stage('the same again, cached', stages):
            prepare_data(DataSettings(source=str(source), size=512, overlap=128), f'{folder}/data', tokenizer, progress=False)
        with Stage('draw examples', stages):
            examples = sample_examples(data)
    kept = {k: data.info[k] for k in ('windows', 'tokens', 'quarantined', 'covered', 'train_spans')}
    return dict(source='written' if n else source.name, contracts=count, characters=characters, **kept, examples=len(examples), stages=stages)


def main() -> int:
    parser = argparse.ArgumentParser(description='Measure, and keep what was measured')
    parser.add_argument('what', choices=['scale', 'train', 'extract'])
    parser.add_argument('--sizes', type=int, nargs='+', help='scale: written contracts (500 1000 2500 5000); train: tokens in a window (256 512 1024 2048)')
    parser.add_argument('--questions', type=int, nargs='+', help='train: questions on a window (8 16 41)')
    parser.add_argument('--run', help='extract: a run folder (default: one is trained, in about an hour)')
    parser.add_argument('--parts', nargs='+', choices=bench_extract.PARTS, default=list(bench_extract.PARTS), help='extract: what to measure')
    parser.add_argument('--one', type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        print(json.dumps(scale(args.one)))
        return 0
    if args.what == 'train':
        bench_train.main(args.sizes or bench_train.SIZES, args.questions or bench_train.QUESTIONS)
        return 0
    if args.what == 'extract':
        bench_extract.main(args.run, args.parts)
        return 0
    from legal_llm.cuad import find_dev_cuad
    from legal_llm.env import hardware, save_json

    rows = []
    for n in ([0] if find_dev_cuad() else []) + (args.sizes or [500, 1000, 2500, 5000]):
        done = subprocess.run([sys.executable, __file__, args.what, '--one', str(n)], capture_output=True, text=True, env=dict(os.environ, OMP_WAIT_POLICY='PASSIVE'))
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            return 1
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(n or 'CUAD', {k: (v['seconds'], v['megabytes']) for k, v in rows[-1]['stages'].items()}, flush=True)
    machine = hardware()
    save_json(RESULTS / 'scale.json', dict(machine=dict(cpu=machine.cpu, cores=machine.cores), rows=rows))
    return 0


if __name__ == '__main__':
    sys.exit(main())
