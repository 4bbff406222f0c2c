"""What only a card can show: the shape of Llama 3.2 3B with random weights, in 4 bits, on windows of contracts.

Speed and memory do not depend on what the weights say. The windows are cut by the embedded tokenizer, whose tokens are
part of the vocabulary's range.
"""

import gc
import json
import pickle
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import alone, keep
from benchmarks.training import METHODS, TIMED, run_case, write_examples
from benchmarks.training import WINDOWS as UPDATE

LLAMA = dict(
    hidden_size=3072,
    intermediate_size=8192,
    num_hidden_layers=28,
    num_attention_heads=24,
    num_key_value_heads=8,
    head_dim=128,
)
WINDOWS = 32  # in a pack
# floating-point operations a second, dense, in 16 bits, by NVIDIA's data sheets (H100 and H200 as SXM modules)
PEAK = dict(T4=65e12, L4=121e12, A100=312e12, H100=989e12, H200=989e12)
MOST = 32768  # tokens of an update that separate sequences and prompts are timed on
# of a training: in all, between checkpoints, and when it is killed
STEPS = 60
SAVED = 20
KILLED = 33


def random_base(folder: Path, tokenizer, **shape) -> Path:
    "A Llama of that shape with random weights, as a folder."
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    rope = dict(
        rope_type='llama3',
        rope_theta=500000.0,
        factor=32.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=8192,
    )
    config = LlamaConfig(
        **shape, vocab_size=128256, max_position_embeddings=131072, rope_parameters=rope, tie_word_embeddings=True
    )
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device('cuda' if torch.cuda.is_available() else 'cpu'):
            LlamaForCausalLM(config).save_pretrained(folder)
    finally:
        torch.set_default_dtype(torch.float32)
    tokenizer.save_pretrained(folder)
    return folder


def clear():
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gb() -> float:
    import torch

    return round(torch.cuda.max_memory_allocated() / 2**30, 2) if torch.cuda.is_available() else 0.0


def seconds(work, times: int = 3) -> float:
    "Median seconds, warmed up."
    import torch

    taken = []
    for _ in range(times + 1):
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def steps(base: str, examples: list, dtype: str) -> dict:
    """Loading, a pack's forward and backward pass with and without checkpointing, the same pairs as separate sequences,
    and reading alone.
    """
    import torch
    from transformers import AutoConfig

    from legal_llm.machine.rules import ModelShape
    from legal_llm.pipeline.models import add_lora, load_base
    from legal_llm.pipeline.reader import Reader, check_pack, padded, read_windows, separate, step_gradients
    from legal_llm.training.plan import as_trained

    clear()
    start = time.perf_counter()
    model = load_base(base, dtype, load_in_4bit=True)
    out = dict(dtype=dtype, loading=dict(seconds=round(time.perf_counter() - start, 2), peak_gb=peak_gb()))
    reader = Reader(add_lora(model, lora_dropout=0.0), examples[0].doubt.shape[1])
    shape = ModelShape.of(AutoConfig.from_pretrained(base))
    torch.nn.init.normal_(reader.head.weight, std=0.02)
    cast, scale = as_trained(reader.head.weight.device, dtype)
    packs = [sorted(examples[i : i + WINDOWS], key=len) for i in range(0, len(examples), WINDOWS)]
    gpu = torch.cuda.is_available()
    reader.train()
    with cast:
        out['gradients'] = check_pack(reader, packs[0], scale=scale)
        out['training'] = []
        for again in (True, False):
            reader.model.gradient_checkpointing_disable()
            if again:
                reader.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=dict(use_reentrant=False))
            clear()
            taken = seconds(lambda: [step_gradients(reader, [p], scale=scale) for p in packs], 1)
            tokens = sum(map(padded, packs))
            longest = max(map(padded, packs))
            out['training'].append(
                dict(
                    gradient_checkpointing=again,
                    longest=longest,
                    tokens=tokens,
                    tokens_per_second=round(tokens / taken),
                    mfu=utilisation(shape, tokens / taken),
                    peak_gb=peak_gb(),
                )
            )
        alone = sorted((s for e in packs[0] for s in separate(e)), key=len)
        out['pairs'] = []
        for how, sequences, batch in (
            ('windows', packs[0], WINDOWS),
            ('separate', alone, 8),
            ('separate', alone, WINDOWS),
        ):
            parts = [sequences[i : i + batch] for i in range(0, len(sequences), batch)]
            clear()
            taken = seconds(lambda: step_gradients(reader, parts, scale=scale))
            out['pairs'].append(
                dict(
                    how=how,
                    batch=batch,
                    pairs=int(sum(e.doubt.sum() for e in sequences)),
                    tokens=sum(map(padded, parts)),
                    seconds=round(taken, 3),
                    peak_gb=peak_gb(),
                )
            )
        windows = [e.window for e in examples]
        out['reading'] = []
        for most in (1536, 8192, 32768):
            clear()
            taken = seconds(lambda: read_windows(reader, windows, most), 1)
            out['reading'].append(
                dict(max_pack_tokens=most, tokens_per_second=round(sum(map(len, windows)) / taken), peak_gb=peak_gb())
            )
        if gpu:
            from torch.profiler import ProfilerActivity, profile

            with profile(activities=[ProfilerActivity.CUDA]) as seen:
                step_gradients(reader, packs[:1], scale=scale)
            names = [e.key for e in seen.key_averages() if any(w in e.key for w in ('flash', 'fmha'))]
            out['attention'] = names[0] if names else "torch's own"
    return out


def utilisation(shape, tokens_per_second: float) -> float | None:
    """Model FLOP utilisation: what forward and backward need, over what the GPU could do. Frozen weights need no
    gradient, so it is four operations for a weight and token; what is computed again does not count.
    """
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ''
    peak = next((v for k, v in PEAK.items() if k in name.split()[-1]), None) if name else None
    return peak and round(4 * shape.linear * tokens_per_second / peak, 3)


def against_trl(base: str, examples: list, folder: Path, dtype: str) -> list[dict]:
    "The rows of the benchmark of training, with this base model in 4 bits."
    file = folder / 'examples'
    file.write_bytes(pickle.dumps(examples[: UPDATE * (TIMED + 1)]))
    same = dict(examples=str(file), base=base, batch=UPDATE, dtype=dtype, most=MOST, load_in_4bit=True)
    return [alone(run_case, method=method, **same) for method in METHODS]


def killed_and_resumed(base: str, data: str, folder: Path, dtype: str) -> dict:
    "A training of `STEPS` steps that is killed with -9 and started again with the same command."
    run = folder / 'run'
    options = (
        f'--max-packs {STEPS} --probe-windows 512 --eval-steps {SAVED} --save-steps {SAVED} '
        f'--early-stopping-patience 0 --verify-packing --dtype {dtype} --load-in-4bit'
    )
    places = ['--data', data, '--base-model', base, '--out', str(run)]
    command = [sys.executable, '-m', 'legal_llm.cli', 'train', *places, *options.split()]

    def done() -> int:
        log = run / 'log.jsonl'
        return sum('"loss"' in line for line in log.read_text().splitlines()) if log.exists() else 0

    first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while first.poll() is None and done() < KILLED:
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.wait()
    killed, start = done(), time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    record = json.loads((run / 'record.json').read_text())
    return dict(
        dtype=dtype,
        steps=record['steps'],
        killed_at=killed,
        again_seconds=round(time.perf_counter() - start, 1),
        plan=record['measured'],
        logged=done(),
    )


def review(run: str, text: str, dtype: str) -> dict:
    "Seconds of a contract by stage, and what the reader says of it."
    from legal_llm.pipeline.extract import Extractor

    clear()
    start = time.perf_counter()
    extractor = Extractor.load(run, heard=True, dtype=dtype)
    loading = time.perf_counter() - start
    extractor.score(text[:3000])  # warms up
    scores = extractor.score(text)
    return dict(
        dtype=dtype,
        loading=round(loading, 1),
        **{k: round(v, 2) for k, v in scores.seconds.items()},
        peak_gb=peak_gb(),
        said=scores.reader,
    )


def main(shape: dict = LLAMA, windows: int = 8 * WINDOWS, dtypes: tuple = ('float16', 'bfloat16')) -> dict | None:
    "Measure, and store the results."
    import numpy as np
    import torch

    from legal_llm.data import prepare_data
    from legal_llm.pipeline.models import load_tokenizer
    from legal_llm.training.dataset import DataSettings

    if not torch.cuda.is_available():
        print('  not measured: there is no GPU')
        return None
    tokenizer = load_tokenizer()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        base = str(random_base(folder / 'base', tokenizer, **shape))
        examples = write_examples(tokenizer, windows)
        data = prepare_data(DataSettings(), folder / 'data', progress=False)
        out = {}
        for name, measure in dict(
            steps=lambda: [steps(base, examples, d) for d in dtypes],
            against=lambda: against_trl(base, examples, folder, dtypes[-1]),
            resumed=lambda: killed_and_resumed(base, str(data.path), folder, dtypes[0]),
        ).items():
            out[name] = measure()
            print(json.dumps({name: out[name]}), flush=True)
            clear()
        text = max((c.text for c in data.contracts('dev')), key=len)
        reviews = [review(str(folder / 'run'), text, d) for d in (*dtypes, 'float32')]
    exact = reviews[-1]['said']
    for r in reviews:
        r['off_by'] = float(np.nanmax(np.abs(r.pop('said') - exact)))
    out['review'] = dict(characters=len(text), rows=reviews)
    keep('gpu', out)
    return out
