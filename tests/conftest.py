"Shared by all tests: the tools can be imported, nothing goes to the network or to the user's folders, and the notebooks come last."

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'tools'))
os.environ.setdefault('HF_HUB_OFFLINE', '1')
os.environ.setdefault('GRADIO_ANALYTICS_ENABLED', 'False')
os.environ.setdefault('MPLBACKEND', 'agg')


def pytest_collection_modifyitems(items):
    "Quick tests first: what is wrong should be known in seconds, not after the notebooks have trained a model"
    items.sort(key=lambda item: item.path.name == 'test_notebooks.py')  # a stable sort: the rest keeps its order


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
