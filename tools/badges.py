"""Write the badges that open a notebook on Colab or Kaggle, and its first code cell, which installs the library there,
from the addresses in settings.ini.

python tools/badges.py            renew badges and cells of the notebooks that carry them
python tools/badges.py --check    change nothing; exit code 1 and a list when some are out of date
"""

import argparse
import sys
from configparser import ConfigParser

import nbformat
from notebooks import NBS, ROOT

WEEKS = 'week1_data', 'week2_train', 'week3_eval', 'week4_demo'
NAMES = 'index', *WEEKS
START = '[![Open in Colab]'
UNSET = 'OWNER'  # `user` in settings.ini until somebody has put a name there: badges would lead nowhere
NOTE = '*No owner yet*'
INSTALL = '# Install legal_llm where it is missing'


def settings() -> dict[str, str]:
    "The metadata in settings.ini"
    ini = ConfigParser(delimiters=['='])
    ini.read(ROOT / 'settings.ini', encoding='utf-8')
    return dict(ini['DEFAULT'])


def badges(name: str, cfg: dict[str, str] | None = None) -> str:
    """Markdown that opens notebook `name` (without folder and ending) on Colab and on Kaggle. Without an owner: a
    sentence on the home page, and nothing elsewhere.
    """
    cfg = cfg or settings()
    if cfg['user'] == UNSET:
        what = 'put one into `settings.ini`, and `python tools/badges.py` writes the badges for Colab and Kaggle.'
        return f'{NOTE}: {what}' if name == 'index' else ''
    name = 'week1_data' if name == 'index' else name  # the home page opens the first week
    path = f"{cfg['user']}/{cfg['repo']}/blob/{cfg['branch']}/{cfg['nbs_path']}/{name}.ipynb"
    return (
        f'{START}(https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/{path})\n'
        '[![Open in Kaggle]'
        f'(https://kaggle.com/static/images/open-in-kaggle.svg)](https://kaggle.com/kernels/welcome?src=https://github.com/{path})'
    )


def install_cell(cfg: dict[str, str] | None = None) -> str:
    """The first code cell of a week: it runs before the library is there, so it needs Python only. Where the library is
    there, it does nothing.
    """
    cfg = cfg or settings()
    return f"""{INSTALL}, from a wheel among the inputs or from its repository
import importlib.util
import pathlib
import subprocess
import sys

if importlib.util.find_spec({cfg['lib_name']!r}) is None:
    wheels = sorted(map(str, pathlib.Path('/kaggle/input').rglob('{cfg['lib_name']}-*.whl')))
    source = wheels[-1] if wheels else 'git+https://github.com/{cfg['user']}/{cfg['repo']}@{cfg['branch']}'
    subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', source], check=True)
from {cfg['lib_name']}.machine.doctor import setup_session"""


def renew(name: str, write: bool = True, cfg: dict[str, str] | None = None) -> bool:
    """Put the badges into the second cell of a notebook, below its title, and renew the installing cell of a week.
    Returns whether both were there already, and right.
    """
    path = NBS / f'{name}.ipynb'
    nb = nbformat.read(path, as_version=4)
    text, cells = badges(name, cfg), nb.cells
    known = [c.cell_type == 'markdown' and c.source.startswith((START, NOTE)) for c in cells]
    at = known.index(True) if True in known else None
    install = next((c for c in cells if c.cell_type == 'code' and c.source.startswith(INSTALL)), None)
    right = name not in WEEKS or (install is not None and install.source == install_cell(cfg))
    if right and (cells[at].source if at is not None else '') == text:
        return True
    if not write:
        return False
    if at is not None and text:
        cells[at].source = text
    elif at is not None:
        del cells[at]
    elif text:
        cells.insert(1, nbformat.v4.new_markdown_cell(text))
    if install is not None:
        install.source = install_cell(cfg)
    from execnb.nbio import loads, write_nb

    write_nb(loads(nbformat.writes(nb)), path)  # as nbdev writes it, so that a later clean changes nothing
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description='Write the badges that open a notebook on Colab or Kaggle')
    parser.add_argument('--check', action='store_true', help='change nothing, only look')
    args = parser.parse_args()
    changed = [name for name in NAMES if (NBS / f'{name}.ipynb').exists() and not renew(name, write=not args.check)]
    if changed:
        print(('badges out of date: ' if args.check else 'badges renewed: ') + ', '.join(changed))
    return 1 if args.check and changed else 0


if __name__ == '__main__':
    sys.exit(main())
