"""Make the model that ships with the package, legal_llm/default, out of data that `legal-llm data` prepared from CUAD.

python tools/default.py --data DATA --reader FOLDER --writer RUN

Scores on the test part, and on ten contracts in plain drafting, are those of stages fitted on the training part; then
the screen and the context stage are fitted again on all contracts. Thresholds are chosen on the training contracts out
of fold and on dev. A reader (the adapter folder of a run on CUAD's training part) is shipped where it helps on dev; so
is a writer, whose categories `python -m benchmarks writer` has chosen on dev.
"""

import argparse
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file

from legal_llm.contracts.categories import CATEGORIES
from legal_llm.contracts.contracts import gold_answers
from legal_llm.contracts.voices import VOICES, plain_contracts
from legal_llm.evaluation.evaluation import compare_predictions
from legal_llm.evaluation.report import STAGES, STAGES_NOTE, stages_markdown
from legal_llm.evaluation.scoring import (
    SYSTEMS,
    labels_of,
    out_of_fold,
    predictions_of,
    reviews_of,
    states_statistic,
    with_thresholds,
    without_context,
    without_reader,
)
from legal_llm.machine.files import save_json, save_npz, short_hash
from legal_llm.pipeline.calibration import Calibration, fit_calibration
from legal_llm.pipeline.context import save_context
from legal_llm.pipeline.extract import Extractor, default_run
from legal_llm.pipeline.models import PORTABLE
from legal_llm.pipeline.reader import load_reader
from legal_llm.pipeline.screen import fit_screen, save_screen
from legal_llm.pipeline.writer import find_writer
from legal_llm.pipeline.writing import CHOSEN
from legal_llm.scores.bootstrap import bootstrap
from legal_llm.scores.official import official_statistic
from legal_llm.serving.card import hub_name
from legal_llm.training.dataset import fit_stages, open_data

CARD = """---
license: cc-by-4.0
library_name: legal_llm
datasets: [theatticusproject/cuad-qa]
language: en
---
# The model that comes with legal_llm

A linear screen, a context stage{reader} that say for each of CUAD's 41 clause categories whether a commercial contract has it, where, and in which exact words. `legal-llm extract` and `legal-llm demo` use it when no run is named. `--fast` is the first two.

- **Trained on** the Contract Understanding Atticus Dataset (CUAD v1, The Atticus Project, [arXiv 2103.06268](https://arxiv.org/abs/2103.06268)), licensed under [CC BY 4.0](https://creativecommons.org/licenses/by/4.0/): all {contracts} contracts of its training half; and on {written} contracts composed from wordings of this project in {voices} voices (CC BY 4.0). Of that text, it holds single words, pairs of words and stems with their weights, and no sentence.{trained}
- **Scores** of the same recipe, fitted on {train} of CUAD's contracts and the written ones. {test} other contracts of CUAD:

{cuad}

Ten contracts in plain drafting, written for this test before any of the wordings, in voices that those do not have (`legal_llm/plain`); they chose nothing:

{plain}

{note}

- **Limits.** English commercial contracts. What it does not find may be there all the same, and what it says is not legal advice.
"""  # noqa: E501


TRAINED = (
    ' The reader learned from 11,105 sentences of the training contracts what the screen of an earlier version left in '
    'doubt, before there was a context stage; on dev it still adds to both, with a smaller weight.'
)


def read(extractor, contracts, cache) -> dict:
    "Scores of all stages; what the reader says is kept in a folder, since it takes long."
    out, without = {}, extractor.without_reader()
    for c in contracts:
        said = without.score(c.text)
        if extractor.reader is not None:
            file = cache / f'{short_hash(c.text)}.npz'
            if not file.exists():
                save_npz(file, reader=extractor.score(c.text).reader)
            said.reader = np.load(file)['reader']
        out[c.title] = said
    return out


def score(extractor, contracts, calibrations, cache) -> dict:
    "Every system on some contracts: table, intervals, and paired comparisons."
    gold = gold_answers(contracts, CATEGORIES)
    scores = {'fine-tuned': read(extractor, contracts, cache)}
    scores = {'screen': without_context(scores['fine-tuned']), 'context': without_reader(scores['fine-tuned'])} | scores
    scores = {s: scores[s] for s in calibrations}
    reviews = {s: reviews_of(extractor, contracts, scores[s], calibrations[s]) for s in scores}
    predictions, found = ({s: predictions_of(r, f) for s, r in reviews.items()} for f in (False, True))
    systems = {}
    for s in scores:
        families = dict(
            official=bootstrap(official_statistic(predictions[s], gold)),
            states=bootstrap(states_statistic(reviews[s], gold)),
        )
        systems[SYSTEMS[s]] = {name: families[family][key].to_dict() for name, (family, key) in STAGES.items()}
    against = []
    for a, b in [('context', 'screen'), ('fine-tuned', 'context')][: len(calibrations) - 1]:
        compared = compare_predictions(predictions[a], found[a], predictions[b], found[b], gold)
        against += [f'{SYSTEMS[a]} against {SYSTEMS[b]}, {c}' for c in compared]
    return dict(contracts=len(contracts), systems=systems, against=against)


def main(data, results, reader=None, writer=None, scores_only=False):
    data, out = open_data(data), default_run()
    cache = data.path / 'margins'
    train, dev, test = (data.contracts(s) for s in ('train', 'dev', 'test'))
    loaded = load_reader(reader) if reader else (None, None)
    extractor = Extractor(data.screen(), *loaded, context=data.context())
    known, fresh = out_of_fold(data)
    calibrations = {}
    for system in ('screen', 'context'):
        alone = without_context if system == 'screen' else without_reader
        said = fresh[system] | alone(read(extractor, dev, cache))
        fresh_weights = Calibration(reader=0.0, contracts=len(said))
        calibrations[system] = with_thresholds(fresh_weights, extractor, known + dev, said)
    if reader:  # its thresholds are those of the context stage: dev alone says little, and the odds are on one scale
        said = read(extractor, dev, cache)
        fitted = fit_calibration(list(said.values()), labels_of(dev, said, [c.name for c in CATEGORIES]))
        if fitted.reader:
            kept = calibrations['context']
            calibrations['fine-tuned'] = replace(fitted, thresholds=kept.thresholds, check=kept.check)
    scored = {
        'cuad': score(extractor, test, calibrations, cache),
        'plain': score(extractor, plain_contracts(), calibrations, cache),
        'train': sum(not c.voice for c in train),
    }
    save_json(results, scored)
    every = train + dev + test
    if not scores_only:
        fit(every, out)
    save_json(out / 'calibration.json', {k: c.to_dict() for k, c in calibrations.items()})
    own = [c for c in every if not c.voice]
    seen = sorted(hashlib.sha256(c.title.encode()).hexdigest()[:16] for c in own)
    about = dict(name='legal_llm default', seen=seen)
    if 'fine-tuned' in calibrations:
        for name in ('adapter_config.json', 'adapter_model.safetensors', 'head.safetensors'):
            if (Path(reader) / name).exists():
                shutil.copy(Path(reader) / name, out)
        about = json.loads((Path(reader) / 'legal_llm.json').read_text(encoding='utf-8')) | about
    save_json(out / 'legal_llm.json', about)
    if writer:
        take_writer(find_writer(writer), out / 'writer')
    write_card(out, scored, len(own), len(every) - len(own), 'fine-tuned' in calibrations)


def take_writer(folder, out) -> None:
    "A writer's adapter in 16 bits, where it answers any category."
    about = json.loads((folder / PORTABLE).read_text(encoding='utf-8'))
    if not about.get(CHOSEN):
        return
    out.mkdir(exist_ok=True)
    weights = load_file(folder / 'adapter_model.safetensors')
    save_file({k: w.half().contiguous() for k, w in weights.items()}, out / 'adapter_model.safetensors')
    config = json.loads((folder / 'adapter_config.json').read_text(encoding='utf-8'))
    save_json(
        out / 'adapter_config.json', dict(config, base_model_name_or_path=hub_name(about['settings']['base_model']))
    )
    save_json(out / PORTABLE, about)


def write_card(out, scored: dict, contracts: int, written: int, reader: bool) -> None:
    card = CARD.format(
        contracts=contracts,
        written=written,
        voices=len(VOICES),
        train=scored['train'],
        test=scored['cuad']['contracts'],
        cuad=stages_markdown(scored['cuad']),
        plain=stages_markdown(scored['plain']),
        note=STAGES_NOTE,
        reader=' and a reader (a LoRA adapter and a head on SmolLM2-135M-Instruct)' if reader else '',
        trained=TRAINED if reader else '',
    )
    (out / 'README.md').write_text(card, encoding='utf-8')
    print(card)


def fit(contracts, out) -> None:
    "Fit both stages on all contracts."

    def tell(done, n):
        print(f'screen: {done} of {n}', flush=True)

    screen, odds = fit_screen(contracts, CATEGORIES, progress=tell)
    context, _, _ = fit_stages(contracts, CATEGORIES, odds)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    save_screen(screen, out)
    save_context(context, out)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--data', required=True, help='folder that `legal-llm data` wrote from CUAD')
    parser.add_argument('--results', default='nbs/results/default.json', help='file for the scores')
    parser.add_argument(
        '--scores-only', action='store_true', help='keep the weights; choose thresholds and score again'
    )
    parser.add_argument(
        '--reader', help='adapter folder of a run that was trained on the training part of the same data'
    )
    parser.add_argument('--writer', help='run folder that has a writer')
    args = parser.parse_args()
    main(args.data, args.results, args.reader, args.writer, args.scores_only)
