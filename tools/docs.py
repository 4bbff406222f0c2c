"""Build the site in _docs from the notebooks' stored outputs, and README.md from nbs/index.ipynb.

    python tools/docs.py

nbdev turns the notebooks into pages (in _proc: signatures, links between functions, hidden cells gone). Quarto lays
them out where it is installed, else smalldocs, which is pure Python and reads the same _quarto.yml; nbdev's own
command would stop without Quarto. Of the notebooks, only imports and exported cells are executed; everything shown is
a stored output.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / 'legal_llm/assets'


def process() -> Path:
    "Turn the notebooks into pages. Returns the folder that holds them."
    import nbdev.doclinks
    from nbdev.config import get_config
    from nbdev.quarto import refresh_quarto_yml
    from nbdev.serve import proc_nbs

    os.environ.pop('IN_TEST', None)  # nbdev would leave its index as it is
    cfg = get_config()
    refresh_quarto_yml()
    nbdev.doclinks._build_modidx()
    cache = proc_nbs(cfg.nbs_path, n_workers=0, force=True)
    # what the notebooks made when they were executed here: reports that quote contracts are no pages
    for name in ('data', 'runs', 'review', 'share'):
        for left in (cache / name, *cache.glob(f'*/{name}')):
            shutil.rmtree(left, ignore_errors=True)
    shutil.copytree(
        PICTURES, cache / 'images', ignore=lambda _, names: [n for n in names if n[-4:] not in ('.png', '.svg')]
    )
    # nbdev renames 01_x to x; our files keep their names, and smalldocs would miss them
    for page in cache.rglob('*.ipynb'):
        text = page.read_text(encoding='utf-8')
        text = re.sub(r'^\s*"output-file: [^"]*\\n",\n', '', text, flags=re.M)
        text = text.replace('](../../legal_llm/assets/', '](../images/').replace('](../legal_llm/assets/', '](images/')
        page.write_text(text, encoding='utf-8')
    return cache


def with_quarto(cache: Path) -> str:
    "Lay the site out with Quarto. Returns README's text."
    for line in (['render', '--no-cache'], ['render', 'index.ipynb', '-t', 'gfm', '-o', 'README.md', '--no-execute']):
        subprocess.run(['quarto', *line], cwd=cache, check=True)
    readme = next(p for p in (cache / '_docs/README.md', cache / 'README.md') if p.exists())
    text = readme.read_text(encoding='utf-8')
    readme.unlink()
    return text


def with_smalldocs(cache: Path) -> str:
    "Lay the site out with smalldocs. Returns README's text."
    from smalldocs.site import build

    site = build(cache, quiet=True)
    targets = {target for _, target in site.broken}
    for warning in site.warnings:
        if 'broken link' not in warning:
            print(f'warning: {warning}', file=sys.stderr)
    if targets:
        raise SystemExit(
            'links to pages that are not there: '
            + ', '.join(f"{t} (from {next(page for page, to in site.broken if to == t)})" for t in sorted(targets))
        )
    home = cache / '_docs/index.llms.md'
    return home.read_text(encoding='utf-8') if home.exists() else ''


def readme(text: str) -> str:
    "The home page as README.md: without comments, with links to pages as links to their notebooks"
    text = re.sub(r'<!--.*?-->\s*', '', text, flags=re.S)
    text = re.sub(r'\]\((?:\./)?([\w/-]+)\.(?:llms\.md|html|ipynb)(#[\w-]+)?\)', r'](nbs/\1.ipynb\2)', text)
    text = text.replace('](images/', '](legal_llm/assets/')
    return '<!-- Made from nbs/index.ipynb by `make docs`: edit that notebook. -->\n\n' + text.strip() + '\n'


def main() -> None:
    os.chdir(ROOT)
    cache, docs = process(), ROOT / '_docs'
    text = with_quarto(cache) if shutil.which('quarto') else with_smalldocs(cache)
    shutil.rmtree(docs, ignore_errors=True)
    shutil.move(cache / '_docs', docs)
    if text:
        (ROOT / 'README.md').write_text(readme(text), encoding='utf-8')
        if (docs / 'index_files').is_dir():
            shutil.copytree(docs / 'index_files', ROOT / 'index_files', dirs_exist_ok=True)
    pages = sorted(p.relative_to(docs).as_posix() for p in docs.rglob('*.html'))
    print(f"{len(pages)} pages in _docs; open _docs/{'index.html' if 'index.html' in pages else pages[0]}")


if __name__ == '__main__':
    main()
