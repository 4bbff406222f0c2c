"""Kill a training with SIGKILL at random moments, in the middle of saves too, and compare how it ends with one that was
left alone.

python tests/killed.py FOLDER [--kills 20] [--steps 60] [--seed 0]     the last line of output is a JSON object

All libraries are imported once, and nothing is computed here: each life of the training is a fork, which starts in a
fraction of a second.
"""

import argparse
import gc
import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE='1', OMP_NUM_THREADS='1', MPLBACKEND='agg')

import accelerate  # noqa: F401
import matplotlib.figure  # noqa: F401
import peft  # noqa: F401
import torch  # noqa: F401
import transformers.models.llama.modeling_llama  # noqa: F401
from safetensors.numpy import load_file
from tiny import make_data, make_tiny
from transformers import AutoModel, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments  # noqa: F401

from legal_llm.train import train
from legal_llm.training.settings import TrainSettings


def fork(work, said: Path) -> int:
    "The process that does the work; what it prints goes to a file"
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(pid: int, said: Path) -> None:
    if code := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        sys.exit(f'a process ended with {code}\n{said.read_text()[-4000:]}')


def last_step(folder: Path, pattern: str) -> int:
    "The highest number after the last dash of the names in a folder"
    return max((int(p.name.rpartition('-')[2]) for p in folder.glob(pattern)), default=0)


def moments(run: Path, kills: int, steps: int, rng: random.Random):
    "For each kill: whether its moment has come, and the seconds to wait from then; spread over the whole training"
    log, checkpoints = run / 'log.jsonl', run / 'checkpoints'
    for i in range(kills):
        step = min(max(round(steps * (i + rng.random()) / kills), last_step(checkpoints, 'checkpoint-*') + 1), steps)
        aim = 'end' if i == kills - 1 else rng.choice(('start', 'step', 'save', 'save', 'save'))
        if aim == 'start':  # loading, resuming, the first steps
            yield aim, lambda: True, rng.uniform(0, 1.5)
        elif aim == 'step':
            yield aim, lambda: log.exists() and log.read_bytes().count(b'\n') >= step, rng.uniform(0, 0.2)
        elif aim == 'save':
            yield aim, lambda: last_step(checkpoints, '.saving-*') >= step, rng.uniform(0, 0.03)
        else:  # the training is done, the adapter is being saved
            yield aim, lambda: (run / 'adapter').exists(), rng.uniform(0, 0.02)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('folder', type=Path)
    for name, default in (('kills', 20), ('steps', 60), ('seed', 0)):
        parser.add_argument(f'--{name}', type=int, default=default)
    args = parser.parse_args()
    folder, rng = args.folder, random.Random(args.seed)
    folder.mkdir(parents=True, exist_ok=True)
    alone, run, said = folder / 'alone', folder / 'killed', folder / 'killed.txt'
    settings = TrainSettings(
        data=str(folder / 'data'),
        base_model=str(folder / 'base'),
        dtype='float32',
        lora_dropout=0.1,
        window_tokens=48,
        probe_windows=100,
        max_packs=2 * args.steps,
        pack_windows=1,
        gradient_accumulation_steps=2,
        num_train_epochs=4.0,
        eval_steps=20,
        eval_windows=8,
        early_stopping_patience=0,
        save_steps=2,
    )

    def live():
        train(settings, run, progress=False)

    wait(
        fork(lambda: (make_tiny(folder / 'base'), make_data(folder / 'data')), folder / 'made.txt'), folder / 'made.txt'
    )
    gc.collect()
    gc.freeze()  # what is imported stays shared, and is not searched again in each life
    start = time.monotonic()
    other = fork(lambda: train(settings, alone, progress=False), folder / 'alone.txt')
    hits, kills, lives = 0, [], []
    for aim, come, delay in moments(run, args.kills, args.steps, rng):
        born, pid = time.monotonic(), fork(live, said)
        while not come() and not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            time.sleep(0.0005)
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        lives.append(round(time.monotonic() - born, 2))
        if code != -signal.SIGKILL:
            sys.exit(f'life {len(lives)} ended by itself, with {code}\n{said.read_text()[-4000:]}')
        kills.append(aim)
        hits += any((run / 'checkpoints').glob('.saving-*/checkpoint-*'))
    wait(fork(live, said), said)
    wait(other, folder / 'alone.txt')

    def seen(path):
        log = [json.loads(line) for line in (path / 'log.jsonl').read_text().splitlines()]
        return [{k: v for k, v in line.items() if 'second' not in k and k != 'memory_gb'} for line in log]

    a, b = (
        {k: v for f in sorted((p / 'adapter').glob('*.safetensors')) for k, v in load_file(f).items()}
        for p in (alone, run)
    )
    last = load_file(run / 'checkpoints' / f'checkpoint-{args.steps}' / 'adapter_model.safetensors')
    print(
        json.dumps(
            dict(
                kills=len(kills),
                in_saves=hits,
                aims={aim: kills.count(aim) for aim in sorted(set(kills))},
                resumed=said.read_text().count('resuming from'),
                passed_over=said.read_text().count('passing over'),
                steps=[line['step'] for line in seen(run) if 'loss' in line] == list(range(1, args.steps + 1)),
                log=seen(alone) == seen(run),
                adapter=a.keys() == b.keys()
                and all(a[k].tobytes() == b[k].tobytes() for k in a)
                and any(last[k].any() for k in last if 'lora_B' in k),
                checkpoint=sealed(alone, args.steps) == sealed(run, args.steps),
                lives=lives,
                seconds=round(time.monotonic() - start, 1),
            )
        )
    )


def sealed(run: Path, step: int) -> dict:
    "Checksums of what a checkpoint restores"
    seal = json.loads((run / 'checkpoints' / f'checkpoint-{step}' / 'seal.json').read_text())
    return {
        name: seal[name]['sha256']
        for name in ('adapter_model.safetensors', 'head.safetensors', 'optimizer.pt', 'scheduler.pt', 'rng_state.pth')
    }


if __name__ == '__main__':
    main()
