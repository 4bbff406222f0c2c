"Reading files: every encoding, PDF and Word with their oddities, and files that must be refused in one sentence."

import bisect
import codecs
import functools
import html
import io
import itertools
import os
import random
import re
import subprocess
import sys
import unicodedata
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docx
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfReader, PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from legal_llm.contracts.grounding import ground, normalise
from legal_llm.contracts.sentences import split_sentences
from legal_llm.contracts.synthetic import write_contracts
from legal_llm.documents.documents import READERS, Document, read_document
from legal_llm.documents.text import decode_text
from legal_llm.machine.files import LegalLLMError


def write_pdf(path, pages, header='', footer='', last=False):
    """A PDF with one page for each text, in Helvetica; an empty text makes a page without any.

    Header and footer may have {page} and {pages} in them; they are drawn before the text, as most programs do, or last.
    """
    writer = PdfWriter()
    font = {'Type': 'Font', 'Subtype': 'Type1', 'BaseFont': 'Helvetica', 'Encoding': 'WinAnsiEncoding'}
    font = DictionaryObject({NameObject(f'/{k}'): NameObject(f'/{v}') for k, v in font.items()})

    def draw(text, y):
        escaped = text.replace('\\', r'\\').replace('(', r'\(').replace(')', r'\)')
        lines = ''.join(f'({line}) Tj T*\n' for line in escaped.split('\n'))
        return f'BT /F1 9 Tf 11 TL 40 {y} Td\n{lines}ET\n'

    for number, text in enumerate(pages, 1):
        page, stream = writer.add_blank_page(612, 792), DecodedStreamObject()
        edges = [draw(t.format(page=number, pages=len(pages)), y) for t, y in ((header, 775), (footer, 20)) if t]
        drawn = [draw(text, 750)]
        stream.set_data(''.join(drawn + edges if last else edges + drawn).encode('cp1252', 'replace'))
        page[NameObject('/Resources')] = DictionaryObject(
            {NameObject('/Font'): DictionaryObject({NameObject('/F1'): font})}
        )
        page[NameObject('/Contents')] = writer._add_object(stream)
    writer.write(path)
    return path


def lock_pdf(path, user, owner):
    writer = PdfWriter(clone_from=PdfReader(path))
    writer.encrypt(user, owner, algorithm='RC4-128')
    writer.write(path)
    return path


def refused(path, match, **kwargs):
    """The file is refused, in one sentence that shows neither the folder nor any other path, and no character that is
    none
    """
    with pytest.raises(LegalLLMError, match=match) as e:
        read_document(path, **kwargs)
    check_message(str(e.value), path)


def check_message(message, path):
    assert str(path.parent) not in message and not re.search(r'(?<![\w.])/\w+/|site-packages|Traceback', message)
    assert not any(unicodedata.category(c)[0] == 'C' for c in message) and 20 < len(message) < 300


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'cp1252'])
def test_encodings(tmp_path, encoding):
    text = '§ 1 “Fee” – €5\nNext'
    path = tmp_path / 'a b.txt'
    path.write_bytes(text.encode(encoding))
    document = read_document(path)
    assert (document.text, document.title, tuple(document.pages)) == (text, 'a b', (0,))
    assert [('Windows-1252' in note) for note in document.notes] == ([True] if encoding == 'cp1252' else [])


def test_utf_16_of_both_orders():
    for mark, encoding in ((codecs.BOM_UTF16_LE, 'utf-16-le'), (codecs.BOM_UTF16_BE, 'utf-16-be')):
        assert decode_text(mark + '§ 1'.encode(encoding)) == ('§ 1', ())


@given(st.text(st.characters(exclude_categories=['Cc', 'Cs']), min_size=1))
def test_decoding_gives_back_what_was_written(text):
    for encoding in ('utf-8', 'utf-8-sig', 'utf-16'):
        if encoding != 'utf-8' or not text.startswith('\ufeff'):
            assert decode_text(text.encode(encoding))[0] == text


@given(st.binary())
def test_any_bytes_are_text_or_refused(raw):
    try:
        text, _ = decode_text(raw)
    except LegalLLMError:
        return
    assert '\0' not in text and text.encode('utf-8') is not None


def test_line_ends_are_as_in_a_text_field(tmp_path):
    path = tmp_path / 'a.md'
    path.write_bytes(b'one\r\ntwo\rthree\n')
    assert read_document(path).text == 'one\ntwo\nthree\n'


def test_pdf_pages(tmp_path):
    contract = write_contracts(1, seed=5, words=400)[0]
    cuts = [0, 900, 1800, len(contract.text)]
    cuts = [0] + [contract.text.index('\n', c) for c in cuts[1:3]] + [len(contract.text)]
    parts = [contract.text[a:b].strip('\n') for a, b in zip(cuts, cuts[1:])]
    document = read_document(write_pdf(tmp_path / 'c.pdf', parts))
    assert document.text.split() == contract.text.split() and len(document.pages) == 3
    for number, (a, b) in enumerate(zip(document.pages, (*document.pages[1:], len(document.text) + 1)), 1):
        assert document.text[a : b - 1].split() == parts[number - 1].split()
        assert {document.page_of(i) for i in range(a, b)} == {number}
    kept = [c for c in contract.clauses if '\n' not in c.text and c.text in document.text]
    assert len(kept) == len(contract.clauses)


def test_a_scan_is_said_to_be_one(tmp_path):
    refused(write_pdf(tmp_path / 'scan.pdf', ['', '']), 'it is a scan')
    document = read_document(write_pdf(tmp_path / 'part.pdf', ['', 'Words', '']))
    assert document.text.strip() == 'Words' and document.page_of(document.text.index('Words')) == 2
    assert document.notes == ('part.pdf: no text on pages 1, 3; if these are scans, their words are missing here',)


def test_protected_pdfs(tmp_path):
    "One that needs a password is refused; one that only forbids changes is read"
    refused(lock_pdf(write_pdf(tmp_path / 'locked.pdf', ['Words']), 'secret', 'owner'), 'encrypted')
    assert read_document(lock_pdf(write_pdf(tmp_path / 'final.pdf', ['Words']), '', 'owner')).text.strip() == 'Words'


def test_damaged_files(tmp_path):
    whole = write_pdf(tmp_path / 'whole.pdf', ['Words', 'More', 'Last']).read_bytes()
    damaged = {
        'a.pdf': b'not a pdf',
        'b.pdf': b'%PDF-1.7\n',
        'c.docx': b'PK\x03\x04',
        'd.docx': b'plain',
        'e.docx': b'\xd0\xcf\x11\xe0' * 9,
    }
    for name, raw in damaged.items():
        (tmp_path / name).write_bytes(raw)
        refused(tmp_path / name, 'cannot be read|is a scan|is plain text, not|is an old Office file, not')
    for size in range(20, len(whole), 300):  # cut off anywhere: read, or refused in a sentence
        (tmp_path / 'cut.pdf').write_bytes(whole[:size])
        try:
            assert set(read_document(tmp_path / 'cut.pdf').text.split()) <= {'Words', 'More', 'Last'}
        except LegalLLMError as e:
            assert '\n' not in str(e)


def test_word_in_document_order(tmp_path):
    word = docx.Document()
    word.add_paragraph('Before')
    table = word.add_table(2, 3)
    for row, texts in zip(table.rows, ('abc', 'def')):
        for cell, text in zip(row.cells, texts):
            cell.text = text
    table.cell(1, 0).merge(table.cell(1, 1))
    table.cell(0, 2).add_table(1, 2).rows[0].cells[1].text = 'inner'
    word.add_paragraph('A\ttab and a\nbreak')
    word.save(tmp_path / 'w.docx')
    assert plain(read_document(tmp_path / 'w.docx').text) == 'Before\na\tb\tc \tinner\nd e\tf\nA\ttab and a\nbreak'


def test_word_loses_no_words(tmp_path):
    """Tracked insertions, links and content controls are read, deletions are not, and a note says that there were
    changes
    """
    word = docx.Document()
    body = word.element.body
    run = '<w:r><w:t xml:space="preserve">{}</w:t></w:r>'
    inline = (
        run.format('This is ')
        + '<w:ins w:id="1" w:author="x">'
        + run.format('inserted ')
        + '</w:ins>'
        + '<w:del w:id="2" w:author="x"><w:r><w:delText>deleted </w:delText></w:r></w:del>'
        + '<w:moveFrom w:id="3" w:author="x">'
        + run.format('moved ')
        + '</w:moveFrom>'
        + '<w:sdt><w:sdtContent>'
        + run.format('controlled ')
        + '</w:sdtContent></w:sdt>'
        + '<w:hyperlink>'
        + run.format('linked')
        + '</w:hyperlink>'
    )
    body.insert(0, parse_xml(f'<w:p {nsdecls("w")}>{inline}</w:p>'))
    body.insert(
        1,
        parse_xml(
            f'<w:sdt {nsdecls("w")}><w:sdtContent><w:p>{run.format("A whole paragraph")}</w:p></w:sdtContent></w:sdt>'
        ),
    )
    word.save(tmp_path / 'w.docx')
    document = read_document(tmp_path / 'w.docx')
    assert plain(document.text) == 'This is inserted controlled linked\nA whole paragraph'
    assert len(document.notes) == 1 and 'tracked changes' in document.notes[0]


def test_files_that_cannot_be_contracts(tmp_path):
    for name, raw, match in (
        ('a.txt', b'', 'is empty'),
        ('b.txt', b' \r\n\t', 'has no text'),
        ('c.txt', b'\x89PNG\r\n\x1a\n\0\0', 'is a picture, not plain text: run text recognition'),
        ('d.doc', b'x', r'\.txt, \.md, \.pdf, \.docx, \.html, \.htm: open it in its own program'),
        ('e', b'x', 'files ending in nothing'),
        ('f.txt', b'x' * 1001, '0.0 MB, and 0.001 MB is the limit'),
    ):
        (tmp_path / name).write_bytes(raw)
        refused(tmp_path / name, match, limit_mb=0.001)
    word = docx.Document()
    word.add_paragraph(' ')
    word.save(tmp_path / 'g.docx')
    refused(tmp_path / 'g.docx', 'has no text')
    with pytest.raises(LegalLLMError, match='is a folder'):
        read_document(tmp_path)
    with pytest.raises(LegalLLMError, match='there is no file'):
        read_document(tmp_path / 'none.txt')


def test_pages_are_found_for_every_offset():
    document = Document('abc\ndef', 't', (0, 4))
    assert [document.page_of(i) for i in range(8)] == [1, 1, 1, 1, 2, 2, 2, 2]
    for outside in (-1, 8):
        with pytest.raises(LegalLLMError, match='no character'):
            document.page_of(outside)


# ---- what was a clause in the contract is the same clause in the file's text ----

CONTRACTS = write_contracts(12, seed=21, words=2000)


def divided(word, room):
    """A word in two: at a hyphen of its own, or after a vowel and before a consonant and a vowel, where a hyphen is
    added
    """
    own = [m.end() for m in re.finditer(r'(?<=\w)-(?=\w)', word) if m.end() <= room]
    if own:
        return word[: own[-1]], word[own[-1] :], 0
    places = [
        m.end()
        for m in re.finditer('[aeiouy](?=[bcdfghlmnprstv][aeiouy])', word)
        if 2 <= m.end() < room and len(word) - m.end() > 2
    ]
    return (
        (word[: places[-1]] + '-', word[places[-1] :], 1) if places and word.strip('.,;').isalpha() else ('', word, 0)
    )


def lay_out(text, width=80, length=30):
    """The text of each page, with divided words; how many characters of `text` that are not white space end with each
    page
    """
    lines, ink = [], []
    for paragraph in text.split('\n'):
        lines.append('')
        ink.append(0)
        for word in paragraph.split(' '):
            space = ' ' * bool(lines[-1])
            if len(lines[-1] + space + word) > width:
                head, tail, added = divided(word, width - len(lines[-1] + space))
                lines[-1] += space + head if head else ''
                ink[-1] += inked(head) - added
                lines.append(tail)
                ink.append(inked(tail))
            else:
                lines[-1] += space + word
                ink[-1] += inked(word)
    starts = range(0, len(lines), length)
    ends = list(itertools.accumulate(sum(ink[i : i + length]) for i in starts))
    assert ends[-1] == inked(text)
    return ['\n'.join(lines[i : i + length]) for i in starts], ends


def inked(text):
    return len(re.sub(r'\s', '', text))


def count_clauses(contract, document, ends):
    "How many clauses are found word for word and on the right page, by the characters that end with each page"
    source, original, kept = normalise(document.text), normalise(contract.text), 0
    for clause in contract.clauses:
        span = ground(clause.text, source)
        if span and document.text[slice(*span)].split() == clause.text.split():
            before = inked(contract.text[: ground(clause.text, original)[0]])
            kept += document.page_of(span[0]) == bisect.bisect_right(ends, before) + 1
    return kept


def plain(text):
    "Without the blank lines between paragraphs"
    return re.sub(r'\n{2,}', '\n', text)


HEADERS = {
    'none': {},
    'first': dict(header='Master Agreement (2019) / Confidential', footer='Page {page} of {pages}'),
    'last': dict(header='Execution Copy', footer='- {page} -', last=True),
}


@pytest.mark.parametrize('kind', HEADERS)
def test_every_clause_is_found_in_a_pdf(tmp_path, kind):
    found = total = divisions = over = 0
    for contract in CONTRACTS:
        pages, ends = lay_out(contract.text)
        document = read_document(write_pdf(tmp_path / 'c.pdf', pages, **HEADERS[kind]))
        assert len(document.pages) == len(pages) > 1
        assert any('left out' in note for note in document.notes) == (kind != 'none')
        found = found + count_clauses(contract, document, ends)
        total = total + len(contract.clauses)
        divisions += len(re.findall('[a-z]-$', '\n'.join(pages), re.M))
        places = [inked(contract.text[: c.start]) for c in contract.clauses]
        over += sum(
            bisect.bisect_right(ends, a) < bisect.bisect_left(ends, a + inked(c.text))
            for a, c in zip(places, contract.clauses)
        )
    assert total > 250 and divisions > 150 and over >= 10, 'the pages test what they are to test'
    assert found == total


def test_every_clause_is_found_in_word_html_and_text(tmp_path):
    "In each kind of file the text has all the words of the contract, in order, and every clause"
    for contract in CONTRACTS[:6]:
        word = docx.Document()
        for line in contract.text.split('\n'):
            word.add_paragraph(line)
        word.save(tmp_path / 'c.docx')
        paragraphs = ''.join(f'<p>{html.escape(line)}\n' for line in contract.text.split('\n'))
        (tmp_path / 'c.html').write_text(f'<html><style>p {{margin: 0}}</style><body>{paragraphs}', encoding='utf-8')
        (tmp_path / 'c.txt').write_text(contract.text, encoding='utf-8')
        for ending in ('.docx', '.html', '.txt'):
            document = read_document(tmp_path / f'c{ending}')
            assert document.text.split() == contract.text.split() and document.notes == ()
            assert count_clauses(contract, document, []) == len(contract.clauses)


def test_paragraphs_are_parted_by_blank_lines(tmp_path):
    "So that a heading is a sentence of its own; a line that only breaks, or goes on in small letters, is none"
    word = docx.Document()
    for text in ('GOVERNING LAW', 'This Agreement is governed by', 'the laws of Ohio', 'TERM', 'It lasts for'):
        word.add_paragraph(text)
    word.paragraphs[-1].add_run().add_break()
    word.paragraphs[-1].add_run('Ten years')
    word.save(tmp_path / 'c.docx')
    (tmp_path / 'c.html').write_text(
        '<h1>GOVERNING LAW</h1><p>This Agreement is governed by<p>the laws of Ohio<div>TERM</div><p>It lasts for<br>'
        'Ten years<table><tr><td><p>A<p>B</td><td>C</td></tr></table>'
    )
    law = 'GOVERNING LAW\n\nThis Agreement is governed by\nthe laws of Ohio\n\nTERM\n\nIt lasts for\nTen years'
    assert read_document(tmp_path / 'c.docx').text == law
    assert read_document(tmp_path / 'c.html').text == law + '\n\nA B\tC'
    assert len(split_sentences(law)) == 4


def test_space_parts_the_paragraphs_of_a_pdf(tmp_path):
    page = (
        'GOVERNING LAW\n\nThis Agreement and what is\nattached to it are governed by the\nlaws of the State of Ohio\n\n'
        'TERM\n\nIt lasts for ten years and\nis renewed for\n\none more year at a time'
    )
    text = read_document(write_pdf(tmp_path / 'a.pdf', [page])).text
    assert text.startswith('GOVERNING LAW\n\nThis') and '\n\n\n' not in text
    assert [' '.join(text[a:b].split()) for a, b in split_sentences(text)] == [
        'GOVERNING LAW',
        'This Agreement and what is attached to it are governed by the laws of the State of Ohio',
        'TERM',
        'It lasts for ten years and is renewed for one more year at a time',
    ]


def test_running_lines_of_odd_and_even_pages(tmp_path):
    "Headers that alternate, Roman page numbers, and a number that does not count the pages"
    texts = [
        f'Clause {word} ends here.\nAnother follows {word}.'
        for word in 'one two three four five six seven eight'.split()
    ]
    roman = 'i ii iii iv v vi vii viii'.split()
    pages = [
        f'{"Buyer draft" if i % 2 else "Supply Agreement 2019"}\n{text}\n- {roman[i]} -' for i, text in enumerate(texts)
    ]
    document = read_document(write_pdf(tmp_path / 'a.pdf', pages))
    assert document.text == 'Supply Agreement 2019\n' + '\n'.join(texts)  # at the top it may be the title
    assert document.notes == (
        'a.pdf: headers, footers and page numbers are left out: “- i -”, “Buyer draft”, “Supply Agreement 2019”',
    )
    assert [document.page_of(document.text.index(t)) for t in texts] == list(range(1, 9))


def test_lines_that_only_look_like_running_ones_stay(tmp_path):
    "Prices and numbers at the edges of pages, signature blocks at the end of a long contract"
    prices = [f'Item {n * 7} costs\n${n * n * 13}\n{n * n}.' for n in range(1, 6)]
    document = read_document(write_pdf(tmp_path / 'a.pdf', prices))
    assert document.text == '\n'.join(prices) and document.notes == ()
    headings = [
        f'Schedule {n}\n{n}.\n{t} goods.\n\nThey are {t} ones.' for n, t in enumerate(('Large', 'Small', 'Other'), 1)
    ]
    document = read_document(write_pdf(tmp_path / 'c.pdf', headings))
    assert document.text.split() == '\n'.join(headings).split() and document.notes == ()
    ends = [f'{t} party signs\nBy:\nName:' for t in ('Our', 'Your', 'Their')]
    body = [
        f'Words of the {n}\npage alone, {n}' for n in 'first second third fourth fifth sixth seventh eighth'.split()
    ]
    document = read_document(write_pdf(tmp_path / 'b.pdf', body + ends))
    assert document.text == '\n'.join(body + ends) and document.notes == ()


def test_a_title_that_is_the_header_too_stays(tmp_path):
    pages = [
        f'{"MASTER SUPPLY AGREEMENT" if n == "one" else "More"}\nClause {n} is here.' for n in 'one two three'.split()
    ]
    document = read_document(write_pdf(tmp_path / 'a.pdf', pages, header='MASTER SUPPLY AGREEMENT'))
    assert document.text.startswith('MASTER SUPPLY AGREEMENT\n')
    assert 'MASTER' not in document.text[document.pages[1] :] and 'MASTER SUPPLY AGREEMENT' in document.notes[0]


def test_clauses_of_one_page_orders_are_no_headers(tmp_path):
    "What reads as a clause stays on few pages; on many, it is what somebody stamps on each"
    law = 'This Statement of Work is governed by the laws of the State of Ohio.'
    pages = [f'{word} work\nThe parties agree on {word}.\n{law}' for word in 'one two three four'.split()]
    assert read_document(write_pdf(tmp_path / 'a.pdf', pages)).text.count(law) == 4
    many = [page.replace('work', f'work {n}') for n in range(2) for page in pages]
    assert read_document(write_pdf(tmp_path / 'b.pdf', many)).text.count(law) < 2


def test_short_pdfs_lose_their_page_numbers_only(tmp_path):
    pages = ['Draft\nFirst words.\nPage 1 of 2', 'Draft\nLast words.\nPage 2 of 2']
    assert read_document(write_pdf(tmp_path / 'a.pdf', pages)).text == 'Draft\nFirst words.\nDraft\nLast words.'
    stamped = ['Envelope ID: 7F-1'] * 3  # a scan that a program has stamped is a scan
    refused(write_pdf(tmp_path / 's.pdf', stamped), 'it is a scan')


def test_divided_words(tmp_path):
    page = (
        'The par-\nties give a non-\ncompete, a Smith-\nJones form, years 2019-\n2020, a long-\nterm view, '
        'pre-\nand post-closing, AGREE-\nMENT, co-'
    )
    page += '\noperation -\nas defined. The term is long; an e-\nmail is sent.'
    document = read_document(write_pdf(tmp_path / 'a.pdf', [page, 'in peace']))
    words = (
        'The parties give a non-compete, a Smith-Jones form, years 2019-2020, a long-term view, pre- and '
        'post-closing, AGREEMENT, cooperation - as defined. '
    )
    assert document.text.split() == (words + 'The term is long; an e-mail is sent. in peace').split()


def test_hyphens_of_a_text_that_divides_no_words(tmp_path):
    page = 'A break-\nup fee, a take-or-\npay duty, and a claim there-\nof. We break and take; the parties pay.'
    assert (
        read_document(write_pdf(tmp_path / 'a.pdf', [page])).text.split()[:10]
        == 'A break-up fee, a take-or-pay duty, and a claim thereof.'.split()
    )


def test_a_word_divided_between_pages(tmp_path):
    document = read_document(write_pdf(tmp_path / 'a.pdf', ['The Dis-', 'tributor pays.']))
    assert document.text == 'The Distributor\npays.' and [document.page_of(i) for i in (4, 15, 16)] == [1, 1, 2]


# ---- text files ----


def test_utf_16_without_a_mark(tmp_path):
    for encoding in ('utf-16-le', 'utf-16-be'):
        text, notes = decode_text('Fee: 5 €\nNext'.encode(encoding), 'a.txt')
        assert text == 'Fee: 5 €\nNext' and notes == ('a.txt does not name its encoding; it was read as UTF-16',)


def test_no_text_in_another_alphabet_is_made_nonsense_of():
    texts = {
        'cp1251': 'Договор поставки',
        'cp1253': 'Σύμβαση προμήθειας',
        'shift_jis': '売買契約書',
        'gb18030': '买卖合同',
        'iso2022_jp': '契約',
        'koi8-r': 'Договор',
    }
    for encoding, text in texts.items():
        with pytest.raises(LegalLLMError, match='in an encoding that cannot be told|not a text file'):
            decode_text(f'{text}, {text} {text}'.encode(encoding))
    text, notes = decode_text('“Réglement” – “Übergabe”'.encode() * 9 + b'\x96')
    assert text.count('“Réglement”') == 9 and 'UTF-8 with 1 damaged character' in notes[0]


def test_form_feeds_are_pages(tmp_path):
    (tmp_path / 'a.txt').write_text('one\n\ftwo\fthree')
    document = read_document(tmp_path / 'a.txt')
    assert (document.text, document.pages) == ('one\ntwo\nthree', (0, 4, 8))


# ---- Word ----


def number(word, xml):
    "Put numbering definitions into a Word file in place of its own"
    root = word.part.numbering_part.element
    for child in list(root):
        root.remove(child)
    for child in parse_xml(f'<w:numbering {nsdecls("w")}>{xml}</w:numbering>'):
        root.append(child)


def level(i, kind, text, more='', start=1):
    return (
        f'<w:lvl w:ilvl="{i}"><w:start w:val="{start}"/><w:numFmt w:val="{kind}"/>{more}<w:lvlText '
        f'w:val="{text}"/></w:lvl>'
    )


def listed(word, text, num=None, at=None, style=None):
    "A paragraph of a list"
    paragraph = word.add_paragraph(text, style)
    properties = paragraph._p.get_or_add_pPr()
    if num is not None:
        at = '' if at is None else f'<w:ilvl w:val="{at}"/>'
        properties.append(parse_xml(f'<w:numPr {nsdecls("w")}>{at}<w:numId w:val="{num}"/></w:numPr>'))
    return paragraph


def read_word(word, tmp_path):
    word.save(tmp_path / 'w.docx')
    return read_document(tmp_path / 'w.docx')


def test_word_counts_as_word_does(tmp_path):
    word = docx.Document()
    levels = (
        level(0, 'decimal', '%1.')
        + level(1, 'decimal', '%1.%2')
        + level(2, 'lowerLetter', '(%3)')
        + level(3, 'lowerRoman', '(%4)')
    )
    articles = (
        level(0, 'upperRoman', 'ARTICLE %1')
        + level(1, 'decimal', '%1.%2', '<w:isLgl/>')
        + level(2, 'lowerLetter', '(%3)', '<w:lvlRestart w:val="0"/>')
    )
    letters = (
        level(0, 'upperLetter', '%1)', start=26)
        + level(1, 'bullet', '\uf0b7')
        + level(2, 'none', '')
        + level(3, 'decimalZero', '%4')
    )
    number(
        word,
        f'<w:abstractNum w:abstractNumId="1">{levels}</w:abstractNum><w:abstractNum '
        f'w:abstractNumId="2">{articles}</w:abstractNum>'
        f'<w:abstractNum w:abstractNumId="3">{letters}</w:abstractNum>'
        '<w:num w:numId="1"><w:abstractNumId w:val="1"/></w:num><w:num w:numId="2"><w:abstractNumId w:val="2"/></w:num>'
        '<w:num w:numId="3"><w:abstractNumId w:val="3"/></w:num><w:num w:numId="4"><w:abstractNumId w:val="1"/></w:num>'
        '<w:num w:numId="5"><w:abstractNumId w:val="1"/><w:lvlOverride w:ilvl="0"><w:startOverride '
        'w:val="7"/></w:lvlOverride></w:num>',
    )
    shown = []

    def add(shows, num, at):
        listed(word, 'x', num, at)
        shown.append(f'{shows} x'.strip())

    for shows, at in (
        ('1.', 0),
        ('1.1', 1),
        ('(a)', 2),
        ('(i)', 3),
        ('(ii)', 3),
        ('(b)', 2),
        ('1.2', 1),
        ('(a)', 2),
        ('2.', 0),
        ('2.1', 1),
    ):
        add(shows, 1, at)
    add('3.', 4, 0)  # another list of the same definition counts on
    add('7.', 5, 0)  # unless it says where it starts
    add('8.', 5, 0)
    add('8.1', 5, 1)
    for shows, at in (('ARTICLE I', 0), ('1.1', 1), ('(a)', 2), ('ARTICLE II', 0), ('2.1', 1), ('(b)', 2)):
        add(shows, 2, at)  # digits on the legal level; the letters never start anew
    for shows, at in (('Z)', 0), ('AA)', 0), ('•', 1), ('', 2), ('01', 3)):
        add(shows, 3, at)
    add('', 0, 0)  # no list
    add('', 99, 0)  # a list that is not there
    assert plain(read_word(word, tmp_path).text).split('\n') == shown


def test_word_numbers_from_styles(tmp_path):
    "A style's list, the level that names the style, a style based on another, and a paragraph that wants no number"
    word = docx.Document()
    number(
        word,
        '<w:abstractNum w:abstractNumId="1">'
        + level(0, 'decimal', '%1.', '<w:pStyle w:val="Clause"/>')
        + level(1, 'lowerLetter', '(%2)', '<w:pStyle w:val="Subclause"/>')
        + '</w:abstractNum><w:abstractNum w:abstractNumId="2"><w:numStyleLink w:val="Outline"/></w:abstractNum>'
        '<w:num w:numId="1"><w:abstractNumId w:val="1"/></w:num><w:num w:numId="2"><w:abstractNumId '
        'w:val="2"/></w:num>',
    )
    for name, based, properties in (
        ('Clause', '', '<w:numPr><w:numId w:val="1"/></w:numPr>'),
        ('Subclause', '', '<w:numPr><w:numId w:val="1"/></w:numPr>'),
        ('Narrow', 'Clause', '<w:ind/>'),
        ('Circle', 'Circle', '<w:ind/>'),
    ):
        based = f'<w:basedOn w:val="{based}"/>' if based else ''
        style = (
            f'<w:style {nsdecls("w")} w:type="paragraph" w:styleId="{name}"><w:name '
            f'w:val="{name}"/>{based}<w:pPr>{properties}</w:pPr></w:style>'
        )
        word.styles.element.append(parse_xml(style))
    outline = '<w:name w:val="Outline"/><w:pPr><w:numPr><w:numId w:val="1"/></w:numPr></w:pPr>'
    word.styles.element.append(
        parse_xml(f'<w:style {nsdecls("w")} w:type="numbering" w:styleId="Outline">{outline}</w:style>')
    )
    for style in ('Clause', 'Subclause', 'Subclause', 'Narrow', 'Subclause', 'Circle'):
        listed(word, style, style=style)
    listed(word, 'plain', 0, style='Clause')
    listed(word, 'linked', 2, 0)
    text = plain(read_word(word, tmp_path).text)
    assert text == '1. Clause\n(a) Subclause\n(b) Subclause\n2. Narrow\n(a) Subclause\nCircle\nplain\n3. linked'


def test_word_pages_footnotes_boxes_and_headers(tmp_path):
    word = docx.Document()
    run = '<w:r><w:t xml:space="preserve">{}</w:t></w:r>'
    box = (
        '<w:r><w:pict><v:shape '
        'xmlns:v="urn:schemas-microsoft-com:vml"><v:textbox><w:txbxContent>{}</w:txbxContent></v:textbox></v:shape></w:pict></w:r>'
    )
    paragraphs = (
        run.format('One ')
        + box.format(f'<w:p>{run.format("boxed")}</w:p><w:p>{run.format("twice")}</w:p>')
        + run.format('sentence'),
        run.format('runs') + '<w:r><w:lastRenderedPageBreak/></w:r>' + run.format(' over'),
        '<w:r><w:br w:type="page"/></w:r>',
        '<w:r><w:lastRenderedPageBreak/><w:t>Third</w:t></w:r><w:r><w:rPr><w:vanish/></w:rPr><w:t>secret</w:t></w:r>',
        '<w:pPr><w:rPr><w:del w:id="1" w:author="x"/></w:rPr></w:pPr><w:del w:id="2" '
        'w:author="x"><w:r><w:tab/></w:r></w:del>',
        '<m:oMath '
        'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"><m:r><m:t>a=b</m:t></m:r></m:oMath>',
    )
    for i, inner in enumerate(paragraphs):
        word.element.body.insert(i, parse_xml(f'<w:p {nsdecls("w")}>{inner}</w:p>'))
    word.sections[0].header.paragraphs[0].text, word.sections[0].footer.paragraphs[0].text = (
        'Strictly confidential',
        'Page 1 of 9',
    )
    document = read_word(word, tmp_path)
    assert document.text.split('\n')[:4] == ['One sentence', 'boxed', 'twice', 'runs over'] and document.text.split()[
        -2:
    ] == ['Third', 'a=b']
    assert [document.page_of(document.text.index(w)) for w in ('One', 'runs', 'over', 'Third')] == [1, 1, 2, 3] and len(
        document.pages
    ) == 3
    assert '\t' not in document.text
    assert [n.split(' ', 1)[1] for n in document.notes] == [
        'has tracked changes; the text is read as if they were all accepted',
        'has hidden text, which is left out',
        'has formulas; only their letters and digits are read, one after another',
        'headers and footers are left out: “Strictly confidential”',
    ]


def rezip(raw, change):
    "A .docx file with other parts: `change` gets the dictionary of them"
    with zipfile.ZipFile(io.BytesIO(raw)) as z:
        parts = {n: z.read(n) for n in z.namelist()}
    change(parts)
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as z:
        for name, content in parts.items():
            z.writestr(name, content)
    return out.getvalue()


def plain_docx(text='Words'):
    word, out = docx.Document(), io.BytesIO()
    word.add_paragraph(text)
    word.save(out)
    return out.getvalue()


def test_word_footnotes(tmp_path):
    def change(parts):
        main = 'application/vnd.openxmlformats-officedocument.wordprocessingml'
        parts['word/footnotes.xml'] = (
            f'<w:footnotes {nsdecls("w")}><w:footnote w:id="2"><w:p><w:r><w:t>As of '
            'today.</w:t></w:r></w:p></w:footnote></w:footnotes>'.encode()
        )
        parts['word/document.xml'] = parts['word/document.xml'].replace(
            b'</w:t></w:r>', b'</w:t></w:r><w:r><w:footnoteReference w:id="2"/></w:r><w:r><w:t> and more</w:t></w:r>', 1
        )
        parts['[Content_Types].xml'] = parts['[Content_Types].xml'].replace(
            b'</Types>',
            f'<Override PartName="/word/footnotes.xml" ContentType="{main}.footnotes+xml"/></Types>'.encode(),
        )
        kind = 'http://schemas.openxmlformats.org/officeDocument/2006/relationships/footnotes'
        parts['word/_rels/document.xml.rels'] = parts['word/_rels/document.xml.rels'].replace(
            b'</Relationships>',
            f'<Relationship Id="rId99" Type="{kind}" Target="footnotes.xml"/></Relationships>'.encode(),
        )

    (tmp_path / 'f.docx').write_bytes(rezip(plain_docx(), change))
    assert plain(read_document(tmp_path / 'f.docx').text) == 'Words and more\nFootnote 1: As of today.'


# ---- HTML ----


def read_html(tmp_path, source, encoding='utf-8'):
    (tmp_path / 'h.html').write_bytes(source.encode(encoding))
    return read_document(tmp_path / 'h.html')


def test_html_is_read_as_a_browser_shows_it(tmp_path):
    for source, text in (
        (
            '<p>One\n  two<p>three<br>four<div>five <b>six</b>seven</div>eight',
            'One two\nthree\nfour\nfive sixseven\neight',
        ),
        ('a<script>if (a < b) x("</p>")</script><style>p{}</style><!-- no --><template>t</template>b', 'ab'),
        (
            '<title>T</title><noscript>on</noscript>5 &lt; 6 &amp; 7&nbsp;&sect;&#8220;x&#8221; con&shy;tract',
            '5 < 6 & 7\xa0§“x” contract',
        ),
        (
            '<table><tr><td>Item<td>Fee<tr><td>Support</td><td>$5<br>net</td></tr></table>end',
            'Item\tFee\nSupport\t$5 net\nend',
        ),
        ('<table><tr><td><p>layout</p><p>table</p></td><td> </td></tr></table>', 'layout\ntable'),
        ('<table><tr><td>1.<td>Term <table><tr><td>in<td>ner</table> rest</table>', '1.\tTerm in\tner rest'),
        ('<td>no</td><td>table</td>', 'no\ttable'),
        ('<table><tr><td>a</div></p></b><td>b</table>', 'a\tb'),
        (
            '<ol><li>a<li>b<ul><li>c</ul><li value=7>d</ol><ol type=A start=3><li>e</ol><ul '
            'style="list-style:none"><li>f</ul>',
            '1. a\n2. b\n• c\n7. d\nC. e\nf',
        ),
        ('<pre>a  b\n   c</pre> d\n e', 'a  b\n   c\nd e'),
        (
            '<div style="DISPLAY : none"><p>x<br>y<div>z</div></div><p hidden>q<p>w<span '
            'style="visibility:hidden">v</span>',
            'w',
        ),
        ('x<!ENTITY a "b">&a;<![if !x]>y<![endif]></nope><p/>z', 'x&a;y\nz'),
    ):
        assert plain(read_html(tmp_path, source).text) == text, source
    assert read_html(tmp_path, 'a<p hidden>ignore all this').notes == ('h.html has hidden text, which is left out',)


def test_html_encodings(tmp_path):
    for meta, encoding in (
        ('<meta charset="utf-8">', 'utf-8'),
        ('', 'utf-16'),
        ('<META HTTP-EQUIV=Content-Type CONTENT="text/html; charset=iso-8859-1">', 'cp1252'),
        ('<meta charset=latin1>', 'utf-8'),  # what it says is wrong
        ('<meta charset=zip>', 'utf-8'),
    ):
        document = read_html(tmp_path, meta + '“Fee” – 5 €', encoding)
        assert (document.text, document.notes) == ('“Fee” – 5 €', ())
    for meta, encoding, text in (
        ('<meta charset=windows-1251>', 'cp1251', 'Договор'),
        ('<?xml version="1.0" encoding="Shift_JIS"?>', 'shift_jis', '契約書'),
    ):
        assert read_html(tmp_path, meta + text, encoding).text == text
    assert 'Windows-1252' in read_html(tmp_path, 'Fee – 5 €', 'cp1252').notes[0]


def test_html_pages(tmp_path):
    "Page breaks for the printer are pages, and the numbers beside them are no text"
    parts = [
        f'<p>Clause {word} goes</p><p>on as {word}</p><p align=center>{n}</p>'
        for n, word in enumerate('one two three'.split(), 1)
    ]
    document = read_html(
        tmp_path,
        '<hr style="page-break-after: always">'.join(parts[:2])
        + '<PAGE>'
        + parts[2]
        + '<p style="page-break-before:always">end</p>',
    )
    assert (
        document.text == 'Clause one goes\non as one\nClause two goes\non as two\nClause three goes\non as three\nend'
    )
    assert [document.page_of(document.text.index(w)) for w in ('one', 'two', 'three', 'end')] == [1, 2, 3, 4]


# ---- hostile files: each is read or refused in a sentence, soon, and nothing in it happens ----


def raw_pdf(*objects, root=1, extra=b''):
    "A PDF of these objects, numbered from 1"
    out, places = bytearray(b'%PDF-1.7\n'), []
    for i, content in enumerate(objects, 1):
        places.append(len(out))
        out += b'%d 0 obj\n' % i + (content if isinstance(content, bytes) else content.encode()) + b'\nendobj\n'
    table = b''.join(b'%010d 00000 n \n' % p for p in places)
    return (
        bytes(out)
        + b'xref\n0 %d\n0000000000 65535 f \n' % (len(places) + 1)
        + table
        + (b'trailer\n<</Size %d/Root %d 0 R%s>>\nstartxref\n%d\n%%%%EOF' % (len(places) + 1, root, extra, len(out)))
    )


def stream(data, entries=''):
    return f'<</Length {len(data)}{entries}>>\nstream\n'.encode() + data + b'\nendstream'


CATALOG = '<</Type/Catalog/Pages 2 0 R>>'
PAGES = '<</Type/Pages/Kids[3 0 R]/Count 1>>'
FONT = '<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>'
PAGE = (
    '<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>/XObject<</X 6 0 '
    'R>>>>>>'
)
WORDS = b'BT /F1 9 Tf 40 700 Td (Words) Tj ET '


def one_page(content, *more, catalog=CATALOG, pages=PAGES, page='', fonts=''):
    page = PAGE.replace('/F1 ', f'{fonts}/F1 ').replace('<</Type/Page/', f'<</Type/Page{page}/')
    return raw_pdf(catalog, pages, page, content if content.startswith(b'<<') else stream(content), FONT, *more)


def flat(data):
    return zlib.compress(data, 9)


def nested_forms(depth):
    "Forms each of which draws the next one ten times"
    forms = [
        stream(
            b'/X Do ' * 10 + WORDS,
            f'/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X {7 + i} 0 R>>/Font<</F1 5 0 R>>>>',
        )
        for i in range(depth)
    ]
    return one_page(b'/X Do ' + WORDS, *forms, stream(WORDS, '/Type/XObject/Subtype/Form/BBox[0 0 9 9]'))


SCRIPTED = (
    '<</Type/Catalog/Pages 2 0 R/OpenAction<</S/JavaScript/JS(app.launchURL\\("http://localhost"\\))>>'
    '/AA<</WC<</S/Launch/F(calc.exe)>>>>/Names<</EmbeddedFiles<</Names[(a.exe) <</Type/Filespec/F(a.exe)/EF<</F 6 0 '
    'R>>>>]>>>>>>'
)
SECRET = '<</Filter/Standard/V 5/R 6/Length 256/P -4/O<00>/U<00>/OE<00>/UE<00>/Perms<00>>>'

HOSTILE_PDFS = {  # content and what is read, or what the refusal says after "!"
    'million_pages': (one_page(WORDS, pages='<</Type/Pages/Kids[3 0 R]/Count 1000000000>>'), 'Words'),
    'many_pages': (
        one_page(WORDS, pages=f'<</Type/Pages/Kids[{"3 0 R " * 3001}]/Count 3001>>'),
        '!more than 3,000 pages',
    ),
    'page_loop': (one_page(WORDS, pages='<</Type/Pages/Kids[2 0 R 3 0 R]/Count 2>>'), '!damaged or no PDF'),
    'deep_pages': (
        raw_pdf(
            CATALOG, *(f'<</Type/Pages/Kids[{i} 0 R]/Count 1>>' for i in range(3, 5000)), '<</Type/Page/Parent 2 0 R>>'
        ),
        '!damaged or no PDF',
    ),
    'bomb': (one_page(stream(flat(bytes(200_000_000)), '/Filter/FlateDecode')), '!it is a scan, or empty or damaged'),
    'bomb_in_bomb': (
        one_page(stream(flat(flat(bytes(200_000_000))), '/Filter[/FlateDecode/FlateDecode]')),
        '!it is a scan, or empty or damaged',
    ),
    'operators': (one_page(stream(flat(b'q Q ' * 3_000_000 + WORDS), '/Filter/FlateDecode')), 'Words'),
    'text_flood': (one_page(stream(flat(WORDS * 600_000), '/Filter/FlateDecode')), 'Words|!seconds to read'),
    'deep_array': (one_page(b'[' * 300_000 + WORDS), '!it is a scan, or empty or damaged'),
    # pdfium opens all 10^20 forms, and ends at the limit of time or of memory
    'forms_in_forms': (nested_forms(20), '!seconds to read|reader ended'),
    'form_in_itself': (
        one_page(
            b'/X Do ' + WORDS,
            stream(b'/X Do', '/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 6 0 R>>>>'),
        ),
        'Words',
    ),
    'scripts': (one_page(WORDS, stream(b'MZ'), catalog=SCRIPTED), 'Words'),
    'other_cipher': (
        raw_pdf(CATALOG, PAGES, PAGE, stream(WORDS), FONT, SECRET, extra=b'/Encrypt 6 0 R/ID[<00><00>]'),
        '!is protected|is encrypted',
    ),
    'no_end': (one_page(WORDS)[:-80], '!damaged or no PDF'),
    'no_image_end': (one_page(WORDS + b'BI /W 9 /H 9 ID ' + b'x' * 100_000), 'Words'),
    'garbage': (b'%PDF-1.7\n' + random.Random(0).randbytes(1_000_000), '!damaged or no PDF'),
    'objects_of_garbage': (b'%PDF-1.7\n' + b'1 0 obj << /A 1 0 R >> ' * 50_000, '!damaged or no PDF'),
    'long_number': (one_page(b'9' * 100_000 + b' ' + WORDS), 'Words'),
}


def computed():
    "Seconds that this process and its children have computed"
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def reads_or_refuses(path, expected, limit_s):
    """The text is one of the words in `expected`, or the refusal matches what follows `!`; it takes no more computing
    than the reader is given
    """
    words, _, match = expected.partition('!')
    start = computed()
    try:
        document = read_document(path, limit_s=limit_s)
    except LegalLLMError as e:
        assert match and re.search(match, str(e)), e
        check_message(str(e), path)
    else:
        assert set(document.text.split()) == {words.rstrip('|')}
        assert ('words may be missing' in ''.join(document.notes)) == ('forms' in path.name or 'itself' in path.name)
    assert computed() - start < limit_s + 10  # to start the process takes time, too


@pytest.mark.parametrize('name', HOSTILE_PDFS)
def test_hostile_pdfs(tmp_path, name):
    content, expected = HOSTILE_PDFS[name]
    (tmp_path / f'{name}.pdf').write_bytes(content)
    reads_or_refuses(tmp_path / f'{name}.pdf', expected, limit_s=2 if name in ('text_flood', 'forms_in_forms') else 8)
    assert [p.name for p in tmp_path.iterdir()] == [f'{name}.pdf']


def part_of(name, content):
    "A Word file with one more part, or with another content of one"
    return rezip(plain_docx(), lambda parts: parts.update({name: content}))


def zipped(name, content):
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as z:
        z.writestr(name, content)
    return out.getvalue()


def lying(raw, size):
    "A zip whose parts of `size` bytes are said to have 100"
    return raw.replace(size.to_bytes(4, 'little'), (100).to_bytes(4, 'little'))


def document_xml(body, doctype=''):
    return f'<?xml version="1.0"?>{doctype}<w:document {nsdecls("w")}><w:body>{body}</w:body></w:document>'.encode()


LAUGHS = (
    '<!DOCTYPE x [<!ENTITY a0 "ha">' + ''.join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 11)) + ']>'
)
OUTSIDE = '<!DOCTYPE x [<!ENTITY a10 SYSTEM "file:///etc/passwd">]>'
USED = document_xml('<w:p><w:r><w:t>&a10;</w:t></w:r></w:p>')
BOMB = 210_000_000


@functools.cache
def bomb():
    return zipped('word/document.xml', bytes(BOMB))


LIST = (
    '<w:numbering xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:abstractNum '
    'w:abstractNumId="1"><w:lvl w:ilvl="0"><w:start w:val="999999999"/><w:numFmt w:val="{}"/><w:lvlText '
    'w:val="{}"/></w:lvl></w:abstractNum><w:num w:numId="1"><w:abstractNumId w:val="1"/></w:num></w:numbering>'
)
NUMBERED = document_xml(
    '<w:p><w:pPr><w:numPr><w:numId w:val="1"/></w:numPr></w:pPr><w:r><w:t>Words</w:t></w:r></w:p>' * 5_000
)

HOSTILE_DOCX = {  # made when the test runs; expected as for PDFs
    'bomb': (bomb, '!an archive, not a Word file'),
    'lying_bomb': (lambda: lying(bomb(), BOMB), '!no Word file|an archive|unpacks to more'),
    'bomb_in_word': (lambda: part_of('word/document.xml', bytes(BOMB)), '!unpacks to more than 200 MB'),
    'many_bombs': (lambda: rezip(plain_docx(), lambda p: p.update({f'word/media/{i}.png': bytes(30_000_000) for i in range(8)})),  # noqa: E501
        '!unpacks to more than 200 MB'),
    'bomb_in_zip': (lambda: part_of('word/embeddings/a.zip', zipped('b.zip', bomb())), 'Words'),
    'many_parts': (lambda: rezip(plain_docx(), lambda p: p.update({f'word/{i}.xml': b'<a/>' for i in range(5001)})),
        '!parts, and 5,000 is the limit'),
    'laughs': (lambda: part_of('word/document.xml', USED.replace(b'<w:d', LAUGHS.encode() + b'<w:d', 1)),
        '!definitions in its XML'),
    'laughs_in_styles': (lambda: part_of('word/styles.xml', LAUGHS.encode() + b'<x/>'), '!definitions in its XML'),
    'laughs_elsewhere': (lambda: part_of('word/notes.bin', LAUGHS.encode() + b'<x/>'), 'Words'),
    'outside': (lambda: part_of('word/document.xml', USED.replace(b'<w:d', OUTSIDE.encode() + b'<w:d', 1)),
        '!definitions in its XML'),
    'outside_in_utf_16': (lambda: part_of('word/document.xml', document_xml('&a10;', OUTSIDE).decode().replace(
        '?>', ' encoding="utf-16"?>', 1).encode('utf-16')), '!definitions in its XML'),
    'renamed_docm': (lambda: rezip(plain_docx(), lambda p: p.update({'[Content_Types].xml': p[
        '[Content_Types].xml'].replace(b'openxmlformats-officedocument.wordprocessingml.document.main',
            b'ms-word.document.macroEnabled.main')})), '!has macros'),
    'macros': (lambda: part_of('word/vbaProject.bin', b'x'), '!has macros'),
    'other_zip': (lambda: zipped('hello.txt', b'Words'), '!an archive, not a Word file'),
    'spreadsheet': (lambda: rezip(plain_docx(), lambda p: p.update({'[Content_Types].xml': p[
        '[Content_Types].xml'].replace(b'wordprocessingml.document.main', b'spreadsheetml.sheet.main')})),
            '!no Word file|an Excel file'),
    'cut': (lambda: plain_docx()[:-200], '!no Word file'),
    'cut_in_half': (lambda: plain_docx()[:15_000], '!no Word file'),
    'climbing_names': (lambda: rezip(plain_docx(), lambda p: p.update({'../../climbed.txt': b'x',
        '/tmp/climbed.txt': b'x', 'C:\\climbed.txt': b'x'})), 'Words'),
    'deep': (lambda: part_of('word/document.xml', document_xml('<w:p>' * 100_000)), '!no Word file'),
    'deep_and_closed': (lambda: part_of('word/document.xml', document_xml('<w:tbl><w:tr><w:tc>' * 5000 +
        '</w:tc></w:tr></w:tbl>' * 5000)), '!no Word file'),
    'no_body': (lambda: part_of('word/document.xml', b'<a/>'), '!no Word file'),
    'billionth_letter': (lambda: rezip(plain_docx(), lambda p: p.update({'word/numbering.xml': LIST.format(
        'lowerLetter', '').encode(), 'word/document.xml': NUMBERED})), 'Words'),
    'long_numbers': (lambda: rezip(plain_docx(), lambda p: p.update({'word/numbering.xml': LIST.format(
        'decimal', 'x' * 1_000_000).encode(), 'word/document.xml': NUMBERED})), '!characters of text'),
    'far_away': (lambda: rezip(plain_docx(), lambda p: p.update({'word/_rels/document.xml.rels': p[
        'word/_rels/document.xml.rels'].replace(b'</Relationships>', b'<Relationship Id="rId98" TargetMode="External" '
                                                                     b'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/footnotes" '  # noqa: E501
                                                                     b'Target="http://127.0.0.1:9/x"/></Relationships>')})),
                                                                         'Words'),
}  # fmt: skip


@pytest.mark.parametrize('name', HOSTILE_DOCX)
def test_hostile_word_files(tmp_path, name):
    make, expected = HOSTILE_DOCX[name]
    path = tmp_path / f'{name}.docx'
    path.write_bytes(make())
    reads_or_refuses(path, expected, limit_s=8)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


HOSTILE_HTML = {
    'deep': ('<div>' * 50_000 + 'Words', 'Words'),
    'deep_tables': ('<table><tr><td>' * 5_000 + 'Words', 'Words'),
    'stray_ends': ('<b>' * 50_000 + '</i>' * 50_000 + 'Words', 'Words'),
    'paragraphs_in_deep': ('<p>' + '<b>' * 20_000 + '<p>' * 20_000 + 'Words', 'Words'),
    'laughs': (LAUGHS.replace('[', ' ').replace(']', ' ') + '<p hidden>&a10;</p><p>Words', None),
    'outside': (
        '<!DOCTYPE html SYSTEM "file:///etc/passwd"><iframe src="file:///etc/passwd"></iframe><object '
        'data=x></object>Words',
        'Words',
    ),
    'comments': ('Words' + '<!--' * 500_000, None),
    'marked': ('Words' + '<![' * 200_000, None),
    'starts': ('Words' + '<a ' * 200_000, None),
    'references': ('Words' + '&#' * 500_000, None),
    'attributes': ('<p ' + ' '.join(f'a{i}=1' for i in range(100_000)) + '>Words', 'Words'),
    'scripts': (
        '<script>while (1) {}</script><style>@import url(http://127.0.0.1:9)</style><img src=x '
        'onerror=alert(1)>Words<script>',
        'Words',
    ),
    'long_numbers': (
        '<ol start='
        + '9' * 100_000
        + '><li value='
        + '9' * 100_000
        + ' hidden>x<li style="list-style:none">'
        + 'Words',
        None,
    ),
    'charset': ('<meta charset=' + 'a' * 3000 + '>Words', 'Words'),
}


@pytest.mark.parametrize('name', HOSTILE_HTML)
def test_hostile_html(tmp_path, name):
    source, expected = HOSTILE_HTML[name]
    path = tmp_path / f'{name}.html'
    path.write_text(source)
    if expected:
        reads_or_refuses(path, expected, limit_s=8)
    else:  # markup that is none may be shown as text, as browsers do, or take too long
        try:
            assert 'Words' in read_document(path, limit_s=1).text
        except LegalLLMError as e:
            check_message(str(e), path)
            assert 'seconds to read' in str(e) or 'damaged' in str(e)


def test_hostile_files(tmp_path):
    "What is no regular file, has a name that is none, or is too large, is not opened"
    (tmp_path / 'folder.pdf').mkdir()
    refused(tmp_path / 'folder.pdf', 'folder.pdf is a folder')
    (tmp_path / 'loop.txt').symlink_to(tmp_path / 'loop.txt')
    refused(tmp_path / 'loop.txt', 'cannot be opened|no file')
    (tmp_path / 'zero.txt').symlink_to('/dev/zero')
    refused(tmp_path / 'zero.txt', 'is a device or a pipe')
    os.mkfifo(tmp_path / 'pipe.docx')
    refused(tmp_path / 'pipe.docx', 'is a device or a pipe')
    with open(tmp_path / 'sparse.pdf', 'wb') as f:
        f.truncate(100_000_000)
    refused(tmp_path / 'sparse.pdf', '100.0 MB, and 20 MB is the limit')
    (tmp_path / 'nul.txt').write_bytes(bytes(1_000_000))
    refused(tmp_path / 'nul.txt', 'is not a text file')
    (tmp_path / 'a\n\x1b[31m\u202etxt.pdf').write_bytes(b'x')
    refused(tmp_path / 'a\n\x1b[31m\u202etxt.pdf', r'a\?\?\[31m\?txt.pdf is plain text, not a PDF')
    (tmp_path / 'a\r\x07.txt').write_text('Words')
    assert read_document(tmp_path / 'a\r\x07.txt').title == 'a??'
    refused(tmp_path / ('x' * 1000 + '.txt'), 'cannot be opened|no file')
    refused(tmp_path / 'a\0b.txt', 'cannot be opened|no file')
    (tmp_path / 'long.txt').write_text('x' * 10_000_001)
    refused(tmp_path / 'long.txt', 'more than 10,000,000 characters')


@pytest.mark.skipif(sys.platform != 'linux', reason='the limit of memory holds on Linux only')
def test_a_child_has_little_memory(tmp_path):
    code = (
        'from legal_llm.documents.documents import _limit_process\n_limit_process(5)\n'
        'try: bytes(2_000_000_000)\nexcept MemoryError: print("refused")'
    )
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout == 'refused\n'


def test_files_beside_a_document_are_not_executed(tmp_path, monkeypatch):
    for name in ('json', 'pypdf', 'pypdfium2', 'docx', 'legal_llm'):
        (tmp_path / f'{name}.py').write_text('open("executed", "w")')
    write_pdf(tmp_path / 'a.pdf', ['Words'])
    monkeypatch.chdir(tmp_path)
    assert read_document('a.pdf').text == 'Words' and not (tmp_path / 'executed').exists()


def test_many_at_once(tmp_path):
    "From threads, as the demo reads them; each thread gets its own file"
    for i in range(4):
        write_pdf(tmp_path / f'{i}.pdf', [f'Words {i}'])
    with ThreadPoolExecutor(4) as pool:
        assert [d.text for d in pool.map(read_document, sorted(tmp_path.glob('*.pdf')))] == [
            f'Words {i}' for i in range(4)
        ]


def test_endings_are_those_of_files_that_are_read():
    assert list(READERS) == ['.txt', '.md', '.pdf', '.docx', '.html', '.htm']


# ---- what other programs and older offices leave in a file ----

CASES = Path(__file__).parent / 'documents'


def read_body(tmp_path, body, more=None):
    "A Word file with this body, and with other parts where given"
    parts = {'word/document.xml': document_xml(body), **(more or {})}
    (tmp_path / 'b.docx').write_bytes(rezip(plain_docx(), lambda p: p.update(parts)))
    return read_document(tmp_path / 'b.docx')


def run(text, properties=''):
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


def form_field(data, result=''):
    return ''.join(
        f'<w:r>{inner}</w:r>'
        for inner in (
            f'<w:fldChar w:fldCharType="begin"><w:ffData>{data}</w:ffData></w:fldChar>',
            '<w:instrText> FORM </w:instrText>',
            '<w:fldChar w:fldCharType="separate"/>',
            f'<w:t>{result}</w:t>',
            '<w:fldChar w:fldCharType="end"/>',
        )
    )


def test_word_forms(tmp_path):
    text = plain(read_document(CASES / 'docx_form_fields' / 'legacy_form.docx').text)
    assert text.split('\n')[:2] == ['Customer: Birch Trading Inc.', 'This Agreement is governed by the laws of Texas.']
    assert text.split('\n')[2].split() == ['☒', 'exclusive', 'licence', '☐', 'non-exclusive', 'licence']
    entries = '<w:listEntry w:val="Ohio"/><w:listEntry w:val="Texas"/>'
    for data, shown in (
        (f'<w:ddList>{entries}</w:ddList>', 'Ohio'),  # the first, where nothing was chosen
        (f'<w:ddList><w:default w:val="1"/>{entries}</w:ddList>', 'Texas'),
        (f'<w:ddList><w:result w:val="9"/>{entries}</w:ddList>', ''),
        ('<w:checkBox><w:default w:val="1"/></w:checkBox>', '☒'),
        ('<w:checkBox><w:default w:val="1"/><w:checked w:val="0"/></w:checkBox>', '☐'),
    ):
        body = f'<w:p>{run("a ")}{form_field(data, "again")}{run(" b")}</w:p><w:p>{run("c")}</w:p>'
        assert read_body(tmp_path, body).text == f'a {shown} b\nc'
    unended = form_field('<w:checkBox/>').replace('<w:fldChar w:fldCharType="end"/>', '')
    assert read_body(tmp_path, f'<w:p>{unended}</w:p><w:p>{run("next")}</w:p>').text == '☐\nnext'


def test_word_symbols(tmp_path):
    document = read_document(CASES / 'docx_symbols' / 'symbols.docx')
    assert plain(document.text).split('\n') == [
        '☑ exclusive licence   ☐ non-exclusive licence',
        'The price shall not exceed 5% per year; see §4.',
    ]
    assert document.notes == ()
    font = '<w:rFonts w:ascii="{0}" w:hAnsi="{0}"/>'
    body = f'<w:p>{run("q þ", font.format("Wingdings"))}{run(chr(0xF0FC), font.format("Wingdings"))}{run("£", font.format("Symbol"))}{run("q", font.format("Arial"))}</w:p>'  # noqa: E501
    assert read_body(tmp_path, body).text == '☐ ☑✓≤q'
    document = read_body(tmp_path, '<w:p><w:r><w:sym w:font="Own Logos" w:char="F041"/></w:r></w:p>')
    assert plain(document.text) == '\ufffd' and 'symbols that are not known' in document.notes[0]


STYLES = f'''<w:styles {nsdecls("w")}><w:style w:type="character" w:styleId="Gone"><w:rPr><w:strike/></w:rPr></w:style>
<w:style w:type="character" w:styleId="Heir"><w:basedOn w:val="Gone"/></w:style>
<w:style w:type="paragraph" w:styleId="Old"><w:rPr><w:dstrike/></w:rPr></w:style></w:styles>'''.encode()


def test_struck_words_in_word(tmp_path):
    document = read_document(CASES / 'docx_strikethrough' / 'manual_redline.docx')
    assert document.text.split() == 'The initial term is two (2) years.'.split()
    assert document.notes == ('manual_redline.docx has text that is struck through, which is left out',)
    body = (
        f'<w:p>{run("a")}{run("b", f"<w:rStyle w:val={chr(34)}Heir{chr(34)}/>")}{run("c")}</w:p>'
        '<w:p><w:pPr><w:pStyle '
        f'w:val="Old"/></w:pPr>{run("d")}{run("e", f"<w:dstrike w:val={chr(34)}0{chr(34)}/>")}</w:p>'
    )
    document = read_body(tmp_path, body, {'word/styles.xml': STYLES})
    assert document.text == 'ac\ne' and 'struck through' in document.notes[0]
    document = read_body(tmp_path, f'<w:p>{run("kept", f"<w:strike w:val={chr(34)}false{chr(34)}/>")}</w:p>')
    assert (document.text, document.notes) == ('kept', ())


def test_a_deleted_end_of_a_paragraph(tmp_path):
    "It joins two paragraphs, which are numbered as one"
    listing = '<w:numPr><w:numId w:val="1"/></w:numPr>'
    gone = '<w:rPr><w:del w:id="1" w:author="x"/></w:rPr>'
    body = ''.join(
        f'<w:p><w:pPr>{listing}{more}</w:pPr>{words}</w:p>'
        for words, more in (
            (run('One.'), ''),
            (run('Two '), gone),
            (run('goes on.'), ''),
            ('<w:del w:id="2" w:author="x"><w:r><w:delText>All deleted.</w:delText></w:r></w:del>', gone),
            (run('Three.'), ''),
        )
    )
    numbering = LIST.format('decimal', '%1.').replace('999999999', '1').encode()
    document = read_body(tmp_path, body, {'word/numbering.xml': numbering})
    assert plain(document.text) == '1. One.\n2. Two goes on.\n3. Three.' and 'tracked changes' in document.notes[0]


def test_boxes_are_read_once_and_comments_are_noted(tmp_path):
    box = f'<w:txbxContent><w:p>{run("boxed")}</w:p></w:txbxContent>'
    mc = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    both = (
        f'<mc:AlternateContent {mc}><mc:Choice '
        f'Requires="wps">{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback></mc:AlternateContent>'
    )
    document = read_body(
        tmp_path, f'<w:p><w:r>{both}</w:r>{run("words")}<w:r><w:commentReference w:id="1"/></w:r></w:p>'
    )
    assert document.text == 'words\nboxed' and document.notes == (
        'b.docx has comments in its margin, which are left out',
    )


@pytest.mark.parametrize(
    'path',
    sorted(CASES.glob('docx_null_relationship/*')) + [CASES / 'docx_strict' / 'strict.docx'],
    ids=lambda p: p.stem,
)
def test_word_files_that_word_opens(path):
    document = read_document(path)
    assert plain(document.text).split('\n') == [
        'This Supply Agreement is made between Alder Mills Ltd and Birch Trading Inc.',
        'This Agreement is governed by the laws of the State of Ohio.',
    ]
    assert document.notes == ()


@pytest.mark.parametrize('cipher', ['plain', 'RC4-128', 'AES-128', 'AES-256'])
def test_pdfs_that_only_forbid_changes(cipher):
    assert (
        read_document(CASES / 'pdf_permissions_only' / f'{cipher}.pdf').text.split('\n')[2]
        == 'This Agreement is governed by the laws of the State of Ohio.'
    )


def test_struck_words_in_html(tmp_path):
    document = read_document(CASES / 'html_redline' / 'redline.html')
    assert plain(document.text) == 'The initial term is two (2) years.\nThe cap is USD 50,000.'
    assert document.notes == ('redline.html has text that is struck through, which is left out',)
    for source, text in (
        ('a <s>b</s>c', 'a c'),
        (
            '<style>.x, p.y {color: red; text-decoration: underline line-through}</style><p>a<span class="w '
            'X">b</span><p class=y>c<p>d',
            'a\nd',
        ),
        ('<style>s {text-decoration: none}</style><s>a</s><s style="text-decoration-line:line-through">b</s>', 'a'),
        ('<ol><li>a<li style="text-decoration:line-through">b<li>c</ol>', '1. a\n3. c'),
        ('<p style="text-decoration:underline">a</p>', 'a'),
    ):
        assert plain(read_html(tmp_path, source).text) == text, source


def test_submissions_to_edgar(tmp_path):
    expected = (
        'This\xa0Supply Agreement is made between Alder Mills & Sons and Birch Trading Inc.\n“Goods” means '
        'what Schedule\xa01 lists.'
    )
    for name in ('submission_with_html.txt', 'exhibit.htm'):
        assert plain(read_document(CASES / 'edgar_txt' / name).text) == expected
    document = read_document(CASES / 'edgar_txt' / 'exhibit_1998.txt')
    assert '<' not in document.text and '-2-' not in document.text
    assert [document.page_of(document.text.index(w)) for w in ('SUPPLY', 'The Supplier', 'thirty', 'Oak')] == [
        1,
        2,
        3,
        3,
    ]
    exhibit = (CASES / 'edgar_txt' / 'exhibit_1998.txt').read_text()
    picture = '<DOCUMENT>\n<TYPE>GRAPHIC\n<FILENAME>a.jpg\n<TEXT>\nbegin 644 a.jpg\nM_]C_X\nend\n</TEXT>\n</DOCUMENT>\n'
    (tmp_path / 'all.txt').write_text(
        (CASES / 'edgar_txt' / 'submission_with_html.txt').read_text() + exhibit + picture
    )
    document = read_document(tmp_path / 'all.txt')
    assert document.page_of(document.text.index('SUPPLY')) == 2 and len(document.pages) == 4
    assert document.notes[:2] == (
        'all.txt holds 2 documents: EX-10.1 ex10.htm from page 1, EX-10.3 from page 2',
        'all.txt: documents without words to read are left out: “GRAPHIC a.jpg”',
    )
    (tmp_path / 'bare.txt').write_text('one\n<PAGE>\ntwo\n')
    assert read_document(tmp_path / 'bare.txt').pages == (0, 4)
    (tmp_path / 'deep.txt').write_text('<DOCUMENT>\n<TEXT>\n<html>' + '<div>' * 50_000 + 'Words')
    reads_or_refuses(tmp_path / 'deep.txt', 'Words', limit_s=8)


@pytest.mark.parametrize(
    'name, raw, said',
    [
        ('agreement.docx', None, 'is RTF, not a Word file'),
        ('page.docx', None, 'is HTML, not a Word file .*: rename it to page.html'),
        ('agreement.txt', None, 'is a PDF, not plain text: rename it to agreement.pdf'),
        ('b.docx', b'Plain words', 'is plain text, not a Word file .*: rename it to b.txt'),
        ('c.pdf', b'<p>Words', 'is HTML, not a PDF: rename it to c.html'),
        ('d.doc', b'<html><p>Words', 'is HTML: rename it to d.html'),
        ('d.doc', b'{\\rtf1 Words}', 'is RTF: open it in Word'),
        ('none', b'%PDF-1.4', 'is a PDF: rename it to none.pdf'),
        ('e.jpg', b'\xff\xd8\xff\xe0', 'is a picture: run text recognition'),
        ('f.eml', b'From: a\nMIME-Version: 1.0\n', 'is an e-mail'),
        ('h.txt', b'\xef\xbb\xbf<!DOCTYPE html><p>Words', 'is HTML, not plain text: rename it to h.html'),
        ('i.docx', b'\xd0\xcf\x11\xe0' + 'WordDocument'.encode('utf-16-le'), r'is an old Word file \(.doc\)'),
        ('j.docx', b'\xd0\xcf\x11\xe0' + 'EncryptedPackage'.encode('utf-16-le'), 'is a file with a password'),
        ('k.html', b'PK\3\4', 'is not a text file'),
    ],
)
def test_a_file_that_is_something_else_is_named(tmp_path, name, raw, said):
    (tmp_path / name).write_bytes(raw or (CASES / 'wrong_ending' / name).read_bytes())
    with pytest.raises(LegalLLMError, match=said):
        read_document(tmp_path / name)


def test_words_that_begin_like_another_format_are_read(tmp_path):
    for words in (
        'BM Holdings agrees',
        'From: the Seller\nTo: the Buyer\nThis Agreement',
        'GIF licence',
        'PK Ltd agrees',
        '<Company> agrees',
    ):
        (tmp_path / 'a.txt').write_text(words)
        assert read_document(tmp_path / 'a.txt').text == words


def read_pdf(tmp_path, content, *objects, **kwargs):
    (tmp_path / 'a.pdf').write_bytes(one_page(content, *objects, **kwargs))
    document = read_document(tmp_path / 'a.pdf')
    return document.text, ' '.join(document.notes)


def at(*places):
    "Strings drawn at (x, y)"
    return (
        b'BT /F1 10 Tf '
        + b' '.join(b'1 0 0 1 %.2f %d Tm (%s) Tj' % (x, y, words.encode()) for x, y, words in places)
        + b' ET'
    )


@pytest.mark.parametrize(
    'content, text',
    [
        (at((72, 700, 'Master'), (72.3, 700, 'Master'), (72, 680, 'Second')), 'Master\nSecond'),
        (
            at((72, 700, 'The '), (90.6, 700, 'Supplier'), (90.9, 700, 'Supplier'), (128.4, 700, ', too')),
            'The Supplier, too',
        ),
        (at(*[(72 + 5 * i + d, 700, c) for i, c in enumerate('bold') for d in (0, 0.3)]), 'bold'),
        (at((72, 700, 'Shadow'), (72, 680, 'Next'), (72.5, 699.5, 'Shadow')), 'Shadow\nNext'),
        (at((72, 700, 'bye'), (90, 700, 'bye'), (72, 680, 'bye')), 'bye bye\nbye'),  # said again elsewhere
        (b'BT /F1 10 Tf 72 700 Td (so) Tj (so) Tj ET', 'soso'),  # the second stands behind the first
        (b'BT /F1 10 Tf 1 0 0 1 72 700 Tm [(Ma) -20 (ster)] TJ 1 0 0 1 72.2 700 Tm [(Ma) -20 (ster)] TJ ET', 'Master'),
        (b'BT /F1 10 Tf 14 TL 1 0 0 1 72 700 Tm (One) Tj (One) \' (One) \' ET', 'One\nOne\nOne'),
    ],
)
def test_words_that_are_drawn_twice_in_their_place_are_read_once(tmp_path, content, text):
    assert read_pdf(tmp_path, content)[0] == text


def test_words_that_were_filled_in_stand_in_their_place(tmp_path):
    text = read_document(CASES / 'pdf_freetext' / 'filled_in.pdf').text
    assert text == 'Customer: Birch Trading Inc.\nThis Agreement is governed by the laws of the State of Ohio.'

    def form(kind, more):
        lines = at((72, 700, 'Name:'), (90, 680, 'exclusive licence'), (72, 660, 'Words that follow'))
        return read_pdf(tmp_path, lines, f'<</Type/Annot/Subtype/Widget/FT/{kind}/T(a){more}>>', page='/Annots[6 0 R]')

    text, notes = form('Tx', '/V(Acme Corp)/Rect[110 696 300 712]')
    assert (
        text == 'Name: Acme Corp\nexclusive licence\nWords that follow' and 'put where it stands: “Acme Corp”' in notes
    )
    assert form('Tx', '/V(Acme Corp)/Rect[110 696 300 712]/F 2') == ('Name:\nexclusive licence\nWords that follow', '')
    assert form('Tx', '/V()/Rect[110 696 300 712]')[1] == ''
    assert form('Ch', '/V[(Ohio)(Texas)]/Rect[110 696 300 712]')[0].startswith('Name: Ohio, Texas\n')
    assert '☒ exclusive licence' in form('Btn', '/V/On/AS/On/Rect[72 678 84 690]')[0]
    assert '☐ exclusive licence' in form('Btn', '/AS/Off/Rect[72 678 84 690]')[0]
    assert (
        form('Btn', '/Ff 65536/MK<</CA(Print)>>/Rect[72 678 84 690]')[0]
        == 'Name:\nexclusive licence\nWords that follow'
    )
    assert form('Tx', '/V(Words that follow)/Rect[72 658 200 672]')[0].count('Words') == 1  # it is on the page as well
    # part of a word there is not the word
    assert form('Tx', '/V(or)/Rect[110 656 300 672]')[0].endswith('Words that follow or')
    assert form('Tx', '/V(Far away)/Rect[72 100 200 112]')[0].endswith('\nFar away')


def test_remarks_of_a_reviewer_are_noted(tmp_path):
    for kind, said in (('StrikeOut', 'struck through'), ('Highlight', 'has comments'), ('Link', '')):
        text, notes = read_pdf(
            tmp_path,
            at((72, 700, 'Words')),
            f'<</Type/Annot/Subtype/{kind}/Contents(No)/Rect[72 698 90 712]>>',
            page='/Annots[6 0 R]',
        )
        assert text == 'Words' and (said in notes if said else not notes)


FONTS = {  # the dictionary of F1, and whether it says letters
    'no way back': ('/Subtype/Type0/BaseFont/ABCDEF+Calibri/Encoding/Identity-H/DescendantFonts[7 0 R]', False),
    'numbers for names': (
        '/Subtype/Type1/BaseFont/ABCDEF+T1/Encoding<</Differences[32/g1/g2/g3 65/g20/g21/g22/g23]>>',
        False,
    ),
    'drawn glyphs': (
        '/Subtype/Type3/FontBBox[0 0 9 9]/FontMatrix[1 0 0 1 0 0]/CharProcs<<>>/FirstChar 0/LastChar '
        '0/Widths[9]/Encoding<</Differences[65/a0/a1/a2]>>',
        False,
    ),
    'names of letters': (
        '/Subtype/Type1/BaseFont/ABCDEF+T1/Encoding<</Differences[65/A/B/C/.notdef/.notdef/.notdef/.notdef]>>',
        True,
    ),
    'a basic font': ('/Subtype/Type1/BaseFont/Helvetica', True),
}


@pytest.mark.parametrize('name', FONTS)
def test_words_in_fonts_without_letters_are_not_read(tmp_path, name):
    font, says = FONTS[name]
    descendant = (
        '<</Type/Font/Subtype/CIDFontType2/BaseFont/ABCDEF+Calibri/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)/Supplement '  # noqa: E501
        '0>>>>'
    )
    objects = f'<</Type/Font{font}>>', descendant
    strange = b'BT /F2 10 Tf 72 700 Td (ABCABC) Tj ET'
    plain = at((72, 680, 'Plain words'))
    if says:
        assert read_pdf(tmp_path, strange + plain, *objects, fonts='/F2 6 0 R') == ('ABCABC\nPlain words', '')
        return
    text, notes = read_pdf(tmp_path, strange + plain, *objects, fonts='/F2 6 0 R')
    assert text == 'Plain words' and 'words on page 1 are missing here, since their fonts do not say' in notes
    (tmp_path / 'b.pdf').write_bytes(one_page(strange, *objects, fonts='/F2 6 0 R'))
    refused(
        tmp_path / 'b.pdf',
        r'has no text on its 1 page: its fonts do not say which letters they show; run text recognition \(OCR\)',
    )


def test_letters_without_a_code_are_noted(tmp_path):
    "Some fonts give their ligatures the code 0, or one of their own"
    to_unicode = stream(
        b'1 begincodespacerange <00> <ff> endcodespacerange 3 beginbfchar <41> <006f> <42> <0000> <43> <e000> endbfchar'
    )
    font = '<</Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 7 0 R>>'
    text, notes = read_pdf(tmp_path, b'BT /F2 10 Tf 72 700 Td (ABAC) Tj ET', font, to_unicode, fonts='/F2 6 0 R')
    assert text == 'o\ufffdo\ufffd' and 'has letters on page 1 that are not known' in notes


def test_a_first_letter_that_is_set_large_belongs_to_its_word(tmp_path):
    word = docx.Document()
    cap = word.add_paragraph('T')
    word.add_paragraph('his Agreement')
    cap._p.get_or_add_pPr().append(parse_xml(f'<w:framePr {nsdecls("w")} w:dropCap="drop" w:lines="3"/>'))
    word.save(tmp_path / 'w.docx')
    assert read_document(tmp_path / 'w.docx').text == 'This Agreement'


@pytest.mark.parametrize(
    'base, code, shown',
    [('ABCDEF+SymbolMT', 'f0b7', '•'), ('ABCDEF+Wingdings-Regular', 'f0a8', '☐'), ('ABCDEF+Calibri', 'f0b7', '•')],
)
def test_bullets_of_word_in_a_pdf(tmp_path, base, code, shown):
    "Their codes are private ones; what they show is known from the font"
    font = f'<</Type/Font/Subtype/Type1/BaseFont/{base}/ToUnicode 7 0 R>>'
    to_unicode = stream(
        f'1 begincodespacerange <00> <ff> endcodespacerange 1 beginbfchar <41> <{code}> endbfchar'.encode()
    )
    assert read_pdf(tmp_path, b'BT /F2 10 Tf 72 700 Td (A) Tj ET', font, to_unicode, fonts='/F2 6 0 R') == (shown, '')
