"""Shared by all tests: the tools can be imported, nothing goes to the network or to the user's folders, and the
notebooks come last.
"""

import os
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'tools'))
os.environ.setdefault('HF_HUB_OFFLINE', '1')
os.environ.setdefault('GRADIO_ANALYTICS_ENABLED', 'False')
os.environ.setdefault('MPLBACKEND', 'agg')


# One process a core (`-n auto`), each pinned to its own, so that the numerical libraries of two do not fight for both.
def pytest_xdist_auto_num_workers(config):
    from legal_llm.machine.platform import cores

    return min(cores(), 4)


def pytest_configure(config):
    worker = os.environ.get('PYTEST_XDIST_WORKER')
    if worker and hasattr(os, 'sched_setaffinity'):
        mine = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, mine[int(worker[2:]) % len(mine) :: int(os.environ['PYTEST_XDIST_WORKER_COUNT'])])


def _shares(notebook: Path) -> bool:
    "Whether a notebook works on the folder that week 1 makes: one process runs all of these, in their order."
    text = notebook.read_text(encoding='utf-8')
    return re.search(r'week1_data\b(?!\.)', text) is not None or notebook.stem == 'week1_data'


def pytest_collection_modifyitems(items):
    """In one process, quick tests come first: what is wrong should be known in seconds. In several, the notebooks do,
    since they take longest.
    """
    several = 'PYTEST_XDIST_WORKER' in os.environ
    if os.environ.get('CI'):
        for item in items:
            if item.get_closest_marker('slow'):
                item.add_marker(pytest.mark.skip(reason='slow: make test runs it'))
    for item in items:
        group = item.path.stem
        if item.originalname == 'test_notebook':
            group = 'weeks' if _shares(item.callspec.params['path']) else item.callspec.id
        item.add_marker(pytest.mark.xdist_group(group))
    # a stable sort: the rest keeps its order
    items.sort(key=lambda item: (item.path.name == 'test_notebooks.py') != several)


@pytest.fixture(scope='session')
def root() -> Path:
    "The repository"
    return ROOT


@pytest.fixture(scope='session')
def outputs(tmp_path_factory) -> Path:
    "One folder for the outputs of all notebooks, so that a week finds what the week before it made"
    return tmp_path_factory.mktemp('outputs')


@pytest.fixture(scope='session')
def tiny(tmp_path_factory) -> Path:
    "The folder of a base model that trains in milliseconds"
    from tiny import make_tiny

    return make_tiny(tmp_path_factory.mktemp('tiny'))


@pytest.fixture(scope='session')
def tiny_data(tmp_path_factory) -> Path:
    "The folder of a small data set"
    from tiny import make_data

    return make_data(tmp_path_factory.mktemp('tiny_data') / 'data')


@pytest.fixture(scope='session')
def screen_run(tmp_path_factory) -> Path:
    "The folder of a screen fitted on synthetic contracts, as it would come with the package"
    from legal_llm.contracts.categories import CATEGORIES
    from legal_llm.contracts.synthetic import write_contracts
    from legal_llm.machine.files import save_json
    from legal_llm.pipeline.screen import fit_screen, save_screen

    folder = save_screen(fit_screen(write_contracts(60), CATEGORIES)[0], tmp_path_factory.mktemp('screen') / 'written')
    save_json(folder / 'legal_llm.json', dict(name='the screen of synthetic contracts'))
    return folder
