"""How readable the notebooks are, in numbers.

python tools/style.py
"""

import ast
import io
import statistics
import tokenize
from collections import Counter

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


def typed(tree: ast.Module) -> tuple[int, int]:
    """Public arguments and results with a type, and all of them: of functions at module level and of methods. `Any` and
    what a decorator gives count as untyped; `self`, `cls` and results of `__init__` do not count.
    """
    have = of = 0
    owners = [tree, *(n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith('_'))]
    for function in (n for owner in owners for n in owner.body if isinstance(n, ast.FunctionDef)):
        if function.name.startswith('_') and function.name != '__init__':
            continue
        a = function.args
        types = [x.annotation for x in (*a.posonlyargs, *a.args, *a.kwonlyargs) if x.arg not in ('self', 'cls')]
        types += [function.returns] if function.name != '__init__' else []
        of += len(types)
        have += sum(t is not None and ast.unparse(t) != 'Any' for t in types)
    return have, of


def module_level_names(tree: ast.Module) -> list[str]:
    "What a module defines for others."
    out = [n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
    patches = [n.name for n in tree.body if isinstance(n, ast.FunctionDef) and is_patch(n)]
    targets = [t for n in tree.body if isinstance(n, ast.Assign) for t in n.targets]
    out += [x.id for t in targets for x in (t.elts if isinstance(t, ast.Tuple) else [t]) if isinstance(x, ast.Name)]
    return [name for name in out if name not in patches and name != '__all__']


def is_patch(function: ast.FunctionDef) -> bool:
    return any('patch' in ast.unparse(d).split('(')[0].split('.') for d in function.decorator_list)


def structure(modules: dict[str, str]) -> dict:
    "Counts that need the syntax tree."
    trees = [ast.parse(code) for code in modules.values()]
    nodes = [n for tree in trees for n in ast.walk(tree)]
    functions = [n for n in nodes if isinstance(n, ast.FunctionDef)]
    assignments = [n for n in nodes if isinstance(n, ast.Assign)]
    several = sum(isinstance(t, ast.Tuple) for n in assignments for t in n.targets[:1])
    longest = max(functions, key=lambda f: f.end_lineno - f.lineno)
    names = Counter(name for tree in trees for name in set(module_level_names(tree)))
    have, of = map(sum, zip(*map(typed, trees)))
    return {
        'patches': sum(map(is_patch, functions)),
        'several targets in one assignment': f'{several / len(assignments):.1%}',
        'names at module level twice': ', '.join(sorted(n for n, k in names.items() if k > 1)) or 0,
        'longest function': f'{longest.name}, {longest.end_lineno - longest.lineno + 1} lines',
        'typed public arguments and results': f'{have / of:.0%}',
    }


def numbers() -> dict:
    out, sizes, written, silent = {}, [], [], []
    for path in sorted(notebooks(), key=page):
        name, nb = page(path), nbformat.read(path, as_version=4)
        cells, code = exported(nb), [c for c in nb.cells if c.cell_type == 'code']
        sizes += [len(c) for c in cells]
        written += [c.source for c in code]
        if cells and not any(
            c.outputs for c in code if not {'export', 'exports', 'hide'} & directives(c.source).keys()
        ):
            silent.append(name)
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
    out |= structure(modules)
    out['notebooks that show nothing'] = ', '.join(silent) or 0
    return out


if __name__ == '__main__':
    for name, value in numbers().items():
        print(f'{name:34}', value if not isinstance(value, dict) else ', '.join(f'{k} {v}' for k, v in value.items()))
