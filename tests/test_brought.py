"What people bring besides PDF: each kind of file in several forms, made here in different ways; and damaged ones."

import csv
import functools
import io
import json
import random
import re
import shutil
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docx
import pytest
from damaged import damaged_labels, damaged_pages, damaged_word
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls

from legal_llm.contracts.grounding import UNITS, ground, normalise, places_in
from legal_llm.contracts.sentences import split_sentences
from legal_llm.contracts.synthetic import write_contracts
from legal_llm.documents.documents import read_document
from legal_llm.documents.html import read_html, read_markdown
from legal_llm.documents.text import foreign_share, language_notes, visible
from legal_llm.machine.files import LegalLLMError
from legal_llm.pipeline.extract import Extractor
from legal_llm.pipeline.words import exact_words
from legal_llm.training.dataset import read_source

HERE = Path(__file__).parent
DOCUMENTS, LABELS = HERE / 'documents', HERE / 'labels'
PLAIN = (DOCUMENTS / 'zero_width' / 'plain.txt').read_text(encoding='utf-8')
LAW = (
    'This Agreement shall be governed by and construed in accordance with the laws of the State of Nebraska, without '
    'regard to its rules on conflicts of laws.'
)
SPANISH = (DOCUMENTS / 'docx_two_languages' / 'spanish.txt').read_text(encoding='utf-8')


@functools.cache
def extractor():
    return Extractor.load(fast=True)


@functools.cache
def found(text):
    "Category -> the words of the likeliest quote, for the categories that are found."
    review = extractor().extract(text)
    best = {}
    for e in review.found():
        assert text[e.start : e.end] == e.quote
        if e.category not in best or e.confidence > best[e.category].confidence:
            best[e.category] = e
    return {category: ' '.join(visible(e.quote)[0].split()) for category, e in best.items()}


def all_found(text):
    "The words of all quotes that are found, with their categories."
    return {(e.category, ' '.join(visible(e.quote)[0].split())) for e in extractor().extract(text).found()}


def page(source):
    "Text and notes of HTML, without a process of its own."
    return read_html(source.encode(), 'a.html')


def lines(text):
    return [line for line in text.split('\n') if line.strip()]


# ---- Word files with files in them ----


def chunk_file(path, *contents, before='', relation='aFChunk'):
    "A Word file whose body is `before` and files of these (ending, content)."
    word = docx.Document()
    if before:
        word.add_paragraph(before)
    out = io.BytesIO()
    word.save(out)
    rels, body = '', ''
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z, zipfile.ZipFile(out) as old:
        for i, (ending, content) in enumerate(contents):
            z.writestr(f'word/part{i}.{ending}', content)
            kind = 'http://schemas.openxmlformats.org/officeDocument/2006/relationships'
            rels += f'<Relationship Id="c{i}" Type="{kind}/{relation}" Target="part{i}.{ending}"/>'
            body += f'<w:altChunk xmlns:r="{kind}" r:id="c{i}"/>'
        for name in old.namelist():
            part = old.read(name)
            if name == 'word/_rels/document.xml.rels':
                part = part.replace(b'</Relationships>', rels.encode() + b'</Relationships>')
            if name == 'word/document.xml':
                part = part.replace(b'<w:sectPr', body.encode() + b'<w:sectPr', 1)
            z.writestr(name, part)
    return path


@pytest.mark.parametrize('name', ['only_html', 'only_mht', 'half_docx'])
def test_a_contract_in_a_file_in_a_word_file(name):
    document = read_document(DOCUMENTS / 'docx_altchunk' / f'{name}.docx')
    assert document.text.split() == PLAIN.split() and document.notes == ()


def test_files_in_a_word_file_of_each_kind(tmp_path):
    inner = docx.Document()
    inner.add_paragraph('From a Word file.')
    inner.save(tmp_path / 'inner.docx')
    raw = (tmp_path / 'inner.docx').read_bytes()
    page_16 = '<html><body><p>From a page in UTF-16.</p></body></html>'.encode('utf-16')
    path = chunk_file(
        tmp_path / 'a.docx', ('html', '<p>From <s>no</s> a page.'), ('docx', raw), ('txt', 'From a text.'),
        ('dat', page_16), before='First.',
    )  # fmt: skip
    document = read_document(path)
    assert lines(document.text) == [
        'First.', 'From a page.', 'From a Word file.', 'From a text.', 'From a page in UTF-16.',
    ]  # fmt: skip
    assert document.notes == ('a.docx has text that is struck through, which is left out',)
    for _ in range(5):  # a file in a file in a file …
        raw = chunk_file(tmp_path / 'deep.docx', ('docx', raw), before='Level.').read_bytes()
    document = read_document(tmp_path / 'deep.docx')
    assert document.text.count('Level.') == 4 and 'includes another file' in document.notes[0]


@pytest.mark.parametrize('content', [b'{\\rtf1 Words}', b'<?xml version="1.0"?><w:wordDocument/>', b'', b'\x89PNG\0'])
def test_a_file_in_a_word_file_that_cannot_be_read_is_said_to_be_there(tmp_path, content):
    path = chunk_file(tmp_path / 'a.docx', ('bin', content), before='Words.')
    document = read_document(path)
    assert document.text.strip() == 'Words.' and len(document.notes) == 1
    path = chunk_file(tmp_path / 'b.docx', ('bin', content))
    with pytest.raises(LegalLLMError, match='has no text .*includes another file'):
        read_document(path)


def test_pictures_in_a_word_file_are_noted(tmp_path):
    word = docx.Document()
    word.add_paragraph('Words.')
    picture = '<w:pict><v:shape xmlns:v="urn:schemas-microsoft-com:vml"><v:imagedata/></v:shape></w:pict>'
    word.paragraphs[0]._p.append(parse_xml(f'<w:r {nsdecls("w")}>{picture}</w:r>'))
    word.save(tmp_path / 'a.docx')
    assert read_document(tmp_path / 'a.docx').notes == ('a.docx has pictures; words in them are missing here',)


# ---- languages ----


def test_contracts_in_other_languages_are_noted():
    for name, _share in (('german.txt', 1), ('spanish.txt', 1)):
        document = read_document(DOCUMENTS / 'docx_two_languages' / name)
        assert document.notes == (
            f'{name} is not in English, and nothing else is read: a clause that is not found may well be in it',
        )
    for name in ('one_row.docx', 'row_per_clause.docx'):
        document = read_document(DOCUMENTS / 'docx_two_languages' / name)
        assert re.fullmatch(rf'{name} is not in English for \d\d%: a clause that .* is not found', *document.notes)
        assert found(document.text)['Governing Law'] == LAW
        assert set(found(PLAIN)) <= {f.category for f in extractor().extract(document.text).shown()}


OTHERS = dict(
    french='Le présent contrat est régi par le droit français et tout litige relève de la compétence des tribunaux.',
    italian='Il presente contratto è regolato dalla legge italiana e le parti si impegnano a rispettarlo.',
    portuguese='O presente contrato é celebrado entre as partes e terá um prazo inicial de quatro anos, renovável.',
    dutch='Deze overeenkomst is gesloten tussen de partijen en wordt beheerst door het recht van Nederland of België.',
    danish='Denne aftale er indgået mellem parterne og kan opsiges af hver af parterne med et varsel på tre måneder.',
    polish='Niniejsza umowa zostaje zawarta między stronami i podlega prawu polskiemu oraz wchodzi w życie jutro.',
    turkish='Bu sözleşme taraflar arasında imzalanmış olup dört yıl süreyle yürürlükte kalacaktır ve yenilenebilir.',
    russian='Настоящий договор заключен между сторонами и действует в течение четырех лет со дня его подписания.',
    chinese='本合同由双方签订，有效期为四年，除非提前终止。双方同意遵守本合同的所有条款和条件，并受内布拉斯加州法律管辖。',
)


@pytest.mark.parametrize('language', OTHERS)
def test_a_note_for_each_language(language):
    text = '\n\n'.join([OTHERS[language]] * 6)
    assert 'is not in English, and' in ' '.join(language_notes(text, 'a.txt'))
    assert (
        '% ' not in ' '.join(language_notes(PLAIN, 'a'))
        and 'is not in English for' in language_notes(PLAIN + '\n' + text, 'a')[0]
    )


def test_english_is_english():
    for contract in write_contracts(8, seed=4):
        assert language_notes(contract.text, 'a') == ()
    table = '\n'.join(f'Lens {i}\tsteel bolts, zinc plated\t$4.00' for i in range(400))
    assert language_notes(PLAIN + '\n' + table, 'a') == () and foreign_share('')[0] == 0


def test_sentences_side_by_side_are_paragraphs(tmp_path):
    "In Word and on pages; a row of short cells stays a line"
    left, right = 'The Supplier shall deliver the Products within ten days of each order.', SPANISH.split('\n\n')[3]
    word = docx.Document()
    table = word.add_table(2, 2)
    for cell, text in zip(table._cells, (left, right, 'Fee', '$5 a unit and a day')):
        cell.text = text
    word.save(tmp_path / 'a.docx')
    rows = ''.join(f'<tr><td>{a}<td>{b}' for a, b in ((left, right), ('Fee', '$5 a unit and a day')))
    for text in (read_document(tmp_path / 'a.docx').text, page(f'<table>{rows}</table>')[0]):
        assert text.split('\n\n')[:2] == [left, right] and lines(text)[-1] == 'Fee\t$5 a unit and a day'


# ---- numbers of lists ----

ITEMS = 'the Products are damaged in transit;', 'the Products do not meet the Specifications; or'


@pytest.mark.parametrize(
    'name, first, second',
    [
        ('inline_style', 'a. ', 'b. '),
        ('style_sheet', 'a. ', 'b. '),
        ('numbers_in_text', '(a) ', '(b) '),
        ('counter', '(a) ', '(b) '),
    ],
)
def test_numbers_of_lists_from_files(name, first, second):
    text = read_document(DOCUMENTS / 'html_css_lists' / f'{name}.html').text
    assert [first + ITEMS[0], second + ITEMS[1]] == lines(text)[2:4]
    assert text.count('\n\n' + second) == 1  # a paragraph of its own


def test_numbers_of_google_docs():
    text = read_document(DOCUMENTS / 'html_css_lists' / 'google_docs.html').text
    assert [line[:8] for line in lines(text)[1:]] == ['1. Term.', '1.1 Firs', '1.2 Seco', '2. Gover']


@pytest.mark.parametrize(
    'source, expected',
    [
        ('<ol style="list-style: upper-roman outside"><li>x<li>y</ol>', 'I. x|II. y'),
        ('<ol type=i><li>x<li type=A>y</ol>', 'i. x|B. y'),
        ('<style>ul {list-style-type: decimal}</style><ul><li>x<li>y</ul>', '1. x|2. y'),
        ('<style>.a li {list-style: lower-latin}</style><div class=A><ol start=3><li>x<li>y</ol></div>', 'c. x|d. y'),
        ('<style>#t ol {list-style: none} ol {list-style: decimal}</style><div id=t><ol><li>x</ol></div>', 'x'),
        ('<style>@media print {ol {list-style: none}} @import "x";</style><ol><li>x</ol>', '1. x'),
        ('<style>ol li:first-child {list-style: none}</style><ol><li>x</ol>', '1. x'),  # not a selector that is known
        (
            '<style>ol {counter-reset: item; list-style: none} li {counter-increment: item} '
            'li::before {content: counters(item, ".") " "}</style><ol><li>x<ol><li>y<li>z</ol><li>w</ol>',
            '1 x|1.1 y|1.2 z|2 w',
        ),
        (
            '<style>h2 {counter-increment: h2; counter-reset: p} h2:before {content: "Section " counter(h2) ". "} '
            'p.c {counter-increment: p} p.c:before {content: "(" counter(p, lower-roman) ")\\00a0"}</style>'
            '<h2>Term</h2><p class=c>x<p class=c>y<h2>Law</h2><p class=c>z',
            'Section 1. Term|(i)\xa0x|(ii)\xa0y|Section 2. Law|(i)\xa0z',
        ),
        ('<style>q:before {content: "\\201C"}</style><p><q>x</q>', 'x'),  # only numbers, and what stands before an item
        ('<style>li:before {content: "\\2013  "} ul {list-style: none}</style><ul><li>x</ul>', '– x'),
        ('<ol><li>1. x<li>2. y</ol><ol><li>(iv) z<li>Section 5<li>9 days</ol>', '1. x|2. y|(iv) z|Section 5|3. 9 days'),
        ('<ol><li><p>x</p><p>more</p><li><p>(b) y</p></ol>', '1. x|more|(b) y'),
        ('<ul><li>• x<li>– y</ul>', '• x|– y'),
        ('<ol><li></li><li>x</ol>', '2. x'),
        ('<ol><li style="text-decoration: line-through">x<li>y</ol>', '2. y'),
    ],
)  # fmt: skip
def test_numbers_of_lists(source, expected):
    assert '|'.join(lines(page(source)[0])) == expected


# ---- pages of an exhibit ----


@pytest.mark.parametrize('name', ['css_class', 'div_before', 'hr_only', 'hr_style', 'spacer_block'])
def test_sentences_go_on_over_pages(name):
    document = read_document(DOCUMENTS / 'html_page_break' / f'{name}.html')
    assert ' '.join(document.text.split()).count(' '.join(PLAIN[PLAIN.index('1. App') :].split())) == 3
    assert len(document.pages) == 10 and 'Table of Contents' not in document.text
    assert 'page numbers are left out' in document.notes[0]
    assert found(document.text)['Governing Law'] == LAW


CUT = 'The {} Supplement is governed by the laws of the', 'State of {}, and Buyer agrees to it.'
WORDS = 'First Second Third Fourth Fifth'.split()


@pytest.mark.parametrize(
    'between',
    [
        '<p align=center>{}</p><hr>',
        '<div><font size=2>- {} -</font></div><hr noshade><p><a href="#t">Back to Contents</a></p>',
        '<p>Page {} of 9</p><div><hr></div><p>&nbsp;</p><p><a href="#x"><b>TABLE OF CONTENTS</b></a></p>',
        '<hr><p align=center>{}</p>',
        '<style>.z {{break-after: page}}</style><p>F-{}</p><div class=z></div>',
        '<p>{}</p><p style="page-break-before: always"></p><p>Supply Agreement</p>',
        '<p>{}</p><table style="page-break-after:always"><tr><td></td></tr></table>',
    ],
)
def test_page_breaks_in_the_middle_of_a_sentence(between):
    source, wanted = '<p>Supply Agreement</p>', []
    for i, word in enumerate(WORDS, 1):
        filler = ''.join(f'<p>Clause {word} {c} of this Agreement ends here, as it should.</p>' for c in 'abcdef')
        halves = [half.format(word) for half in CUT]
        source += f'{filler}<p>{halves[0]}</p>{between.format(i)}<p>{halves[1]}</p>{filler.upper()}'
        wanted.append(' '.join(halves))
    text, notes = page(source)
    assert text.count('\f') == 5 and 'page numbers are left out' in notes[-1]
    text = text.replace('\f', '')
    sentences = [' '.join(text[a:b].split()) for a, b in split_sentences(text)]
    assert [s for s in sentences if 'governed by' in s] == wanted


def test_rules_and_links_that_break_no_page():
    source = (
        '<p>One thing is agreed.<hr><p>2 Mill Lane<hr><p>See <a href="#s">Schedule 1</a> for it.<p>Contents of the box'
    )
    text, notes = page(source)
    assert lines(text) == ['One thing is agreed.', '2 Mill Lane', 'See Schedule 1 for it.', 'Contents of the box']
    assert '\f' not in text and notes == ()


def test_pictures_on_a_page_are_noted():
    for source in (
        '<img src=x.png>',
        '<iframe src=x></iframe>',
        '<object data=x>no</object>',
        '<svg><text>x</text></svg>',
    ):
        assert page(f'<p>Words{source}')[1] == (
            'a.html has pictures or embedded objects; words in them are missing here',
        )
    for source in ('<img src=x.gif width=1 height=1>', '<img style="display:none">', '<hr>', '<p hidden><img src=x>'):
        assert 'pictures' not in ' '.join(page(f'<p>Words{source}')[1])


# ---- Markdown ----


@pytest.mark.parametrize('name', ['google_docs', 'headings', 'wrapped_list'])
def test_markdown_is_read_as_it_is_shown(name):
    document = read_document(DOCUMENTS / 'md_export' / f'{name}.md')
    assert not re.search(r'\*\*\w|\w\*\*|\\|^#|<!--|Oregon', document.text, re.M)
    assert set(found(PLAIN)) <= set(found(document.text)) and found(document.text)['Governing Law'] == LAW
    assert any('comments' in note for note in document.notes) == (name == 'headings')
    if name == 'google_docs':
        assert found(document.text)['Agreement Date'] == '_______ __, 2021' and '[***] cases' in document.text


@pytest.mark.parametrize(
    'source, expected',
    [
        ('**1\\. Term.** It _may_ end\\.', '1. Term. It may end.'),
        ('this ____ day of ________, 20__, and ___ too', 'this ____ day of ________, 20__, and ___ too'),
        ('for [***] units of [*****] and [* * *]', 'for [***] units of [*****] and [* * *]'),
        ('<Company> and <COMPANY NAME>, see <https://a.example/x>', '<Company> and <COMPANY NAME>, see https://a.example/x'),
        ('[Product]: Widgets\n\n[^1]: Note', '[Product]: Widgets|[^1]: Note'),
        ('![x][image1]\n\n[image1]: <data:image/png;base64,AAAA>\n\nWords', 'Words'),
        ('- one\n- two\n  more\n\n1. a\n1. b', '• one|• two|more|1. a|2. b'),
        ('3) x\n4) y', '3. x|4. y'),
        ('# A\nB\n\nC\n===\n\n> D', 'A|B|C|D'),
        ('    (a) **indented**', '(a) indented'),
        ('one\n\n* * *\n\ntwo ***three*** 2*3*4', 'one|* * *|two three 2*3*4'),
        ('```\n**as it is**\n```', '**as it is**'),
        ('a | b\n--|--\nc | d', 'a\tb|c\td'),
        ('it costs ~~$4~~ $5<br>a unit', 'it costs $5|a unit'),
        ('one\\\ntwo  \nthree &amp; four', 'one|two|three & four'),
        ('[the law](https://a.example "t") of *Ohio*', 'the law of Ohio'),
    ],
)  # fmt: skip
def test_marks_of_markdown(source, expected):
    text, notes = read_markdown(source.encode(), 'a.md')
    assert '|'.join(line.strip() for line in lines(text)) == expected


# ---- invisible characters ----

INVISIBLE = '\u200b', '\u200c', '\u200d', '\u2060', '\ufeff', '\xad', '\u200e', '\u202a', '\u2066', '\u180e'


@pytest.mark.parametrize('name', sorted(p.name for p in (DOCUMENTS / 'zero_width').iterdir()))
def test_invisible_characters_in_files(name):
    text = read_document(DOCUMENTS / 'zero_width' / name).text
    assert found(text) == found(PLAIN) and visible(text)[0].split() == PLAIN.split()


@pytest.mark.parametrize('c', INVISIBLE, ids=lambda c: f'{ord(c):04x}')
def test_invisible_characters_in_words(c):
    "Within words, before and behind them, doubled: the same quotes, and places in the text as it is"
    rng = random.Random(ord(c))
    text = ''.join(ch + c * rng.choice((0, 0, 0, 1, 2)) for ch in PLAIN)
    assert all_found(text) == all_found(PLAIN)
    seen, offsets = visible(text)
    assert seen == PLAIN and [text[i] for i in offsets[:-1]] == list(PLAIN) and offsets[-1] == len(text)
    span = ground(LAW, normalise(text))
    assert visible(text[slice(*span)])[0] == LAW == PLAIN[slice(*ground(text[slice(*span)], normalise(PLAIN)))]


# ---- dates and blanks ----


@pytest.mark.parametrize(
    'name, dates',
    [
        ('bracket', {'[●], 2021'}),
        ('day_blank', {'this ____ day of ______________, 20__'}),
        ('iso', {'2021-03-09'}),
        ('last_signed', {None}),
        ('ordinal_words', {'ninth day of March in the year two thousand and twenty-one'}),
        ('other_date', {'March 9, 2021'}),
        ('redacted_date', {'[***]'}),
    ],
)
def test_dates_and_blanks_in_files(name, dates):
    text = read_document(DOCUMENTS / 'txt_blanks' / f'{name}.txt').text
    assert found(text).get('Agreement Date') in dates


def test_redactions():
    quotes = found(read_document(DOCUMENTS / 'txt_blanks' / 'redactions.txt').text)
    assert (
        all('[***' in quotes[c] for c in ('Minimum Commitment', 'Insurance'))
        and '[REDACTED]' in quotes['Expiration Date']
    )


@pytest.mark.parametrize(
    'date',
    [
        '2021-03-09',
        '2021/03/09',
        '09-Mar-2021',
        '9-Mar-21',
        '9 March in the year 2021',
        '9th day of March in the year of our Lord 2021',
        'ninth of March, two thousand twenty-one',
        'March 9, two thousand and twenty-one',
        'March 9, nineteen hundred ninety-nine',
        '[●], 2021',
        '[•] [●], 2021',
        '[__] day of [____], 2021',
        'March __, 2021',
        '____________, 20__',
    ],
)
def test_forms_of_dates(date):
    for sentence in (
        f'This Agreement is made as of {date} by and between',
        f'Dated {date}',
        f'made on {date} (the "Date")',
    ):
        a, b = exact_words(sentence, 'Agreement Date')
        if date == '____________, 20__' and 'as of' not in sentence and 'Dated' not in sentence:
            continue
        assert sentence[a:b] in (date, date.split(', 20__')[0]), sentence[a:b]


# ---- labels ----


def labels(path):
    "Contracts of a source, and how many records were set aside."
    bad = []
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return read_source(str(path), quarantine=bad)[0], len(bad)


def spans(contracts):
    assert all(c.text[k.start : k.end] == k.text for c in contracts for k in c.clauses)
    return sorted((k.category, k.start, k.text) for c in contracts for k in c.clauses)


EXPORT = json.loads((LABELS / 'ls_per_region' / 'export.json').read_text(encoding='utf-8'))


@pytest.mark.parametrize(
    'name',
    [
        'ls_per_region/export.json',
        'ls_url/export.json',
        'ls_url/export_s3_no_text.json',
        'brat_folder',
        'label_forms/langextract.jsonl',
        'label_forms/sagemaker.jsonl',
        'label_forms/spacy_v2.json',
    ],
)
def test_label_forms_that_are_read(name):
    contracts, bad = labels(LABELS / name)
    assert len(contracts) == 8 and bad == 0 and [len(c.clauses) for c in contracts] == [10] * 8
    law = [k.text for c in contracts for k in c.clauses if k.category == 'Governing Law']
    assert all(LAW[:80] in words for words in law) and len(law) == 8
    assert spans(contracts) == spans(labels(LABELS / 'ls_per_region' / 'export.json')[0])


@pytest.mark.parametrize(
    'name, said',
    [
        ('label_forms/alpaca.json', 'examples for fine-tuning a chat model'),
        ('label_forms/chat.jsonl', 'examples for fine-tuning a chat model'),
        ('label_forms/gliner.json', 'has words and not the text between them, so export the labels with character'),
        ('label_forms/tokens.jsonl', 'has words and not the text between them, so export the labels with character'),
        ('label_forms/train.conll', 'CoNLL, .* export the labels with character offsets'),
        ('label_forms/train.spacy', "spaCy's binary form: save the labels as JSON"),
        ('label_forms/webanno.tsv', "WebAnno's table, .* export the labels with character offsets"),
        ('hf_newer/saved', r'a newer version of datasets has written this folder: .*pip install -U datasets'),
    ],
)
def test_label_forms_that_are_not_read_are_named(name, said):
    with pytest.raises(LegalLLMError, match=said):
        labels(LABELS / name)


def test_addresses_without_files(tmp_path):
    shutil.copy(LABELS / 'ls_url' / 'export.json', tmp_path)
    with pytest.raises(LegalLLMError, match="the text is an address, '/data/upload/3/.* is beside the export: put the"):
        labels(tmp_path / 'export.json')
    files = sorted((LABELS / 'ls_url' / 'files').iterdir())
    (tmp_path / 'texts').mkdir()
    for file in files:
        shutil.copy(file, tmp_path / 'texts' / file.name[9:])
    assert labels(tmp_path / 'export.json')[1] == 0
    for address in ('https://a.example/x/{}?token=1', '/data/local-files/?d=a%20b/{}', 's3://bucket/{}', '{}'):
        tasks = [
            dict(task, data=dict(text=address.format(task['data']['text'].rpartition('/')[2])))
            for task in json.loads((LABELS / 'ls_url' / 'export.json').read_text())
        ]
        (tmp_path / 'b.json').write_text(json.dumps(tasks))
        assert len(labels(tmp_path / 'b.json')[0]) == 8


def test_brat_files(tmp_path):
    shutil.copytree(LABELS / 'brat_folder', tmp_path / 'b')
    (contract,), bad = labels(tmp_path / 'b' / 'c3.ann')
    assert contract.title == 'c3' and len(contract.clauses) == 10 and bad == 0
    (tmp_path / 'b' / 'c0.ann').write_text('T1\tNo place at all\nT2\tGoverning_Law 1975 2128\n', encoding='utf-8')
    (tmp_path / 'b' / 'c1.ann').write_text('', encoding='utf-8')
    contracts, bad = labels(tmp_path / 'b')
    assert bad == 1 and [len(c.clauses) for c in contracts][:3] == [1, 0, 10]
    (tmp_path / 'b' / 'c2.txt').unlink()
    with pytest.raises(LegalLLMError, match='the text that it labels, c2.txt, cannot be read'):
        labels(tmp_path / 'b')


# contracts with characters that units count differently
STRANGE = ['“Fee” – € 5 \U0001f600 ' * 3 + PLAIN, PLAIN.replace('\n', '\r\n'), 'é\U0001f4dc ' + PLAIN]
NAMES = ['Governing Law', 'Insurance', 'Anti-Assignment', 'Audit Rights']


def marked(text):
    "(start, end, category) of four clauses."
    found = [
        re.search(rf'{words}\. (.*?)\r?(?:\n|$)', text)
        for words in ('Governing Law', 'Insurance', 'Assignment', 'Audit')
    ]
    return [(*m.span(1), name) for m, name in zip(found, NAMES)]


def export(path, texts, unit, words, shift=0, newline='\n'):
    "An export of Prodigy, with places in some unit."
    records = []
    for text in texts:
        places = [p + shift for p in places_in(text, unit)]
        marks = [
            dict(start=places[a], end=places[b], label=name) | (dict(text=text[a:b]) if words else {})
            for a, b, name in marked(text)
        ]
        records.append(json.dumps(dict(text=text, spans=marks)))
    path.write_text(newline.join(records))
    return path


@pytest.mark.parametrize('words', [True, False], ids=['with words', 'without'])
@pytest.mark.parametrize('unit', UNITS)
def test_offsets_in_every_unit(tmp_path, unit, words):
    texts = STRANGE[1:2] if 'one' in unit else [STRANGE[0], STRANGE[2]]
    contracts, bad = labels(export(tmp_path / 'a.jsonl', texts, unit, words))
    read = [sorted((k.start, k.end, k.category) for k in c.clauses) for c in contracts]
    assert bad == 0 and read == [sorted(marked(t)) for t in texts]


@pytest.mark.parametrize('shift', [-7, -3, -2, 2, 3, 5, 11])
def test_shifted_labels_are_found_or_refused(tmp_path, shift):
    texts = [PLAIN, 'SUPPLY\n\n' + PLAIN, STRANGE[0]]
    contracts, bad = labels(export(tmp_path / 'a.jsonl', texts, 'characters', True, shift))
    assert bad == 0 and spans(contracts) == sorted((n, a, t[a:b]) for t in texts for a, b, n in marked(t))
    said = 'does not begin and end with whole words .*counted in another text|offsets may count|is none of its text'
    with pytest.raises(LegalLLMError, match=said):
        labels(export(tmp_path / 'b.jsonl', texts, 'characters', False, shift))


def test_a_shifted_label_is_found_in_its_place(tmp_path):
    "Not the first of its words, but the nearest"
    text = f'{PLAIN}\n\n{PLAIN}'
    at = text.rindex(LAW)
    for key, record in (
        ('spans', dict(text=text, spans=[dict(start=at + 3, end=at + 3 + len(LAW), text=LAW, label='Governing Law')])),
        ('row', dict(contract=text, title='T', category='Governing Law', quote=LAW, start=at + 3)),
    ):
        (tmp_path / f'{key}.jsonl').write_text(json.dumps(record))
        assert spans(labels(tmp_path / f'{key}.jsonl')[0]) == [('Governing Law', at, LAW)]


TWICE, INSURANCE = PLAIN + '\n\n' + PLAIN, marked(PLAIN)[1]
ROWS = [
    dict(contract=TWICE, title='T', category='Governing Law', quote=LAW, start=TWICE.rindex(LAW)),
    dict(contract=TWICE, title='T', category='Insurance', quote='', start=INSURANCE[0], end=INSURANCE[1]),
    dict(contract=TWICE, title='T', category='Pets', quote=None),
    dict(contract=PLAIN, title=7, category='governing law', quote=LAW),
    dict(contract=PLAIN, title=7, category='Audit Rights', quote=float('nan')),
]  # fmt: skip


def test_the_same_row_is_the_same_label_in_every_table(tmp_path):
    openpyxl = pytest.importorskip('openpyxl')
    heads = ['contract', 'title', 'category', 'quote', 'start', 'end']

    def cell(row, k):
        return '' if (v := row.get(k)) is None or v != v else v

    for name, delimiter in (('a.csv', ','), ('b.csv', ';'), ('c.tsv', '\t')):
        with open(tmp_path / name, 'w', newline='', encoding='utf-8') as f:
            writer = csv.writer(f, delimiter=delimiter)
            writer.writerows([heads, *([cell(row, k) for k in heads] for row in ROWS)])
    book = openpyxl.Workbook()
    for row in [heads, *([cell(row, k) for k in heads] for row in ROWS)]:
        book.active.append(row)
    book.save(tmp_path / 'd.xlsx')
    (tmp_path / 'e.jsonl').write_text('\n'.join(map(json.dumps, ROWS)))
    (tmp_path / 'f.json').write_text(json.dumps([{k.title(): v for k, v in row.items()} for row in ROWS], indent=1))
    texts = [{k: str(v) if k in ('start', 'end', 'title') else v for k, v in row.items()} for row in ROWS]
    (tmp_path / 'g.ndjson').write_text('\n'.join(map(json.dumps, texts)))
    a, b, _ = marked(PLAIN)[1]
    expected = [
        ('Governing Law', PLAIN.index(LAW), LAW),
        ('Governing Law', len(PLAIN) + 2 + PLAIN.index(LAW), LAW),
        ('Insurance', a, PLAIN[a:b]),
    ]
    for path in sorted(tmp_path.iterdir()):
        contracts, bad = labels(path)
        assert (spans(contracts), bad, [c.title for c in contracts]) == (expected, 0, ['T', '7']), path.name


@pytest.mark.parametrize('shift', [-3, -1, 3, 4])
def test_one_shifted_label_is_refused(tmp_path, shift):
    "No other unit is taken because a single label fits it by chance"
    text = PLAIN + 'Signed by both parties.'
    a = text.index(LAW) + shift
    (tmp_path / 'a.json').write_text(json.dumps([[text, dict(entities=[[a, a + len(LAW), 'Governing Law']])]]))
    with pytest.raises(LegalLLMError, match='does not begin and end with whole words'):
        labels(tmp_path / 'a.json')


def test_sloppy_labels_among_others_are_taken(tmp_path):
    text, marks = PLAIN, [[a, b, name] for a, b, name in marked(PLAIN)]
    marks[0][1] -= 3
    (tmp_path / 'a.json').write_text(json.dumps([[text, dict(entities=marks)]]))
    assert spans(labels(tmp_path / 'a.json')[0]) == sorted((n, a, text[a:b]) for a, b, n in marks)


def test_exports_under_other_names(tmp_path):
    "One task alone, a control with a name of its own, SageMaker's ending"
    task, a = EXPORT[0], PLAIN.index(LAW)
    mark = dict(start=a, end=a + len(LAW), labels=['Governing Law'])
    for name, content, n in (
        ('a.json', json.dumps(task), 10),
        ('b.json', json.dumps(task, indent=1), 10),
        ('c.json', json.dumps([dict(text=PLAIN, clauses=[mark], sure=[dict(mark, labels=None, choices=['x'])])]), 1),
        ('d.manifest', (LABELS / 'label_forms' / 'sagemaker.jsonl').read_text(), 80),
    ):
        (tmp_path / name).write_text(content)
        assert len(spans(labels(tmp_path / name)[0])) == n, name
    for name in ('e.xml', 'f.pdf'):
        (tmp_path / name).write_text('x')
        with pytest.raises(LegalLLMError, match='no table of labels|a document, which has no labels'):
            labels(tmp_path / name)


def test_places_that_cut_words_are_no_quotes(tmp_path):
    row = dict(contract=PLAIN, category='Insurance', start=3, end=40)
    (tmp_path / 'a.jsonl').write_text(json.dumps(row))
    with pytest.raises(LegalLLMError, match='there is no quote, and 3 to 40 cuts a word'):
        labels(tmp_path / 'a.jsonl')


def test_a_markdown_file_beside_a_table_is_a_file(tmp_path):
    shutil.copy(DOCUMENTS / 'md_export' / 'headings.md', tmp_path / 'lens.md')
    (tmp_path / 'a.csv').write_text(f'contract,category,quote\nlens.md,Governing Law,"{LAW}"\n')
    (contract,), _ = labels(tmp_path / 'a.csv')
    assert contract.title == 'lens' and [k.text for k in contract.clauses] == [LAW] and '#' not in contract.text


# ---- damaged files: a text or labels, or one sentence ----


def sentence(error, *paths):
    "What is said is one short sentence, on this file"
    words = str(error)
    assert 20 < len(words) < 700 and '\n' not in words and 'Traceback' not in words
    return False


def test_damaged_word_files(tmp_path):
    def opens(i_raw):
        path = tmp_path / f'{i_raw[0]}.docx'
        path.write_bytes(i_raw[1])
        try:
            return bool(read_document(path).text)
        except LegalLLMError as e:
            return sentence(e)

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(opens, enumerate(damaged_word(60)))) >= 30


def test_damaged_pages_and_markdown():
    "In this process, where nothing turns another error into a sentence"
    opened = 0
    for ending, raw in damaged_pages(90):
        read = read_html if ending == '.html' else read_markdown
        try:
            opened += bool(read(raw, f'a{ending}')[0].strip())
        except LegalLLMError as e:
            sentence(e)
    assert opened >= 80


def test_damaged_label_files(tmp_path):
    opened = 0
    for path in damaged_labels(120, tmp_path):
        try:
            contracts, _ = labels(path)
            opened += bool(spans(contracts))
        except LegalLLMError as e:
            sentence(e)
    assert opened >= 60


# ---- the table of what people bring ----


def test_the_table_of_cases_names_tests():
    "Each row of the benchmarks' page says what is read now, and which test shows it"
    notebook = json.loads((HERE.parent / 'nbs/benchmarks.ipynb').read_text(encoding='utf-8'))
    tables = [''.join(c['source']) for c in notebook['cells'] if ''.join(c['source']).startswith('| brought |')]
    assert len(tables) == 1
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in tables[0].split('\n')[2:]]
    assert len(rows) >= 27
    written = '\n'.join(p.read_text(encoding='utf-8') for p in HERE.glob('test_*.py'))
    for brought, before, now, test in rows:
        assert before and now, brought
        assert test or now.startswith('**'), f'{brought}: read, and no test says so'
        assert not test or f'def {test.strip("`")}(' in written, test
