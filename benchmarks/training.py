"""Training the reader: sentences that are read once for all categories, against one sequence a pair, and against TRL's
SFTTrainer on the same pairs as prompts.

A pair is a sentence and a category that the screen leaves in doubt. Each case runs in a process of its own: one step to
warm up, then `TIMED` steps, each on other windows and ending with one update. Separate sequences and prompts are timed
on `MOST` tokens of a step, drawn at random from its pairs, and scaled by tokens from there.
"""

import pickle
import random
import statistics
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.measure import Stage, alone, keep

METHODS = 'windows', 'separate', 'trl'
WINDOWS = 16  # in a step
BATCHES = (2, 8)  # sequences of like length that are computed at once: each is tried, and the fastest counts
TIMED = 3
MOST = 4096
LR = 2e-4
QUESTION = '\nIs the last sentence a clause on "{name}"? Answer:'


def write_examples(tokenizer, n: int, contracts: int = 60) -> list:
    """`n` training windows, with the pairs that screens leave in doubt which have not seen their contracts: of CUAD
    where it is at hand, else written ones.
    """
    from legal_llm.contracts.categories import CATEGORIES
    from legal_llm.contracts.readers import load_contracts
    from legal_llm.contracts.sentences import label_sentences, split_sentences
    from legal_llm.contracts.synthetic import write_contracts
    from legal_llm.pipeline.screen import fit_screen
    from legal_llm.pipeline.windows import in_doubt, make_examples
    from legal_llm.training.dataset import MIN_PROBABILITY
    from tests.development import find_dev_cuad

    source, names, out = find_dev_cuad(), [c.name for c in CATEGORIES], []
    chosen = random.Random(0).sample(load_contracts(source), contracts) if source else write_contracts(contracts)
    for c, odds in zip(chosen, fit_screen(chosen, CATEGORIES)[1]):
        sentences = split_sentences(c.text)
        out += make_examples(
            c.text,
            sentences,
            odds,
            label_sentences(sentences, c.clauses, names),
            tokenizer,
            min_probability=MIN_PROBABILITY,
        )
    random.Random(1).shuffle(out)
    return [replace(e, doubt=in_doubt(e.offset, MIN_PROBABILITY)) for e in out[:n]]


def batches_of(sequences: list, batch: int) -> list[list]:
    return [sequences[i : i + batch] for i in range(0, len(sequences), batch)]


def some_of(sequences: list, most: int = MOST) -> list:
    "Some of a step's sequences, drawn at random, of `most` tokens together; one at least"
    drawn, out = random.Random(0).sample(sequences, len(sequences)), []
    for s in drawn:
        if out and sum(map(len, out)) + len(s) > most:
            break
        out.append(s)
    return sorted(out, key=len)


class Prompt(list):
    "The tokens of a prompt with its answer, and how many of them are the answer"

    def __init__(self, question: list[int], answer: list[int]):
        super().__init__(question + answer)
        self.answer = len(answer)


def prompts_of(example, tokenizer) -> list[Prompt]:
    """What TRL is given for a window: for each pair in doubt, the window up to the end of the sentence, a question and
    the answer.
    """
    import numpy as np

    from legal_llm.contracts.categories import CATEGORIES
    from legal_llm.pipeline.reader import separate

    asked = [tokenizer(QUESTION.format(name=c.name), add_special_tokens=False)['input_ids'] for c in CATEGORIES]
    answers = [tokenizer(word, add_special_tokens=False)['input_ids'] for word in (' No', ' Yes')]
    rows = zip(separate(example), np.argwhere(example.doubt)[:, 1], example.label[example.doubt])
    return [Prompt(alone.window.ids.tolist() + asked[c], answers[int(so)]) for alone, c, so in rows]


def train_plainly(reader, steps: list[list[list]], scale: float = 1.0) -> list[float]:
    "Seconds of each step: forward and backward over its packs, and one update."
    import torch

    from legal_llm.pipeline.reader import step_gradients

    parameters, seconds = [p for p in reader.parameters() if p.requires_grad], []
    optimizer = torch.optim.AdamW(parameters, lr=LR, weight_decay=0.0)
    reader.train()
    for packs in steps:
        start = time.perf_counter()
        step_gradients(reader, packs, scale=scale)
        optimizer.step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return seconds


def train_with_trl(model, tokenizer, steps: list[list[Prompt]], batch: int, dtype: str) -> list[float]:
    """The same by SFTTrainer.train(), equally many prompts in each step; a callback notes the time at the end of each
    update.
    """
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    ends = []

    class Watch(TrainerCallback):
        def on_train_begin(self, *_, **__):
            ends.append(time.perf_counter())

        def on_step_end(self, *_, **__):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            ends.append(time.perf_counter())

    rows = [
        dict(input_ids=list(p), completion_mask=[0] * (len(p) - p.answer) + [1] * p.answer)
        for step in steps
        for p in step
    ]
    with tempfile.TemporaryDirectory() as folder:
        settings = dict(
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=len(steps[0]) // batch,
            num_train_epochs=1,
            train_sampling_strategy='sequential',  # sorted by length within each step already
            optim='adamw_torch',
            learning_rate=LR,
            lr_scheduler_type='constant',
            weight_decay=0.0,
            max_grad_norm=0.0,
            # its fastest settings without FlashAttention: no packing, which would let prompts see each other; logits
            # only where a target is
            packing=False,
            padding_free=False,
            max_length=None,
            completion_only_loss=True,
            loss_type='chunked_nll',
            gradient_checkpointing=False,
            bf16=dtype == 'bfloat16',
            fp16=dtype == 'float16',
            use_cpu=not torch.cuda.is_available(),
            dataloader_pin_memory=False,
            output_dir=folder,
            logging_steps=1,
            save_strategy='no',
            report_to=[],
            disable_tqdm=True,
        )
        SFTTrainer(
            model,
            SFTConfig(**settings),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            callbacks=[Watch()],
        ).train()
    return [b - a for a, b in zip(ends, ends[1:])]


def run_case(
    method: str,
    examples: str,
    batch: int,
    base: str = 'smollm2',
    dtype: str = 'auto',
    most: int = MOST,
    load_in_4bit: bool = False,
) -> dict:
    "Train as `method` does on the windows in the file `examples`: seconds, tokens and pairs of each step, and memory."
    from legal_llm.machine.platform import limit_threads
    from legal_llm.pipeline.models import add_lora, choose_dtype, load_base, load_tokenizer
    from legal_llm.pipeline.reader import Reader, padded, separate, split_pack
    from legal_llm.training.plan import as_trained

    limit_threads()
    tokenizer, dtype = load_tokenizer(base), choose_dtype(dtype)
    windows = pickle.loads(Path(examples).read_bytes())  # which `main` wrote, for this very call
    steps = [windows[i : i + WINDOWS] for i in range(0, len(windows), WINDOWS)]
    pairs, taken = [int(sum(e.doubt.sum() for e in step)) for step in steps], {}
    sequences_of = dict(windows=lambda e: [e], separate=separate, trl=lambda e: prompts_of(e, tokenizer))[method]
    sequences = [sorted((s for e in step for s in sequences_of(e)), key=len) for step in steps]
    few = sequences if method == 'windows' else [some_of(s, most) for s in sequences]
    if method == 'trl':  # which wants equally many in each step
        each = max(min(map(len, few)) // batch * batch, batch)
        few = [step[:: len(step) // each][:each] for step in few]
    # a step of windows is a pack, which is computed in the parts that a training computes
    parts_of = split_pack if method == 'windows' else partial(batches_of, batch=batch)
    whole, tokens = ([sum(map(padded, parts_of(s))) for s in x] for x in (sequences, few))
    if method == 'trl':
        import trl  # noqa: F401 (so that its import counts neither as time nor as memory of the training)
        from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

        model = load_base(base, dtype, load_in_4bit, causal=True)
        if load_in_4bit:
            model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        model = get_peft_model(
            model, LoraConfig(r=16, lora_alpha=32, target_modules='all-linear', task_type='CAUSAL_LM')
        )
        with Stage('train', taken):
            seconds = train_with_trl(model, tokenizer, few, batch, dtype)
    else:
        reader = Reader(add_lora(load_base(base, dtype, load_in_4bit), lora_dropout=0.0), windows[0].doubt.shape[1])
        cast, scale = as_trained(reader.head.weight.device, dtype)
        with Stage('train', taken), cast:
            seconds = train_plainly(reader, [parts_of(step) for step in few], scale)
    memory = {k: v for k, v in taken['train'].items() if k != 'seconds'}
    scaled = [s * w / t for s, w, t in zip(seconds, whole, tokens)][1:]
    return dict(
        method=method,
        batch=batch,
        dtype=dtype,
        windows=WINDOWS,
        seconds=round(statistics.median(scaled), 3),
        pairs_per_second=round(statistics.median(p / s for p, s in zip(pairs[1:], scaled)), 2),
        tokens_per_second=round(statistics.median(t / s for t, s in zip(tokens[1:], seconds[1:])), 1),
        pairs=round(statistics.mean(pairs[1:]), 1),
        tokens=round(statistics.mean(whole[1:])),
        timed=round(statistics.mean(tokens[1:])),
        **memory,
    )


def gradients(examples: str, base: str = 'smollm2') -> dict:
    "In float32: how far the gradients of a pack of windows are from those of a sequence for each pair (relative)."
    import torch

    from legal_llm.machine.platform import limit_threads
    from legal_llm.pipeline.models import add_lora, load_base
    from legal_llm.pipeline.reader import Reader, check_pack

    limit_threads()
    pack = pickle.loads(Path(examples).read_bytes())[:WINDOWS]
    reader = Reader(add_lora(load_base(base, 'float32')), pack[0].doubt.shape[1])
    torch.manual_seed(1)
    for name, p in reader.named_parameters():
        if 'lora_B' in name or name.startswith('head'):  # which begin with zeros: nothing would reach the adapter
            torch.nn.init.normal_(p, std=0.002)
    return dict(off_by=check_pack(reader, pack))


def main(base: str = 'smollm2', methods=METHODS, **smaller) -> None:
    "Measure every method, and keep the results."
    from importlib.metadata import version

    from legal_llm.pipeline.models import load_tokenizer
    from tests.development import find_dev_cuad

    about = dict(
        source='CUAD' if find_dev_cuad() else 'written',
        base=base,
        timed=TIMED,
        **({'trl': version('trl')} if 'trl' in methods else {}),
    )
    with tempfile.TemporaryDirectory() as folder:
        file, rows = Path(folder) / 'examples', []
        file.write_bytes(pickle.dumps(write_examples(load_tokenizer(base), WINDOWS * (TIMED + 1), **smaller)))
        about['gradients'] = alone(gradients, examples=str(file), base=base)
        for method in methods:
            sizes = BATCHES if method != 'windows' else (WINDOWS,)
            tried = [alone(run_case, method=method, examples=str(file), base=base, batch=b) for b in sizes]
            rows.append(min(tried, key=lambda r: r['seconds']))
            print(rows[-1], flush=True)
    keep('training', dict(about, rows=rows))
