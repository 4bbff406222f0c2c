"Reading files: every encoding, PDF and Word with their oddities, and files that must be refused in one sentence."

import codecs
import io
import zipfile

import docx
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfReader, PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from legal_llm.documents import Document, decode_text, read_document
from legal_llm.env import LegalLLMError
from legal_llm.synthetic import write_contracts


def write_pdf(path, pages):
    "A PDF with one page for each text, in Helvetica; an empty text makes a page without any"
    writer = PdfWriter()
    font = {'Type': 'Font', 'Subtype': 'Type1', 'BaseFont': 'Helvetica', 'Encoding': 'WinAnsiEncoding'}
    font = DictionaryObject({NameObject(f'/{k}'): NameObject(f'/{v}') for k, v in font.items()})
    for text in pages:
        page, stream = writer.add_blank_page(612, 792), DecodedStreamObject()
        escaped = text.replace('\\', r'\\').replace('(', r'\(').replace(')', r'\)')
        lines = ''.join(f'({line}) Tj T*\n' for line in escaped.split('\n'))
        stream.set_data(f'BT /F1 9 Tf 11 TL 40 750 Td\n{lines}ET'.encode('cp1252', 'replace'))
        page[NameObject('/Resources')] = DictionaryObject({NameObject('/Font'): DictionaryObject({NameObject('/F1'): font})})
        page[NameObject('/Contents')] = writer._add_object(stream)
    writer.write(path)
    return path


def lock_pdf(path, user, owner):
    writer = PdfWriter(clone_from=PdfReader(path))
    writer.encrypt(user, owner, algorithm='RC4-128')
    writer.write(path)
    return path


def refused(path, match, **kwargs):
    "The file is refused, in one sentence that does not show the folder"
    with pytest.raises(LegalLLMError, match=match) as e:
        read_document(path, **kwargs)
    assert '\n' not in str(e.value) and str(path.parent) not in str(e.value)


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
    whole = write_pdf(tmp_path / 'whole.pdf', ['Words'] * 3).read_bytes()
    damaged = {
        'a.pdf': b'not a pdf',
        'b.pdf': b'%PDF-1.7\n',
        'c.docx': b'PK\x03\x04',
        'd.docx': b'plain',
        'e.docx': b'\xd0\xcf\x11\xe0' * 9,
    }
    for name, raw in damaged.items():
        (tmp_path / name).write_bytes(raw)
        refused(tmp_path / name, 'cannot be read|is a scan')
    for size in range(20, len(whole), 97):  # cut off anywhere: read, or refused in a sentence
        (tmp_path / 'cut.pdf').write_bytes(whole[:size])
        try:
            assert set(read_document(tmp_path / 'cut.pdf').text.split()) <= {'Words'}
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
    assert read_document(tmp_path / 'w.docx').text == 'Before\na\tb\tc \tinner\nd e\tf\nA\ttab and a\nbreak'


def test_word_loses_no_words(tmp_path):
    "Tracked insertions, links and content controls are read, deletions are not, and a note says that there were changes"
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
    body.insert(1, parse_xml(f'<w:sdt {nsdecls("w")}><w:sdtContent><w:p>{run.format("A whole paragraph")}</w:p></w:sdtContent></w:sdt>'))
    word.save(tmp_path / 'w.docx')
    document = read_document(tmp_path / 'w.docx')
    assert document.text == 'This is inserted controlled linked\nA whole paragraph'
    assert len(document.notes) == 1 and 'tracked changes' in document.notes[0]


def test_a_zip_bomb_is_refused(tmp_path):
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, 'w', zipfile.ZIP_DEFLATED) as z:
        with z.open('word/document.xml', 'w') as part:
            for _ in range(210):
                part.write(b' ' * 1_000_000)
    (tmp_path / 'bomb.docx').write_bytes(raw.getvalue())
    refused(tmp_path / 'bomb.docx', '200 MB is the limit')


def test_files_that_cannot_be_contracts(tmp_path):
    for name, raw, match in (
        ('a.txt', b'', 'is empty'),
        ('b.txt', b' \r\n\t', 'has no text'),
        ('c.txt', b'\x89PNG\r\n\x1a\n\0\0', 'not a text file'),
        ('d.doc', b'x', r'\.txt, \.md, \.pdf, \.docx \(save old Word files as \.docx\)'),
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
