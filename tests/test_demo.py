"""The demo, driven in a real browser with an extractor that needs no model; and what of it can be checked without a
browser.
"""

import base64
import csv
import io
import json
import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest

from legal_llm.contracts.categories import CATEGORIES
from legal_llm.contracts.grounding import locate
from legal_llm.contracts.synthetic import write_contracts
from legal_llm.demo import launch_demo
from legal_llm.documents.documents import Document
from legal_llm.faces.app import (
    MOST,
    Answers,
    confidence_sentence,
    example_contracts,
    goes_public,
    launch_options,
    make_demo,
    read_auth,
)
from legal_llm.faces.page import (
    FLAGGED,
    FORMATS,
    contract_html,
    matches,
    save_review,
    segments,
    summary_html,
    table_html,
    table_rows,
)
from legal_llm.faces.playbook import Playbook, load_playbooks
from legal_llm.machine.compat import older
from legal_llm.machine.files import LegalLLMError
from legal_llm.pipeline.calibration import Calibration
from legal_llm.pipeline.review import Extraction, Review

if older('gradio', '6.24'):
    pytest.skip('the demo needs gradio 6.24, and says so (test_compat)', allow_module_level=True)

CHROMIUM = os.environ.get('LEGAL_LLM_CHROMIUM') or shutil.which('chromium')
MISSING = '' if CHROMIUM else 'Chromium (install it, or set LEGAL_LLM_CHROMIUM to its path)'
if find_spec('playwright') is None:
    MISSING = 'the Python package playwright'
browser_test = pytest.mark.skipif(bool(MISSING), reason=f'the browser tests need {MISSING}')
WRITTEN = write_contracts(2, seed=3, wordings='held_out', words=1200)[1]
UNCLEAR = next(c.name for c in CATEGORIES if c.name not in WRITTEN.categories | {'Parties', 'Insurance'})
OWN = dict.fromkeys([c.name for c in CATEGORIES], 0.5) | {'Parties': 0.3}  # thresholds as calibrated
PASTED = 'FEE <script>document.title = "broken"</script> & <b>costs</b>\n  apply; 5 < 6 &amp; so on.\n'


class Written:
    "Stands in for an Extractor: knows the clauses of one written contract, and counts how often it is asked."

    name = 'stand-in model'
    reader = writer = None
    categories = CATEGORIES
    calibration = Calibration(contracts=12)

    def __init__(self, pause=0.05):
        self.calls, self.pause, self.running, self.most_at_once = 0, pause, 0, 0

    def extract(self, document, title=None, progress=None):
        document = document if isinstance(document, Document) else Document(document, 'contract')
        text, title, pages = document.text, title or document.title, document.pages
        self.calls += 1
        if 'refuse' in text:
            raise LegalLLMError('this contract was refused: give another')
        if 'break' in text:
            raise RuntimeError('CUDA error: an illegal memory access')
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        for i in range(3):
            time.sleep(self.pause)
            if progress:
                progress(i + 1, 3)
        self.running -= 1
        extractions = []
        if text.split() == WRITTEN.text.split():  # as written, or with the lines of a PDF
            for i, c in enumerate(WRITTEN.clauses):
                start, end = (c.start, c.end) if text == WRITTEN.text else locate(c.text, text)
                extractions.append(Extraction(c.category, text[start:end], start, end, 0.35 + 0.02 * i, 0.4))
            extractions.append(Extraction(UNCLEAR, text[:9], 0, 9, 0.2, 0.15))
        if '<script>' in text:
            at, end = text.index('<script>'), text.index(' & ')
            extractions += [
                Extraction('Parties', text[at:end], at, end, 0.9),
                Extraction('Insurance', text[at + 8 :], at + 8, len(text), 0.8),
            ]
        names = tuple(c.name for c in CATEGORIES)
        return Review(title, text, extractions, names, OWN, 0.1, 300, 30, dict(screen=0.2, reader=0.1), pages)


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    "Gradio's folder for uploads and downloads"
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp('gradio')
        patch.setenv('GRADIO_TEMP_DIR', str(folder))
        yield folder


MODEL = 'stand-in model · 01234567'
PLAYBOOK = Playbook(
    'Test', required=('Governing Law', 'Parties'), forbidden=('Exclusivity', 'Insurance'), review=('Audit Rights',)
)


def serve(extractor, **launch):
    demo = make_demo(
        extractor, [*example_contracts(), ('the synthetic contract', WRITTEN.text)], MODEL, {'Test': PLAYBOOK}
    )
    demo.launch(share=False, quiet=True, prevent_thread_lock=True, inline=False, **launch_options(), **launch)
    return demo


@pytest.fixture(scope='module')
def app(cache):
    extractor = Written()
    demo = serve(extractor)
    extractor.demo = demo
    yield extractor, demo.local_url
    demo.close(verbose=False)


@pytest.fixture(scope='module')
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(
            executable_path=CHROMIUM, args=['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage']
        )
        yield browser
        browser.close()


@pytest.fixture
def page(app, chromium):
    page = chromium.new_page(viewport=dict(width=1280, height=900), color_scheme='light', reduced_motion='reduce')
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
    page.get_by_role('button', name=f'Example: {title}').click()
    page.wait_for_function('document.querySelector("#ll-text textarea").value.length > 100')


def pick(page, label, option):
    page.get_by_label(label).click()
    page.get_by_role('option', name=option, exact=True).click()


def in_sight(page, selector):
    "Wait until an element is in the visible part of the screen and of the pane that scrolls it"
    page.wait_for_function(
        """s => { const at = document.querySelector(s).getBoundingClientRect(), pane = document.querySelector(s).closest('.ll-contract, .ll-pane').getBoundingClientRect();
                  return at.bottom > Math.max(0, pane.top) && at.top < Math.min(innerHeight, pane.bottom) }""",  # noqa: E501
        arg=selector,
    )


def shown_rows(page):
    return page.eval_on_selector_all(
        '.ll-table tbody tr',
        r'rows => rows.filter(r => r.checkVisibility()).map(r => r.cells[0].innerText.split("\n")[0])',
    )


def start(page):
    page.evaluate('document.querySelector(".ll-table")?.setAttribute("data-old", "")')
    page.click('#ll-review')
    page.wait_for_selector('.ll-table:not([data-old])')


def marks(page):
    "Find number -> the text of all marks that show it"
    out = {}
    for text, extractions in page.evaluate(
        '[...document.querySelectorAll(".ll-contract mark")].map(m => [m.textContent, m.dataset.finds])'
    ):
        for i in extractions.split():
            out[int(i)] = out.get(int(i), '') + text
    return out


def reviewed(threshold=None):
    "The written contract, at each category's own threshold or at one for all"
    return Written(0).extract(WRITTEN.text).at(threshold)


def expected(threshold=None):
    "Find number -> quote, for the synthetic contract"
    return {i: f.quote for i, f in enumerate(reviewed(threshold).shown())}


def slide(page, value):
    page.fill('#ll-threshold input[type=number]', str(value))
    page.press('#ll-threshold input[type=number]', 'Enter')


def found(page, n):
    "Wait until so many quotes count as found"
    page.wait_for_function(
        'n => document.querySelector(".ll-summary p").innerText.includes(` categories, ${n} quote`)', arg=n
    )


@browser_test
def test_an_example_from_start_to_slider(app, page):
    extractor, _ = app
    head = page.inner_text('.ll-head')
    assert 'Not legal advice' in head and MODEL in head and confidence_sentence(Written.calibration) in head
    choose(page, 'the synthetic contract')
    assert page.input_value('#ll-text textarea') == WRITTEN.text, 'the text is shown before anything runs'
    calls = extractor.calls
    start(page)
    assert page.eval_on_selector('.ll-contract', 'e => e.textContent') == WRITTEN.text
    assert marks(page) == expected() and len(expected()) > 10
    assert page.locator('.ll-table tbody tr').count() == 41
    states = page.eval_on_selector_all('.ll-table tbody tr', 'rows => rows.map(r => r.className)')
    assert states == sorted(states, key=('ll-found', 'll-check', 'll-absent').index) and set(states) == {
        'll-found',
        'll-check',
        'll-absent',
    }
    tiles = page.inner_text('.ll-counts').split('\n')
    assert [t for t in tiles if t[0].isdigit()] == [
        f'{states.count(s)} {name}'
        for s, name in (('ll-found', 'found'), ('ll-check', 'check'), ('ll-absent', 'not found'))
    ]
    unclear = page.locator('.ll-table tr.ll-check', has_text=UNCLEAR)
    assert WRITTEN.text[:9] in unclear.inner_text() and page.locator(
        '.ll-contract mark.ll-maybe'
    ).first.inner_text().endswith(WRITTEN.text[:9])
    assert 'character 0 · confidence 20%' in unclear.inner_text() and 'gives 15%' in unclear.locator(
        'li [title^="The linear screen"]'
    ).get_attribute('title')
    said = page.inner_text('.ll-table')
    assert (
        all(
            f'confidence {f.confidence:.0%} · screen alone 40%' in said
            for f in reviewed().found()
            if abs(f.confidence - 0.4) > 0.1
        )
        and 'alone 15%' not in said
    )
    # the result comes into sight by itself
    page.wait_for_function('document.querySelector("#ll-summary").getBoundingClientRect().top < 100')

    counts = {t: len(reviewed(t).found()) for t in (None, 0.05, 0.5, 0.8)}
    assert 0 < counts[0.8] < counts[0.5] < counts[None] < counts[0.05] == len(WRITTEN.clauses) + 1
    assert page.is_checked('#ll-own input')
    slide(page, 0.8)  # fewer extractions, and the model is not asked again; it counts for all from now on
    found(page, counts[0.8])
    page.wait_for_function(f'document.querySelectorAll(".ll-contract a[href]").length === {len(expected(0.8))}')
    assert (
        marks(page) == expected(0.8)
        and page.locator('.ll-table a').count() == len(expected(0.8))
        and not page.is_checked('#ll-own input')
    )
    page.focus('#ll-threshold input[type=range]')
    page.keyboard.press('Home')  # the lowest confidence, by keyboard
    found(page, counts[0.05])
    assert marks(page) == expected(0.05)
    page.check('#ll-own input')  # back to what was calibrated
    found(page, counts[None])
    assert marks(page) == expected()
    slide(page, 0.05)
    found(page, counts[0.05])

    pick(page, 'Mark in the contract', 'Parties')  # its marks only, the table as before
    parties = [c.text for c in WRITTEN.spans('Parties')]
    page.wait_for_function(f'document.querySelectorAll(".ll-contract mark").length === {len(parties)}')
    assert (
        sorted(marks(page).values()) == sorted(parties)
        and page.locator('.ll-table a').count() == len(WRITTEN.clauses) + 1
    )
    assert extractor.calls == calls + 1, 'slider and filter must not run the model again'


@browser_test
def test_between_table_and_contract(page):
    """A click anywhere on a row leads to its first mark, a click on a mark to its row, even where the search has hidden
    it; marked words can be selected
    """
    choose(page, 'the synthetic contract')
    start(page)
    last = page.locator('.ll-table tr:has(a)').last
    i = last.locator('a').first.get_attribute('id').rpartition('-')[2]
    last.locator('td').nth(1).click()
    in_sight(page, f'#ll-{i}')
    assert ''.join(page.locator('.ll-contract mark.ll-here').all_text_contents()) == expected()[int(i)]
    page.fill('#ll-words input, #ll-words textarea', 'no such words')
    page.get_by_text('No category matches').wait_for()
    assert shown_rows(page) == ['No category matches: change the words, or show all.']
    page.locator(f'.ll-contract mark[data-finds="{i}"]').first.click()
    in_sight(page, f'#ll-q-{i}')
    assert page.locator('.ll-table tr.ll-here').get_attribute('id') == last.get_attribute('id')
    before, mark = page.url, page.locator(f'.ll-contract mark[data-finds="{i}"]').first
    mark.scroll_into_view_if_needed()
    word = """m => { const r = new Range(); r.setStart(m.lastChild, 0); r.setEnd(m.lastChild, 9); const b = r.getClientRects()[0]; return [b.left, b.right, b.top + b.height / 2] }"""  # noqa: E501
    left, right, y = mark.evaluate(word)
    page.mouse.move(left + 2, y)
    page.mouse.down()
    page.mouse.move(right, y, steps=3)
    page.mouse.up()
    selected = page.evaluate('getSelection().toString()').strip()
    assert selected and selected in expected()[int(i)]
    assert page.url == before, 'who selects words stays where they are'


@browser_test
def test_search_filter_and_flags(app, page):
    extractor, _ = app
    choose(page, 'the synthetic contract')
    start(page)
    calls = extractor.calls
    rows = table_rows(reviewed(), PLAYBOOK)

    def shows(words='', status='all'):
        want = [r.category for r in rows if matches(r, words, status)]
        page.wait_for_function(
            'n => [...document.querySelectorAll(".ll-table tbody tr")].filter(r => r.checkVisibility()).length === n',
            arg=len(want),
        )
        assert shown_rows(page) == want and want

    page.fill('#ll-words input, #ll-words textarea', 'assign CONSENT')
    shows('assign CONSENT')
    page.fill('#ll-words input, #ll-words textarea', '')
    shows()
    for status in ('check', 'found', 'not found'):
        page.locator('#ll-status').get_by_text(status, exact=True).click()
        shows(status=status)
    page.fill('#ll-words input, #ll-words textarea', 'date')
    shows('date', 'not found')
    page.fill('#ll-words input, #ll-words textarea', '')

    pick(page, 'Contract type', 'Test')
    page.wait_for_selector('.ll-flags')
    flags = [f'{f.category}: {f}' for f in PLAYBOOK.flags({r.category: r.status for r in rows})]
    assert [
        x.removeprefix('⚑ ') for x in page.inner_text('.ll-flags').split('\n')
    ] == flags and 'Exclusivity: forbidden, found' in flags
    page.locator('#ll-status').get_by_text('flagged', exact=True).click()
    shows(status=FLAGGED)
    slide(page, 0.98)  # flags follow the slider
    page.get_by_text('Exclusivity: forbidden, check').wait_for()
    assert 'Parties: required, check' in page.inner_text('.ll-flags') and extractor.calls == calls
    page.locator('.ll-flags a', has_text='Parties').click()
    in_sight(page, '#ll-c-Parties')


def test_verdicts_of_a_reader_are_in_the_files_and_can_be_taken_back():
    "Each belongs to one page's review: another reader's is as it was"
    review, page = reviewed(), Answers(Written(), MODEL, {}, {})
    menu = page.menu(review, True, 0.5)
    assert len(menu.choices) == len(review.shown()) and menu.choices[0][0].startswith('? ') and menu.value
    one, before, menu = page.judge('accept', review, True, 0.5, [], menu.value)
    two, before, menu = page.judge('reject', one, True, 0.5, before, menu.value)
    assert [label[0] for label, _ in menu.choices[:3]] == ['✓', '✗', '?'] and review.verdicts == {}
    _, name = page.save('csv', two, True, 0.5, None)
    table = csv.DictReader(io.StringIO(base64.b64decode(name).decode('utf-8-sig')))
    assert sorted(r['verdict'] for r in table if r['verdict']) == ['accept', 'reject']
    back, before, _ = page.undo(two, True, 0.5, before)
    assert back.verdicts == one.verdicts
    back, before, _ = page.undo(back, True, 0.5, before)
    assert back.verdicts == {} == page.undo(back, True, 0.5, before)[0].verdicts
    with pytest.raises(LegalLLMError, match='neither accept nor reject'):
        review.judge(review.shown()[0], 'maybe')


def test_a_file_that_fails_leaves_no_answers_of_another_contract():
    demo = make_demo(Written(), example_contracts(), MODEL, {})
    upload = next(f for f in demo.fns.values() if f.targets[0][1] == 'upload')
    after = [f for f in demo.fns.values() if f.trigger_after == upload._id and f.trigger_only_on_failure]
    assert len(after) == 1 and len(after[0].outputs) == 7


@browser_test
def test_downloads(page, cache, tmp_path):
    "Each file opens, agrees with what is shown, and is nowhere on the server"
    from openpyxl import load_workbook

    choose(page, 'the synthetic contract')
    start(page)
    pick(page, 'Contract type', 'Test')
    page.wait_for_selector('.ll-flags')
    files = {}
    for form in FORMATS:
        with page.expect_download() as download:
            page.click(f'#ll-{form}')
        assert download.value.suggested_filename == f'the-synthetic-contract-clauses.{form}'
        download.value.save_as(tmp_path / f'clauses.{form}')
        files[form] = (tmp_path / f'clauses.{form}').read_bytes()
    quotes = {f.quote for f in reviewed().shown()}
    said = json.loads(files['json'])
    assert said['model'] == MODEL and said['playbook'] == 'Test' and 'Not legal advice' in said['note']
    assert {q['text'] for c in said['clauses'] for q in c['quotes']} == quotes
    flags = {c['category']: c['flag'] for c in said['clauses'] if c['flag']}
    assert flags == {r.category: str(r.flag) for r in table_rows(reviewed(), PLAYBOOK) if r.flag}
    table = list(csv.DictReader(io.StringIO(files['csv'].decode('utf-8-sig'))))
    assert {r['quote'] for r in table} - {''} == quotes and {
        r['category']: r['flag'] for r in table if r['flag']
    } == flags
    book = load_workbook(tmp_path / 'clauses.xlsx')
    head, *lines = book['Clauses'].values
    assert {x[head.index('quote')] for x in lines} - {None} == quotes and dict(book['About'].values)['model'] == said[
        'model'
    ]

    page.goto((tmp_path / 'clauses.html').as_uri())  # the copy stands by itself, without scripts
    assert page.eval_on_selector('.ll-contract', 'e => e.textContent') == WRITTEN.text and marks(page) == expected()
    assert page.locator('.ll-table tbody tr').count() == 41 and page.locator('script').count() == 0
    words = page.inner_text('body')
    assert (
        said['model'] in words
        and said['date'] in words
        and said['note'] in words
        and all(f'{c}: {f}' in words for c, f in flags.items())
        and flags
    )
    link = page.locator('.ll-table a').last
    link.click()
    assert page.locator('mark:has(> :target)').count() == 1 and page.url.endswith(link.get_attribute('href'))
    page.asked.clear()  # the copy's own address
    assert contents(cache) == []


@browser_test
def test_by_keyboard_alone(app, page):
    "From the text to a mark and back, and on to the files, without a mouse; nothing that is passed on the way changes"
    extractor, _ = app

    def tab_to(selector, most=12):
        for _ in range(most):
            page.keyboard.press('Tab')
            if page.evaluate('s => document.activeElement.matches(s)', selector):
                assert page.evaluate('getComputedStyle(document.activeElement).outlineWidth') == '3px', (
                    'the focus must be seen'
                )
                return
        raise AssertionError(f'{selector} is not reached by {most} steps')

    tab_to('.ll-example:last-of-type')
    page.keyboard.press('Enter')
    page.wait_for_function('document.querySelector("#ll-text textarea").value.length > 100')
    tab_to('#ll-text textarea')
    tab_to('#ll-review')
    page.keyboard.press('Enter')
    page.wait_for_selector('.ll-table')
    page.wait_for_function('!document.querySelector("#ll-review").disabled')
    calls = extractor.calls
    page.evaluate('document.querySelector(".ll-contract").setAttribute("data-old", "")')
    page.focus('#ll-clear')
    tab_to('#ll-own input')
    tab_to('#ll-threshold input')
    tab_to('#ll-kind input')
    tab_to('#ll-words textarea, #ll-words input')
    page.keyboard.type('convenience')
    page.wait_for_function(
        '[...document.querySelectorAll(".ll-table tbody tr")].filter(r => r.checkVisibility()).length < 3'
    )
    tab_to('#ll-status input')
    tab_to('.ll-pane')
    tab_to('.ll-table a')
    quote = page.evaluate('document.activeElement.id')
    page.keyboard.press('Enter')
    i = quote.rpartition('-')[2]
    in_sight(page, f'#ll-{i}')
    assert page.evaluate('document.activeElement.id') == f'll-{i}', 'the focus goes along'
    page.keyboard.press('Enter')
    in_sight(page, f'#{quote}')
    assert page.evaluate('document.activeElement.id') == quote
    tab_to('#ll-category input')
    tab_to('.ll-contract')
    assert page.locator('.ll-contract[data-old]').count() == 1 and extractor.calls == calls
    tab_to('#ll-json', 80)
    with page.expect_download() as download:
        page.keyboard.press('Enter')
    assert json.loads(download.value.path().read_bytes())['title'] == 'the synthetic contract'


@browser_test
def test_a_pasted_text_is_shown_as_text(page):
    "HTML in a contract is shown, not obeyed; overlapping extractions write no word twice"
    page.fill('#ll-text textarea', PASTED)
    start(page)
    assert page.eval_on_selector('.ll-contract', 'e => e.textContent') == PASTED
    assert page.locator('.ll-contract script, .ll-contract b').count() == 0 and page.title() == 'Contract review'
    first, second = (PASTED[PASTED.index('<script>') + a : b] for a, b in ((0, PASTED.index(' & ')), (8, None)))
    assert marks(page) == {0: first, 1: second}
    assert page.eval_on_selector_all('.ll-contract mark', 'marks => marks.map(m => m.dataset.finds)') == [
        '0',
        '0 1',
        '1',
    ]
    assert page.eval_on_selector('.ll-contract mark:nth-of-type(2)', 'm => m.title').splitlines() == [
        'Parties (90%)',
        'Insurance (80%)',
    ]
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
        start(page)
        assert {i: m.split() for i, m in marks(page).items()} == {i: q.split() for i, q in expected().items()}
        assert f'{name.split(".")[0]}: 41 categories' in page.inner_text('#ll-summary')
        assert ('page 1 · ' in page.inner_text('.ll-table') and 'page 2 · ' in page.inner_text('.ll-table')) == (
            name == 'paper.pdf'
        )
        page.click('#ll-clear')
        page.wait_for_function(
            '!document.querySelector("#ll-text textarea").value && !document.querySelector(".ll-table")'
        )


@browser_test
def test_faults_are_sentences(app, page, tmp_path):
    from test_documents import write_pdf

    def says(text):
        page.get_by_text(text).first.wait_for()
        assert 'Traceback' not in page.inner_text('body') and str(tmp_path) not in page.inner_text('body')

    page.click('#ll-review')
    says('There is no contract yet')
    page.fill('#ll-text textarea', 'please refuse this')
    page.click('#ll-review')
    says('this contract was refused: give another')
    page.fill('#ll-text textarea', 'please break')
    page.click('#ll-review')
    says('The model failed on this contract (RuntimeError)')
    assert 'illegal memory access' not in page.inner_text('body')
    page.evaluate(
        'n => { const t = document.querySelector("#ll-text textarea"); t.value = "x".repeat(n); t.dispatchEvent(new '
        'Event("input")) }',
        MOST + 1,
    )
    page.click('#ll-review')
    says(f'{MOST:,} is the limit')
    page.fill('#ll-text textarea', '')
    (tmp_path / 'huge.txt').write_bytes(b'x' * 21_500_000)
    page.set_input_files('input[type=file]', tmp_path / 'huge.txt')
    says('exceed the maximum allowed size of 20')
    write_pdf(tmp_path / 'scan.pdf', [''])
    page.set_input_files('input[type=file]', tmp_path / 'scan.pdf')
    says('it is a scan')
    (tmp_path / 'odd.txt').write_bytes('“Fee” – 5 €'.encode('cp1252'))
    page.set_input_files('input[type=file]', tmp_path / 'odd.txt')
    says('read as Windows-1252')
    assert page.locator('.ll-table').count() == 0
    start(page)
    app[0].demo.app.state_holder.session_data.clear()  # as when a sleeping telephone loses touch
    page.click('#ll-json')
    says('press Review again')


CONTRAST = """() => {
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
  const dot = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = c => { dot.clearRect(0, 0, 1, 1); dot.fillStyle = c; dot.fillRect(0, 0, 1, 1); return [...dot.getImageData(0, 0, 1, 1).data]; };
  const ground = e => { for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor); if (c[3] > 250) return c; } return [255, 255, 255, 255]; };
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((x, y) => y - x); return (x + .05) / (y + .05); };
  const worst = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !e.checkVisibility({opacityProperty: true, visibilityProperty: true}) || e.closest('[disabled], style, script')) continue;
    worst.push([ratio(rgba(getComputedStyle(e).color), ground(e)), walk.currentNode.data.trim().slice(0, 30)]);
  }
  for (const e of document.querySelectorAll('.ll-at[data-label]')) { const s = getComputedStyle(e, '::before'); worst.push([ratio(rgba(s.color), rgba(s.backgroundColor)), e.dataset.label]); }
  return worst.sort((a, b) => a[0] - b[0]);
}"""  # noqa: E501


@browser_test
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_the_page_fits_and_can_be_read(app, chromium, scheme):
    """Nothing is wider than the screen; text is large and dark enough (WCAG AA); on a phone, a finger hits what it aims
    at
    """
    page = chromium.new_page(viewport=dict(width=1280, height=850), color_scheme=scheme)
    page.goto(app[1])
    choose(page, 'the synthetic contract')
    start(page)
    pick(page, 'Contract type', 'Test')
    page.wait_for_selector('.ll-flags')
    page.wait_for_function('!document.querySelector("[role=option]")')
    paper = page.eval_on_selector('.ll-contract', 'e => getComputedStyle(e).backgroundColor')
    assert paper == ('rgb(27, 32, 38)' if scheme == 'dark' else 'rgb(255, 255, 255)')
    for width in (1280, 400):
        page.set_viewport_size(dict(width=width, height=850))
        assert page.evaluate('document.documentElement.scrollWidth') <= width
        read = (
            '.ll-contract, .ll-contract mark, .ll-table td, .ll-table small, .ll-head p, #ll-summary p, #ll-text '
            'textarea'
        )
        sizes = page.eval_on_selector_all(read, 'all => all.map(e => parseFloat(getComputedStyle(e).fontSize))')
        assert len(sizes) > 100 and min(sizes) >= 12
        contrasts = page.evaluate(CONTRAST)
        assert len(contrasts) > 200 and contrasts[0][0] >= 4.5, contrasts[:5]
        page.mouse.wheel(0, 9999)
        assert page.eval_on_selector('.ll-bar', 'e => Math.round(e.getBoundingClientRect().bottom)') == 850, (
            'the warning stays in sight'
        )
        assert page.inner_text('.ll-bar') == f'Not legal advice · {MODEL}'
        box = 'e => { const b = e.getBoundingClientRect(); return [b.left, b.right] }'
        sides = [page.eval_on_selector(s, box) for s in ('.ll-pane', '.ll-contract')]
        assert all(0 <= a < b <= width for a, b in sides)
        assert (sides[0][1] < sides[1][0]) == (width > 1000), (
            'side by side on a wide screen, one below the other on a phone'
        )
    aims = (
        'button, .gradio-container label:has(input), input:not([type=radio], [type=checkbox], [type=file]), '
        '.ll-table tbody tr, .ll-table a, .ll-flags a'
    )
    small = """all => all.filter(e => e.checkVisibility()).map(e => [e.getBoundingClientRect(), e]).filter(([b]) => b.height < 43.5 || b.width < 43.5)
               .map(([b, e]) => [e.outerHTML.slice(0, 80), b.width, b.height])"""  # noqa: E501
    assert page.eval_on_selector_all(aims, small) == []
    page.close()


@browser_test
def test_two_people_and_a_program_at_once(app, chromium, page):
    "Each gets the review of their own text, one after the other"
    from gradio_client import Client

    extractor, url = app
    other = chromium.new_context().new_page()
    other.goto(url)
    other.wait_for_selector('#ll-review')
    client = Client(url, verbose=False)
    choose(page, 'the synthetic contract')
    other.fill('#ll-text textarea', PASTED)
    extractor.pause, extractor.most_at_once = 0.3, 0
    page.click('#ll-review')
    other.click('#ll-review')
    jobs = [client.submit(text, text, api_name='/review') for text in ('one', 'two')]
    for p, text in ((page, WRITTEN.text), (other, PASTED)):
        p.wait_for_selector('.ll-table')
        assert p.eval_on_selector('.ll-contract', 'e => e.textContent') == text
    assert [job.result(timeout=30)['title'] for job in jobs] == ['one', 'two']
    assert extractor.most_at_once == 1 and extractor.demo._queue.max_size == 20
    extractor.pause = 0.05
    client.close()
    other.close()


@browser_test
def test_nothing_is_kept_of_a_session(chromium, tmp_path, monkeypatch):
    from gradio_client import Client

    monkeypatch.setenv('GRADIO_TEMP_DIR', str(tmp_path))
    demo = serve(Written())
    page = chromium.new_page()
    page.goto(demo.local_url)
    page.fill('#ll-text textarea', PASTED)
    start(page)
    assert (
        contents(tmp_path) == []
        and page.evaluate('JSON.stringify([{...localStorage}, {...sessionStorage}])').find('costs') < 0
    )
    sessions = demo.app.state_holder.session_data
    assert 'costs' in str([s.config_values for s in sessions.values()]), 'Gradio keeps it while the page is open'
    page.close()
    deadline = time.time() + 10
    while sessions and time.time() < deadline:
        time.sleep(0.1)
    assert sessions == {}
    client = Client(demo.local_url, verbose=False)
    client.predict(PASTED, api_name='/review')
    assert 'costs' not in str([s.config_values for s in sessions.values()])
    client.close()
    demo.close(verbose=False)


def test_a_program_asks(app):
    "The one endpoint; faults arrive as sentences"
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    extractor, url = app
    client = Client(url, verbose=False)
    assert list(client.view_api(return_format='dict', print_info=False)['named_endpoints']) == ['/review']
    said = client.predict(WRITTEN.text, 'mine', api_name='/review')
    want = Written(0).extract(WRITTEN.text, 'mine').to_dict()
    assert (
        said['clauses'] == want['clauses']
        and said['title'] == 'mine'
        and said['model'] == MODEL
        and 'Not legal advice' in said['note']
    )
    for text, sentence in (
        ('please refuse', 'refused: give another'),
        ('  ', 'no contract yet'),
        ('please break', 'The model failed'),
        ('x' * (MOST + 1), 'is the limit'),
    ):
        with pytest.raises(AppError, match=sentence):
            client.predict(text, 'mine', api_name='/review')
    for name in ('run', 'show_table', 'choose', 'save'):
        with pytest.raises(ValueError, match='Cannot find a function'):
            client.predict(api_name=f'/{name}')
    client.close()


@browser_test
def test_login_and_public_address(chromium, cache):
    "Without a login, nothing; a public address is told on the page"
    import httpx

    demo = serve(Written(), auth=[('ada', 'secret')])
    assert httpx.get(f'{demo.local_url}config').status_code == 401
    demo.share_url = 'https://somewhere.gradio.live'
    page = chromium.new_page()
    asked = []
    page.on('request', lambda r: asked.append(r.url))
    page.goto(demo.local_url)
    page.get_by_label('username').fill('ada')
    assert page.evaluate(CONTRAST)[0][0] >= 4.5
    page.get_by_label('password').fill('secret')
    page.get_by_role('button', name='Login').click()
    page.wait_for_selector('#ll-review')
    page.get_by_text('This page has a public address').wait_for()
    assert [u for u in asked if not u.startswith((demo.local_url, 'data:', 'blob:'))] == []
    page.close()
    demo.close(verbose=False)


def test_segments_tile_any_text():
    """Random extractions: the segments follow each other without gap or overlap, and each knows which ones cover
    it
    """
    import random

    dice = random.Random(1)
    for _ in range(300):
        n = dice.randint(1, 40)
        spans = [sorted(dice.sample(range(n + 1), 2)) for _ in range(dice.randint(0, 6))]
        extractions = [Extraction('Parties', 'x', a, b, 0.9) for a, b in spans]
        cut = segments('x' * n, extractions)
        assert [s.start for s in cut] == [0] + [s.end for s in cut[:-1]] and cut[-1].end == n
        for s in cut:
            for k in range(s.start, s.end):
                assert s.extractions == tuple(i for i, (a, b) in enumerate(spans) if a <= k < b)


def test_thresholds_alone_decide_what_is_found():
    review = Review(**{**vars(reviewed()), 'pages': (0, 6000)})
    counts = [sum(r.status == 'found' for r in table_rows(review.at(t))) for t in (0.1, 0.5, 0.7, 0.95)]
    assert (
        counts == sorted(counts, reverse=True)
        and counts[0] == len({f.category for f in review.extractions})
        and counts[-1] == 0
    )
    low = review.at(0.95)
    assert [f for f in low.shown() if low.status(f) != 'check'] == []
    assert len(low.shown()) == len([f for f in review.extractions if f.confidence > review.check])
    assert contract_html(low).count('<mark') == contract_html(low).count(
        '<mark class=ll-maybe'
    ) > 0 and '<b>0 found<' in summary_html(low)
    assert table_html(table_rows(low)).count('<tr') == 42 and '<mark' not in contract_html(
        Review('t', 'x y', [Extraction('Parties', 'x', 0, 1, 0.05)], ('Parties',))
    )
    pages = [(f.start, p) for r in table_rows(review) for _, f, p, _ in r.quotes]
    assert {p for _, p in pages} == {1, 2} and all(p == 1 + (start >= 6000) for start, p in pages)
    assert 'page 2 · ' in table_html(table_rows(review)) and 'page' not in table_html(table_rows(reviewed()))
    assert '12 contracts' in confidence_sentence(
        Calibration(contracts=12)
    ) and 'not yet compared' in confidence_sentence(Calibration())


def test_saved_files(tmp_path):
    review = Written(0).extract(Document(WRITTEN.text, 'a, "title" <b>', (0, 6000)))
    paths = save_review(review, tmp_path / 'new', 'the model')
    assert [p.name for p in paths] == [f'clauses.{form}' for form in FORMATS]
    saved = json.loads(paths[0].read_text(encoding='utf-8'))
    quotes = [q for c in saved['clauses'] for q in c['quotes']]
    assert saved['model'] == 'the model' and 'Not legal advice' in saved['note'] and len(saved['clauses']) == 41
    for q in quotes:
        assert WRITTEN.text[q['start'] : q['end']] == q['text'] and q['page'] == 1 + (q['start'] >= 6000)
    assert quotes and 'flag' not in saved['clauses'][0]
    assert paths[1].read_bytes().startswith(b'\xef\xbb\xbf') and 'a, ""title""' in paths[1].read_text(
        encoding='utf-8-sig'
    )
    assert '<h1>a, &quot;title&quot; &lt;b&gt;</h1>' in paths[3].read_text(encoding='utf-8')


def test_logins(monkeypatch):
    monkeypatch.setenv('LEGAL_LLM_AUTH', 'eve:1 bob:2:3')
    assert read_auth([]) == [('eve', '1'), ('bob', '2:3')] and read_auth(['ada:x y']) == [('ada', 'x y')]
    for wrong in ('secret', 'ada:', ':secret'):
        with pytest.raises(LegalLLMError, match='login 1 has no') as e:
            read_auth([wrong])
        assert 'secret' not in str(e.value), 'a mistyped password must not land in a log'


def test_a_warning_comes_before_a_public_link(monkeypatch):
    assert goes_public(True) and not goes_public(False) and not goes_public(None)
    monkeypatch.setenv('GRADIO_SHARE', 'True')
    assert goes_public(None) and not goes_public(False)
    monkeypatch.delenv('GRADIO_SHARE')
    monkeypatch.setenv('KAGGLE_KERNEL_RUN_TYPE', 'Interactive')
    assert goes_public(None)


def test_launching(monkeypatch, capsys, cache):
    "The login is asked for, and the warning is printed before the link is made"
    from types import SimpleNamespace

    monkeypatch.setattr('legal_llm.demo.run_key', lambda *_: '0123456789abcdef')
    monkeypatch.setattr('legal_llm.demo.Extractor', SimpleNamespace(load=lambda *_: Written()))
    printed = []
    monkeypatch.setattr(
        'gradio.networking.setup_tunnel', lambda **_: printed.append(capsys.readouterr().out) or 'https://x.gradio.live'
    )
    demo = launch_demo('run', share=True, auth=['ada:secret'], block=False)
    assert (
        'Warning: This page has a public address' in printed[0]
        and '--auth' not in printed[0]
        and demo.auth == [('ada', 'secret')]
    )
    demo.close(verbose=False)
    launch_demo('run', share=True, block=False).close(verbose=False)
    assert 'Give --auth USER:PASSWORD' in printed[1]
    launch_demo('run', share=False, block=False).close(verbose=False)
    assert len(printed) == 2 and 'Warning' not in capsys.readouterr().out


def test_playbooks_of_the_library_and_of_ones_own(tmp_path):
    assert {'NDA', 'Distribution', 'License', 'Services'} <= load_playbooks().keys()
    mine = tmp_path / 'mine.yml'
    mine.write_text('Lease:\n  required: [Rent]\n')
    with pytest.raises(LegalLLMError, match="no category 'Rent'"):
        load_playbooks(mine)
    assert load_playbooks(mine, ['Rent'])['Lease'].required == ('Rent',)
    for path, why in ((tmp_path / 'none.yml', 'cannot be opened'), (tmp_path, 'cannot be opened')):
        with pytest.raises(LegalLLMError, match=why):
            load_playbooks(path)


def test_launch_demo_refuses_what_is_no_run(tmp_path):
    for folder in (tmp_path / 'none', tmp_path):
        with pytest.raises(LegalLLMError, match='no run folder|no screen'):
            launch_demo(folder)


def test_the_screen_alone_needs_no_torch(screen_run):
    "`legal-llm demo --fast` starts, answers and says what it is, and no torch is loaded"
    code = f"""
import sys
from gradio_client import Client
from legal_llm.demo import launch_demo
demo = launch_demo({str(screen_run)!r}, fast=True, share=False, block=False)
said = Client(demo.local_url, verbose=False).predict({WRITTEN.text!r}, 'mine', api_name='/review')
assert 'without a language model' in said['model'], said['model']
assert any(c['status'] == 'found' for c in said['clauses']), said
demo.close(verbose=False)
assert not {{'torch', 'transformers', 'peft'}} & sys.modules.keys()
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize('name', ['http_proxy', 'ALL_PROXY'])
def test_a_proxy_does_not_stand_between_the_app_and_its_machine(monkeypatch, cache, name):
    from types import SimpleNamespace

    monkeypatch.setattr('legal_llm.demo.run_key', lambda *_: '0123456789abcdef')
    monkeypatch.setattr('legal_llm.demo.Extractor', SimpleNamespace(load=lambda *_: Written()))
    monkeypatch.setenv(name, 'http://127.0.0.1:9')
    for no in ('no_proxy', 'NO_PROXY'):
        monkeypatch.setenv(no, 'example.org' if no == 'no_proxy' else '')
    launch_demo('run', share=False, block=False).close(verbose=False)
    assert os.environ['no_proxy'] == 'example.org,localhost,127.0.0.1,0.0.0.0'


def test_ports_that_are_none(tmp_path):
    for port in (0, -1, 65536):
        with pytest.raises(LegalLLMError, match='give a number from 1 to 65535'):
            launch_demo(port=port)


@browser_test
def test_a_sample_review_is_open_when_the_page_is(cache, chromium):
    "Nothing to wait for: it is there, it can be searched and its threshold moved, and a text of one's own replaces it"
    extractor = Written()
    demo = make_demo(extractor, example_contracts(), MODEL, opened=extractor.extract(WRITTEN.text, WRITTEN.title))
    demo.launch(share=False, quiet=True, prevent_thread_lock=True, inline=False, **launch_options())
    page = chromium.new_page(viewport=dict(width=1280, height=900), reduced_motion='reduce')
    try:
        page.set_default_timeout(30_000)
        page.goto(demo.local_url)
        page.wait_for_selector('.ll-contract mark')
        assert marks(page) == expected() and page.input_value('#ll-text textarea') == WRITTEN.text
        assert 'At first an invented contract' in page.inner_text('#ll-text') and extractor.calls == 1
        before = len(marks(page))
        slide(page, 0.8)
        page.wait_for_function(f'document.querySelectorAll(".ll-contract mark").length < {before}')
        page.fill('#ll-text textarea', PASTED)
        start(page)
        assert page.eval_on_selector('.ll-contract', 'e => e.textContent').split() == PASTED.split()
        assert extractor.calls == 2
    finally:
        page.close()
        demo.close(verbose=False)
