"""The review of contracts: screen alone, screen and reader, and what people do instead, which is to ask a model about
every window and category.

The run is the one that is named, else the default that the package ships. Speed alone is measured, so it may have been
trained on these contracts.
"""

import random
import time

from benchmarks.measure import Stage, alone, keep

WORDS = (700, 3000, 10_000)  # of a synthetic contract
CONTRACTS = 10  # of dev, where CUAD is at hand
MAX_TOKENS = 64  # written for a category and window, at most
BATCH = 8  # questions in a batch of `generate`
SAMPLE = 2, 8  # windows of the shortest and the longest contract, and categories on each, that `generate` is timed on
PROMPT = (
    'Excerpt from a contract:\n\n{text}\n\nIs there a clause on "{name}" ({gloss})? Answer No, or quote it word '
    'by word.'
)


def contracts_to_review(words=WORDS, most: int = CONTRACTS) -> list[tuple[str, str, str]]:
    "(kind, title, text) of synthetic contracts, and of dev contracts where CUAD is at hand, each kind by length"
    from legal_llm.contracts.readers import load_contracts
    from legal_llm.contracts.splits import split_contracts
    from legal_llm.contracts.synthetic import write_contracts
    from tests.development import find_dev_cuad

    out = [('written', f'{w:,} words', write_contracts(1, seed=5, wordings='held_out', words=w)[0].text) for w in words]
    source = find_dev_cuad() if most else None
    if source:
        dev = split_contracts(load_contracts(source))['dev']
        dev = random.Random(1).sample(dev, min(most, len(dev)))
        out += sorted((('CUAD dev', c.title, c.text) for c in dev), key=lambda x: len(x[2]))
    return out


def review(fast: bool, run: str | None = None, words=WORDS, most: int = CONTRACTS) -> dict:
    """Review every contract once, one after another, as `legal-llm extract` does: seconds by stage, sentences read,
    memory.
    """
    from legal_llm.machine.platform import limit_threads
    from legal_llm.pipeline.extract import Extractor

    contracts = contracts_to_review(words, most)  # outside of what is measured
    limit_threads()
    stages, rows = {}, []
    with Stage('load', stages):
        extractor = Extractor.load(run, fast=fast, heard=True)
    for kind, title, text in contracts:
        with Stage('review', taken := {}):
            made = extractor.extract(text, title)
        total = taken['review'].pop('seconds')
        seconds = {k: round(v, 3) for k, v in made.seconds.items()}
        counts = dict(characters=len(text), words=len(text.split()), sentences=made.sentences, read=made.read)
        rows.append(dict(kind=kind, **counts, seconds=dict(seconds, whole=total), **taken['review']))
    return dict(run=extractor.name, fast=fast, load=stages['load'], rows=rows)


def generate(
    base: str = 'smollm2',
    size: int = 512,
    words=WORDS,
    most: int = CONTRACTS,
    sample=SAMPLE,
    max_tokens: int = MAX_TOKENS,
) -> dict:
    """Seconds of `generate` for a window and category, greedy, in left-padded batches: on a small sample, extrapolated
    to all of every contract.
    """
    import torch

    from legal_llm.contracts.categories import CATEGORIES
    from legal_llm.machine.platform import limit_threads
    from legal_llm.pipeline.models import load_base, load_tokenizer

    limit_threads()
    tokenizer, contracts = load_tokenizer(base), contracts_to_review(words, most)
    with Stage('load', taken := {}):
        model = load_base(base, causal=True)
    model.config.use_cache = True
    ids = [tokenizer(text, add_special_tokens=False, verbose=False)['input_ids'] for _, _, text in contracts]
    cut = [[i[a : a + size] for a in range(0, len(i), size)] for i in ids]
    chosen = [w for ws in (cut[0], cut[-1]) for w in random.Random(0).sample(ws, min(sample[0], len(ws)))]
    picked = random.Random(0).sample(CATEGORIES, sample[1])
    device = next(model.parameters()).device
    pairs, written, begun = 0, 0, None
    with Stage('generate', taken):
        for w in chosen:
            text = tokenizer.decode(w)
            said = [[dict(role='user', content=PROMPT.format(text=text, name=c.name, gloss=c.gloss))] for c in picked]
            said = [tokenizer.apply_chat_template(s, tokenize=False, add_generation_prompt=True) for s in said]
            said = [tokenizer(s, add_special_tokens=False)['input_ids'] for s in said]
            for first in range(0, len(said), BATCH):
                some = said[first : first + BATCH]
                longest = max(map(len, some))
                ids = torch.tensor([[tokenizer.pad_token_id] * (longest - len(s)) + s for s in some], device=device)
                mask = torch.tensor([[0] * (longest - len(s)) + [1] * len(s) for s in some], device=device)
                with torch.inference_mode():
                    if begun is None:  # the first call warms up
                        model.generate(
                            input_ids=ids,
                            attention_mask=mask,
                            max_new_tokens=2,
                            do_sample=False,
                            pad_token_id=tokenizer.pad_token_id,
                        )
                        begun = time.perf_counter()
                    out = model.generate(
                        input_ids=ids,
                        attention_mask=mask,
                        max_new_tokens=max_tokens,
                        do_sample=False,
                        pad_token_id=tokenizer.pad_token_id,
                    )
                pairs += len(some)
                written += int((out[:, longest:] != tokenizer.pad_token_id).sum())
    each = (time.perf_counter() - begun) / pairs
    rows = [
        dict(kind=k, windows=len(ws), seconds=round(each * len(ws) * len(CATEGORIES), 1))
        for (k, _, _), ws in zip(contracts, cut)
    ]
    asked = dict(base=base, size=size, batch=BATCH, max_tokens=max_tokens, categories=len(CATEGORIES))
    return dict(
        asked,
        pairs=pairs,
        written=written,
        seconds_per_pair=round(each, 4),
        megabytes=taken['generate']['megabytes'],
        extrapolated=rows,
    )


def main(run: str | None = None, **smaller) -> None:
    "Measure screen alone, screen and reader, and `generate`; keep the results."
    results, shared = {}, {k: smaller[k] for k in ('words', 'most') if k in smaller}
    for name in ('screen', 'reader'):
        results[name] = alone(review, fast=name == 'screen', run=run, **shared)
        print(
            f"{name}: {sum(r['seconds']['whole'] for r in results[name]['rows']):,.1f} s for all contracts", flush=True
        )
    results['generate'] = alone(generate, **smaller)
    print(
        f"generate: {sum(r['seconds'] for r in results['generate']['extrapolated']):,.0f} s for all contracts, "
        "extrapolated",
        flush=True,
    )
    keep('review', results)
