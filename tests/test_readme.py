"What README promises can be typed in: its code runs, its commands are commands, its targets are targets."

import re
import shlex
import textwrap

import nbformat
import pytest

import legal_llm
from legal_llm.contracts.answers import parse_answer, same_answer
from legal_llm.contracts.synthetic import write_contracts
from legal_llm.pipeline.deal import deal_text
from legal_llm.pipeline.extract import Extractor


@pytest.fixture(scope='module')
def readme(root):
    return (root / 'README.md').read_text(encoding='utf-8')


def blocks(text, language):
    return re.findall(rf'```{language}\n(.*?)```', text, re.S)


def test_the_code_runs(readme, tmp_path, monkeypatch):
    "The first lines that a newcomer types, where a contract lies, with what the package ships"
    from docx import Document

    document, contract = Document(), write_contracts(1, seed=4)[0]
    for line in contract.text.split('\n'):
        document.add_paragraph(line)
    document.save(tmp_path / 'contract.docx')
    made, [first] = {}, blocks(readme, 'python')
    monkeypatch.chdir(tmp_path)
    exec(first.replace('contract.pdf', 'contract.docx'), made)  # nothing here writes PDF
    assert (
        made['review'].found('Governing Law')
        and made['review'].title == 'contract'
        and 'Governing Law' in made['review']._repr_html_()
    )


@pytest.mark.parametrize('page, least', [('README.md', 7), ('nbs/howto.ipynb', 32), ('CONTRIBUTING.md', 5)])
def test_the_commands_are_commands(root, page, least):
    from legal_llm.cli import parser

    text = (root / page).read_text(encoding='utf-8')
    if page.endswith('ipynb'):
        text = '\n'.join(c.source for c in nbformat.reads(text, 4).cells)
    lines = [
        line.partition('#')[0].split() for block in blocks(text, 'sh') for line in block.splitlines() if line.strip()
    ]
    assert len(lines) >= least
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


# Names and conditions that have digits in them, and are no measurement
NAMES = r"""SmolLM2 Llama\s3\.2\s3B H200 T4 P100 \b3B\b Python\s3\.11\sto\s3\.13 CC\sBY\s4\.0 Apache\s2\.0
    41\sclause\scategories autumn\sof\s2024 autumn\s2024 [Ww]eek\s\d 80%\srecall P@80R the\sweight\s0 95%""".split()


@pytest.fixture(scope='module')
def shown():
    "The contract whose deal sheet the README shows, and its review"
    contract = write_contracts(1, seed=53, wordings='held_out', words=700)[0]
    return contract, Extractor.load(fast=True).extract(contract.text, contract.title)


def test_what_it_shows_is_right(readme, shown):
    "What the command prints, and each answer that of the contract's key; nothing is found that is not there"
    contract, review = shown
    assert textwrap.indent(deal_text(review.rows()), '    ') in readme
    for category, text in contract.answers.items():
        assert same_answer(category, review.answers[category].value, parse_answer(category, text)), category
    statuses = review.statuses
    assert {c for c in statuses if statuses[c] == 'found'} <= contract.categories


def test_every_number_comes_from_a_results_file(readme, root, shown):
    "The table is what the results files give now, and beside it stands no number that somebody typed"
    from legal_llm.evaluation.report import show_summary

    results = root / 'nbs/results'
    summary = show_summary(results / 'default.json', results / 'published.json').data

    def words(text):
        return re.sub(r'[\s|:\\*-]+', ' ', re.sub(r'\]\([^)]*\)', ']', text))

    text = words(re.sub(r'```.*?```', '', readme, flags=re.S))
    for part in (summary, deal_text(shown[1].rows())):
        assert words(part).strip() in text
        text = text.replace(words(part).strip(), '')
    left = re.sub('|'.join(NAMES), '', text)
    assert re.findall(r'.{30}\d[\d.,%]*.{10}', left) == []


def test_it_is_short(readme):
    "A screen and a half, tables and output aside"
    prose = re.sub(r'```.*?```|^\|.*|^ {4}.*|\]\([^)]*\)', '', readme, flags=re.S | re.M)
    assert len(prose.split()) <= 900
