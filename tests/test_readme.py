"What README promises can be typed in: its code runs, its commands are commands, its targets are targets."

import re
import shlex

import pytest

import legal_llm
from legal_llm.synthetic import write_contracts


@pytest.fixture(scope='module')
def readme(root):
    return (root / 'README.md').read_text(encoding='utf-8')


def blocks(text, language):
    return re.findall(rf'```{language}\n(.*?)```', text, re.S)


def test_the_code_runs(readme, root, tmp_path, monkeypatch):
    """Every block of Python, in order: the first where a contract lies, with what the package ships; the others where
    the results are
    """
    from docx import Document

    document, contract = Document(), write_contracts(1, seed=4)[0]
    for line in contract.text.split('\n'):
        document.add_paragraph(line)
    document.save(tmp_path / 'contract.docx')
    made, first, *others = {}, *blocks(readme, 'python')
    monkeypatch.chdir(tmp_path)
    exec(first.replace('contract.pdf', 'contract.docx'), made)  # nothing here writes PDF
    assert (
        made['review'].found('Governing Law')
        and made['review'].title == 'contract'
        and 'Governing Law' in made['review']._repr_html_()
    )
    monkeypatch.chdir(root / 'nbs')
    for code in others:
        exec(code, made)
    assert len(others) >= 2


def test_the_commands_are_commands(readme, root):
    from legal_llm.cli import parser

    lines = [
        line.partition('#')[0].split() for block in blocks(readme, 'sh') for line in block.splitlines() if line.strip()
    ]
    assert len(lines) > 15
    targets = re.findall(r'^([a-z-]+):', (root / 'Makefile').read_text(encoding='utf-8'), re.M)
    for program, *rest in lines:
        if program == 'make':
            assert set(rest) <= set(targets), rest
        else:
            assert program == 'legal-llm', program
            assert parser(rest[0]).parse_args(shlex.split(' '.join(rest))).function


def test_the_names_that_most_people_need():
    assert len(legal_llm.__all__) == 12 and all(callable(getattr(legal_llm, name)) for name in legal_llm.__all__)
    assert {'Extractor', 'prepare_data', '__version__'} <= set(dir(legal_llm))
    with pytest.raises(AttributeError, match="no attribute 'Extracter'"):
        legal_llm.Extracter
