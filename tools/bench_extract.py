"""The extraction part of `make bench`, on dev contracts of a trained run. Four measurements, each in a process of its own:

plain        the engine against the plain loop, window by window: `generate`, greedy, for every category on every window, in left-padded batches
exact        the same on one window in float32, where the order of sums decides nothing
candidates   one answer a category against several: what recall can be reached, and whether confidence means what it says; the calibration stays with the run
long         the seconds and the memory of some hundred windows, one after another
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
FLOOR = 0.05  # least probability of a decision whose quotes `candidates` writes
LONGEST = 50_000  # characters of a contract that `candidates` draws: three in five have no more


def dev_contracts(run: str):
    "Dev contracts of a run, from short to long"
    from legal_llm.data import open_data
    from legal_llm.train import open_run

    return sorted(open_data(open_run(run).record['settings']['data']).contracts('dev'), key=lambda c: len(c.text))


def plain_answers(model, prompt, ids) -> tuple[list, int]:
    "The tokens that `generate` answers to every category on a window, in left-padded batches; and how many tokens it computed, padding included."
    import torch

    starts, answers, computed = [prompt.prefix(ids) + prompt.question(c) for c in range(len(prompt.categories))], [], 0
    pad = prompt.tokenizer.pad_token_id
    for first in range(0, len(starts), BATCH):
        some = starts[first : first + BATCH]
        length = max(map(len, some))
        inputs = torch.tensor([[pad] * (length - len(s)) + s for s in some], device=model.device)
        mask = torch.tensor([[0] * (length - len(s)) + [1] * len(s) for s in some], device=model.device)
        with torch.inference_mode():
            out = model.generate(input_ids=inputs, attention_mask=mask, max_new_tokens=MAX_TOKENS, do_sample=False, use_cache=True, eos_token_id=prompt.stop, pad_token_id=pad)
        computed += out.numel()
        answers += [row[length:].tolist() for row in out]
    return answers, computed


def engine_answers(model, prompt, ids, timer: dict, **options) -> list:
    "The same from the engine; `timer` gets the seconds of its stages."
    from legal_llm.engine import decode, screen

    start = time.perf_counter()
    state = screen(model, prompt, ids)
    timer['screen'] = time.perf_counter() - start
    start = time.perf_counter()
    chosen = [c for c, margin in enumerate(state.margins) if margin > 0]
    answers = [[prompt.no]] * len(prompt.categories)
    for c, d in zip(chosen, decode(model, prompt, ids, state, chosen, MAX_TOKENS, **options)):
        answers[c] = d.ids
    timer['decode'] = time.perf_counter() - start
    return answers


def plain(run: str, windows: int, dtype: str = 'auto') -> dict:
    "Both ways over the first `windows` windows of dev contracts of a middling length, in turn."
    from legal_llm.extract import Extractor
    from legal_llm.grounding import locate
    from legal_llm.windows import make_windows, tokenise

    extractor = Extractor.load(run, dtype)
    model, prompt, s = extractor.model, extractor.prompt, extractor.settings
    contracts, rows = dev_contracts(run), []
    for number, contract in enumerate(contracts[len(contracts) // 3 :]):
        tokens = tokenise(contract.text, prompt.tokenizer)
        for w in make_windows(tokens, s.size, s.overlap):
            if len(rows) == windows:
                break
            ids, timer = tokens.ids[w.start : w.stop], {}
            start = time.perf_counter()
            usual, computed = plain_answers(model, prompt, ids)
            timer['plain'] = time.perf_counter() - start
            fast = engine_answers(model, prompt, ids, timer)
            start = time.perf_counter()
            text = tokens.normalised.text[w.char_start : w.char_end]
            quotes = [locate(q, text) for a in fast for q in prompt.parse(a).spans]
            timer['ground'] = time.perf_counter() - start
            no_ahead = {}
            engine_answers(model, prompt, ids, no_ahead, ahead=0)
            timer['decode without look-ahead'] = no_ahead['decode']
            equal = [a[: len(b)] == b for a, b in zip(usual, fast)]  # token by token, up to where the engine stops a model that repeats itself
            longer = sum(len(a) > len(b) and b[-1] != prompt.stop and b[0] == prompt.yes for a, b in zip(usual, fast))
            rows.append(dict(contract=number, tokens=len(w), pairs=len(fast), equal=sum(equal), repeating=longer, present=sum(a[0] == prompt.yes for a in fast),
                             quotes=len(quotes), located=sum(q is not None for q in quotes), computed=computed, seconds=timer))  # fmt: skip
            print({k: round(v, 2) for k, v in timer.items()}, f'{sum(equal)} of {len(equal)} equal, {longer} stopped as they repeat themselves', file=sys.stderr)
    return dict(size=s.size, dtype=str(next(model.parameters()).dtype).removeprefix('torch.'), batch=BATCH, max_tokens=MAX_TOKENS, rows=rows)


def long(run: str, windows: int, size: int) -> dict:
    "Extract contract after contract in windows of `size` tokens; after each window, the seconds so far and the memory of the process."
    import psutil

    from legal_llm.extract import Extractor

    extractor, process = Extractor.load(run, size=size, overlap=size // 4), psutil.Process()
    seconds, megabytes, stages, contracts = [], [], {}, 0
    start = time.perf_counter()

    def watch(done, n):
        seconds.append(round(time.perf_counter() - start, 2))
        megabytes.append(round(process.memory_info().rss / 1e6))
        if len(seconds) % 20 == 0:
            print(f'window {len(seconds)}: {seconds[-1]:.0f} s, {megabytes[-1]:,} MB', file=sys.stderr)

    for contract in dev_contracts(run)[5:]:  # from short to long, so that what grows with the contract would show
        if len(seconds) >= windows:
            break
        review = extractor.extract(contract.text, contract.title, watch)
        contracts += 1
        for k, v in review.seconds.items():
            stages[k] = stages.get(k, 0.0) + v
    s = extractor.settings
    return dict(size=s.size, floor=s.floor, contracts=contracts, pairs=len(seconds) * len(extractor.prompt.categories), stages=stages, seconds=seconds, megabytes=megabytes)


def candidates(run: str, contracts: int, each: int = 3) -> dict:
    "Review dev contracts once with several candidates, and score what one answer a category would have said beside all of it."
    import random
    from dataclasses import replace

    from legal_llm.calibration import calibration_error, cross_calibrated, fit_calibration, outcomes, reliability_bins
    from legal_llm.cuad import gold_answers
    from legal_llm.env import save_json
    from legal_llm.eval import predictions_of, review_contracts
    from legal_llm.extract import Extractor
    from legal_llm.metrics import choose_threshold, official_curve, official_scores, official_statistic, paired_bootstrap, span_scores
    from legal_llm.train import open_run

    extractor = Extractor.load(run, floor=FLOOR, most=8, max_tokens=128, candidates=each)
    chosen = random.Random(1).sample([c for c in dev_contracts(run) if len(c.text) <= LONGEST], contracts)
    plain = review_contracts(open_run(run), extractor, chosen)
    gold = gold_answers(chosen, extractor.prompt.categories)
    kinds = {
        'one answer, where the decision is Yes': lambda f: f.first and f.margin > 0,
        'one answer, also where it is No': lambda f: f.first,
        f'{each} candidates': lambda f: True,
    }
    rows, statistics = [], []
    for name, keep in kinds.items():
        reviews = {t: replace(r, finds=[f for f in r.finds if keep(f)]) for t, r in plain.items()}
        made = dict(zip(reviews, cross_calibrated(list(reviews.values()), gold)))
        said, curve = predictions_of(made), official_curve(predictions_of(made), gold)
        scores, errors = official_scores(said, gold), {}
        for kind, (before, after) in {k: (outcomes(list(reviews.values()), gold)[k], outcomes(list(made.values()), gold)[k]) for k in ('categories', 'quotes')}.items():
            errors[kind] = dict(before=calibration_error(*before), after=calibration_error(*after), bins=[reliability_bins(*o).tolist() for o in (before, after)])
        statistics.append(official_statistic(said, gold))
        rows.append(dict(name=name, quotes=sum(len(v) for v in said.values()), aupr=scores['aupr'], precision_at_80_recall=scores['precision_at_80_recall'], most_recall=float(curve.recall.max()),
                         span_f1=span_scores(said, gold, choose_threshold(said, gold))['f1'], calibration=errors, recall=curve.recall.tolist(), precision=curve.envelope.tolist()))  # fmt: skip
        print({k: v for k, v in rows[-1].items() if k not in ('calibration', 'recall', 'precision')}, {k: (round(e['before'], 3), round(e['after'], 3)) for k, e in errors.items()}, file=sys.stderr)
    calibration = fit_calibration(list(plain.values()), gold)
    save_json(Path(run) / 'calibration.json', replace(calibration, threshold=choose_threshold(said, gold), contracts=contracts, seen=FLOOR).to_dict())
    gain = paired_bootstrap(statistics[-1], statistics[0], 'aupr')
    seconds = sum(sum(r.seconds.values()) for r in plain.values())
    return dict(contracts=contracts, windows=sum(r.windows for r in plain.values()), positives=sum(map(bool, gold.values())), seconds=seconds, rows=rows,
                gain=dict(value=gain.difference.value, low=gain.difference.low, high=gain.difference.high, p=gain.p_value))  # fmt: skip


PARTS = {'plain': (plain, 2), 'exact': (plain, 1, 'float32'), 'candidates': (candidates, 12), 'long': (long, 300, 256)}


def trained_run() -> str:
    "The run to measure where none is given: trained on CUAD, or on written contracts where it is not at hand, or reused."
    from legal_llm.cuad import find_dev_cuad
    from legal_llm.data import DataSettings, prepare_data
    from legal_llm.models import load_tokenizer
    from legal_llm.train import TrainSettings, train

    out = RESULTS.parent.parent.parent / 'runs/bench'
    data = prepare_data(DataSettings(source=str(find_dev_cuad() or 'sample'), size=1024, overlap=256), out / 'data', load_tokenizer('smollm2'))
    settings = dict(max_packs=480, dropout=0.0, questions=14, empty=0.2, save_every=40, dev_every=120, dev_windows=12, budget=2048)
    return str(train(TrainSettings(data=str(data.path), **settings), out / 'run').path)


def main(run: str | None, parts) -> None:
    "Measure the parts that are asked for, and write them to nbs/results/extraction.json beside those that are there."
    from legal_llm.env import hardware, save_json, versions
    from legal_llm.train import open_run

    run = run or trained_run()
    record, machine = open_run(run).record, hardware()
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    trained = dict(source=Path(record['source']).name, base=record['settings']['base'], size=record['window']['size'], overlap=record['window']['overlap'], packs=record['packs'], minutes=round(record['minutes'], 1))
    for name in parts:
        done = subprocess.run([sys.executable, __file__, name, run], stdout=subprocess.PIPE, text=True, env=dict(os.environ, OMP_WAIT_POLICY='PASSIVE'))
        if done.returncode:
            sys.exit(f'{name} failed with {done.returncode}')
        kept.update(trained=trained, machine=dict(cpu=machine.cpu, cores=machine.cores, gpus=[g.name for g in machine.gpus]), versions=versions())
        kept[name] = json.loads(done.stdout)
        save_json(RESULTS, kept)


if __name__ == '__main__':
    measure, *arguments = PARTS[sys.argv[1]]
    print(json.dumps(measure(sys.argv[2], *arguments)))
