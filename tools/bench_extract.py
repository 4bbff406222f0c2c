"""The extraction part of `make bench`: the engine against the plain loop, on the same windows, with the same model.

The plain loop is the usual way: `generate`, greedy, for every category on every window, in left-padded batches. A window and a category is a pair.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

RESULTS = Path(__file__).resolve().parent.parent / 'nbs/results/extraction.json'
BATCH = 8  # questions in a batch of the plain loop
MAX_TOKENS = 256  # written for a category and window, at most, by both


def plain_answers(model, prompt, ids) -> list:
    "What `generate` answers to every category on a window, in left-padded batches."
    import torch

    starts, answers = [prompt.prefix(ids) + prompt.question(c) for c in range(len(prompt.categories))], []
    pad = prompt.tokenizer.pad_token_id
    for first in range(0, len(starts), BATCH):
        some = starts[first : first + BATCH]
        length = max(map(len, some))
        inputs = torch.tensor([[pad] * (length - len(s)) + s for s in some], device=model.device)
        with torch.inference_mode():
            out = model.generate(
                input_ids=inputs,
                attention_mask=(torch.arange(length, device=model.device)[None] >= torch.tensor([[length - len(s)] for s in some], device=model.device)).long(),
                max_new_tokens=MAX_TOKENS,
                do_sample=False,
                use_cache=True,
                eos_token_id=prompt.stop,
                pad_token_id=pad,
            )
        answers += [prompt.parse(row[length:].tolist()) for row in out]
    return answers


def engine_answers(model, prompt, ids, timer: dict, **options) -> list:
    "The same from the engine; `timer` gets the seconds of its stages."
    from legal_llm.engine import decode, screen
    from legal_llm.prompts import Answer

    start = time.perf_counter()
    state = screen(model, prompt, ids)
    timer['screen'] = timer.get('screen', 0.0) + time.perf_counter() - start
    start = time.perf_counter()
    chosen = [c for c, margin in enumerate(state.margins) if margin > 0]
    answers = [Answer(False)] * len(prompt.categories)
    for c, d in zip(chosen, decode(model, prompt, ids, state, chosen, MAX_TOKENS, **options)):
        answers[c] = prompt.parse(d.ids)
    timer['decode'] = timer.get('decode', 0.0) + time.perf_counter() - start
    return answers


def compare(run: str, windows: int, dtype: str = 'auto') -> dict:
    "Both ways over the first `windows` windows of dev contracts, window by window in turn."
    from legal_llm.data import open_data
    from legal_llm.extract import Extractor
    from legal_llm.grounding import locate
    from legal_llm.train import open_run
    from legal_llm.windows import make_windows, tokenise

    extractor = Extractor.load(run, dtype)
    model, prompt, s = extractor.model, extractor.prompt, extractor.settings
    contracts = sorted(open_data(open_run(run).record['settings']['data']).contracts('dev'), key=lambda c: len(c.text))
    rows = []
    for contract in contracts[len(contracts) // 4 :]:
        tokens = tokenise(contract.text, prompt.tokenizer)
        for w in make_windows(tokens, s.size, s.overlap):
            if len(rows) == windows:
                break
            ids, timer = tokens.ids[w.start : w.stop], {}
            start = time.perf_counter()
            plain = plain_answers(model, prompt, ids)
            timer['plain'] = time.perf_counter() - start
            fast = engine_answers(model, prompt, ids, timer)
            start = time.perf_counter()
            text = tokens.normalised.text[w.char_start : w.char_end]
            quotes = [locate(q, text) for a in fast for q in a.spans]
            timer['ground'] = time.perf_counter() - start
            no_ahead = {}
            engine_answers(model, prompt, ids, no_ahead, ahead=0)
            timer['decode without look-ahead'] = no_ahead['decode']
            equal = [set(a.spans) == set(b.spans) and a.present == b.present for a, b in zip(plain, fast)]
            rows.append(dict(tokens=len(w), pairs=len(fast), equal=sum(equal), present=sum(a.present for a in fast), quotes=len(quotes), located=sum(q is not None for q in quotes), seconds=timer))
            print({k: round(v, 2) for k, v in timer.items()}, f'{sum(equal)} of {len(equal)} equal', flush=True)
    return dict(size=s.size, dtype=str(next(model.parameters()).dtype), batch=BATCH, max_tokens=MAX_TOKENS, rows=rows)


def main(run: str, windows: int = 6) -> None:
    "Measure, and write to nbs/results/extraction.json."
    from legal_llm.env import hardware, save_json, versions

    done = subprocess.run([sys.executable, __file__, run, str(windows)], stdout=subprocess.PIPE, text=True, env=dict(os.environ, OMP_WAIT_POLICY='PASSIVE'))
    if done.returncode:
        sys.exit(f'the comparison failed with {done.returncode}')
    *said, last = done.stdout.splitlines()
    print('\n'.join(said))
    machine = hardware()
    save_json(RESULTS, dict(machine=dict(cpu=machine.cpu, cores=machine.cores, gpus=[g.name for g in machine.gpus]), versions=versions(), **json.loads(last)))


if __name__ == '__main__':
    print(json.dumps(compare(sys.argv[1], int(sys.argv[2]))))
