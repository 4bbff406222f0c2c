"""Reviews in the contract's own file: comments in Word and highlights in PDF stand at the quotes' own words; two
versions of a contract; playbooks on the command line.
"""

import csv
import io
import json
import re
import zipfile
from collections import Counter
from itertools import accumulate

import docx
import pypdfium2
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from pypdf import PdfReader
from test_documents import CASES, at, one_page, plain_docx, rezip, write_pdf

from legal_llm.cli import main
from legal_llm.contracts.sentences import split_sentences
from legal_llm.documents.documents import Document, _read
from legal_llm.documents.numbering import W
from legal_llm.faces.diff import compare, diff_dict, diff_page, diff_text
from legal_llm.faces.marks import mark_docx, mark_file, mark_pdf, new_docx
from legal_llm.faces.playbook import Flag
from legal_llm.machine.files import LegalLLMError
from legal_llm.pipeline.extract import Extractor
from legal_llm.pipeline.review import Extraction, Review

NUMBER = re.compile(r'(?:[\d.]+|\(?[a-z]\)|•)?')  # of a list; the file has none of its letters


def packed(text):
    return ''.join(text.split())


def read_here(path):
    "What `read_document` gives, without a process of its own"
    text, notes = _read(path.suffix, path.read_bytes(), path.name)
    pages = text.split('\f')
    return Document(''.join(pages), path.stem, (0, *accumulate(map(len, pages[:-1]))), notes)


def review_of(document, quotes=None):
    "A review that quotes each sentence and the second half of each, or these words, under names of their own"
    text = document.text
    spans = [(int(a), int(b)) for a, b in split_sentences(text)]
    spans += [((a + b) // 2, b) for a, b in spans if b - a > 20]
    if quotes is not None:
        spans = [(text.index(q), text.index(q) + len(q)) for q in quotes]
    found = [Extraction(f'c{i}', text[a:b], a, b, 0.9 if i % 2 else 0.2) for i, (a, b) in enumerate(spans)]
    return Review(document.title, text, found, tuple(f.category for f in found), pages=document.pages)


# ---- Word ----


def commented(content):
    "Category -> the words of the body that its comment covers, without what is deleted, hidden or in a box"
    word = docx.Document(io.BytesIO(content))
    running, found = set(), {}
    for e in word.element.body.iter():
        if e.tag == W + 'commentRangeStart':
            running.add(e.get(W + 'id'))
        elif e.tag == W + 'commentRangeEnd':
            running.discard(e.get(W + 'id'))
        elif e.tag in (W + 't', W + 'noBreakHyphen'):
            above = {a.tag for a in e.iterancestors()}
            hidden = e.getparent().find(f'{W}rPr/{W}vanish') is not None
            if not hidden and not above & {W + 'del', W + 'txbxContent'}:
                for key in running:
                    found[key] = found.get(key, '') + (e.text or '-')
    return {c.text.partition(':')[0]: found.get(str(c.comment_id), '') for c in word.comments}


def add(word, inner):
    word.element.body.insert(-1, parse_xml(f'<w:p {nsdecls("w")}>{inner}</w:p>'))


def run(text, look=''):
    return f'<w:r>{look and f"<w:rPr>{look}</w:rPr>"}<w:t xml:space="preserve">{text}</w:t></w:r>'


@pytest.fixture
def contract(tmp_path):
    "A Word file with most of what shifts offsets"
    word = docx.Document()
    word.sections[0].header.paragraphs[0].text = 'Strictly confidential'
    word.add_paragraph('The term of this Agreement is two years.', style='List Number')
    word.add_paragraph('Either party may give notice of termination.', style='List Number')
    add(word, run('The fees are ', '<w:b/>') + run('not ', '<w:vanish/>') + run('payable in advance.', '<w:i/>'))
    deleted = '<w:del w:id="90" w:author="x"><w:r><w:delText>five</w:delText></w:r></w:del>'
    inserted = f'<w:ins w:id="91" w:author="x">{run("ten")}</w:ins>'
    add(word, run('Liability is capped at ') + deleted + inserted + run(' times the fees. Nothing else is owed.'))
    number = '<w:fldChar w:fldCharType="{}"/>'
    field = ''.join(f'<w:r>{number.format(kind)}</w:r>' for kind in ('begin', 'separate'))
    add(word, run('See section ') + field + run('7.2') + f'<w:r>{number.format("end")}</w:r>' + run(' of this one.'))
    hyphen = '<w:r><w:noBreakHyphen/><w:t>operation included.</w:t><w:tab/><w:t>And more of that.</w:t></w:r>'
    link = f'<w:hyperlink w:anchor="x">{run("The laws of Ohio")}</w:hyperlink>'
    add(word, link + run(' govern it, co') + hyphen)
    table = word.add_table(2, 2)
    for cell, text in zip(table._cells, ('Insurance:', 'Supplier insures all of its risks.', 'Audit:', 'Once a year.')):
        cell.text = text
    add(word, '<w:r/>')
    word.add_comment(word.paragraphs[0].runs, 'An older comment', 'Ada', 'A')
    word.save(tmp_path / 'contract.docx')
    return tmp_path / 'contract.docx'


def test_comments_stand_at_the_words_of_their_quotes(contract, tmp_path):
    document = read_here(contract)
    assert 'five' not in document.text and 'not payable' not in document.text
    review = review_of(document)
    content, counts = mark_docx(contract.read_bytes(), review)
    assert counts == {'words': len(review.extractions)}
    found = commented(content)
    for quote in review.extractions:
        whole, words = packed(quote.quote), packed(found[quote.category])
        assert whole.endswith(words)
        assert NUMBER.fullmatch(whole.removesuffix(words))
    (tmp_path / 'again.docx').write_bytes(content)
    assert read_here(tmp_path / 'again.docx').text == document.text


def test_comments_change_nothing_else(contract):
    raw = contract.read_bytes()
    content, _ = mark_docx(raw, review_of(read_here(contract)))
    before, after = (zipfile.ZipFile(io.BytesIO(x)) for x in (raw, content))
    assert set(before.namelist()) <= set(after.namelist())
    for name in before.namelist():
        if name.startswith('word/header') or name in ('word/styles.xml', 'word/numbering.xml'):
            assert before.read(name) == after.read(name)

    def count(z, tag):
        return z.read('word/document.xml').count(tag)

    for tag in (b'<w:ins ', b'<w:del ', b'<w:vanish', b'<w:fldChar ', b'<w:hyperlink '):
        assert count(before, tag) == count(after, tag) > 0
    comments = [c.text for c in docx.Document(io.BytesIO(content)).comments]
    assert comments[0] == 'An older comment'


def test_runs_are_cut_and_keep_their_look(contract):
    document = read_here(contract)
    content, _ = mark_docx(contract.read_bytes(), review_of(document, ['payable', 'able in', 'fees are payable']))
    word = docx.Document(io.BytesIO(content))
    runs = [r for p in word.paragraphs if 'payable' in p.text for r in p.runs if r.text]
    assert [(r.text, r.bold, r.italic) for r in runs if not r.font.hidden] == [
        ('The ', True, None),
        ('fees are ', True, None),
        ('pay', None, True),
        ('able', None, True),
        (' in', None, True),
        (' advance.', None, True),
    ]
    assert commented(content) == {
        'An older comment': 'The term of this Agreement is two years.',
        'c0': 'payable',
        'c1': 'able in',
        'c2': 'fees are payable',
    }


def test_words_outside_the_body_are_commented_on_at_their_paragraph(tmp_path):
    "A footnote and a text box: Word takes no comments there"
    box = (
        '<w:r><w:pict><v:shape xmlns:v="urn:schemas-microsoft-com:vml"><v:textbox><w:txbxContent><w:p>'
        f'{run("In a box of its own.")}</w:p></w:txbxContent></v:textbox></v:shape></w:pict></w:r>'
    )

    def change(parts):
        main = 'application/vnd.openxmlformats-officedocument.wordprocessingml'
        kind = 'http://schemas.openxmlformats.org/officeDocument/2006/relationships/footnotes'
        rels, types = 'word/_rels/document.xml.rels', '[Content_Types].xml'
        parts['word/footnotes.xml'] = (
            f'<w:footnotes {nsdecls("w")}><w:footnote w:id="2"><w:p>{run("At the foot.")}</w:p></w:footnote>'
            '</w:footnotes>'
        ).encode()
        parts[types] = parts[types].replace(
            b'</Types>',
            f'<Override PartName="/word/footnotes.xml" ContentType="{main}.footnotes+xml"/></Types>'.encode(),
        )
        parts[rels] = parts[rels].replace(
            b'</Relationships>',
            f'<Relationship Id="r99" Type="{kind}" Target="footnotes.xml"/></Relationships>'.encode(),
        )
        parts['word/document.xml'] = parts['word/document.xml'].replace(
            b'</w:t></w:r>', f'</w:t></w:r><w:r><w:footnoteReference w:id="2"/></w:r>{box}'.encode(), 1
        )

    path = tmp_path / 'a.docx'
    path.write_bytes(rezip(plain_docx('The body of it.'), change))
    document = read_here(path)
    content, counts = mark_docx(path.read_bytes(), review_of(document, ['The body', 'At the foot.', 'box of its own']))
    assert counts == {'words': 1, 'paragraph': 2}
    assert commented(content) == {'c0': 'The body', 'c1': 'The body of it.', 'c2': 'The body of it.'}
    assert '“At the foot.”' in [c.text for c in docx.Document(io.BytesIO(content)).comments][1]


@pytest.mark.parametrize('name', ['null_target', 'bookmark_target', 'file_uri_target', 'missing_thumbnail'])
def test_files_that_only_word_opens_take_comments(tmp_path, name):
    path = CASES / 'docx_null_relationship' / f'{name}.docx'
    document = read_here(path)
    content, counts = mark_docx(path.read_bytes(), review_of(document))
    assert set(counts) == {'words'}
    (tmp_path / 'a.docx').write_bytes(content)
    assert read_here(tmp_path / 'a.docx').text == document.text

    def modes(raw):
        return zipfile.ZipFile(io.BytesIO(raw)).read('word/_rels/document.xml.rels').count(b'External')

    assert modes(content) == modes(path.read_bytes())


@pytest.mark.parametrize('name', ['docx_altchunk/only_html', 'docx_altchunk/half_docx', 'docx_strict/strict'])
def test_files_that_take_no_comments_become_new_ones(name):
    path = CASES / f'{name}.docx'
    review = review_of(read_here(path))
    content, said = mark_file('.docx', path.read_bytes(), review, path.name)
    assert path.name in said and 'new document' in said
    found = commented(content)
    assert all(packed(found[q.category]) == packed(q.quote) for q in review.extractions)


def test_a_text_becomes_a_word_file():
    text = 'A \x0bline\nand another.\n\n\tLaw \ufdd0 of <Ohio> & more.'
    review = review_of(type('Text', (), dict(text=text, title='a\x01', pages=(0,))))
    content, counts = mark_docx(new_docx(review), review)
    assert set(counts) == {'words'}
    assert [p.text for p in docx.Document(io.BytesIO(content)).paragraphs] == [
        'A  line\nand another.',
        '\tLaw \ufffd of <Ohio> & more.',
    ]


def test_a_file_that_was_changed_meanwhile_is_refused(contract):
    review = review_of(read_here(contract))
    with pytest.raises(LegalLLMError, match='is not the file'):
        mark_docx(plain_docx('Other words'), review, 'a.docx')


# ---- PDF ----


def highlighted(content):
    "Category -> the letters whose middle is in its highlights; the colour of each"
    out, colours, document = {}, {}, pypdfium2.PdfDocument(content)
    for number, page in enumerate(PdfReader(io.BytesIO(content)).pages):
        text = document[number].get_textpage()
        boxes = [text.get_charbox(i, loose=True) for i in range(text.count_chars())]
        for a in page.annotations or ():
            a = a.get_object()
            if a['/Subtype'] == '/Highlight' and a.get('/T') == 'legal_llm':
                corners, name = [float(x) for x in a['/QuadPoints']], a['/Contents'].partition(':')[0]
                colours[name] = [round(float(c), 1) for c in a['/C']]
                for i, (l, b, r, t) in enumerate(boxes):
                    x, y = (l + r) / 2, (b + t) / 2
                    for k in range(0, len(corners), 8):
                        q = corners[k : k + 8]
                        if q[0] <= x <= q[2] and q[5] <= y <= q[1]:
                            out[name] = out.get(name, '') + text.get_text_range(i, 1)
                            break
    document.close()
    return out, colours


@pytest.mark.parametrize(
    'name',
    [
        'pdf_two_columns/by_rows',
        'pdf_two_columns/by_columns',
        'pdf_line_numbers/block',
        'pdf_strike_drawn/redline_lines',
    ],
)
def test_highlights_cover_the_letters_of_their_quotes(name, tmp_path):
    path = CASES / f'{name}.pdf'
    document = read_here(path)
    review = review_of(document)
    raw = path.read_bytes()
    content, counts = mark_pdf(raw, review)
    assert counts == {'words': len(review.extractions)}
    assert content.startswith(raw)
    found, colours = highlighted(content)

    def letters(text):
        return Counter(c for c in text if c.isalnum())

    assert all(letters(found[q.category]) == letters(q.quote) for q in review.extractions)
    assert len({tuple(c) for c in colours.values()}) == 2
    (tmp_path / 'a.pdf').write_bytes(content)
    assert read_here(tmp_path / 'a.pdf').text == document.text


@pytest.mark.parametrize('turn', ['1 0 0 1 0 0', '0 1 -1 0 300 100', '-1 0 0 -1 500 500'])
def test_highlights_on_pages_that_are_turned(tmp_path, turn):
    content = f'q {turn} cm BT /F1 10 Tf 14 TL 1 0 0 1 9 90 Tm (The law of) Tj T* (Ohio here.) Tj ET Q'.encode()
    (tmp_path / 'a.pdf').write_bytes(raw := one_page(content))
    content, _ = mark_pdf(raw, review_of(read_here(tmp_path / 'a.pdf'), ['law of\nOhio']))
    assert packed(highlighted(content)[0]['c0']) == 'lawofOhio'


def test_quotes_over_two_pages_and_quotes_that_are_not_drawn(tmp_path):
    path = write_pdf(
        tmp_path / 'a.pdf', ['One. The fees are those\nof the', 'second schedule. Two.'], footer='Page {page}'
    )
    document = read_here(path)
    review = review_of(document, ['fees are those\nof the\nsecond schedule.'])
    lost = Extraction('Lost', 'Two.', 0, 0, 0.9)
    review.extractions.append(lost)
    review.categories += ('Lost',)
    missing = {'Insurance': Flag('Insurance', 'required', 'not found', 'high', 'Insure it.')}
    content, counts = mark_pdf(path.read_bytes(), review, flags=missing)
    assert counts == {'words': 1, 'page': 1}
    assert packed(highlighted(content)[0]['c0']) == 'feesarethoseofthesecondschedule.'
    pages = [[a.get_object() for a in p.annotations] for p in PdfReader(io.BytesIO(content)).pages]
    assert [[a['/Subtype'] for a in page] for page in pages] == [['/Text', '/Text', '/Highlight'], ['/Highlight']]
    assert 'Insurance: required, not found (high). Proposed: Insure it.' in pages[0][0]['/Contents']


def test_pdfs_that_take_no_highlights_are_refused():
    for name, why in (('pdf_permissions_only/AES-128', 'encrypted'), ('pdf_portfolio/portfolio', 'is a portfolio')):
        path = CASES / f'{name}.pdf'
        with pytest.raises(LegalLLMError, match=why):
            mark_pdf(path.read_bytes(), review_of(read_here(path)), path.name)


# ---- two versions ----

LAW = 'This Agreement is governed by the laws of the State of {}, without regard to its conflicts of laws.'
CAP = 'The aggregate liability of Supplier shall not exceed the fees of the last {} months.'
INSURANCE = 'Supplier shall maintain insurance of no less than one million dollars at its own cost.'


def reviewed(text, **quotes):
    found = [Extraction(c.replace('_', ' '), q, text.index(q), text.index(q) + len(q), 0.9) for c, q in quotes.items()]
    return Review('a', text, found, ('Governing Law', 'Cap On Liability', 'Insurance'))


def test_clauses_that_came_went_changed_and_moved():
    old = f'1. {LAW.format("Ohio")}\n\n2. {CAP.format("twelve")}\n\n3. {INSURANCE}'
    new = f'1. {CAP.format("six")}\n\n2. {LAW.format("Ohio")}'
    a = reviewed(
        old, Governing_Law=f'1. {LAW.format("Ohio")}', Cap_On_Liability=CAP.format('twelve'), Insurance=INSURANCE
    )
    b = reviewed(new, Governing_Law=f'2. {LAW.format("Ohio")}', Cap_On_Liability=CAP.format('six'))
    diff = compare(a, b)
    assert {(c.category, c.kind) for c in diff.changes} == {
        ('Governing Law', 'same'),
        ('Cap On Liability', 'changed'),
        ('Insurance', 'went'),
    }
    assert {(c.category, c.kind) for c in compare(b, a).changes} >= {('Insurance', 'came')}
    assert '[-twelve-] {+six+} months' in diff_text(diff)
    words = next(c for c in diff_dict(diff)['clauses'] if c['kind'] == 'changed')['words']
    assert [w for w in words if w[0] != ' '] == [['-', 'twelve '], ['+', 'six ']]


def test_a_clause_that_the_model_overlooks_in_one_version_did_not_go():
    a = reviewed(f'{CAP.format("six")}\n\n{INSURANCE}', Insurance=INSURANCE)
    b = reviewed(f'{CAP.format("six")}\n\n{INSURANCE.replace("one", "two")}')
    (change,) = compare(a, b).changes
    assert change.kind == 'changed'
    assert change.new.quote == INSURANCE.replace('one', 'two')
    assert [c.kind for c in compare(a, reviewed(f'{CAP.format("six")}\n\n{INSURANCE}')).changes] == ['same']


def test_the_page_of_a_comparison_holds_no_markup_of_the_contract():
    quote = 'Supplier <b>shall</b> insure & ensure.'
    page = diff_page(compare(reviewed(quote, Insurance=quote), reviewed('Nothing at all of it.')))
    assert '<b>' not in page
    assert '<del>Supplier &lt;b&gt;shall' in page


# ---- the command line ----


@pytest.fixture(scope='module')
def extractor():
    return Extractor.load(fast=True)


@pytest.fixture
def letter(tmp_path, monkeypatch, extractor):
    "A contract and a playbook; the model is loaded once"
    monkeypatch.setattr(Extractor, 'load', lambda *_, **__: extractor)
    (tmp_path / 'a.txt').write_text(f'SERVICES AGREEMENT\n\n1. Governing Law. {LAW.format("Ohio")}', encoding='utf-8')
    (tmp_path / 'mine.yml').write_text(
        'Mine:\n  required:\n    - Insurance: {severity: high, fallback: Insure it.}\n  review: [Governing Law]\n'
    )
    return tmp_path / 'a.txt'


def test_extract_marks_the_contract_itself(letter, tmp_path, capsys):
    def call(file, *options):
        return main(['extract', str(file), '--fast', *map(str, options)])

    assert call(letter, '--out', tmp_path / 'a.docx', '--playbook', tmp_path / 'mine.yml') == 0
    comments = [c.text for c in docx.Document(tmp_path / 'a.docx').comments]
    assert comments[0] == 'Playbook:\nInsurance: required, not found (high). Proposed: Insure it.'
    assert any('Governing Law: found' in c and 'Playbook: to be reviewed, found' in c for c in comments)
    assert 'a new document of its text' in capsys.readouterr().err
    assert call(tmp_path / 'a.docx', '--out', tmp_path / 'b.docx') == 0
    assert call(tmp_path / 'a.docx', '--out', tmp_path / 'a.docx') == 2
    assert 'is the contract itself' in capsys.readouterr().err
    assert call(letter, '--out', tmp_path / 'a.pdf') == 2
    assert '.docx or .html' in capsys.readouterr().err
    (tmp_path / 'c.pdf').write_bytes(one_page(at((72, 700, LAW.format('Ohio')))))
    assert call(tmp_path / 'c.pdf', '--out', tmp_path / 'd.pdf') == 0
    assert packed(LAW.format('Ohio')) in map(packed, highlighted((tmp_path / 'd.pdf').read_bytes())[0].values())
    assert not (tmp_path / 'a.pdf').exists()


def test_playbooks_in_every_form(letter, tmp_path, capsys):
    def call(*options):
        return main(['extract', str(letter), '--fast', *map(str, options)])

    playbook = '--playbook', tmp_path / 'mine.yml'
    assert call(*playbook, '--out', tmp_path / 'a.csv') == 0
    assert re.search(r'flag +Insurance +required, not found \(high\): Insure it\.', capsys.readouterr().out)
    with open(tmp_path / 'a.csv', encoding='utf-8-sig', newline='') as f:
        flags = {r['category']: r['flag'] for r in csv.DictReader(f)}
    assert flags['Insurance'] == 'required, not found (high)'
    assert flags['Parties'] == ''
    for name in ('a.json', 'a.html', 'a.xlsx', 'folder'):
        assert call(*playbook, '--out', tmp_path / name) == 0
    result = json.loads((tmp_path / 'a.json').read_text(encoding='utf-8'))[0]
    assert result['playbook'] == 'Mine'
    assert result['flags'][0]['fallback'] == 'Insure it.'
    assert 'proposed: Insure it.' in (tmp_path / 'a.html').read_text(encoding='utf-8')
    assert 'a.txt,Insurance,required' in (tmp_path / 'folder' / 'flags.csv').read_text(encoding='utf-8-sig')
    assert json.loads((tmp_path / 'folder' / 'a.txt.json').read_text(encoding='utf-8'))['playbook'] == 'Mine'
    assert call('--contract-type', 'NDA') == 0
    assert call('--contract-type', 'Lease') == 2
    assert 'NDA, Distribution' in capsys.readouterr().err
    (tmp_path / 'mine.yml').write_text('Mine:\n  required: [Insurances]\n')
    assert call(*playbook) == 2
    assert "did you mean 'Insurance'?" in capsys.readouterr().err


def test_diff_on_the_command_line(letter, tmp_path, capsys):
    (tmp_path / 'b.txt').write_text(letter.read_text(encoding='utf-8').replace('Ohio', 'Texas'), encoding='utf-8')

    def call(*options):
        return main(['diff', str(letter), str(tmp_path / 'b.txt'), '--fast', *map(str, options)])

    assert call('--out', tmp_path / 'd.html') == 0
    assert re.search(r'changed +Governing Law .*\[-Ohio-\]\{\+Texas\+\}', capsys.readouterr().out)
    assert '<del>Ohio</del><ins>Texas</ins>' in (tmp_path / 'd.html').read_text(encoding='utf-8')
    assert call('--out', tmp_path / 'd.json') == 0
    assert json.loads((tmp_path / 'd.json').read_text(encoding='utf-8'))['counts']['changed'] > 0
    assert call('--out', tmp_path / 'd.docx') == 2
    assert '.json or .html' in capsys.readouterr().err
