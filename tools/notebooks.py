"""Execute notebooks, each in a process of its own.

python tools/notebooks.py                    execute all notebooks, store their outputs, clean them
python tools/notebooks.py doctor week1_data   these only
python tools/notebooks.py --dry-run doctor   execute, store nothing (what the tests do)
"""

import argparse
import multiprocessing
import os
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT / 'nbs'
KEPT = ['tags']  # of a cell's metadata, as settings.ini says
# As the site lists them
ORDER = re.findall(r'^ *- ([\w/]+)\.ipynb$', (ROOT / '_quarto.yml').read_text(encoding='utf-8'), re.M)


def with_parameters(nb, parameters: dict):
    """A notebook with a cell of assignments behind the one that is tagged `parameters`, as papermill does it. Raises
    ValueError where there is none.
    """
    if parameters:
        at = [i for i, cell in enumerate(nb.cells) if 'parameters' in cell.metadata.get('tags', ())]
        if len(at) != 1:
            raise ValueError(f'{len(at)} cells have the tag parameters, and one is needed for {sorted(parameters)}')
        source = '\n'.join(f'{name} = {value!r}' for name, value in parameters.items())
        nb.cells.insert(at[0] + 1, nbformat.v4.new_code_cell(source))
    return nb


def page(path: Path) -> str:
    "A notebook's path below nbs, without its ending: `week1_data`, `pipeline/screen`"
    return f'{path.parent.name}/{path.stem}' if path.parent.parent == NBS else path.stem


def notebooks() -> list[Path]:
    """All notebooks, those of the wings included, in the order in which they tell the story; ones that ORDER does
    not know come last
    """
    rank = {name: i for i, name in enumerate(ORDER)}
    found = [*NBS.glob('*.ipynb'), *NBS.glob('[a-z]*/*.ipynb')]
    return sorted(found, key=lambda p: (rank.get(page(p), len(rank)), page(p)))


def directives(source: str) -> dict[str, str]:
    "The `#| name: value` lines that open a code cell"
    found = {}
    for line in source.splitlines():
        if not line.strip():
            continue
        if not line.startswith('#|'):
            break
        name, _, value = line[2:].strip().replace(':', ' ').partition(' ')
        found[name] = value.strip()
    return found


def skipped(cell, flags: set[str]) -> bool:
    """Whether a code cell is not executed: nbdev_test's own rules, that is `eval: false` and the `tst_flags` of
    settings.ini
    """
    found = directives(cell.source)
    return found.get('eval', '').lower() == 'false' or bool(flags & found.keys())


class Client(NotebookClient):
    "Executes the cells that are to be executed and leaves the others as they are"

    flags: set[str] = set()

    async def async_execute_cell(self, cell, cell_index, **kwargs):
        if cell.cell_type == 'code' and skipped(cell, self.flags):
            return cell
        return await super().async_execute_cell(cell, cell_index, **kwargs)


def skip_flags() -> set[str]:
    from configparser import ConfigParser

    ini = ConfigParser(delimiters=['='])
    ini.read(ROOT / 'settings.ini', encoding='utf-8')
    return set(ini['DEFAULT'].get('tst_flags', '').split())


def _environment(path: Path) -> dict[str, str]:
    "What a notebook's process sees: no trace of a test, and for one of a wing, the folders that the weeks made"
    env = {k: v for k, v in os.environ.items() if k not in ('IN_TEST', 'MPLBACKEND')}
    env.setdefault("PYTHONWARNINGS", "ignore:IProgress not found")  # tqdm's, where a notebook has no widgets
    return {'LEGAL_LLM_WORKING': str(NBS), **env} if path.parent.parent == NBS else env


def execute(path: Path, store: bool = False, **parameters) -> float:
    """Execute a notebook in a fresh process, in its own folder; store the outputs if asked to. Returns seconds; raises
    CellExecutionError.

    `parameters` are set behind the notebook's own, and then nothing can be stored."""
    if store and parameters:
        raise ValueError('outputs of a notebook with other parameters than its own are not stored')
    start = time.time()
    nb = with_parameters(nbformat.read(path, as_version=4), parameters)
    client = Client(
        nb,
        timeout=None,
        kernel_name='python3',
        resources={'metadata': {'path': str(path.parent)}},
        extra_arguments=['--IPKernelApp.log_level=40'],
    )
    client.flags = skip_flags()
    client.execute(env=_environment(path))
    if store:
        from execnb.nbio import loads, write_nb
        from nbdev.clean import clean_nb

        clean = loads(nbformat.writes(tidy_outputs(nb)))
        clean_nb(clean, allowed_cell_metadata_keys=KEPT)
        write_nb(clean, path)
    return time.time() - start


# Imported once for all notebooks that `run` executes: most of them take longer to import these than to run.
PRELOADED = 'torch transformers peft sklearn.svm sklearn.ensemble scipy.stats datasets pandas matplotlib.figure IPython'


def run(path: Path, **parameters) -> None:
    """Execute a notebook as `execute` does, but store nothing, in a process that is forked off one which has imported
    the large libraries. Raises RuntimeError with the cell that failed and its traceback.
    """
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(PRELOADED.split())
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_run_here, args=(path, parameters, _environment(path), theirs))
    child.start()
    theirs.close()
    try:
        failure = ours.recv()
    except EOFError:
        child.join()
        failure = f'its process ended with exit code {child.exitcode}'
    child.join()
    if failure:
        raise RuntimeError(f'{page(path)}: {failure}')


def _run_here(path: Path, parameters: dict, env: dict, results) -> None:
    from execnb.shell import CaptureShell

    os.environ.clear()
    os.environ.update(env)
    os.chdir(path.parent)
    nb, flags = with_parameters(nbformat.read(path, as_version=4), parameters), skip_flags()
    shell = CaptureShell(path)
    for cell in nb.cells:
        if cell.cell_type != 'code' or skipped(cell, flags):
            continue
        done = shell._run(cell.source)
        if done.exception and 'raises-exception' not in cell.metadata.get('tags', ()):
            results.send(f'{cell.source}\n\n{done.stdout}\n{done.stderr}\n{done.exception!r}')
            return
    results.send('')


def _from_nbs(text: str) -> str:
    "Paths in the folder of the notebooks, as a notebook that lies there shows them"
    home = f'~/{NBS.relative_to(Path.home())}' if NBS.is_relative_to(Path.home()) else str(NBS)
    return re.sub(rf'(?:{re.escape(str(NBS))}|{re.escape(home)})(?![\w.-])', '.', text)


def tidy_outputs(nb):
    """Make stored outputs steady and free of the machine's paths.

    Stream outputs that arrived in pieces are joined; a carriage return overwrites its line, so a progress bar leaves
    its last state only; the plain text beside a Markdown or HTML table, which nobody sees, goes, and so do widgets: a
    stored one is a progress bar in its first state.
    """
    nb.metadata.pop('widgets', None)
    for cell in nb.cells:
        if cell.cell_type != 'code':
            continue
        joined = []
        for out in cell.outputs:
            if (
                out.output_type == 'stream'
                and joined
                and joined[-1].output_type == 'stream'
                and joined[-1].name == out.name
            ):
                joined[-1].text += out.text
            else:
                joined.append(out)
        for out in joined:
            if out.output_type == 'stream':
                out.text = '\n'.join(line.rstrip('\r').split('\r')[-1] for line in out.text.split('\n'))
                out.text = _from_nbs(out.text)
            elif {'text/markdown', 'text/html'} & out.get('data', {}).keys():
                out.data.pop('text/plain', None)
            for kind in out.get('data', {}).keys() & {'text/plain', 'text/markdown', 'text/html'}:
                out.data[kind] = _from_nbs(out.data[kind])
        cell.outputs = [o for o in joined if 'application/vnd.jupyter.widget-view+json' not in o.get('data', {})]
    return nb


def main() -> int:
    parser = argparse.ArgumentParser(description='Execute notebooks, each in a process of its own')
    parser.add_argument('names', nargs='*', help='notebooks, such as week1_data or pipeline/screen; none: all')
    parser.add_argument('--dry-run', action='store_true', help='store nothing')
    args = parser.parse_args()
    known = {page(p): p for p in notebooks()}
    unknown = [n for n in args.names if n not in known]
    if unknown:
        parser.error(f"no such notebook: {', '.join(unknown)}; there are {', '.join(known)}")
    for name in args.names or known:
        print(f'{name} …', end=' ', flush=True)
        try:
            print(f'{execute(known[name], store=not args.dry_run):.0f} s')
        except CellExecutionError as e:
            print(f'failed\n{e}')
            return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
