"Scanned pages: recognised by Tesseract where that is asked for and installed, and said to be so."

import os
import shutil
import stat
import sys
import zlib

import pytest
from test_documents import raw_pdf, refused, stream, write_pdf

from legal_llm.documents.documents import read_document
from legal_llm.documents.ocr import Recognised, draw_page, read_table, recognise, recognised_note
from legal_llm.machine.files import LegalLLMError

needs_tesseract = pytest.mark.skipif(not shutil.which('tesseract'), reason='Tesseract is not installed')
posix = pytest.mark.skipif(sys.platform == 'win32', reason='a script stands for Tesseract')

LAW = 'This Agreement is governed by the laws of the State of Ohio.'
TERM = 'The initial term of this Agreement is seven years.'


def scan(path, *pages):
    "A PDF with a picture of each page of words, as scanners make it"
    import pypdfium2.raw as R

    R.FPDF_InitLibrary()
    raw = write_pdf(path, pages).read_bytes()
    document = R.FPDF_LoadMemDocument64(raw, len(raw), None)
    objects = ['<</Type/Catalog/Pages 2 0 R>>', '']
    kids = []
    for i in range(len(pages)):
        head, size, rest = draw_page(R, R.FPDF_LoadPage(document, i)).split(b' ', 2)
        height, pixels = rest.split(b' ', 1)
        pixels = zlib.compress(pixels.split(b'\n', 1)[1], 1)
        n = len(objects) + 1
        kids.append(f'{n} 0 R')
        entries = f'/Subtype/Image/Width {int(size)}/Height {int(height)}/ColorSpace/DeviceGray/BitsPerComponent 8'
        objects += [
            f'<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents {n + 1} 0 R'
            f'/Resources<</XObject<</X {n + 2} 0 R>>>>>>',
            stream(b'612 0 0 792 0 0 cm /X Do'),
            stream(pixels, f'/Type/XObject{entries}/Filter/FlateDecode'),
        ]
    objects[1] = f'<</Type/Pages/Kids[{" ".join(kids)}]/Count {len(pages)}>>'
    path.write_bytes(raw_pdf(*objects))
    return path


COLUMNS = 'level page_num block_num par_num line_num word_num left top width height conf text'


def table(*rows):
    "Tesseract's table of words: paragraph, line, confidence and word"
    rows = [f'5 1 1 {par} {line} 1 0 0 9 9 {conf} {word}' for par, line, conf, word in rows]
    return '\n'.join(row.replace(' ', '\t', 11) for row in (COLUMNS, *rows))


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    "A program that says the same of every page"
    folder = tmp_path / 'bin'
    folder.mkdir()

    def install(said, code=0):
        script = folder / 'tesseract'
        (folder / 'said').write_text(said)
        script.write_text(f'#!/bin/sh\ncat > {folder}/picture\ncat {folder}/said\nexit {code}\n')
        script.chmod(script.stat().st_mode | stat.S_IEXEC)
        monkeypatch.setenv('PATH', f'{folder}{os.pathsep}{os.environ["PATH"]}')

    return install


def test_the_table_of_words():
    found = read_table(
        table((1, 1, 96, 'Governing'), (1, 1, 90, 'Law.'), (1, 2, 50, '"Ohio"'), (2, 1, -1, ''), (2, 2, 90, 'End'))
    )
    assert found.text == 'Governing Law.\n"Ohio"\n\nEnd'
    assert found.letters == 22
    assert found.confidence == pytest.approx((9 * 0.96 + 4 * 0.9 + 6 * 0.5 + 3 * 0.9) / 22)
    assert read_table('') == Recognised('', 0.0, 0)


def test_the_note_names_the_pages_to_compare():
    note = recognised_note('a.pdf', {1: Recognised('x', 0.95, 100), 4: Recognised('x', 0.6, 100)})
    assert note == (
        'a.pdf: the text of 2 pages is recognised from pictures (OCR by Tesseract, mean confidence 78%): compare '
        'quotes with the original, on page 4 above all'
    )


@posix
def test_scans_are_recognised_when_that_is_asked_for(tmp_path, stand_in):
    stand_in(table(*((1, 1, 90, w) for w in LAW.split()), (2, 1, 90, '7')))
    path = scan(tmp_path / 'scan.pdf', LAW, LAW)
    refused(path, r'it is a scan; run text recognition \(OCR\) on it first, or use --ocr')
    document = read_document(path, ocr=True)
    assert document.text.split('\n')[0] == LAW
    assert len(document.pages) == 2
    assert document.notes[0].startswith('scan.pdf: the text of 2 pages is recognised from pictures')
    assert not any('not read' in note or 'no text' in note for note in document.notes)
    assert (tmp_path / 'bin/picture').read_bytes().startswith(b'P5 2550 3300 255\n')


@posix
def test_pages_with_text_are_not_recognised(tmp_path, stand_in):
    stand_in(table((1, 1, 90, 'Recognised')))
    document = read_document(write_pdf(tmp_path / 'a.pdf', [LAW, '', TERM]), ocr=True)
    assert [document.text.count(w) for w in (LAW, TERM, 'Recognised')] == [1, 1, 1]
    assert document.page_of(document.text.index('Recognised')) == 2
    assert 'the text of 1 page is recognised' in document.notes[0]
    document = read_document(write_pdf(tmp_path / 'b.pdf', [LAW]), ocr=True)
    assert document.notes == ()


@posix
def test_what_is_not_recognised_is_said(tmp_path, stand_in):
    path = scan(tmp_path / 'scan.pdf', LAW)
    for said, code in (('', 1), (COLUMNS.replace(' ', '\t'), 0)):
        stand_in(said, code)
        refused(path, 'it is a scan; and no words were recognised either', ocr=True)


def test_without_tesseract_the_refusal_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', '')
    path = scan(tmp_path / 'scan.pdf', LAW)
    with pytest.raises(LegalLLMError, match='Tesseract, which recognises text, is not installed: apt install'):
        read_document(path, ocr=True)
    assert read_document(write_pdf(tmp_path / 'a.pdf', [LAW]), ocr=True).text.strip() == LAW


@posix
def test_folders_are_recognised_too(tmp_path, stand_in, screen_run, capsys):
    "A folder that was reviewed without is reviewed again"
    from legal_llm.cli import main

    stand_in(table(*((1, 1, 90, w) for w in LAW.split())))
    (tmp_path / 'in').mkdir()
    scan(tmp_path / 'in/scan.pdf', LAW)
    call = ['extract', str(tmp_path / 'in'), '--out', str(tmp_path / 'out'), '--run', str(screen_run), '--fast']
    assert main(call) == 1
    assert main([*call, '--ocr']) == 0
    assert 'is recognised from pictures' in (tmp_path / 'out/scan.pdf.json').read_text()


@needs_tesseract
def test_tesseract_reads_a_scan(tmp_path):
    document = read_document(scan(tmp_path / 'scan.pdf', f'{LAW}\n{TERM}'), ocr=True)
    assert ' '.join(document.text.split()) == f'{LAW} {TERM}'
    assert 'mean confidence 9' in document.notes[0]
    assert recognise(b'no picture', shutil.which('tesseract')).letters == 0
