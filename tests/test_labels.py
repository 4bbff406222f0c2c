"Labels as tools and programs export them: each form is read as the plain one is, or refused by its name."

import json
import shutil
import warnings
from pathlib import Path

import pytest

from legal_llm.contracts.categories import CATEGORY
from legal_llm.contracts.labels import load_labels, near_names
from legal_llm.machine.files import LegalLLMError
from legal_llm.training.dataset import read_source

LABELS = Path(__file__).parent / 'labels'
OWN = LABELS / 'own_labels'
FORMS = LABELS / 'cuad_forms'


def read(path):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return read_source(str(path))[0]


def quotes(contracts):
    return sorted((k.category, k.text, k.start) for c in contracts for k in c.clauses)


OTHER_TEXT = {'cp1252.csv', 'html_entities.csv'}  # the same labels of contracts with a word more
SAME = (
    'array.json array.jsonl bom.csv capital_header.csv cp1252.csv doccano.jsonl html_entities.csv index_column.csv '
    'label_studio.csv label_studio.json label_studio_min.json labels.xlsx mac_cr.csv pretty.jsonl prodigy.jsonl '
    'semicolon_excel.csv sep_line.csv squad_rows.jsonl tab.csv tab.tsv utf16_unicode_text.csv'
)


@pytest.mark.parametrize('name', SAME.split())
def test_labels_are_read_alike(name):
    good, found = read(OWN / 'good.csv'), read(OWN / name)
    assert len(found) == len(good) == 3 and all(c.text[k.start : k.end] == k.text for c in found for k in c.clauses)
    drop = 2 if name in OTHER_TEXT else 3
    assert [q[:drop] for q in quotes(found)] == [q[:drop] for q in quotes(good)]


def test_cells_without_a_value_are_no_quotes():
    found = read(OWN / 'nan.csv')
    assert len(found) == 3 and len(quotes(found)) == 2


@pytest.mark.parametrize(
    'name, said',
    [
        (
            'wrong_header.csv',
            "expected the heading contract,category,quote,title; found text, label, answer, document: rename the "
            "columns",
        ),
        (
            'clause_header.csv',
            "the column 'quote' is missing; expected the heading contract,category,quote,title; found contract, "
            "category, clause, title",
        ),
        ('no_quote.csv', 'no labels in it that quote anything'),
        ('pdf_ref.csv', 'there is no file a0.pdf'),
    ],
)
def test_labels_that_cannot_be_read_are_named(name, said):
    with pytest.raises(LegalLLMError) as e:
        read(OWN / name)
    assert said in str(e.value) and 'full_contract_txt' not in str(e.value)


def test_labels_of_a_pdf(tmp_path):
    shutil.copytree(OWN, tmp_path / 'own')
    good = read(OWN / 'good.csv')
    (tmp_path / 'own' / 'contracts').mkdir()
    from test_documents import write_pdf

    for i, c in enumerate(sorted(good, key=lambda c: c.title)):
        write_pdf(
            tmp_path / 'own' / 'contracts' / f'a{i}.pdf',
            ['\n'.join(line for line in c.text.split('\n') if len(line) < 100) + MORE],
        )
    assert [q[:2] for q in quotes(read(tmp_path / 'own' / 'pdf_ref.csv'))] == [q[:2] for q in quotes(good)]


MORE = ' Further words of the contract follow here.' * 10  # since fewer than 50 are no contract


def export(**record):
    return json.dumps({'text': 'The law of Ohio governs. No party may assign.' + MORE, **record})


@pytest.mark.parametrize(
    'record, found',
    [
        (dict(label=[[4, 15, 'Governing Law']]), [('Governing Law', 4)]),
        (dict(labels=[[4, 15, 'governing law']]), [('Governing Law', 4)]),
        (dict(entities=[dict(start_offset=4, end_offset=15, label='GOVERNING_LAW')]), [('Governing Law', 4)]),
        (dict(spans=[dict(start=25, end=45, label='ANTI_ASSIGNMENT')], answer='accept'), [('Anti-Assignment', 25)]),
        (
            dict(
                annotations=[
                    dict(was_cancelled=True, result=[]),
                    dict(result=[dict(value=dict(start=4, end=15, labels=['Governing Law', 'Parties']))]),
                ]
            ),
            [('Parties', 4), ('Governing Law', 4)],
        ),
    ],
)
def test_the_exports_of_labelling_tools(tmp_path, record, found):
    "A contract without labels counts; one that was rejected does not"
    (tmp_path / 'a.jsonl').write_text(
        '\n'.join(
            [
                export(**record),
                json.dumps(dict(text='Nothing is in it.' + MORE, spans=[])),
                json.dumps(dict(text='Rejected' + MORE, spans=[], answer='reject')),
            ]
        )
    )
    contracts = read(tmp_path / 'a.jsonl')
    assert [c.text[:4] for c in contracts] == ['The ', 'Noth'] and [
        (k.category, k.start) for k in contracts[0].clauses
    ] == found
    (tmp_path / 'b.jsonl').write_text(export(label=[[40, 9000, 'Governing Law']]))
    with pytest.raises(LegalLLMError, match='the span 40 to 9000'):
        read(tmp_path / 'b.jsonl')


@pytest.mark.parametrize('name', ['bare_strings', 'curly_list', 'excel_semicolon', 'pandas_index', 'nan_cells'])
def test_the_table_of_clauses_as_programs_save_it(name):
    assert quotes(read(FORMS / name)) == quotes(read(FORMS / 'plain'))


@pytest.mark.parametrize('name', ['hf_to_json', 'hf_list', 'hf_to_csv', 'hf_save_to_disk'])
def test_the_rows_of_the_hub_as_datasets_saves_them(name):
    assert quotes(read(FORMS / name)) == quotes(read(FORMS / 'hf_parquet'))


def test_copies_that_a_notebook_makes_are_not_seen(tmp_path):
    shutil.copytree(FORMS / 'notebook_folder', tmp_path / 'n')
    (tmp_path / 'n' / '.ipynb_checkpoints').mkdir()
    shutil.copy(
        tmp_path / 'n' / 'CUAD_v1 (1).json', tmp_path / 'n' / '.ipynb_checkpoints' / 'CUAD_v1 (1)-checkpoint.json'
    )
    assert quotes(read(tmp_path / 'n')) == quotes(read(FORMS / 'notebook_folder' / 'CUAD_v1 (1).json'))


@pytest.mark.parametrize(
    'name, said',
    [
        ('contract_nli', 'it looks like ContractNLI'),
        ('ledgar', 'it looks like LEDGAR'),
        ('hf_parquet_clause_rows', 'found file_name, clause, label, class_id, start_at'),
        ('no_texts', 'the contracts are missing'),
    ],
)
def test_other_data_is_named(name, said):
    with pytest.raises(LegalLLMError, match=said):
        read(FORMS / name)


@pytest.mark.parametrize(
    'record',
    [
        dict(
            id=1,
            Full_Text='The law of Ohio governs.' + MORE,
            label=[dict(start=4, end=15, text='law of Ohio', labels=['Governing Law'])],
        ),
        dict(id=1, data='The law of Ohio governs.' + MORE, label=[[4, 15, 'Governing Law']]),
        dict(
            data=dict(html='<p>The <b>law</b> of Ohio governs.</p><p>' + MORE),
            annotations=[
                dict(
                    result=[
                        dict(
                            value=dict(
                                start='/p[1]',
                                end='/p[1]',
                                startOffset=4,
                                endOffset=15,
                                text='law of Ohio',
                                hypertextlabels=['Governing Law'],
                            )
                        )
                    ]
                )
            ],
        ),
        dict(
            text='The law of Ohio governs.' + MORE,
            label=[dict(start=3, end=14, text='law of Ohio', labels=['Governing Law'])],
        ),
    ],
    ids=["the column's own name", 'older Doccano', 'a web page', 'places that moved'],
)
def test_exports_that_name_or_place_their_text_otherwise(tmp_path, record):
    (tmp_path / 'a.json').write_text(json.dumps([record]))
    (contract,) = read(tmp_path / 'a.json')
    assert [(k.category, k.text, k.start) for k in contract.clauses] == [('Governing Law', 'law of Ohio', 4)]


def test_a_label_without_a_category_is_refused(tmp_path):
    (tmp_path / 'a.jsonl').write_text(
        json.dumps(dict(contract='The law of Ohio governs.' + MORE, category=None, quote='law of Ohio'))
    )
    with pytest.raises(LegalLLMError, match='category'):
        read(tmp_path / 'a.jsonl')


LEASE = (
    'LEASE\n\nBaker lets the shop at 4 Mill Lane to Carver from November on, notwithstanding other lets. '
    + 'The rent is due. ' * 20
) + '\n\nThis lease is governed by the laws of Oregon. Notice is in writing.'


def table(path, *rows):
    lines = [json.dumps(dict(contract=LEASE, title='Lease', category=c, quote=q)) for c, q in rows]
    path.write_text('\n'.join(lines))
    return path


def test_no_is_absent_and_yes_is_no_quote(tmp_path):
    "In every form of a table; no letters inside a word are a quote"
    rows = ('Governing Law', 'laws of Oregon'), ('Pets', 'No'), ('Subletting', 'N/A'), ('Insurance', '-')
    (lease,) = load_labels(table(tmp_path / 'a.jsonl', *rows))
    assert [x[:2] for x in quotes([lease])] == [('Governing Law', 'laws of Oregon')]
    bad = []
    with pytest.warns(
        UserWarning, match='1 contracts and categories have no quote but .* line 2; they count as unknown'
    ):
        load_labels(table(tmp_path / 'b.jsonl', rows[0], ('Pets', 'yes'), *rows[1:]), quarantine=bad, max_bad=0.5)
    assert len(bad) == 1 and "the quote is 'yes', which says that the clause is there" in str(bad[0])
    with pytest.raises(LegalLLMError, match="not in the contract: 'Ten'"):
        load_labels(table(tmp_path / 'c.jsonl', ('Pets', 'Ten')))  # wriTTEN, TENant
    (lease,) = load_labels(table(tmp_path / 'd.jsonl', ('Pets', 'notice')))
    assert [x[:2] for x in quotes([lease])] == [('Pets', 'Notice')]


def test_a_quote_that_is_lost_is_not_missed_where_there_is_another(tmp_path, recwarn):
    rows = ('Governing Law', 'the laws of Idaho and of no other place'), ('Governing Law', 'laws of Oregon')
    load_labels(table(tmp_path / 'a.jsonl', *rows, ('Pets', '')), quarantine=[], max_bad=0.5)
    assert not [w for w in recwarn if 'count as unknown' in str(w.message)]


def test_names_that_differ_by_a_letter_are_warned_about(tmp_path):
    rows = ('House Rule', 'The rent is due.'), ('House Rules', 'Notice is in writing.')
    with pytest.warns(UserWarning, match="the categories 'House Rule' and 'House Rules' are learned apart"):
        load_labels(table(tmp_path / 'a.jsonl', *rows))
    assert near_names(['Annex 1', 'Annex 2', 'Rent', 'Pets', 'Term']) == []
    assert near_names(['Warranties Duration', 'Governing Laws']) == [
        ('Governing Law', 'Governing Laws'),
        ('Warranties Duration', 'Warranty Duration'),
    ]
    assert near_names(CATEGORY) == []


def test_a_second_sheet_is_not_passed_over_silently(tmp_path):
    openpyxl = pytest.importorskip('openpyxl')
    book = openpyxl.Workbook()
    for row in (('contract', 'category', 'quote'), (LEASE, 'Governing Law', 'laws of Oregon')):
        book.active.append(row)
    book.create_sheet('More').append((LEASE, 'Pets', 'The rent'))
    book.save(tmp_path / 'a.xlsx')
    with pytest.warns(UserWarning, match="only the first sheet, 'Sheet', is read, and 'More' is not empty"):
        load_labels(tmp_path / 'a.xlsx')
