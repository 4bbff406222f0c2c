"The project's metadata has one source, settings.ini, and everything that follows from it is in step."

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from configparser import ConfigParser

import pytest
import yaml
from packaging.requirements import Requirement

from legal_llm import __version__
from legal_llm.machine.packages import PACKAGES, PROFILES


@pytest.fixture(scope='module')
def settings(root):
    ini = ConfigParser(delimiters=['='])
    ini.read(root / 'settings.ini', encoding='utf-8')
    return ini['DEFAULT']


def requirements(path):
    return [
        Requirement(line)
        for line in path.read_text(encoding='utf-8').splitlines()
        if line.strip() and not line.startswith('#')
    ]


def applies(requirement, python):
    return requirement.marker is None or requirement.marker.evaluate({'python_version': python})


def test_requirements_are_the_doctors_table(settings):
    assert settings['requirements'].split() == [p.spec for p in PACKAGES]
    assert settings['version'] == __version__


@pytest.mark.parametrize('python', ['3.11', '3.12', '3.13'])
@pytest.mark.parametrize('profile, run, lock', [('current', 'run', 'lock'), ('2024', '2024', 'lock-2024')])
def test_pins(root, settings, python, profile, run, lock):
    """For both sets and every Python: each package is pinned once and exactly, within the ranges, and the lock file has
    the same version
    """
    pins = {}
    for name in (run, 'dev'):
        for r in requirements(root / 'requirements' / f'{name}.txt'):
            if not applies(r, python):
                continue
            assert re.fullmatch(r'==[^*,]+', str(r.specifier)) and r.name not in pins, r
            pins[r.name] = str(r.specifier)[2:]
    lock = {
        r.name: str(r.specifier)[2:] for r in requirements(root / 'requirements' / f'{lock}.txt') if applies(r, python)
    }
    for r in map(Requirement, settings['requirements'].split() + settings['dev_requirements'].split()):
        assert r.name in pins and r.specifier.contains(pins[r.name]), r
    # torch is installed first and by itself
    assert {n: v for n, v in pins.items() if lock.get(n.lower()) != v} == {'torch': pins['torch']}
    assert {n: v for n, v in PROFILES[profile].items() if pins[n] != v} == {}
    for r in requirements(root / 'requirements' / 'bench.txt'):  # what only `make bench` needs
        assert re.fullmatch(r'==[^*,]+', str(r.specifier)) and r.name not in {**pins, **lock}, r


@pytest.fixture(scope='module')
def built(root, tmp_path_factory):
    "What a user installs: a source archive is made from the working tree, a wheel from the archive alone"
    tmp_path = tmp_path_factory.mktemp('built')
    tree = tmp_path / 'tree'
    tree.mkdir()
    for name in ('setup.py', 'settings.ini', 'MANIFEST.in', 'LICENSE', 'README.md'):
        shutil.copy(root / name, tree)
    shutil.copytree(root / 'legal_llm', tree / 'legal_llm', ignore=shutil.ignore_patterns('__pycache__'))
    if not (tree / 'legal_llm/default').exists():  # as in a working tree whose default is still to be trained
        (tree / 'legal_llm/default').mkdir()
        for name in ('screen.json', 'screen.npz', 'head.safetensors', 'README.md'):
            (tree / 'legal_llm/default' / name).write_bytes(b'x')

    def build(kind, folder):
        code = f'from setuptools import build_meta as b; print(b.build_{kind}({str(tmp_path)!r}))'
        done = subprocess.run([sys.executable, '-c', code], cwd=folder, capture_output=True, text=True, check=True)
        return tmp_path / done.stdout.strip().splitlines()[-1]

    with tarfile.open(build('sdist', tree)) as archive:
        archive.extractall(tmp_path / 'archive', filter='data') if sys.version_info >= (3, 12) else archive.extractall(
            tmp_path / 'archive'
        )
    return tree, build('wheel', next((tmp_path / 'archive').iterdir()))


def test_wheel(built, settings):
    tree, path = built
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        read = {
            name: wheel.read(f'legal_llm-{__version__}.dist-info/{name}').decode()
            for name in ('METADATA', 'entry_points.txt')
        }
    files = {str(p.relative_to(tree)) for p in (tree / 'legal_llm').rglob('*') if p.is_file()}
    assert {n for n in names if n.startswith('legal_llm/')} == files
    assert files >= {
        f'legal_llm/{n}'
        for n in (
            'playbooks.yml',
            'default/screen.json',
            'default/screen.npz',
            'default/context.npz',
            'default/README.md',
            'assets/voices/german.yml',
            'plain/french_supply.txt',
        )
    }
    assert sum(p.stat().st_size for p in (tree / 'legal_llm/default').iterdir()) < 16e6
    assert not [n for n in names if n.startswith(('tests', 'tools', 'benchmarks', 'nbs'))]
    assert (
        'legal-llm = legal_llm.cli:main' in read['entry_points.txt']
        and 'legal_llm = legal_llm._modidx:d' in read['entry_points.txt']
    )
    assert [Requirement(r) for r in re.findall(r'^Requires-Dist: ([^;\n]+)$', read['METADATA'], re.M)] == [
        Requirement(p.spec) for p in PACKAGES
    ]
    assert (
        f"Requires-Python: >={settings['min_python']}" in read['METADATA'] and 'License: Apache-2.0' in read['METADATA']
    )


def test_the_first_cell_of_a_week_installs_the_library(built, tmp_path):
    """Offline Kaggle: a wheel lies among the inputs. In an empty environment the cell installs it, with nothing else;
    run again, it asks pip for nothing
    """
    import badges

    inputs = tmp_path / 'input' / 'wheels'
    inputs.mkdir(parents=True)
    shutil.copy(built[1], inputs)
    venv.create(tmp_path / 'session', with_pip=True)
    cell = badges.install_cell().replace('/kaggle/input', str(inputs.parent))
    cell += (
        '\nimport importlib.metadata as m\nprint(setup_session.__module__, sorted(d.name for d in m.distributions() if '
        'd.name not in ("pip", "setuptools", "wheel")))'
    )
    for variables in ({}, {'PIP_NO_INDEX': '1', 'PIP_FIND_LINKS': ''}):
        done = subprocess.run(
            [tmp_path / 'session/bin/python', '-c', cell],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={'PATH': os.environ['PATH'], **variables},
        )
        assert done.stdout.strip() == "legal_llm.machine.doctor ['legal_llm']", done.stderr
        for wheel in inputs.glob('*.whl'):
            wheel.unlink()  # the second time, there is none


def test_the_first_cell_comes_from_the_settings():
    "Without a wheel, the repository that settings.ini names, at its branch"
    import badges

    cell = badges.install_cell(dict(user='someone', repo='a_fork', branch='dev', lib_name='legal_llm'))
    assert 'git+https://github.com/someone/a_fork@dev' in cell
    compile(cell, 'cell', 'exec')


def test_the_command_is_installed():
    from importlib.metadata import entry_points

    found = {e.name: e for e in entry_points(group='console_scripts') if e.value.startswith('legal_llm')}
    assert callable(found['legal-llm'].load())


def test_make_says_what_it_needs(root, tmp_path):
    "Without a Python in range, one sentence tells what to do, and nothing is made"
    for name in ('Makefile', 'setup.py', 'settings.ini'):
        shutil.copy(root / name, tmp_path)
    shutil.copytree(root / 'requirements', tmp_path / 'requirements')
    done = subprocess.run(['make', 'PYTHON=', 'run'], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode and 'No Python 3.11, 3.12 or 3.13' in done.stdout and not (tmp_path / '.venv').exists()
    listed = subprocess.run(['make'], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert {'run', 'test', 'docs', 'demo', 'clean'} <= set(re.findall(r'make (\w+)', listed))


def test_workflows(root):
    "Continuous integration runs what a person runs"
    jobs = {
        p.name: yaml.safe_load(p.read_text(encoding='utf-8'))['jobs']
        for p in (root / '.github/workflows').glob('*.yml')
    }
    assert jobs['test.yml']['test']['strategy']['matrix']['python'] == ['3.11', '3.12', '3.13']
    assert any('.ci/run' in str(step.get('run')) for step in jobs['test.yml']['test']['steps'])
    assert any('make docs' in str(step.get('run')) for step in jobs['docs.yml']['build']['steps'])
