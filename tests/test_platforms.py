"""The four weeks on a made-up Kaggle and a made-up Colab: each notebook from Run all, in a session of its own, of which
only that survives which the platform keeps.

The notebooks are run as they are but for fewer contracts of the library's own writer, and for the settings of the
training: a tiny model, for a moment, instead of SmolLM2 for minutes. It is one of Llama 3.2's shape and tokenizer:
grouped heads, tied embeddings of 128,256 tokens, a chat template of its own; and its weights are in four bits, where
bitsandbytes has them on a processor.

Where the contracts are CUAD's, the platform has its GPUs, two T4 or one, for all that is decided: preset, rules, plan,
processes side by side, float16 under autocast with a scaled loss, workers of an evaluation. What they compute, the
processor does (tests/gpus)."""

import json
import os
import shutil
from pathlib import Path

import notebooks
import pytest
import torch
from development import find_dev_cuad
from families import make_family

from legal_llm.contracts.readers import load_contracts
from legal_llm.contracts.squad import save_squad
from legal_llm.contracts.synthetic import write_contracts
from legal_llm.machine.compat import older
from legal_llm.machine.rules import BNB_CPU
from legal_llm.pipeline.models import resolve_base

# The outcome must not depend on whether this machine has internet.
NOWHERE = dict(HF_HUB_OFFLINE='1', https_proxy='http://127.0.0.1:9', HTTPS_PROXY='http://127.0.0.1:9')
FOUR_BITS = not older('bitsandbytes', BNB_CPU)
GPUS = Path(__file__).parent / 'gpus'
# the demo needs that gradio, and says so
WEEKS = ['week1_data', 'week2_train', 'week3_eval', 'week4_demo'][: 3 if older('gradio', '6.24') else 4]


class Platform:
    "A file system with a platform's folders, and what happens to them between sessions"

    def __init__(self, root: Path, tiny: Path, gpus: int = 0):
        self.gpus = [('Tesla T4', (7, 5), 14.7)] * gpus
        self.root, self.tiny, self.sessions, self.base = root, tiny, 0, Path(resolve_base('smollm2'))
        (root / 'root').mkdir(parents=True)
        self.working, self.cache = (root / f for f in self.folders)
        self.begin()

    def begin(self):
        "A session gets an empty machine; the embedded model is unpacked already, to save a test's time"
        shutil.copytree(self.base, self.cache / 'base' / self.base.name, copy_function=os.symlink)
        self.working.mkdir(parents=True, exist_ok=True)

    def week(self, name: str, monkeypatch) -> Path:
        "Open a notebook and press Run all. Returns the folder of outputs. Raises CellExecutionError."
        path = Path(shutil.copy(notebooks.NBS / f'{name}.ipynb', self.working))
        less = dict(base_model=str(self.tiny), num_hidden_layers=2, max_packs=24, probe_windows=200)
        less |= dict(load_in_4bit=FOUR_BITS)
        looks = dict(eval_steps=4, eval_windows=40, early_stopping_patience=0)
        less |= looks if self.gpus else dict(dtype='float32', eval_steps=0)
        less = dict(shares=dict(dev=0.1, test=0.1, n=80)) if name == 'week1_data' else dict(changes=less)
        if name == 'week2_train':
            few = dict(base_model=str(self.tiny), max_packs=4, eval_steps=0, load_in_4bit=FOUR_BITS)
            less['writer_changes'] = few if self.gpus else few | dict(dtype='float32')
        unset = 'LEGAL_LLM_WORKING LEGAL_LLM_CACHE LEGAL_LLM_INPUT LEGAL_LLM_CUAD CI CUDA_VISIBLE_DEVICES'.split()
        for key in unset:  # Ray sets the last
            monkeypatch.delenv(key, raising=False)
        for key, value in {
            **self.variables,
            'LEGAL_LLM_ROOT': str(self.root),
            'HOME': str(self.root / 'root'),
            'XDG_CACHE_HOME': str(self.root / 'root/.cache'),
            **NOWHERE,
            **(dict(LEGAL_LLM_TEST_GPUS=json.dumps(self.gpus), PYTHONPATH=str(GPUS)) if self.gpus else {}),
        }.items():
            monkeypatch.setenv(key, value)
        notebooks.execute(path, **less, **dict(run='week2') if name == 'week4_demo' else {})
        self.sessions += 1
        return self.working


class Kaggle(Platform):
    variables = {'KAGGLE_KERNEL_RUN_TYPE': 'Interactive'}
    folders = 'kaggle/working', 'kaggle/temp/legal_llm'

    def attach(self, name: str, *files: Path):
        (self.root / 'kaggle/input' / name).mkdir(parents=True)
        for f in files:
            shutil.copy(f, self.root / 'kaggle/input' / name)

    def end(self, name: str):
        "The version is saved: what is in /kaggle/working can be attached, for reading only; everything else is gone"
        kept = self.root / 'kaggle/input' / f'{name.replace("_", "-")}-output'
        shutil.move(self.working, kept)
        for p in [kept, *kept.rglob('*')]:
            p.chmod(0o555 if p.is_dir() else 0o444)
        shutil.rmtree(self.root / 'kaggle/temp')
        self.begin()


class Colab(Platform):
    variables = {'COLAB_RELEASE_TAG': 'release-colab_20261101', 'COLAB_GPU': '0'}
    folders = 'content/drive/MyDrive/legal_llm', 'content/.cache/legal_llm'

    def __init__(self, root, *options):
        (root / 'content/drive/MyDrive').mkdir(parents=True)
        super().__init__(root, *options)

    def attach(self, name: str, *files: Path):
        for f in files:
            shutil.copy(f, self.root / 'content/drive/MyDrive')

    def end(self, name: str):
        "The machine is taken away; Drive stays"
        shutil.rmtree(self.root / 'content/.cache')
        self.begin()


def cuad(folder: Path) -> Path:
    "A file in CUAD's layout and by its name: the shortest real contracts where they are at hand, else written ones"
    found = find_dev_cuad()
    contracts = (
        sorted(load_contracts(found), key=lambda c: len(c.text))[:40]
        if found
        else write_contracts(40, seed=11, words=400)
    )
    return save_squad(contracts, folder / 'CUADv1.json')


@pytest.mark.parametrize(
    'platform, source, gpus',
    [(Kaggle, 'CUADv1.json', 2), (Colab, 'sample', 0), (Kaggle, 'sample', 0), (Colab, 'CUADv1.json', 1)],
)
@pytest.mark.slow
def test_four_weeks_in_four_sessions(platform, source, gpus, tmp_path, tmp_path_factory, monkeypatch):
    base = make_family('Llama 3', tmp_path_factory.mktemp('llama'), 128_256)
    place = platform(tmp_path / 'machine', base, gpus)
    if source != 'sample':
        place.attach('cuad', cuad(tmp_path))
    for name in WEEKS:
        out = place.week(name, monkeypatch)
        if name == 'week1_data':
            info = json.loads((out / 'data/data.json').read_text())
            assert info['source'] == source
        else:
            record = json.loads((out / 'runs/week2/record.json').read_text())
            assert (record['settings']['base_model'], record['finished'], record['source']) == (str(base), True, source)
            assert record['load_in_4bit'] is FOUR_BITS and record['dtype'] == ('float16' if gpus else 'float32')
            assert (record['processes'], record['machine']['gpus']) == (max(1, gpus), ['Tesla T4'] * gpus)
            # trained once, in week 2, and found again
            lines = [json.loads(line) for line in (out / 'runs/week2/log.jsonl').read_text().splitlines()]
            assert len([line for line in lines if 'loss' in line]) == record['steps'] > 4
            if gpus:  # what the presets of GPUs bring
                assert (record['settings']['hours'], record['settings']['save_minutes']) == (2.0, 10.0)
                looks = [line['step'] for line in lines if 'dev_score' in line]
                assert looks == sorted({*range(0, record['steps'], 4), record['steps']})
            if gpus and not older('transformers', '5'):  # which saves the scale of the loss
                scaler = torch.load(out / f'runs/week2/checkpoints/checkpoint-{record["steps"]}/scaler.pt')
                assert scaler['scale'] > 1 and scaler['_growth_tracker'] > 0  # steps without an overflow
        if name == 'week3_eval':
            metrics = json.loads((out / 'runs/week2/metrics_test.json').read_text())
            assert len(metrics['contracts']) == min(info['splits']['test'], 12) >= 4
            assert (out / 'runs/week2/report_test.html').exists()
        if name == 'week4_demo':
            assert sorted(p.name for p in (out / 'review').iterdir())[:2] == ['clauses.csv', 'clauses.html']
        place.end(name)
    assert place.sessions == len(WEEKS) and not [
        p for p in tmp_path.iterdir() if p.name not in ('machine', 'CUADv1.json')
    ]
