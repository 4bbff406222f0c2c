"""How readable the notebooks are, in numbers.

python tools/style.py
"""

import ast
import io
import statistics
import tokenize

import nbformat
from notebooks import ROOT, directives, notebooks, page

WEEKS = 'week1_data', 'week2_train', 'week3_eval', 'week4_demo'
WIDTH = 120


def exported(nb) -> list[list[str]]:
    "The lines of code of each exported cell, without blank ones and directives."
    cells = [
        c.source for c in nb.cells if c.cell_type == 'code' and {'export', 'exports'} & directives(c.source).keys()
    ]
    return [[line for line in cell.splitlines() if line.strip() and not line.startswith('#|')] for cell in cells]


def joined(code: str) -> int:
    "Statements that a semicolon joins to the one before."
    return sum(t.type == tokenize.OP and t.string == ';' for t in tokenize.generate_tokens(io.StringIO(code).readline))


def code_lines(code: str) -> int:
    "Lines that hold code: no blank ones, comments or docstrings."
    kinds = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENCODING,
        tokenize.ENDMARKER,
    }
    lines = {
        n
        for t in tokenize.generate_tokens(io.StringIO(code).readline)
        if t.type not in kinds
        for n in range(t.start[0], t.end[0] + 1)
    }
    owners = (
        n
        for n in ast.walk(ast.parse(code))
        if isinstance(n, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(n)
    )
    return len(lines - {k for n in owners for k in range(n.body[0].lineno, n.body[0].end_lineno + 1)})


def numbers() -> dict:
    out, sizes, written = {}, [], []
    for path in sorted(notebooks(), key=page):
        name, nb = page(path), nbformat.read(path, as_version=4)
        cells, code = exported(nb), [c for c in nb.cells if c.cell_type == 'code']
        sizes += [len(c) for c in cells]
        written += [c.source for c in code]
        if name in WEEKS:
            lines = sum(len([x for x in c.source.splitlines() if x.strip()]) for c in code)
            shown = sum(bool(c.outputs) for c in code)
            out[name] = dict(
                cells=len(nb.cells),
                exported_share=round(sum(map(len, cells)) / lines, 2),
                shown_per_exported=round(shown / max(len(cells), 1), 2),
            )
    modules = {
        p.relative_to(ROOT / 'legal_llm').as_posix(): p.read_text(encoding='utf-8')
        for p in (ROOT / 'legal_llm').rglob('*.py')
        if p.name != '_modidx.py'
    }
    size = {n: code_lines(c) for n, c in modules.items()}
    largest = max(size, key=size.get)
    out['exported cells'] = dict(median=statistics.median(sizes), ninetieth=statistics.quantiles(sizes, n=10)[-1])
    # nbdev writes `__all__` and imports of the package in lines of its own length
    out[f'lines over {WIDTH}'] = sum(len(line) > WIDTH for c in written for line in c.splitlines())
    out['statements joined by a semicolon'] = sum(map(joined, modules.values()))
    out['largest module'] = f'{largest}, {size[largest]} lines of code'
    out['lines of code'] = sum(size.values())
    return out


if __name__ == '__main__':
    for name, value in numbers().items():
        print(f'{name:34}', value if not isinstance(value, dict) else ', '.join(f'{k} {v}' for k, v in value.items()))
