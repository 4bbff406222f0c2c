"""The training part of `make bench`: TRL's SFTTrainer, separate sequences and packs, on the same examples.

A case is a method, a window size and a number of questions. It runs in a process of its own: one step to warm up, then `TIMED` steps,
each on another window and ending with one update. A question on a window is an example.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

METHODS = ('trl', 'separate', 'packs')
MEASURED = 8  # questions of a step that TRL and separate sequences really train on; their time for more is scaled by tokens
TIMED = 3
LR = 8e-4
TRL_BATCH = 1  # sequences in a forward pass: the fastest of 1, 2, 4 and 8 on two cores, where a batch of one needs no padding and no mask


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


def separate_batches(prompt, window: dict) -> list[dict]:
    "A sequence for each question: causal attention without a mask, logits only where a target is."
    from legal_llm.packing import collate, make_pack

    batches = [collate([make_pack(prompt, window['ids'], [q])]) for q in window['questions']]
    return [{k: v for k, v in b.items() if k not in ('attention_mask', 'position_ids')} for b in batches]


def pack_batches(prompt, window: dict) -> list[dict]:
    "All questions in one pack."
    from legal_llm.packing import collate, make_packs

    return [collate([p]) for p in make_packs(prompt, window['ids'], window['questions'], budget=100_000)]


def synchronise() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def gradients(model):
    "The gradients of all trainable parameters as one float32 vector."
    import torch

    return torch.cat([p.grad.flatten().float().cpu() for p in model.parameters() if p.requires_grad]).numpy()


def train_plainly(model, prompt, windows: list[dict], batches_of) -> tuple[list, list, list]:
    "Seconds, loss and tokens of each step, and the first step's gradients: a loop over `batches_of(prompt, window)`."
    import torch

    from legal_llm.packing import LossWeights, count_kinds, pack_loss

    device, seconds, losses, tokens, first = next(model.parameters()).device, [], [], [], None
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=LR, weight_decay=0.0)
    model.train()
    for window in windows:
        start, loss = time.perf_counter(), 0.0
        batches = [{k: v.to(device) for k, v in b.items()} for b in batches_of(prompt, window)]
        tokens.append(sum(b['input_ids'].numel() for b in batches))
        counts = count_kinds(b['kinds'] for b in batches)
        for b in batches:
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


def train_with_trl(model, prompt, windows: list[dict], batch: int = TRL_BATCH, **changes) -> tuple[list, list, list]:
    "The same by SFTTrainer.train(); a callback notes the time at the end of each step."
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    rows, tokens = [], []
    for window in windows:
        parts = [(prompt.prefix(window['ids']) + prompt.question(c), prompt.answer(spans)) for c, spans in window['questions']]
        some = [dict(input_ids=q + a, completion_mask=[0] * len(q) + [1] * len(a)) for q, a in sorted(parts, key=lambda p: len(p[0]) + len(p[1]))]
        groups = [[len(e['input_ids']) for e in some[i : i + batch]] for i in range(0, len(some), batch)]
        tokens.append(sum(max(g) * len(g) for g in groups))  # padding is processed as well
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
            bf16=False,  # weights are in 16 bit already
            use_cpu=not torch.cuda.is_available(),
            dataloader_pin_memory=False,
            # nothing but training
            output_dir=folder,
            logging_steps=1,
            save_strategy='no',
            report_to=[],
            disable_tqdm=True,
        )
        trainer = SFTTrainer(model, SFTConfig(**settings | changes), train_dataset=Dataset.from_list(rows), processing_class=prompt.tokenizer, callbacks=[Watch()])
        trainer.train()
    return [b - a for a, b in zip(ends, ends[1:])], losses, tokens, first[0]
