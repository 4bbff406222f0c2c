"""The house as its imports draw it, those inside functions included: a wing imports only wings below it, and no modules
import each other in a circle.
"""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
import yaml

# From below. The weeks and the command line lie on top of all wings, in no folder.
WINGS = 'machine documents scores contracts pipeline training evaluation serving faces'.split()
TOP = len(WINGS)


def imports(path: Path, package: list[str]) -> set[str]:
    "The names below legal_llm that a module imports, wherever in it; `package` is the folder that it lies in"
    out = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            out |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = ['legal_llm', *package][: len(package) + 2 - node.level] if node.level else []
            base = '.'.join([*above, *([node.module] if node.module else [])])
            out |= {base, *(f'{base}.{alias.name}' for alias in node.names)}
    return {name.removeprefix('legal_llm.') for name in out if name.startswith('legal_llm.')}


def read_house(lib: Path) -> dict[str, set[str]]:
    "Each module of a package, and the modules that it imports"
    paths = {
        '.'.join(p.relative_to(lib).with_suffix('').parts): p
        for p in lib.rglob('*.py')
        if p.name not in ('__init__.py', '_modidx.py')
    }
    return {name: imports(p, name.split('.')[:-1]) & paths.keys() for name, p in paths.items()}


def floor(module: str) -> int:
    "How high a module lies"
    wing, dot, _ = module.partition('.')
    return WINGS.index(wing) if dot else TOP


def climbs(house: dict[str, set[str]], wing: str) -> list[str]:
    "The imports of a wing that go up"
    return sorted(
        f'{module} imports {other}'
        for module, others in house.items()
        if module.startswith(f'{wing}.')
        for other in others
        if floor(other) > floor(module)
    )


def circle(house: dict[str, set[str]]) -> list[str]:
    "Modules that import each other in a circle; none where there is no circle"
    try:
        TopologicalSorter(house).prepare()
    except CycleError as e:
        return e.args[1]
    return []


@pytest.fixture(scope='module')
def house(root) -> dict[str, set[str]]:
    return read_house(root / 'legal_llm')


def test_every_module_lies_in_a_wing_or_on_top(house):
    assert {module.split('.')[0] for module in house if '.' in module} == set(WINGS)


@pytest.mark.parametrize('wing', WINGS)
def test_a_wing_imports_only_wings_below_it(house, wing):
    assert climbs(house, wing) == []


def test_no_modules_import_each_other_in_a_circle(house):
    assert circle(house) == []


def test_the_site_lists_the_wings_from_below(root):
    text = (root / '_quarto.yml').read_text(encoding='utf-8')
    entries = yaml.safe_load(text)['website']['sidebar']['contents']
    pages = [page for e in entries if isinstance(e, dict) for page in e['contents']]
    assert list(dict.fromkeys(page.split('/')[0] for page in pages if '/' in page)) == WINGS


@pytest.fixture
def crooked(tmp_path) -> dict[str, set[str]]:
    "A package in which a room imports one above it inside a function, and two import each other"
    for name, text in {
        '__init__.py': 'from . import cli',
        'machine/files.py': 'def save():\n    from ..serving import folder\n    return folder',
        'machine/rules.py': 'from .files import save',
        'serving/folder.py': 'def scale():\n    from legal_llm.serving.scale import start\n    return start',
        'serving/scale.py': 'import legal_llm.serving.folder',
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return read_house(tmp_path)


def test_an_import_inside_a_function_that_goes_up_is_found(crooked):
    assert climbs(crooked, 'machine') == ['machine.files imports serving.folder']


def test_an_import_inside_a_wing_is_read(crooked):
    assert crooked['machine.rules'] == {'machine.files'}


def test_a_circle_is_found(crooked):
    assert set(circle(crooked)) == {'serving.folder', 'serving.scale'}
