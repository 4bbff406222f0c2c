"Columns, tables, struck, hidden and typed words, margins, files inside, time and damage: PDFs as a person reads them."

import re
import sys

import pytest
from damaged import damaged_pdfs, read_in_fork
from test_documents import CASES, FONT, at, one_page, raw_pdf, read_pdf, stream, write_pdf

from legal_llm.documents import documents
from legal_llm.documents.documents import read_document
from legal_llm.documents.layout import Line, Word, drop_line_numbers, lay_out, to_lines
from legal_llm.machine.files import LegalLLMError

LAW = 'laws of the State of Nebraska, without regard to its rules on conflicts of laws'


def flat(text):
    return ' '.join(text.split())


# ---- files that were found to fail ----


@pytest.mark.parametrize('name', ['redline_lines', 'redline_rects'])
def test_struck_words_are_left_out_and_underlined_ones_stay(name):
    document = read_document(CASES / 'pdf_strike_drawn' / f'{name}.pdf')
    assert 'governed by the laws of the State of Nebraska.' in flat(document.text)
    assert 'Oregon' not in document.text
    assert 'Exclusivity' not in document.text
    assert '12. Notices.' in document.text
    assert any('struck through, which is left out: “Oregon”' in note for note in document.notes)


@pytest.mark.parametrize('name', ['filled_and_flattened', 'typed_over'])
def test_words_typed_over_blanks_stand_in_their_sentences(name):
    text = flat(read_document(CASES / 'pdf_filled_flat' / f'{name}.pdf').text)
    assert 'laws of the State of Nebraska, without' in text
    assert 'as of June 4, 2022 by' in text
    assert 'initial term of seven (7) years' in text
    assert '__' not in text


@pytest.mark.parametrize('name', ['block', 'each', 'through'])
def test_line_numbers_are_left_out(name):
    document = read_document(CASES / 'pdf_line_numbers' / f'{name}.pdf')
    text = flat(document.text)
    assert LAW in text
    assert all(number in text for number in ('6,000', '$2,000,000', 'March 9, 2021', '10. Governing Law'))
    assert not re.search(r'(?<![\d.,$])\b(?:13|17|23|29)\b', text)
    assert f'{name}.pdf: line numbers in the margin are left out' in document.notes


@pytest.mark.parametrize('name', ['by_columns', 'by_rows'])
def test_columns_are_read_one_after_the_other(name):
    assert LAW in flat(read_document(CASES / 'pdf_two_columns' / f'{name}.pdf').text)


def test_files_inside_a_pdf():
    document = read_document(CASES / 'pdf_portfolio' / 'portfolio.pdf')
    assert LAW in flat(document.text)
    assert document.notes[0].startswith('portfolio.pdf is a portfolio: the PDFs inside are read, “Lens agreement.pdf”')
    document = read_document(CASES / 'pdf_portfolio' / 'with_attachment.pdf')
    assert LAW in flat(document.text)
    assert any('files inside are not read: “Schedule A.pdf”' in note for note in document.notes)


# ---- the same kinds, made in other ways ----


def test_a_portfolio_without_a_pdf_is_refused(tmp_path):
    file = '<</Type/Filespec/F(terms.xlsx)/UF(terms.xlsx)/EF<</F 6 0 R>>>>'
    names = f'/Names<</EmbeddedFiles<</Names[(terms.xlsx) {file}]>>>>'
    catalog = f'<</Type/Catalog/Pages 2 0 R/Collection<</View/D>>{names}>>'
    (tmp_path / 'p.pdf').write_bytes(one_page(at((72, 700, 'Cover')), stream(b'PK'), catalog=catalog))
    with pytest.raises(LegalLLMError, match='portfolio, a PDF that only holds files .“terms.xlsx”.: save them'):
        read_document(tmp_path / 'p.pdf')


WORDS = at((72, 700, 'The law of '), (122, 700, 'Ohio'), (145, 700, 'Iowa governs.'), (72, 686, 'All of it'))


@pytest.mark.parametrize(
    'drawing, struck',
    [
        (b'122 703 m 142 703 l S', 'Ohio'),
        (b'122 702.6 20 0.8 re f', 'Ohio'),
        (b'122 703 m 142 703 l 72 689 m 110 689 l S', 'Ohio All of it'),  # both in one path
        (b'q 1 0 0 1 0 3 cm 122 700 m 142 700 l S Q', 'Ohio'),
        (b'122 698.5 m 142 698.5 l S', ''),  # underlined
        (b'20 703 m 590 703 l S', ''),  # a rule that goes on
        (b'1 1 1 RG 122 703 m 142 703 l S', ''),  # a white line
    ],
)
def test_lines_through_words(tmp_path, drawing, struck):
    text, notes = read_pdf(tmp_path, WORDS + b' ' + drawing)
    for word in ('Ohio', 'All of it'):
        assert (word in text) == (word not in struck)
    assert 'Iowa governs.' in text
    assert ('struck through, which is left out' in notes) == bool(struck)


@pytest.mark.parametrize(
    'blank, typed',
    [
        ('______________', (122, 701)),
        ('..............................', (122, 703)),
        ('                         ', (124, 700)),
    ],
)
def test_words_over_blanks(tmp_path, blank, typed):
    lines = at((72, 700, f'the State of{blank}, without'), (72, 686, 'regard to its rules.'))
    text, _ = read_pdf(tmp_path, lines + at((130, typed[1], 'Nebraska')))
    assert flat(text).replace(' ,', ',') == 'the State of Nebraska, without regard to its rules.'


def margin(numbers, left=40.0, lines=12):
    "A page with numbers in its margin, beside lines that are 12 points apart"
    body = [(72, 700 - 12 * i, f'Line of words {chr(97 + i)} goes on') for i in range(lines)]
    return at(*body, *((left, 700 - 12 * i, str(n)) for i, n in enumerate(numbers) if n is not None))


@pytest.mark.parametrize(
    'numbers, left',
    [
        (range(1, 13), 40),
        (range(35, 47), 40),
        ([n if n % 5 == 0 else None for n in range(1, 21)], 40),
        (range(1, 13), 520),
    ],
)
def test_numbers_of_lines_in_both_margins(tmp_path, numbers, left):
    text, notes = read_pdf(tmp_path, margin(list(numbers), left, lines=max(12, len(numbers))))
    assert not re.search(r'\d', text)
    assert 'line numbers in the margin are left out' in notes


@pytest.mark.parametrize('numbers', [[1, None, None, 2, None, None, 3], [4, 9, 2, 7, 1, 5, 8, 3, 6, 2, 9, 1]])
def test_numbers_of_clauses_and_amounts_stay(tmp_path, numbers):
    text, notes = read_pdf(tmp_path, margin(numbers))
    assert len(re.findall(r'\d', text)) == sum(n is not None for n in numbers)
    assert 'line numbers' not in notes


LEFT = [
    'This agreement is made by the',
    'parties named below, and it is',
    'governed by the laws of the State',
    'of Nebraska alone. It lasts for',
    'ten years from its date',
]
RIGHT = [
    'and it is renewed each year for',
    'one more year, unless a party says',
    'that it does not want this at least',
    'ninety days before the end of the',
    'term that runs at that time.',
]


@pytest.mark.parametrize('shift', [0, 5])
@pytest.mark.parametrize('by_rows', [True, False])
def test_two_columns(tmp_path, shift, by_rows):
    "Drawn row by row or column by column, on the same heights or between them"
    left = [(72, 700 - 12 * i, line) for i, line in enumerate(LEFT)]
    right = [(320, 700 - shift - 12 * i, line) for i, line in enumerate(RIGHT)]
    places = [p for pair in zip(left, right) for p in pair] if by_rows else left + right
    assert flat(read_pdf(tmp_path, at(*places))[0]) == ' '.join(LEFT + RIGHT)


def test_rows_of_a_table_stay_rows(tmp_path):
    rows = ('Governing law:', 'Nebraska'), ('Initial term:', 'Seven years'), ('Fee:', '$5,000'), ('Cap:', '$20,000')
    left = [(72, 700 - 14 * i, a) for i, (a, _) in enumerate(rows)]
    right = [(250, 700 - 14 * i, b) for i, (_, b) in enumerate(rows)]
    for places in (left + right, [p for pair in zip(left, right) for p in pair]):
        text, _ = read_pdf(tmp_path, at(*places))
        assert text.split('\n\n') == [f'{a}\t{b}' for a, b in rows]


def test_a_label_beside_the_middle_of_its_clause_goes_first(tmp_path):
    text, _ = read_pdf(
        tmp_path, at((108, 700, 'Neither party may assign'), (72, 693, '15.1'), (108, 687, 'this agreement.'))
    )
    assert flat(text) == '15.1 Neither party may assign this agreement.'


# ---- words that nobody sees, pictures, notes ----

PICTURE = stream(b'\0' * 4, '/Type/XObject/Subtype/Image/Width 2/Height 2/BitsPerComponent 8/ColorSpace/DeviceGray')


@pytest.mark.parametrize(
    'drawing, hidden',
    [
        (b'BT 3 Tr /F1 10 Tf 72 650 Td (Secret) Tj ET', True),
        (b'q 400 0 0 60 60 630 cm /X Do Q BT 3 Tr /F1 10 Tf 72 650 Td (Secret) Tj ET', False),  # text layer of a scan
        (b'BT 1 1 1 rg /F1 10 Tf 72 650 Td (Secret) Tj ET', True),
        (b'0 0 0.4 rg 60 640 200 30 re f BT 1 1 1 rg /F1 10 Tf 72 650 Td (Secret) Tj ET', False),  # white on blue
        (b'BT 0 g /F1 10 Tf 72 650 Td (Secret) Tj ET 0 g 60 645 100 20 re f', True),  # under a bar
        (b'0.9 g 60 645 100 20 re f BT 0 g /F1 10 Tf 72 650 Td (Secret) Tj ET', False),  # on a bar
    ],
)
def test_words_that_nobody_sees(tmp_path, drawing, hidden):
    text, notes = read_pdf(tmp_path, at((72, 700, 'The parties agree on what follows.')) + b' ' + drawing, PICTURE)
    assert ('Secret' in text) != hidden
    assert ('has hidden text, which is left out: “Secret”' in notes) == hidden


def test_large_pictures_are_noted(tmp_path):
    for size, noted in ((500, True), (40, False)):
        content = at((72, 700, 'Words')) + b' q %d 0 0 %d 60 60 cm /X Do Q' % (size, size)
        assert ('pictures on page 1 are not read' in read_pdf(tmp_path, content, PICTURE)[1]) == noted


def test_a_watermark_is_left_out(tmp_path):
    content = at((72, 700, 'Words of the contract')) + b' BT /F1 60 Tf 0.7 0.7 -0.7 0.7 150 200 Tm (DRAFT) Tj ET'
    text, notes = read_pdf(tmp_path, content)
    assert text == 'Words of the contract'
    assert 'words across the page are left out: “DRAFT”' in notes


@pytest.mark.parametrize('turn', ['0 1 -1 0 300 100', '-1 0 0 -1 500 500', '0 -1 1 0 300 600'])
def test_pages_that_are_turned(tmp_path, turn):
    content = f'q {turn} cm BT /F1 10 Tf 14 TL (First line of) Tj T* (the page.) Tj ET Q'.encode()
    assert read_pdf(tmp_path, content)[0] == 'First line of\nthe page.'


def test_a_heading_is_not_glued_to_the_page_before(tmp_path):
    pages = ['The parties sign below', 'ARTICLE II\nTERM']
    assert read_document(write_pdf(tmp_path / 'a.pdf', pages)).text == 'The parties sign below\n\nARTICLE II\nTERM'
    pages = ['The fees are those of', 'Section 5 hereof.']
    assert read_document(write_pdf(tmp_path / 'a.pdf', pages)).text == 'The fees are those of\nSection 5 hereof.'


def test_a_form_that_only_adobe_shows_is_refused(tmp_path):
    catalog = '<</Type/Catalog/Pages 2 0 R/NeedsRendering true/AcroForm<</Fields[]/XFA 6 0 R>>>>'
    raw = one_page(at((72, 700, 'Please wait...')), stream(b'<xdp/>'), catalog=catalog)
    (tmp_path / 'x.pdf').write_bytes(raw)
    with pytest.raises(LegalLLMError, match='is an XFA form, which only Adobe Reader shows: print it'):
        read_document(tmp_path / 'x.pdf')


# ---- lines, without a PDF ----


def test_paragraphs_of_lines():
    heights = [700, 688, 676, 664, 640, 628, 616]
    lines = [Line([Word(f'Word{i}', 72, 99, y, 10)], y, 10) for i, y in enumerate(heights)]
    assert lay_out(lines).count('\n\n') == 1
    assert 'Word3\n\nWord4' in lay_out(lines)


def test_footnote_marks_stay_beside_their_word():
    words = [Word('20', 72, 82, 700, 10, 1), Word('th', 82, 88, 705, 6, 2), Word('day', 92, 108, 700, 10, 3)]
    assert [[w.text for w in line.words] for line in to_lines(words)] == [['20', 'th', 'day']]
    assert drop_line_numbers([to_lines(words)]) == 0


# ---- time and damage ----


def long_pdf(pages, words=40):
    "Every word a string of its own"
    content = at(*((40 + 60 * (k % 8), 740 - 12 * (k // 8), f'word{k}') for k in range(words)))
    kids = ' '.join(f'{4 + i} 0 R' for i in range(pages))
    fonts = f'/Resources<</Font<</F1 {pages + 4} 0 R>>>>'
    page = f'<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 3 0 R{fonts}>>'
    tree = f'<</Type/Pages/Kids[{kids}]/Count {pages}>>'
    return raw_pdf('<</Type/Catalog/Pages 2 0 R>>', tree, stream(content), *[page] * pages, FONT)


def test_nine_hundred_pages_are_read(tmp_path):
    (tmp_path / 'long.pdf').write_bytes(long_pdf(900))
    document = read_document(tmp_path / 'long.pdf', limit_s=20)
    assert len(document.pages) == 900


def child(code):
    return f'import os, sys, time; sys.stdin.buffer.read(); {code}'


def test_the_limit_is_for_a_page(tmp_path, monkeypatch):
    (tmp_path / 'a.pdf').write_bytes(long_pdf(1))
    pages = '[(print(i, 6, flush=True), time.sleep(0.6)) for i in range(1, 6)]; '
    monkeypatch.setattr(documents, '_CHILD', child(pages + """print('{"read": ["Words", []]}')"""))
    assert read_document(tmp_path / 'a.pdf', limit_s=2.5).text == 'Words'  # more in all
    monkeypatch.setattr(documents, '_CHILD', child('print(3, 7, flush=True); time.sleep(600)'))
    with pytest.raises(LegalLLMError, match='has 7 pages, and takes more than 1 seconds to read page 3.*limit_s'):
        read_document(tmp_path / 'a.pdf', limit_s=1)


@pytest.mark.skipif(sys.platform == 'win32', reason='Windows does not limit the time of computing')
def test_the_limit_is_one_of_computing(tmp_path, monkeypatch):
    "A busy machine refuses no page, and one that never ends is refused as one that takes too long"
    (tmp_path / 'a.pdf').write_bytes(long_pdf(1))
    monkeypatch.setattr(documents, '_CHILD', child("""time.sleep(1.5); print('{"read": ["Words", []]}')"""))
    assert read_document(tmp_path / 'a.pdf', limit_s=1).text == 'Words'
    monkeypatch.setattr(documents, '_PATIENCE', 60)
    limited = 'from legal_llm.documents.documents import _limit_process; _limit_process(1); print(3, 7, flush=True)'
    monkeypatch.setattr(
        documents,
        '_CHILD',
        'import json, sys; sys.path[:] = json.loads(sys.argv[1]); '
        f'sys.stdin.buffer.read(); {limited}\nwhile True: pass',
    )
    with pytest.raises(LegalLLMError, match='has 7 pages, and takes more than 1 seconds to read page 3'):
        read_document(tmp_path / 'a.pdf', limit_s=1)


def test_a_reader_that_dies_costs_a_process_only(tmp_path, monkeypatch):
    (tmp_path / 'a.pdf').write_bytes(long_pdf(1))
    for code in ('os.abort()', 'os.kill(os.getpid(), 11)', 'sys.exit(3)'):
        monkeypatch.setattr(documents, '_CHILD', child(code))
        with pytest.raises(LegalLLMError, match='damaged or no PDF and cannot be read: its reader ended with code'):
            read_document(tmp_path / 'a.pdf')


@pytest.mark.skipif(sys.platform != 'linux', reason='forks')
def test_damaged_pdfs_are_read_or_refused(tmp_path):
    import pypdfium2  # noqa: F401  once, not in each fork

    made = list(damaged_pdfs(150))
    ends = [read_in_fork(lambda raw=raw: documents._read('.pdf', raw, 'a.pdf')[0]).how for raw in made]
    assert ends.count('opened') >= len(ends) / 2
    assert set(ends) <= {'opened', 'refused', 'error'}, 'none is killed or takes more than 20 seconds'
    for i in range(0, 150, 30):  # and by the door that users take
        (tmp_path / 'a.pdf').write_bytes(made[i])
        try:
            assert read_document(tmp_path / 'a.pdf', limit_s=10).text
        except LegalLLMError as e:
            assert '\n' not in str(e)
