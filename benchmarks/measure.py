"Seconds, memory, and processes of their own: what all benchmarks share."

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / 'nbs/results'
CALL = (
    'import json, sys; from importlib import import_module; m, f, a = sys.argv[1:]; '
    'print(json.dumps(getattr(import_module(m), f)(**json.loads(a))))'
)


def alone(function, **arguments) -> dict:
    """What `function` returns, from a process of its own: one case does not warm up or fill the memory of the next.
    Raises RuntimeError where it fails.
    """
    command = [sys.executable, '-c', CALL, function.__module__, function.__name__, json.dumps(arguments)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=dict(os.environ, OMP_WAIT_POLICY='PASSIVE')
    )
    if done.returncode:
        raise RuntimeError(f'{function.__name__}({arguments}) failed:\n{done.stderr[-4000:]}')
    return json.loads(done.stdout.splitlines()[-1])


class Stage:
    """Seconds, and the most memory (MB) that this process and its children held, and that was held on the GPU. `into`
    gets it all under the stage's name.
    """

    def __init__(self, name: str, into: dict):
        self.name, self.into = name, into

    def __enter__(self):
        self.most, self.over = 0.0, threading.Event()
        if gpu := _gpu():
            gpu.reset_peak_memory_stats()
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
        gpu = _gpu()
        if gpu:
            gpu.synchronize()
        self.into[self.name] = dict(seconds=round(time.perf_counter() - self.start, 3))
        self.over.set()
        self.watch.join()
        self.into[self.name]['megabytes'] = round(self.most)
        if gpu:
            self.into[self.name]['gpu_megabytes'] = round(gpu.max_memory_allocated() / 1e6)


def _gpu():
    """torch.cuda where torch is loaded and has a GPU: the screen alone loads no torch, and measuring is not to load it
    either
    """
    torch = sys.modules.get('torch')
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def about() -> dict:
    "The day, the machine and the packages"
    from legal_llm.machine.packages import versions
    from legal_llm.machine.platform import hardware

    machine = hardware()
    return dict(
        date=time.strftime('%Y-%m-%d'),
        machine=dict(cpu=machine.cpu, cores=machine.cores, gpus=[g.name for g in machine.gpus]),
        versions=versions(),
    )


def keep(name: str, results: dict) -> Path:
    "Store the results of a benchmark where the docs read them."
    from legal_llm.machine.files import save_json

    return save_json(RESULTS / f'{name}.json', {**about(), **results})
