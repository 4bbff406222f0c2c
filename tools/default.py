"""Make the model that ships with the package, legal_llm/default, out of a run that was trained and evaluated on CUAD.

python tools/default.py --run runs/cuad --source CUADv1.json

The screen is fitted again on all contracts of the source, the reader's weights are stored in 16 bits, and the
calibration is that of the run's dev contracts.
"""

import argparse
import hashlib
import json
import shutil

from legal_llm.categories import CATEGORIES
from legal_llm.dataset import open_data
from legal_llm.extract import default_run
from legal_llm.files import save_json
from legal_llm.readers import load_contracts
from legal_llm.runs import open_run
from legal_llm.screen import fit_screen, save_screen
from legal_llm.tables import ScoreTable

BASE = 'HuggingFaceTB/SmolLM2-135M-Instruct'
CARD = """---
license: cc-by-4.0
library_name: legal_llm
base_model: {base}
datasets: [theatticusproject/cuad-qa]
language: en
---
# The model that comes with legal_llm

A linear screen and {reader} that say for each of CUAD's 41 clause categories whether a commercial contract has it, where, and in which exact words. `legal-llm extract` and `legal-llm demo` use it when no run is named.

- **Trained on** the Contract Understanding Atticus Dataset (CUAD v1, The Atticus Project, [arXiv 2103.06268](https://arxiv.org/abs/2103.06268)), licensed under [CC BY 4.0](https://creativecommons.org/licenses/by/4.0/). The screen was fitted on all {contracts} contracts of its training half; {trained}. Of that text, the screen holds single words and pairs of words with their weights, and no sentence.
- **Base model** SmolLM2-135M-Instruct (Apache-2.0), of which the first {layers} layers are read.
- **Scores** of the same recipe, fitted on {train} of these contracts and scored on {held_out} others (they chose no model, feature or setting; earlier versions were scored on them, too):

{table}

{note}

- **Limits.** English commercial contracts of the kind that are filed with the SEC. What it does not find may be there all the same, and what it says is not legal advice.
"""  # noqa: E501


def main(run, source):
    run, contracts, out = open_run(run), load_contracts(source), default_run()
    data = open_data(run.record['settings']['data'])
    train = [c for c in contracts if c.split != 'test']
    screen, _ = fit_screen(
        train, CATEGORIES, progress=lambda done, n: print(f'fitting the screen: {done} of {n}', flush=True)
    )
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    save_screen(screen, out)
    tuned = run.record['adapter']
    import torch
    from safetensors.torch import load_file, save_file

    for name in ('adapter_model', 'head') if tuned else ('head',):
        tensors = load_file(run.adapter / f'{name}.safetensors')
        save_file(
            {k: v.to(torch.float16) if 'weight' in k else v for k, v in tensors.items()}, out / f'{name}.safetensors'
        )
    if tuned:  # without the folder from which this machine loaded the base model
        config = json.loads((run.adapter / 'adapter_config.json').read_text(encoding='utf-8'))
        save_json(out / 'adapter_config.json', config | {'base_model_name_or_path': BASE})
    shutil.copy(run.adapter / 'calibration.json', out)
    about = json.loads((run.adapter / 'legal_llm.json').read_text(encoding='utf-8'))
    seen = sorted(hashlib.sha256(c.title.encode()).hexdigest()[:16] for c in train)
    save_json(out / 'legal_llm.json', dict(about, name='legal_llm default', seen=seen))
    metrics = json.loads((run.path / 'metrics_test.json').read_text(encoding='utf-8'))
    table = ScoreTable.from_dict(metrics['table'])
    settings = run.record['settings']
    (out / 'README.md').write_text(
        CARD.format(
            base=BASE,
            reader='a reader (a LoRA adapter and a head)'
            if tuned
            else 'a reader (a head on the frozen states of a small language model)',
            contracts=len(train),
            trained=f"the reader on {run.record['head']['windows']:,} sentences of {len(data.contracts('train'))} of "
            "them"
            + (
                f", fine-tuned in {run.record['packs']:,} packs ({run.record['tokens']:,} tokens)"
                if tuned
                else ', without fine-tuning'
            ),
            layers=settings.get('num_hidden_layers') or 30,
            train=len(data.contracts('train')),
            held_out=len(metrics['contracts']),
            table=table.markdown(),
            note=table.note(),
        ),
        encoding='utf-8',
    )
    for p in sorted(out.iterdir()):
        print(f'{p.stat().st_size / 1e6:8.2f} MB  {p.name}')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--run', required=True, help='run folder, evaluated on test')
    parser.add_argument('--source', required=True, help='CUAD in any form; its official test contracts are left out')
    args = parser.parse_args()
    main(args.run, args.source)
