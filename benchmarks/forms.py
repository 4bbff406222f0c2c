"""In which form a model is asked: four forms on equally many training tokens, on the same contracts of CUAD, with the
same screen beside them.

A pair is a sentence and a category that the screen leaves in doubt. `write`: the model reads a window of sentences and
writes, for a category, the first words of the sentence, or `none`. `ask`: it reads the sentence between its neighbours
and says Yes or No to a category. `point`: it reads a window of sentences, each with a letter behind it, and says for a
category which letter, or No. `states`: what legal_llm does, a head on the mean state of the sentence, for all
categories at once, first on the frozen model (`frozen`), then fine-tuned. Branches of a window share it.

What comes out is added to the screen's log odds by a logistic regression of two weights on dev, as an evaluation does.
"""

import random
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.measure import RESULTS, about, alone
from legal_llm.machine.files import LegalLLMError, save_json

FORMS = 'write', 'ask', 'point', 'frozen', 'states'
TOKENS = 120_000  # of a training, branches counted once with the window that they share
STEP = 1_500  # tokens of an update
LR, HEAD_LR = 5e-4, 1e-5
WINDOW = 400  # tokens of a window of sentences
FIRST = 12  # tokens of a sentence that are written
AROUND = 48  # tokens of each neighbour
SEEDS = 1, 2
NONE, YES, NO = ' none', ' Yes', ' No'
LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'


@dataclass
class Unit:
    "What the model reads once, and the questions that branch off."

    prefix: list[int]
    branches: list[list[int]]
    pairs: list[list[tuple]]  # of each branch: (place in the contract, category, offset, label, what is answered)

    def __len__(self):
        return len(self.prefix) + sum(map(len, self.branches))


def contracts_of(data, split: str, n: int | None = None) -> list[tuple]:
    "(contract, sentences, the screen's log odds, labels) of a split; of training contracts, log odds out of fold."
    from legal_llm.contracts.sentences import label_sentences, split_sentences
    from legal_llm.training.dataset import _known

    contracts = data.contracts(split)[:n]
    if split == 'train':
        return [(c, *known) for c, known in zip(contracts, _known(data.sentences(), contracts, len(data.categories)))]
    screen, names = data.screen(), [c.name for c in data.categories]
    cut = [split_sentences(c.text) for c in contracts]
    return [(c, s, screen.log_odds(c.text, s), label_sentences(s, c.clauses, names)) for c, s in zip(contracts, cut)]


def units_of(form: str, known: tuple, names: list[str], tokenizer) -> list[Unit]:
    "What is read and asked of one contract."
    from legal_llm.pipeline.windows import encode_sentences, in_doubt, start_token
    from legal_llm.training.dataset import MIN_PROBABILITY

    def encode(text):
        return tokenizer(text, add_special_tokens=False)['input_ids']

    contract, sentences, odds, label = known
    doubt = in_doubt(odds, MIN_PROBABILITY)
    said = encode_sentences(contract.text, sentences, tokenizer)[1]
    start, out = start_token(tokenizer), []
    if form == 'ask':
        for i in np.flatnonzero(doubt.any(1)):
            before = said[i - 1][-AROUND:] if i else []
            after = said[i + 1][:AROUND] if i + 1 < len(said) else []
            prefix = [start, *before, *encode('\n>>'), *said[i][:WINDOW], *encode('<<\n'), *after]
            asked = np.flatnonzero(doubt[i])
            branches = [encode(f'\nIs the marked sentence a clause on "{names[c]}"? Answer:') for c in asked]
            out.append(Unit(prefix, branches, [[(i, c, odds[i, c], label[i, c], None)] for c in asked]))
        return out
    marks = [encode(f' ({x})') for x in LETTERS] if form == 'point' else [[]] * len(said)
    i = 0
    while i < len(said):
        prefix, inside = [start], []
        while i < len(said) and len(inside) < len(LETTERS) and (not inside or len(prefix) + len(said[i]) < WINDOW):
            prefix += said[i][:WINDOW] + marks[len(inside)]
            inside.append(i)
            i += 1
        if not doubt[inside].any():
            continue
        branches, pairs = [], []
        for c in np.flatnonzero(doubt[inside].any(0)):
            mine = [k for k in inside if doubt[k, c]]
            question = encode(f'\n{names[c]}:')
            if form == 'point':
                branches.append(question)
                pairs.append([(k, c, odds[k, c], label[k, c], LETTERS[inside.index(k)]) for k in mine])
            else:
                for k in mine:
                    branches.append(question + said[k][:FIRST])
                    pairs.append([(k, c, odds[k, c], label[k, c], len(said[k][:FIRST]))])
        out.append(Unit(prefix, branches, pairs))
    return out


class Asked:
    "A causal model that answers in one of the forms."

    def __init__(self, form: str, tokenizer, seed: int, dtype: str):
        import torch

        from legal_llm.pipeline.models import add_lora, load_base

        self.form, self.device = form, 'cpu'
        self.model = add_lora(load_base('smollm2', dtype, causal=True), lora_dropout=0.0, seed=seed)
        self.torch = torch
        self.words = {
            w: tokenizer(w, add_special_tokens=False)['input_ids'][0]
            for w in (NONE, YES, NO, *(f' {x}' for x in LETTERS))
        }

    def margins(self, unit: Unit):  # one for each pair
        "Log odds of each pair, as far as the model is concerned."
        torch, base = self.torch, self.model.get_base_model()
        said = base.model(input_ids=torch.tensor([unit.prefix]), use_cache=True)
        said.past_key_values.batch_repeat_interleave(len(unit.branches))
        longest = max(map(len, unit.branches))
        ids = torch.tensor([b + [0] * (longest - len(b)) for b in unit.branches])
        states = base.model(input_ids=ids, past_key_values=said.past_key_values, use_cache=True).last_hidden_state
        out, weight = [], base.get_output_embeddings().weight
        for branch, mine, state in zip(unit.branches, unit.pairs, states):
            if self.form == 'write':
                n = mine[0][-1]
                logits = state[len(branch) - n - 1 : len(branch) - 1].float() @ weight.float().T
                logs = logits.log_softmax(-1)
                written = logs[torch.arange(n), torch.tensor(branch[-n:])].mean()
                out.append(written - logs[0, self.words[NONE]])
                continue
            answers = [(YES if a is None else f' {a}') for *_, a in mine]
            logits = state[len(branch) - 1].float() @ weight[[self.words[w] for w in (*answers, NO)]].float().T
            out += list(logits[:-1] - logits[-1])
        return torch.stack(out)


def train(asked: Asked, units: list[Unit], tokens: int, seed: int) -> tuple[int, int]:  # tokens, and updates
    "On units in random order, one update every `STEP` tokens."
    import torch

    random.Random(seed).shuffle(units)
    steps, used = [[]], 0
    for u in units:
        if used + len(u) > tokens:
            break
        steps[-1].append(u)
        used += len(u)
        if sum(map(len, steps[-1])) >= STEP:
            steps.append([])
    steps = [s for s in steps if s]
    parameters = [p for p in asked.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=LR, weight_decay=0.0)
    schedule = cosine(optimizer, len(steps))
    asked.model.train()
    for step in steps:
        pairs = sum(len(p) for u in step for p in u.pairs)
        for u in step:
            offset, label = (torch.tensor([float(p[k]) for mine in u.pairs for p in mine]) for k in (2, 3))
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                asked.margins(u) + offset, label, reduction='sum'
            )
            (loss / pairs).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return used, len(steps)


def cosine(optimizer, steps: int):
    from transformers import get_cosine_schedule_with_warmup

    return get_cosine_schedule_with_warmup(optimizer, steps // 10, steps)


def train_head(form: str, data, tokenizer, tokens: int, seed: int, dtype: str):  # reader, tokens, updates
    "The form of legal_llm: all tokens for the head, or half of them, and the other half for fine-tuning."
    import torch

    from legal_llm.pipeline.models import add_lora, load_base
    from legal_llm.pipeline.reader import Reader, fit_head, read_windows, step_gradients

    examples = data.examples('train', tokenizer)
    random.Random(seed).shuffle(examples)
    ends = np.cumsum([len(e) for e in examples])
    whole = int(np.searchsorted(ends, tokens, 'right'))
    head = whole if form == 'frozen' else int(np.searchsorted(ends, tokens / 2, 'right'))
    base = load_base('smollm2', dtype, num_hidden_layers=20)
    reader = Reader(add_lora(base, lora_dropout=0.0, seed=seed), len(data.categories))
    states = read_windows(reader, [e.window for e in examples[:head]], states=True)
    fit_head(
        reader,
        states,
        *(np.concatenate([getattr(e, k) for e in examples[:head]]) for k in ('offset', 'doubt', 'label')),
    )
    steps = [[]]
    for e in examples[head:whole]:
        steps[-1].append(e)
        if sum(map(len, steps[-1])) >= STEP:
            steps.append([])
    steps = [s for s in steps if s]
    top = [reader.head.weight, reader.head.bias]
    rest = [p for p in reader.parameters() if p.requires_grad and not any(p is t for t in top)]
    optimizer = torch.optim.AdamW([dict(params=rest, lr=LR), dict(params=top, lr=HEAD_LR)], weight_decay=0.0)
    schedule = cosine(optimizer, len(steps)) if steps else None
    reader.train()
    for step in steps:
        step_gradients(reader, [sorted(step, key=len)])
        torch.nn.utils.clip_grad_norm_([*rest, *top], 1.0)
        optimizer.step()
        schedule.step()
    return reader, int(ends[whole - 1]), len(steps)


def run_form(form: str, folder: str, tokens: int, seed: int, dev: int | None = None) -> dict:
    "Train in one form and score it on dev."
    import torch

    from legal_llm.contracts.contracts import gold_answers
    from legal_llm.evaluation.evaluation import compare_predictions
    from legal_llm.evaluation.scoring import predictions_of, reviews_of, without_reader
    from legal_llm.machine.platform import limit_threads, set_seed
    from legal_llm.pipeline.calibration import Scores, _gain, _pairs, fit_calibration
    from legal_llm.pipeline.extract import Extractor
    from legal_llm.pipeline.models import choose_dtype, load_tokenizer
    from legal_llm.pipeline.reader import read_windows
    from legal_llm.pipeline.windows import cut_windows, in_doubt
    from legal_llm.scores.metrics import average_precision
    from legal_llm.training.dataset import MIN_PROBABILITY, open_data

    limit_threads()
    set_seed(seed)
    data, tokenizer, dtype = open_data(folder), load_tokenizer(), choose_dtype()
    names, begun = [c.name for c in data.categories], time.perf_counter()
    if form in ('frozen', 'states'):
        reader, used, updates = train_head(form, data, tokenizer, tokens, seed, dtype)
    else:
        asked = Asked(form, tokenizer, seed, dtype)
        known = contracts_of(data, 'train')
        random.Random(seed).shuffle(known)
        units = []
        for k in known:  # as many contracts as the tokens are drawn from, three times over
            units += units_of(form, k, names, tokenizer)
            if sum(map(len, units)) > 3 * tokens:
                break
        used, updates = train(asked, units, tokens, seed)
    trained, begun = time.perf_counter() - begun, time.perf_counter()
    held, scores, read = contracts_of(data, 'dev', dev), {}, 0
    for contract, sentences, odds, label in held:
        doubt = in_doubt(odds, MIN_PROBABILITY)
        said = np.full(odds.shape, np.nan, np.float32)
        if form in ('frozen', 'states'):
            windows = cut_windows(contract.text, sentences, tokenizer, asked=doubt.any(1))
            read += sum(map(len, windows))
            said[doubt.any(1)] = read_windows(reader, windows)
            said[~doubt] = np.nan
        else:
            asked.model.eval()
            with torch.no_grad():
                for u in units_of(form, (contract, sentences, odds, label), names, tokenizer):
                    read += len(u)
                    for (i, c, *_), m in zip([p for mine in u.pairs for p in mine], asked.margins(u).tolist()):
                        said[i, c] = m
        scores[contract.title] = Scores(sentences, odds, said, dict(screen=0.0))
    contracts, labels = [k[0] for k in held], [k[3] for k in held]
    x, y, at = _pairs(list(scores.values()), labels)
    calibration = fit_calibration(list(scores.values()), labels)
    extractor = Extractor(data.screen())
    both = predictions_of(reviews_of(extractor, contracts, scores, calibration))
    screen = predictions_of(reviews_of(extractor, contracts, without_reader(scores), type(calibration)()))
    aupr = compare_predictions(both, both, screen, screen, gold_answers(contracts, data.categories))[0]
    return dict(
        form=form,
        seed=seed,
        tokens=used,
        updates=updates,
        minutes=round(trained / 60, 1),
        read=read,
        dev_minutes=round((time.perf_counter() - begun) / 60, 1),
        contracts=len(held),
        pairs=len(y),
        alone=float(average_precision(x[:, 1], y)),
        screen=float(average_precision(x[:, 0], y)),
        gain=float(_gain(x, y, at)),
        aupr=aupr.a,
        screen_aupr=aupr.b,
        difference=[aupr.difference.value, aupr.difference.low, aupr.difference.high],
    )


def main(folder: str | None = None, forms=FORMS, tokens: int = TOKENS, seeds=SEEDS) -> None:
    "Measure every form, and keep the results as they come; what is there already is kept."
    import json
    import tempfile

    from legal_llm.data import prepare_data
    from legal_llm.training.dataset import DataSettings
    from tests.development import find_dev_cuad

    if not folder and not find_dev_cuad():
        raise LegalLLMError('the forms are compared on CUAD, which is not at hand: set LEGAL_LLM_CUAD to its path')
    folder = folder or str(
        prepare_data(DataSettings(source=str(find_dev_cuad())), Path(tempfile.mkdtemp()) / 'data').path
    )
    file = RESULTS / 'forms.json'

    def measured():  # anew each time: another process may measure other seeds
        return json.loads(file.read_text())['rows'] if file.exists() else []

    for seed in seeds:
        for form in forms:
            if any((r['form'], r['seed']) == (form, seed) for r in measured()):
                continue
            row = alone(run_form, form=form, folder=folder, tokens=tokens, seed=seed)
            print(row, flush=True)
            save_json(file, {**about(), 'training_tokens': tokens, 'rows': [*measured(), row]})
