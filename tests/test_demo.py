"The demo, driven in a real browser with an extractor that needs no model; and what of it can be checked without a browser."

import json
import os
import shutil
import time
from importlib.util import find_spec

import pytest

from legal_llm.cuad import CATEGORIES
from legal_llm.demo import LAUNCH, example_contracts, launch_demo, make_demo, render, save_review, segments, table_rows
from legal_llm.documents import Document
from legal_llm.env import LegalLLMError
from legal_llm.review import Find, Review
from legal_llm.synthetic import write_contracts

CHROMIUM = os.environ.get('LEGAL_LLM_CHROMIUM') or shutil.which('chromium')
MISSING = '' if CHROMIUM else 'Chromium (install it, or set LEGAL_LLM_CHROMIUM to its path)'
if find_spec('playwright') is None:
    MISSING = 'the Python package playwright'
browser_test = pytest.mark.skipif(bool(MISSING), reason=f'the browser tests need {MISSING}')
WRITTEN = write_contracts(2, seed=3, wordings='held_out', words=1200)[1]
UNCLEAR, UNFOUNDED = [c.name for c in CATEGORIES if c.name not in WRITTEN.categories | {'Parties', 'Insurance'}][:2]
PASTED = 'FEE <script>document.title = "broken"</script> & <b>costs</b>\n  apply; 5 < 6 &amp; so on.\n'


class Written:
    "Stands in for an Extractor: knows the clauses of one written contract, and counts how often it is asked."

    name, threshold, floor = 'stand-in model', 0.5, 0.3

    def __init__(self, pause=0.05):
        self.calls, self.pause = 0, pause

    def extract(self, text, title='contract', progress=None, pages=(0,)):
        self.calls += 1
        if 'refuse' in text:
            raise LegalLLMError('this contract was refused: give another')
        for i in range(3):
            time.sleep(self.pause)
            if progress:
                progress(i + 1, 3)
        finds = [
            Find(c.category, c.text, c.start, c.end, 0.35 + 0.02 * i, True) for i, c in enumerate(WRITTEN.clauses) if text == WRITTEN.text
        ]
        if '<script>' in text:
            at, end = text.index('<script>'), text.index(' & ')
            finds += [Find('Parties', text[at:end], at, end, 0.9, True), Find('Insurance', text[at + 8 :], at + 8, len(text), 0.8, True)]
        finds.append(Find(UNFOUNDED, 'words <i>that</i> are nowhere', None, None, 0.6, False))
        sure = {c.name: 0.04 for c in CATEGORIES} | {UNCLEAR: 0.7}
        for f in finds:
            sure[f.category] = max(sure[f.category], f.confidence)
        return Review(title, text, finds, sure, self.threshold, 3, dict(screen=0.2, decode=0.1), pages)


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    "Gradio's folder for uploads and downloads"
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp('gradio')
        patch.setenv('GRADIO_TEMP_DIR', str(folder))
        yield folder


def serve(extractor):
    demo = make_demo(extractor, [*example_contracts(), ('the written contract', WRITTEN.text)])
    demo.launch(share=False, quiet=True, prevent_thread_lock=True, inline=False, **LAUNCH)
    return demo


@pytest.fixture(scope='module')
def app(cache):
    extractor = Written()
    demo = serve(extractor)
    yield extractor, demo.local_url
    demo.close(verbose=False)


@pytest.fixture(scope='module')
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'])
        yield browser
        browser.close()


@pytest.fixture
def page(app, chromium):
    page = chromium.new_page(viewport=dict(width=1280, height=900), color_scheme='light')
    page.faults, page.asked = [], []
    page.on('pageerror', lambda e: page.faults.append(str(e)))
    page.on('request', lambda r: page.asked.append(r.url))
    page.set_default_timeout(30_000)
    page.goto(app[1])
    page.wait_for_selector('#ll-review')
    yield page
    assert page.faults == []
    outside = [u for u in page.asked if not u.startswith((app[1], 'data:', 'blob:'))]
    assert outside == [], 'the page must load nothing from other servers'
    page.close()


def contents(folder):
    "All that the files in a folder hold"
    return [p.read_bytes() for p in folder.rglob('*') if p.is_file() and p.stat().st_size]


def choose(page, title):
    page.get_by_label('Choose an example').click()
    page.get_by_role('option', name=title).click()
    page.wait_for_function('document.querySelector("#ll-text textarea").value.length > 100')


def start(page):
    page.evaluate('document.querySelector(".ll-table")?.setAttribute("data-old", "")')
    page.click('#ll-review')
    page.wait_for_selector('.ll-table:not([data-old])')


def marks(page):
    "Find number -> the text of all marks that show it"
    out = {}
    for text, finds in page.evaluate('[...document.querySelectorAll(".ll-contract mark")].map(m => [m.textContent, m.dataset.finds])'):
        for i in finds.split():
            out[int(i)] = out.get(int(i), '') + text
    return out


def expected(threshold):
    "Find number -> quote, for the written contract"
    finds = Review('', WRITTEN.text, Written(0).extract(WRITTEN.text).finds, {}, threshold).found()
    return {i: f.quote for i, f in enumerate(finds) if f.verified}


@browser_test
def test_an_example_from_start_to_download(app, page, tmp_path):
    extractor, _ = app
    assert 'Not legal advice' in page.inner_text('.ll-head') and 'stand-in model' in page.inner_text('.ll-head')
    choose(page, 'the written contract')
    assert page.input_value('#ll-text textarea') == WRITTEN.text, 'the text is shown before anything runs'
    calls = extractor.calls
    start(page)
    assert page.eval_on_selector('.ll-contract', 'e => e.textContent') == WRITTEN.text
    assert marks(page) == expected(0.5) and len(expected(0.5)) > 10
    assert page.locator('.ll-table tbody tr').count() == 41
    states = page.eval_on_selector_all('.ll-table tbody tr', 'rows => rows.map(r => r.className)')
    assert states == sorted(states, key=('ll-yes', 'll-doubt', 'll-no').index) and set(states) == {'ll-yes', 'll-doubt', 'll-no'}
    assert 'words <i>that</i> are nowhere' in page.inner_text('.ll-table') and 'do not rely on it' in page.inner_text('.ll-table')

    page.fill('#ll-threshold input[type=number]', '0.8')  # fewer finds, and the model is not asked again
    page.press('#ll-threshold input[type=number]', 'Enter')
    page.wait_for_function(f'document.querySelectorAll(".ll-table a").length === {len(expected(0.8))}')
    assert marks(page) == expected(0.8) and 0 < len(expected(0.8)) < len(expected(0.5))
    assert page.locator('.ll-table tbody tr').count() == 41
    page.focus('#ll-threshold input[type=range]')
    page.keyboard.press('Home')  # the lowest confidence, by keyboard
    page.wait_for_function(f'document.querySelectorAll(".ll-table a").length === {len(expected(0.3))}')
    assert marks(page) == expected(0.3) and len(expected(0.3)) == len(WRITTEN.clauses)

    page.get_by_label('Mark in the contract').click()  # one category: its marks only, the table as before
    page.get_by_role('option', name='Parties', exact=True).click()
    parties = [c.text for c in WRITTEN.spans('Parties')]
    page.wait_for_function(f'document.querySelectorAll(".ll-contract mark").length === {len(parties)}')
    assert sorted(marks(page).values()) == sorted(parties) and page.locator('.ll-table tbody tr').count() == 41
    page.get_by_label('Mark in the contract').click()
    page.get_by_role('option', name='all categories').click()
    page.wait_for_function(f'document.querySelectorAll(".ll-contract mark").length > {len(parties)}')

    last = page.locator('.ll-table a').last  # a quote in the table leads to its place in the contract
    anchor = last.get_attribute('href')
    last.click()
    page.wait_for_function(
        """id => { const m = document.querySelector(id).getBoundingClientRect();
                   const box = document.querySelector('.ll-contract').getBoundingClientRect();
                   return m.top >= box.top - 1 && m.top <= box.bottom && m.top >= 0 && m.top <= innerHeight }""",
        arg=anchor,
    )

    for button, check in (
        ('#ll-json', lambda raw: json.loads(raw)['model'] == 'stand-in model'),
        ('#ll-csv', lambda raw: raw.decode('utf-8-sig').startswith('title,category')),
    ):
        with page.expect_download() as download:
            page.click(button)
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        assert path.name.startswith('the-written-contract') and check(path.read_bytes())
    assert extractor.calls == calls + 1, 'slider, filter and downloads must not run the model again'


@browser_test
def test_a_pasted_text_is_shown_as_text(page):
    "HTML in a contract is shown, not obeyed; overlapping finds write no word twice"
    page.fill('#ll-text textarea', PASTED)
    start(page)
    assert page.eval_on_selector('.ll-contract', 'e => e.textContent') == PASTED
    assert page.locator('.ll-contract script, .ll-contract b').count() == 0 and page.title() == 'Contract review'
    first, second = (PASTED[PASTED.index('<script>') + a : b] for a, b in ((0, PASTED.index(' & ')), (8, None)))
    assert marks(page) == {0: first, 1: second}
    assert page.eval_on_selector_all('.ll-contract mark', 'marks => marks.map(m => m.dataset.finds)') == ['0', '0 1', '1']
    assert page.eval_on_selector('.ll-contract mark:nth-of-type(2)', 'm => m.title').splitlines() == ['Parties (90%)', 'Insurance (80%)']
    assert 'Pasted contract' in page.inner_text('#ll-summary')


@browser_test
def test_files_are_read_and_not_kept(page, cache, tmp_path):
    import docx
    from test_documents import write_pdf

    half = WRITTEN.text.index('\n', len(WRITTEN.text) // 2)
    (tmp_path / 'plain.txt').write_bytes(WRITTEN.text.encode())
    write_pdf(tmp_path / 'paper.pdf', [WRITTEN.text[:half], WRITTEN.text[half + 1 :]])
    word = docx.Document()
    for line in WRITTEN.text.split('\n'):
        word.add_paragraph(line)
    word.save(tmp_path / 'letter.docx')
    for name in ('plain.txt', 'paper.pdf', 'letter.docx'):
        page.set_input_files('input[type=file]', tmp_path / name)
        page.wait_for_function('document.querySelector("#ll-text textarea").value.length > 1000')
        assert page.input_value('#ll-text textarea').split() == WRITTEN.text.split()
        assert (tmp_path / name).read_bytes() not in contents(cache), 'the uploaded file stays on the server'
        if name != 'paper.pdf':  # a PDF's lines end where pypdf ends them, and the stand-in knows one text only
            start(page)
            assert marks(page) == expected(0.5)
            assert f'{name.split(".")[0]}: 16 of 41' in page.inner_text('#ll-summary')
        page.fill('#ll-text textarea', '')


@browser_test
def test_faults_are_sentences(page, tmp_path):
    from test_documents import write_pdf

    def says(text):
        page.get_by_text(text).first.wait_for()
        assert 'Traceback' not in page.inner_text('body') and str(tmp_path) not in page.inner_text('body')

    page.click('#ll-review')
    says('There is no contract yet')
    page.fill('#ll-text textarea', 'please refuse this')
    page.click('#ll-review')
    says('this contract was refused: give another')
    write_pdf(tmp_path / 'scan.pdf', [''])
    page.set_input_files('input[type=file]', tmp_path / 'scan.pdf')
    says('it is a scan')
    (tmp_path / 'odd.txt').write_bytes('“Fee” – 5 €'.encode('cp1252'))
    page.set_input_files('input[type=file]', tmp_path / 'odd.txt')
    says('read as Windows-1252')
    assert page.locator('.ll-table').count() == 0


@browser_test
@pytest.mark.parametrize('width', [400, 1280])
def test_the_page_fits(page, width):
    "Nothing is wider than the screen, and nothing that is to be read is small"
    page.set_viewport_size(dict(width=width, height=850))
    choose(page, 'the written contract')
    start(page)
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    read = '.ll-contract, .ll-contract mark, .ll-table td, .ll-table small, .ll-head p, #ll-summary p, #ll-text textarea'
    sizes = page.eval_on_selector_all(read, 'all => all.map(e => parseFloat(getComputedStyle(e).fontSize))')
    assert len(sizes) > 100 and min(sizes) >= 12
    box = 'e => { const b = e.getBoundingClientRect(); return [b.left, b.right] }'
    page.mouse.wheel(0, 9999)
    assert page.eval_on_selector('.ll-bar', 'e => Math.round(e.getBoundingClientRect().bottom)') == 850, 'the warning stays in sight'
    assert page.inner_text('.ll-bar') == 'Not legal advice · stand-in model'
    sides = [page.eval_on_selector(s, box) for s in ('.ll-contract', '.ll-pane')]
    assert all(0 <= a < b <= width for a, b in sides)
    assert (sides[0][1] < sides[1][0]) == (width > 1000), 'side by side on a wide screen, one below the other on a phone'


@browser_test
def test_two_people_at_once(app, chromium, page):
    "Each gets the review of their own text"
    other = chromium.new_context().new_page()
    other.goto(app[1])
    other.wait_for_selector('#ll-review')
    choose(page, 'the written contract')
    other.fill('#ll-text textarea', PASTED)
    page.click('#ll-review')
    other.click('#ll-review')
    for p, text in ((page, WRITTEN.text), (other, PASTED)):
        p.wait_for_selector('.ll-table')
        assert p.eval_on_selector('.ll-contract', 'e => e.textContent') == text
    other.close()


@browser_test
def test_nothing_is_kept_when_the_app_stops(chromium, tmp_path, monkeypatch):
    monkeypatch.setenv('GRADIO_TEMP_DIR', str(tmp_path))
    demo = serve(Written())
    page = chromium.new_page()
    page.goto(demo.local_url)
    page.fill('#ll-text textarea', PASTED)
    start(page)
    assert len(contents(tmp_path)) == 2, 'the files for download'
    assert page.evaluate('JSON.stringify([{...localStorage}, {...sessionStorage}])').find('costs') < 0
    page.close()
    demo.close(verbose=False)
    deadline = time.time() + 10
    while contents(tmp_path) and time.time() < deadline:
        time.sleep(0.1)
    assert contents(tmp_path) == []


def test_segments_tile_any_text():
    "Random finds: the segments follow each other without gap or overlap, and each knows exactly the finds that cover it"
    import random

    dice = random.Random(1)
    for _ in range(300):
        n = dice.randint(1, 40)
        spans = [sorted(dice.sample(range(n + 1), 2)) for _ in range(dice.randint(0, 6))]
        finds = [Find('Parties', 'x', a, b, 0.9, True) for a, b in spans] + [Find('Parties', 'y', None, None, 0.9, False)]
        cut = segments('x' * n, finds)
        assert [s.start for s in cut] == [0] + [s.end for s in cut[:-1]] and cut[-1].end == n
        for s in cut:
            for k in range(s.start, s.end):
                assert s.finds == tuple(i for i, (a, b) in enumerate(spans) if a <= k < b)


def test_the_threshold_alone_decides_what_is_shown():
    review = Written(0).extract(WRITTEN.text)
    document = Document(WRITTEN.text, 'c', (0, 6000))
    counts = [sum(len(r.quotes) for r in table_rows(Review(**{**vars(review), 'threshold': t}), document)) for t in (0.3, 0.5, 0.7, 0.95)]
    assert counts == sorted(counts, reverse=True) and counts[0] == len(review.finds) and counts[-1] == 0
    summary, contract, table = render(review, document, 0.95)
    assert '<mark' not in contract and table.count('<tr') == 42 and '0 of 41 categories' in summary
    pages = [(f.start, p) for r in table_rows(review, document) for _, f, p in r.quotes if f.verified]
    assert {p for _, p in pages} == {1, 2} and all(p == 1 + (start >= 6000) for start, p in pages)


def test_saved_files(tmp_path):
    review = Written(0).extract(WRITTEN.text, 'a, "title"')
    document = Document(WRITTEN.text, review.title, (0, 6000))
    as_json, as_csv = save_review(review, document, tmp_path / 'new', 'the model')
    saved = json.loads(as_json.read_text(encoding='utf-8'))
    quotes = [q for c in saved['clauses'] for q in c['quotes']]
    assert saved['model'] == 'the model' and 'Not legal advice' in saved['note'] and len(saved['clauses']) == 41
    for q in quotes:
        if q['verified']:
            assert WRITTEN.text[q['start'] : q['end']] == q['text'] and q['page'] == document.page_of(q['start'])
    assert [q['page'] for q in quotes if not q['verified']] == [None]
    assert as_csv.read_bytes().startswith(b'\xef\xbb\xbf') and 'a, ""title""' in as_csv.read_text(encoding='utf-8-sig')


def test_launch_demo_refuses_what_is_no_run(tmp_path):
    for folder in (tmp_path / 'none', tmp_path):
        with pytest.raises(LegalLLMError, match='no run folder|no adapter'):
            launch_demo(folder)
