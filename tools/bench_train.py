"""The training part of `make bench`: TRL's SFTTrainer, separate sequences and packs, on the same examples.

Each case runs in a process of its own: one step to warm up, then `TIMED` steps, each on another window and ending with one update.
A question on a window is an example.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

METHODS = ('trl', 'separate', 'packs')
SIZES, QUESTIONS = (256, 512, 1024, 2048), (8, 16, 41)
TIMED = 3
MOST = 4096  # tokens of windows in a step of TRL and of separate sequences, at most: the time for more questions is scaled by tokens
LR = 8e-4
RESULTS = Path(__file__).resolve().parent.parent / 'nbs/results/training.json'


def write_windows(size: int, tokenizer, n: int = TIMED + 1) -> list[dict]:
    "The first `size` tokens of `n` written contracts, each with all 41 categories in an order of its own: [category, spans to quote]."
    from legal_llm.cuad import CATEGORIES
    from legal_llm.synthetic import write_contracts
    from legal_llm.windows import Window, place, tokenise, window_spans

    out = []
    for i, contract in enumerate(write_contracts(n, seed=3, words=4000)):
        tokens = tokenise(contract.text, tokenizer)
        spans, _ = window_spans(tokens, Window(0, size, 0, int(tokens.ends[size - 1])), place(tokens, contract.clauses))
        questions = [[c, spans.get(category.name, [])] for c, category in enumerate(CATEGORIES)]
        random.Random(i).shuffle(questions)
        out.append(dict(ids=tokens.ids[:size].tolist(), questions=questions))
    return out


def batch_size(size: int) -> int:
    "Sequences in a forward pass of TRL: the fastest of 1, 2, 4 and 8 on two cores, where more than one needs padding and a mask."
    return 2 if size <= 256 else 1


def ask(windows: list[dict], questions: int) -> list[dict]:
    "The windows with only their first `questions` questions."
    return [dict(w, questions=w['questions'][:questions]) for w in windows]


def separate_packs(prompt, window: dict) -> list:
    "A sequence for each question."
    from legal_llm.packing import make_pack

    return [make_pack(prompt, window['ids'], [q]) for q in window['questions']]


def shared_packs(prompt, window: dict) -> list:
    "All questions in one pack."
    from legal_llm.packing import make_packs

    return make_packs(prompt, window['ids'], window['questions'], budget=100_000)


def batch_of(pack, device) -> dict:
    "What the model is given: logits only where a target is; a pack of one question is a plain causal sequence, without a mask."
    from legal_llm.packing import collate

    batch = collate(pack, 'split', device)
    return {k: v for k, v in batch.items() if k not in ('attention_mask', 'position_ids')} if pack.branches[-1] == 1 else batch


def synchronise() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def gradients(model):
    "The gradients of all trainable parameters as one vector."
    import torch

    return torch.cat([p.grad.flatten().cpu() for p in model.parameters() if p.requires_grad]).numpy()


def train_plainly(model, prompt, windows: list[dict], packs_of) -> tuple[list, list, list]:
    "Seconds, loss and tokens of each step, and the first step's gradients: a loop over `packs_of(prompt, window)`."
    import torch

    from legal_llm.packing import LossWeights, count_kinds, pack_loss

    device, seconds, losses, tokens, first = next(model.parameters()).device, [], [], [], None
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=LR, weight_decay=0.0)
    model.train()
    for window in windows:
        start, loss = time.perf_counter(), 0.0
        packs = packs_of(prompt, window)
        tokens.append(sum(map(len, packs)))
        counts = count_kinds(packs).to(device)
        for pack in packs:
            b = batch_of(pack, device)
            targets, kinds = b.pop('targets'), b.pop('kinds')
            share = pack_loss(model(**b, use_cache=False).logits[0], targets, kinds, counts, LossWeights(plain=True))
            share.backward()
            loss += share.item()
        if first is None:
            first = gradients(model)
        optimizer.step()
        optimizer.zero_grad()
        synchronise()
        seconds.append(time.perf_counter() - start)
        losses.append(loss)
    return seconds, losses, tokens, first


def trl_rows(prompt, window: dict) -> list[dict]:
    "The same tokens for TRL, the shortest first: batches of it hold sequences of about one length."
    parts = [(prompt.prefix(window['ids']) + prompt.question(c), prompt.answer(spans)) for c, spans in window['questions']]
    rows = [dict(input_ids=q + a, completion_mask=[0] * len(q) + [1] * len(a)) for q, a in parts]
    return sorted(rows, key=lambda r: len(r['input_ids']))


def padded_tokens(rows: list[dict], batch: int) -> int:
    "Tokens in `rows`, padding included, when `batch` of them make a forward pass."
    groups = [[len(r['input_ids']) for r in rows[i : i + batch]] for i in range(0, len(rows), batch)]
    return sum(max(g) * len(g) for g in groups)


def train_with_trl(model, prompt, windows: list[dict], dtype: str, batch: int) -> tuple[list, list, list]:
    "The same by SFTTrainer.train(); a callback notes the time at the end of each step."
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    rows, tokens = [], []
    for window in windows:
        some = trl_rows(prompt, window)
        tokens.append(padded_tokens(some, batch))
        rows += some
    ends, losses, first = [], [], []

    class Watch(TrainerCallback):
        def on_train_begin(self, *_, **__):
            ends.append(time.perf_counter())

        def on_pre_optimizer_step(self, *_, model, **__):
            if not first:
                first.append(gradients(model))

        def on_step_end(self, *_, **__):
            synchronise()
            ends.append(time.perf_counter())

        def on_log(self, args, state, control, logs, **_):
            if 'loss' in logs:
                losses.append(logs['loss'])

    with tempfile.TemporaryDirectory() as folder:
        settings = dict(
            # one update a window
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=len(windows[0]['questions']) // batch,
            num_train_epochs=1,
            train_sampling_strategy='sequential',  # grouped by length within each window already
            # the same optimiser
            optim='adamw_torch',
            learning_rate=LR,
            lr_scheduler_type='constant',
            weight_decay=0.0,
            max_grad_norm=0.0,
            # its fastest settings without FlashAttention: no packing, which would let examples see each other
            packing=False,
            padding_free=False,
            max_length=None,
            completion_only_loss=True,
            loss_type='chunked_nll',  # logits only where a target is
            gradient_checkpointing=False,
            bf16=dtype == 'bfloat16',  # autocast on top of weights in 16 bit: a little faster than without
            fp16=dtype == 'float16',
            use_cpu=not torch.cuda.is_available(),
            dataloader_pin_memory=False,
            # nothing but training
            output_dir=folder,
            logging_steps=1,
            save_strategy='no',
            report_to=[],
            disable_tqdm=True,
        )
        trainer = SFTTrainer(model, SFTConfig(**settings), train_dataset=Dataset.from_list(rows), processing_class=prompt.tokenizer, callbacks=[Watch()])
        trainer.train()
    return [b - a for a, b in zip(ends, ends[1:])], losses, tokens, first[0]


class Peak:
    "The most memory (MB) of this process, or of its GPU, between enter and exit, and what it held at first"

    def __enter__(self):
        import psutil
        import torch

        self.me, self.cuda, self.over = psutil.Process(), torch.cuda.is_available(), threading.Event()
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        self.before = self.most = self._now()
        self.watch = threading.Thread(target=self._watch)
        self.watch.start()
        return self

    def _now(self):
        import torch

        return (torch.cuda.max_memory_allocated() if self.cuda else self.me.memory_info().rss) / 1e6

    def _watch(self):
        while not self.over.wait(0.02):
            self.most = max(self.most, self._now())

    def __exit__(self, *_):
        self.over.set()
        self.watch.join()
        self.most = max(self.most, self._now())


def run_case(method: str, size: int, questions: int, steps: int = TIMED + 1, dtype: str = 'auto', scale_to: tuple = (), save: str = '') -> dict:
    "Train as `method` does. `scale_to` are numbers of questions to count the tokens for; `save` names a file for the first step's gradients."
    import numpy as np

    from legal_llm.env import limit_threads
    from legal_llm.models import add_lora, choose_dtype, load_base, load_tokenizer
    from legal_llm.packing import use_attention
    from legal_llm.prompts import Prompt

    limit_threads()
    exact, dtype = dtype == 'float64', choose_dtype('float32' if dtype == 'float64' else dtype)
    model, prompt = add_lora(load_base('smollm2', dtype), r=16, alpha=32, dropout=0.0, seed=42), Prompt(load_tokenizer('smollm2'))
    if exact:
        model.double()
    if method == 'packs':
        use_attention(model)
    every = write_windows(size, prompt.tokenizer, steps)
    windows = ask(every, questions)
    if method == 'trl':
        import trl  # noqa: F401 (so that its import counts neither as time nor as memory of the training)
    with Peak() as peak:
        if method == 'trl':
            seconds, losses, tokens, first = train_with_trl(model, prompt, windows, dtype, batch_size(size))
        else:
            seconds, losses, tokens, first = train_plainly(model, prompt, windows, dict(separate=separate_packs, packs=shared_packs)[method])
    if save:
        np.save(save, first)
    scaled = {q: [padded_tokens(trl_rows(prompt, w), batch_size(size) if method == 'trl' else 1) for w in ask(every, q)] for q in scale_to}
    memory = dict(megabytes=round(peak.most), megabytes_before=round(peak.before))
    return dict(method=method, size=size, trained=questions, dtype=dtype, tokens=tokens, seconds=seconds, losses=losses, scaled=scaled, **memory)


def rates(case: dict, questions: int) -> dict:
    "A row of the results: the rates of `case` for `questions` questions, scaled by tokens where it trained on fewer."
    tokens = case['scaled'].get(str(questions), case['tokens'])
    steps = [s * t / n for s, t, n in zip(case['seconds'], tokens, case['tokens'])][1:]
    return dict(
        method=case['method'],
        size=case['size'],
        questions=questions,
        trained=case['trained'],
        seconds=round(statistics.median(steps), 3),
        examples_per_second=round(statistics.median(questions / s for s in steps), 4),
        tokens_per_second=round(statistics.median(t / s for s, t in zip(steps, tokens[1:])), 1),
        tokens=round(statistics.mean(tokens[1:])),
        megabytes=case['megabytes'],
        megabytes_before=case['megabytes_before'],
        losses=[round(v, 4) for v in case['losses']] if case['trained'] == questions else None,
    )


def alone(**case) -> dict:
    "`run_case` in a process of its own. Raises RuntimeError with what it said where it fails."
    done = subprocess.run([sys.executable, __file__, json.dumps(case)], capture_output=True, text=True, env=dict(os.environ, OMP_WAIT_POLICY='PASSIVE'))
    if done.returncode:
        raise RuntimeError(f'{case} failed:\n{done.stderr[-4000:]}')
    out = json.loads(done.stdout.splitlines()[-1])
    print(f'{case["method"]:9}{case["size"]:6} tokens{case["questions"]:4} questions  {[round(s, 1) for s in out["seconds"]]} s  {out["megabytes"]} MB', flush=True)
    return out


def compare_gradients(folder: str, size: int, questions: int, steps: int = 4) -> list[dict]:
    "In float32: how far the first step's gradients are from those of separate sequences in float64, and the loss of each of a few steps."
    import numpy as np

    alone(method='separate', size=size, questions=questions, steps=1, dtype='float64', save=f'{folder}/exact.npy')
    cases = {m: alone(method=m, size=size, questions=questions, steps=steps, dtype='float32', save=f'{folder}/{m}.npy') for m in METHODS}
    g = {m: np.load(f'{folder}/{m}.npy').astype(np.float64) for m in ('exact', *METHODS)}

    def apart(a, b):
        return float(np.linalg.norm(g[a] - g[b]) / np.linalg.norm(g[b]))

    return [dict(method=m, size=size, questions=questions, from_exact=apart(m, 'exact'), from_trl=apart(m, 'trl'), losses=cases[m]['losses']) for m in METHODS]


def check_scaling(size: int, questions: int, few: dict) -> dict:
    "TRL on all questions of a step, against its time for `few` scaled by tokens."
    whole = alone(method='trl', size=size, questions=questions, steps=2, scale_to=[questions])
    scaled = {**few, 'tokens': few['tokens'][:2], 'seconds': few['seconds'][:2], 'scaled': {str(questions): whole['tokens']}}
    return dict(size=size, questions=questions, measured=rates(whole, questions)['seconds'], scaled=rates(scaled, questions)['seconds'])


def main(sizes=SIZES, questions=QUESTIONS) -> None:
    "Measure everything, and write it to nbs/results/training.json."
    from importlib.metadata import version

    from legal_llm.env import hardware, save_json, versions

    begun, rows = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as folder:
        gradients = compare_gradients(folder, min(sizes), min(questions))
        for size in sizes:
            few = min(*questions, max(MOST // size, 2))
            for method in ('trl', 'separate'):
                case = alone(method=method, size=size, questions=few, scale_to=questions)
                rows += [rates(case, q) for q in questions]
                if method == 'trl' and size == min(sizes):
                    check = check_scaling(size, max(questions) // batch_size(size) * batch_size(size), case)
            rows += [rates(alone(method='packs', size=size, questions=q), q) for q in questions]
    machine = hardware()
    save_json(
        RESULTS,
        dict(
            machine=dict(cpu=machine.cpu, cores=machine.cores, gpus=[g.name for g in machine.gpus]),
            versions={**versions(), 'trl': version('trl')},
            dtype=case['dtype'],
            batch={s: batch_size(s) for s in sizes},
            timed=TIMED,
            minutes=round((time.perf_counter() - begun) / 60, 1),
            gradients=gradients,
            check=check,
            rows=rows,
        ),
    )


if __name__ == '__main__':
    print(json.dumps(run_case(**json.loads(sys.argv[1]))))
