"""Run the tests under both sets of package versions, each in its own virtual environment, and keep what came out.

python tools/matrix.py            all tests but the notebooks, in .venv and .venv-2024 (make matrix)
python tools/matrix.py --venv V   the core tests in another virtual environment, of another Python for instance
                                  (make VENV=V PYTHON=python3.12 venv)
python tools/matrix.py --between  the core tests in .venv with transformers of between the two sets, such as that of
                                  Colab's image
python tools/matrix.py --conflicts  bring about each pair of versions that CONFLICTS in legal_llm.machine.packages
                                  names, and keep what it says
python tools/matrix.py --core     print the names of the core tests, which continuous integration runs under 2024's
                                  versions (make old)
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path

from notebooks import NBS, ROOT

# What touches transformers, peft, accelerate, datasets and scikit-learn, in a few minutes.
CORE = """test_compat.py test_models.py test_families.py test_rules.py
test_parity.py::test_pack_equals_separate_sequences[written-even] test_parity.py::test_windows_read_together_equal_windows_read_alone[written]
test_train.py::test_resumed_equals_uninterrupted test_train.py::test_two_runs_of_one_record_are_equal test_train.py::test_a_training_that_runs_out_of_hours_goes_on_in_the_next_session
test_train.py::test_two_processes_make_the_updates_of_one test_screen.py""".split()  # noqa: E501
# transformers, and what it needs besides: no method for clipping gradients; Colab's of summer 2026
BETWEEN = {'5.0.0': 'huggingface_hub>=1.3,<2', '5.9.0': 'huggingface_hub>=1.5,<2'}
VENVS = {'current': '.venv', '2024': '.venv-2024'}
OUT = NBS / 'results' / 'matrix.json'
SHOWN = 'torch transformers peft accelerate bitsandbytes datasets huggingface_hub gradio scikit-learn'.split()


TRIED = (  # a package of a clash, its version, and the set that it is put into
    ('peft', '0.18.0', '2024'),
    ('accelerate', '0.34.2', 'current'),
    ('huggingface_hub', '1.0.0', '2024'),
    ('bitsandbytes', '0.50.2', '2024'),
    ('huggingface_hub', '0.36.2', 'current'),
    ('bitsandbytes', '0.44.1', 'current'),
)
PROBE = """
import json, sys, warnings; warnings.simplefilter('ignore')
from legal_llm.machine.doctor import Facts, check_packages
from legal_llm.machine.packages import versions
found = {f.name: f.status for f in check_packages(Facts(versions=versions()))}
def attempt():
    import torch
    from transformers import BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
    from peft import LoraConfig, get_peft_model
    model = LlamaForCausalLM(LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1))
    model.save_pretrained(sys.argv[1] + '/m')
    lora = get_peft_model(model, LoraConfig(task_type='CAUSAL_LM', target_modules='all-linear'))
    Trainer(lora, TrainingArguments(output_dir=sys.argv[1] + '/o', report_to=[], use_cpu=True, max_steps=1, save_strategy='no', disable_tqdm=True), train_dataset=[dict(input_ids=[1, 2], labels=[1, 2])] * 8).train()
    LlamaForCausalLM.from_pretrained(sys.argv[1] + '/m', quantization_config=BitsAndBytesConfig(load_in_4bit=True))
try: attempt(); said = ''
except Exception as e: said = str(e)
print(json.dumps([said[:300], found]))
"""  # noqa: E501


def conflicts() -> list[dict]:
    "For each pair: what a training step and a 4-bit model say, and whether the doctor names the package"
    from legal_llm.machine.packages import CONFLICTS

    out = []
    for package, version, profile in TRIED:
        python = ROOT / VENVS[profile] / 'bin' / 'python'
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                [python, '-m', 'pip', 'install', '-q', '--no-deps', '--target', f'{folder}/p', f'{package}=={version}'],
                check=True,
                capture_output=True,
            )
            done = subprocess.run(
                [python, '-c', PROBE, folder],
                capture_output=True,
                text=True,
                env={**os.environ, 'PYTHONPATH': f'{folder}/p', 'HF_HUB_OFFLINE': '1'},
                cwd=folder,
            )
            said, found = json.loads(done.stdout.strip().splitlines()[-1])
        named = [c.says for c in CONFLICTS if c.package == package and c.says in said]
        says = named[0] if named else ' '.join(said.replace(folder, '').split())[:140]
        out.append(
            dict(
                package=package,
                version=version,
                among=profile,
                says=says,
                expected=bool(named),
                doctor=found.get(package, 'green'),
            )
        )
    return out


def everything() -> list[str]:
    "All test files but that of the notebooks, which are executed under one set only"
    return [f'tests/{p.name}' for p in sorted((ROOT / 'tests').glob('test_*.py')) if p.name != 'test_notebooks.py']


def ask(python: Path, code: str, env: dict | None = None):
    return json.loads(
        subprocess.run([python, '-c', code], capture_output=True, text=True, check=True, cwd=ROOT, env=env).stdout
    )


def core() -> list[str]:
    return [f'tests/{name}' for name in CORE]


def run(profile: str, venv: str = '', path: str = '') -> dict:
    """The tests in one environment, only the core tests in one that is not in `VENVS` or with packages of a folder in
    front: versions, counts by file, minutes, and the names of what failed
    """
    env = {**os.environ, **({'PYTHONPATH': path} if path else {})}
    python = ROOT / (venv or VENVS[profile]) / 'bin' / 'python'
    if not python.exists():
        sys.exit(f'{python.parent.parent} is not there: make matrix')
    found = ask(
        python,
        'import json, platform; from legal_llm.machine.packages import profile, versions as v; '
        'print(json.dumps([platform.python_version(), profile(v()), v()]))',
        env,
    )
    if not (venv or path) and found[1] != profile:
        sys.exit(f'{python.parent.parent} does not hold the versions of {profile!r}: delete it, and make matrix')
    with tempfile.TemporaryDirectory() as folder:
        report, start = Path(folder) / 'report.xml', time.time()
        subprocess.run(
            [
                python,
                '-m',
                'pytest',
                *(core() if venv or path else everything()),
                '-n',
                'auto',
                '--dist',
                'loadgroup',
                '-q',
                f'--junitxml={report}',
                '-o',
                'junit_family=xunit1',
            ],
            cwd=ROOT,
            env=env,
        )
        minutes = (time.time() - start) / 60
        counts, failed = {}, []
        for case in ET.parse(report).iter('testcase'):
            kind = next((k for k in ('failure', 'error', 'skipped') if case.find(k) is not None), 'passed').replace(
                'error', 'failure'
            )
            name = Path(case.get('file')).stem.removeprefix('test_')
            counts.setdefault(name, dict(passed=0, skipped=0, failure=0))[kind] += 1
            if kind == 'failure':
                failed.append(f"{name}: {case.get('name')}")
    return dict(
        python=found[0],
        versions={k: found[2][k] for k in SHOWN if k in found[2]},
        minutes=round(minutes, 1),
        tests=counts,
        failed=failed,
    )


def between() -> dict[str, dict]:
    "The core tests with each transformers of `BETWEEN`, installed in front of today's"
    out = {}
    for version, hub in BETWEEN.items():
        with tempfile.TemporaryDirectory() as folder:
            packages = [f'transformers=={version}', 'tokenizers>=0.22,<=0.23.0', hub, 'typer-slim']
            subprocess.run(
                [ROOT / '.venv/bin/python', '-m', 'pip', 'install', '-q', '--no-deps', '--target', folder, *packages],
                check=True,
                capture_output=True,
            )
            out[f'core tests, transformers {version}'] = run('current', path=folder)
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description='Run the tests under both sets of package versions')
    parser.add_argument('profiles', nargs='*', choices=[[], *VENVS], default=[], help='sets of versions; none: both')
    parser.add_argument('--venv', help="a virtual environment with today's versions, in which to run the core tests")
    parser.add_argument('--core', action='store_true', help='only print the names of the core tests')
    parser.add_argument(
        '--between', action='store_true', help='the core tests with transformers of between the two sets'
    )
    parser.add_argument(
        '--clashes', action='store_true', help='only bring about the pairs of versions that do not work together'
    )
    args = parser.parse_args()
    if args.core:
        print(*core())
        return 0
    results = json.loads(OUT.read_text()) if OUT.exists() else {}
    if args.conflicts:
        results['clashes'] = conflicts()
        OUT.write_text(json.dumps(results, indent=1) + '\n')
        return 0 if all(c['expected'] and c['doctor'] != 'green' for c in results['clashes']) else 1
    if args.between:
        results |= (found := between())
        OUT.write_text(json.dumps(results, indent=1) + '\n')
        return 1 if any(r['failed'] for r in found.values()) else 0
    failed = []
    for profile in ['current'] if args.venv else args.profiles or VENVS:
        result = run(profile, args.venv)
        results[f"core tests, Python {result['python'].rpartition('.')[0]}" if args.venv else profile] = result
        failed += result['failed']
        OUT.write_text(json.dumps(results, indent=1) + '\n')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
