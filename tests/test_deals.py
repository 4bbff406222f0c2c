"Short answers in reviews, the deal sheet and its dates: what is shown rests on a quote and says how sure it is."

import csv
import io
import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from legal_llm.contracts.categories import CATEGORIES
from legal_llm.faces.page import FORMATS, deal_html, review_file, summary_html, table_html, table_rows
from legal_llm.pipeline import deal
from legal_llm.pipeline.deal import ALARM_DAYS, DEAL_COLUMNS, calendar_of, deal_heads, deal_lines, deal_row, deal_text
from legal_llm.pipeline.review import COLUMNS, Extraction, Review, rows_of, xlsx_of
from legal_llm.serving.results import ExtractionTable

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks import answers as benchmark  # noqa: E402

NOTICE = 'Notice Period To Terminate Renewal'
TEXT = """MASTER SUPPLY AGREEMENT

This Agreement is made as of May 8, 2019 between Acme Systems, Inc., a Delaware corporation with offices in Dover
("Supplier"), and Silver Lake LLC ("Lake").

This Agreement has a term of two (2) years from the date hereof. It then renews for successive periods of one year
unless notice is given at least sixty (60) days before the end of a term. The laws of Nevada govern.
"""
QUOTES = {
    'Document Name': 'MASTER SUPPLY AGREEMENT',
    'Parties': TEXT[TEXT.index('This Agreement is') : TEXT.index('\n\nThis Agreement has')],
    'Agreement Date': 'May 8, 2019',
    'Expiration Date': 'This Agreement has a term of two (2) years from the date hereof.',
    'Renewal Term': 'It then renews for successive periods of one year',
    NOTICE: 'unless notice is given at least sixty (60) days before the end of a term.',
    'Governing Law': 'The laws of Nevada govern.',
}
EXPECTED = {
    'Document Name': 'MASTER SUPPLY AGREEMENT',
    'Parties': 'Acme Systems, Inc. ("Supplier"); Silver Lake LLC ("Lake")',
    'Agreement Date': '2019-05-08',
    'Expiration Date': '2021-05-08',
    'Renewal Term': 'successive 1 year',
    NOTICE: '60 days',
    'Governing Law': 'Nevada',
}
NOW = datetime(2026, 12, 1, 9, 30, tzinfo=UTC)


def reviewed(text=TEXT, quotes=QUOTES, **confidence):
    "A review with a quote a category; `confidence` by category with underscores, .9 for others."
    found = [
        Extraction(c, q, text.index(q), text.index(q) + len(q), confidence.get(c.replace(' ', '_'), 0.9))
        for c, q in quotes.items()
    ]
    return Review('Supply', text, found, tuple(c.name for c in CATEGORIES))


def answers(review):
    return {c: (str(a), a.status) for c, a in review.answers.items()}


# --- answers


def test_answers_of_a_review():
    "Each rests on its quotes, which are slices of the contract"
    review = reviewed()
    assert answers(review) == {c: (a, 'found') for c, a in EXPECTED.items()}
    for category, answer in review.answers.items():
        assert [q.quote for q in answer.quotes] == [QUOTES[category]]
    assert review.answers is review.answers, 'they are computed once'


def test_what_is_to_be_checked_says_so():
    "A quote to check, a date that is to check below a computed one, and a rule in doubt"
    made = answers(reviewed(Agreement_Date=0.3))
    assert made['Agreement Date'] == ('2019-05-08', 'check')
    assert made['Expiration Date'] == ('2021-05-08', 'check'), 'it counts from a date that is to be checked'
    assert made['Governing Law'] == ('Nevada', 'found')
    two_ways = reviewed('Made on 03/04/2019.', {'Agreement Date': '03/04/2019'})
    assert answers(two_ways) == {'Agreement Date': ('2019-03-04', 'check')}


def test_no_answer_where_nothing_is_found():
    "Nor where the quote says nothing that a rule can read; and other thresholds give other answers"
    assert 'Governing Law' not in reviewed(Governing_Law=0.05).answers
    assert reviewed('As agreed in Ohm.', {'Governing Law': 'As agreed in Ohm.'}).answers == {}
    assert set(reviewed(Parties=0.7).at(0.8, 0.75).answers) == EXPECTED.keys() - {'Parties'}
    other = Review('t', 'x', [], ('Widgets',))
    assert other.answers == {}
    assert deal_lines(other.rows()) == []


def test_found_quotes_come_first():
    "A quote to check does not change the answer of one that is found, and helps only where that has none"
    text = 'The laws of Nevada govern. The laws of Utah govern. As agreed.'

    def quote(words, p):
        return Extraction('Governing Law', words, text.index(words), text.index(words) + len(words), p)

    nevada, utah, none = 'The laws of Nevada govern.', 'The laws of Utah govern.', 'As agreed.'

    def review(*quotes):
        return Review('t', text, list(quotes), ('Governing Law',))

    assert answers(review(quote(nevada, 0.9), quote(utah, 0.3))) == {'Governing Law': ('Nevada', 'found')}
    assert answers(review(quote(none, 0.9), quote(utah, 0.3))) == {'Governing Law': ('Utah', 'check')}
    assert answers(review(quote(nevada, 0.9), quote(utah, 0.8))) == {'Governing Law': ('Nevada; Utah', 'check')}


def test_a_rule_that_fails_ends_no_review(monkeypatch):
    def fail(category, *_):
        raise RecursionError('too deep')

    monkeypatch.setattr(deal, 'answer_by_rule', fail)
    with pytest.warns(UserWarning, match='no short answer, since its rule failed .RecursionError: too deep'):
        review = reviewed()
        assert review.answers == {}
    assert len(review.rows()) == len(CATEGORIES)


# --- where they are shown


def test_rows_and_files():
    "JSON has steps and the numbers of the quotes; the tables have an answer in the row of its first quote"
    review = reviewed(Agreement_Date=0.3)
    said = {c['category']: c for c in json.loads(review.to_json())['clauses']}
    assert {c: r['answer'] for c, r in said.items() if r['answer']} == EXPECTED
    assert said['Expiration Date']['answer_status'] == 'check'
    assert said['Expiration Date']['answer_quotes'] == [0]
    assert said['Expiration Date']['steps'] == ['2019-05-08 (Agreement Date) + 2 years']
    assert (said['Insurance']['answer'], said['Insurance']['answer_status']) == (None, None)
    rows = list(csv.DictReader(io.StringIO(review.to_csv())))
    assert list(rows[0]) == COLUMNS
    assert {r['category']: r['answer'] for r in rows if r['answer']} == EXPECTED
    twice = Review(
        't',
        'Acme Inc. Beta LLC',
        [Extraction('Parties', *x, 0.9) for x in (('Acme Inc.', 0, 9), ('Beta LLC', 10, 18))],
        ('Parties',),
    )
    assert [r['answer'] for r in twice.rows()] == ['Acme Inc.; Beta LLC', None]


def test_excel_has_a_sheet_of_deals(tmp_path):
    from openpyxl import load_workbook

    other = reviewed(Governing_Law=0.3)
    other.title = 'Other'
    (tmp_path / 'a.xlsx').write_bytes(xlsx_of(reviewed().rows() + other.rows()))
    book = load_workbook(tmp_path / 'a.xlsx')
    assert book.sheetnames == ['Clauses', 'Deals']
    head, *deals = book['Deals'].values
    assert list(head) == DEAL_COLUMNS
    deals = [dict(zip(head, d)) for d in deals]
    assert [d['title'] for d in deals] == ['Supply', 'Other']
    assert [d['Answers to check'] or '' for d in deals] == ['', 'Governing law']
    assert {d['Last day for notice'] for d in deals} == {'2021-03-09'}


def test_a_folder_has_deals_and_dates(tmp_path):
    "Made from the Parquet table; parts that an earlier version wrote have no answers"
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = ExtractionTable(tmp_path)
    for name in ('a.txt', 'b.txt'):
        table.add(dict(reviewed().to_dict(), file=name, model='m', key=name))
    table.close({'a.txt': 'a.txt', 'b.txt': 'b.txt'})
    old = [{**r, 'file': 'old.txt', 'row': 0, 'key': 'k', 'model': 'm'} for r in reviewed().rows()[:1]]
    later = 'answer', 'answer_status', 'steps'
    schema = pa.schema([f for f in table.read().schema if f.name in old[0] and f.name not in later])
    pq.write_table(pa.Table.from_pylist(old, schema=schema), tmp_path / 'extractions/part-old.parquet')
    table.save_deals(tmp_path / 'deals.csv')
    table.save_calendar(tmp_path / 'dates.ics')
    deals = list(csv.DictReader((tmp_path / 'deals.csv').open(encoding='utf-8-sig', newline='')))
    assert [d['title'] for d in deals] == ['a.txt', 'b.txt', 'old.txt']
    assert [d['Expiration date'] for d in deals] == ['2021-05-08', '2021-05-08', '']
    assert (tmp_path / 'dates.ics').read_bytes().count(b'BEGIN:VEVENT\r\n') == 4


def test_the_sheet():
    review = reviewed(Governing_Law=0.3)
    lines = {line.name: (line.answer, line.status) for line in deal_lines(review.rows())}
    assert lines == {
        'Title': ('MASTER SUPPLY AGREEMENT', 'found'),
        'Parties': (EXPECTED['Parties'], 'found'),
        'Agreement date': ('2019-05-08', 'found'),
        'Expiration date': ('2021-05-08', 'found'),
        'Term': ('2 years', 'found'),
        'Renewal': ('successive 1 year', 'found'),
        'Notice': ('60 days', 'found'),
        'Last day for notice': ('2021-03-09', 'found'),
        'Governing law': ('Nevada', 'check'),
    }
    heads = deal_heads(review.rows())
    assert heads['To check'] == ['Governing Law']
    assert 'Parties' in heads['Found']
    assert 'Insurance' in heads['Missing']
    assert sum(map(len, heads.values())) == len(CATEGORIES)
    assert deal_row(review.rows())['Renewal'] == 'successive 1 year'
    text = deal_text(review.rows())
    assert 'Nevada (to check)' in text
    assert '2019-05-08 (Agreement Date) + 2 years' in text
    assert 'successive 1 year' in review._repr_html_()


def test_a_quote_that_gives_no_answer_is_a_line_to_read():
    review = reviewed('As agreed in Ohm.', {'Governing Law': 'As agreed in Ohm.'})
    (line,) = deal_lines(review.rows())
    assert (line.name, line.answer, line.status) == ('Governing law', '', 'check')
    assert 'read the quote' in deal_html(review)
    assert '“As agreed in Ohm.”' in deal_text(review.rows())


@pytest.mark.parametrize(
    'end, notice, last',
    [
        ('ends on May 8, 2021', 'sixty (60) days before the end, notice is given', '2021-03-09'),
        ('ends on May __, 2021', 'sixty (60) days before the end, notice is given', ''),
        ('ends never: it is perpetual', 'sixty (60) days before the end, notice is given', ''),
    ],
)
def test_the_last_day_for_notice(end, notice, last):
    review = reviewed(f'It {end}. Unless {notice}.', {'Expiration Date': end, NOTICE: notice})
    assert deal_row(review.rows())['Last day for notice'] == last


def test_the_page_leads_from_each_line_to_its_quote():
    review = reviewed(Governing_Law=0.3)
    page = review_file(review, 'html').decode()
    links = re.findall(r'<dd><a href="#(ll-\d+)"', page)
    assert len(links) == len(deal_lines(review.rows()))
    shown = review.shown()
    for link, line in zip(links, deal_lines(review.rows())):
        assert page.count(f'id="{link}"') == 1
        assert shown[int(link[3:])].category == deal.LINES[line.name]
    for row in re.findall(r'class="ll-heads">(.*?)</dd>', page):
        assert all(f'id="{x}"' in page for x in re.findall(r'href="#([^"]+)"', row))
    assert page.index('ll-deal"') < page.index('ll-table"')
    assert 'Nevada</a><small class="ll-look">to check</small>' in summary_html(review)


def test_nothing_of_a_contract_becomes_markup():
    text = 'Between <b>Acme</b> Inc. & Beta LLC'
    review = reviewed(text, {'Document Name': '<b>Acme</b> Inc. & Beta'})
    for made in (deal_html(review), review._repr_html_(), table_html(table_rows(review))):
        assert '<b>Acme' not in made
        assert '&lt;b&gt;Acme' in made


# --- the calendar


def unfolded(text):
    assert text.endswith('\r\n')
    assert '\n' not in text.replace('\r\n', '')
    assert max(len(line.encode()) for line in text.split('\r\n')) <= 75
    return text.replace('\r\n ', '').split('\r\n')


def events(text):
    "Properties of the events, those of their alarms apart."
    out = []
    for line in unfolded(text):
        if line == 'BEGIN:VEVENT':
            out.append({})
            own = True
        elif line in ('BEGIN:VALARM', 'END:VALARM'):
            own = line.startswith('END')
        elif out and own and ':' in line:
            name, value = line.split(':', 1)
            out[-1].setdefault(name, value)
    return out


def test_dates_for_a_calendar():
    text = calendar_of([reviewed().rows()], NOW)
    assert text.startswith('BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:')
    assert text.endswith('END:VCALENDAR\r\n')
    end, last = events(text)
    assert [e['SUMMARY'] for e in (end, last)] == ['Term ends: Supply', 'Last day to give notice: Supply']
    assert (end['DTSTART;VALUE=DATE'], end['DTEND;VALUE=DATE']) == ('20210508', '20210509')
    assert last['DTSTART;VALUE=DATE'] == '20210309'
    assert end['DTSTAMP'] == '20261201T093000Z'
    assert QUOTES['Expiration Date'] in end['DESCRIPTION']
    assert '+ 2 years' in end['DESCRIPTION']
    assert '2021-05-08 - 60 days' in last['DESCRIPTION']
    assert text.count(f'TRIGGER:-P{ALARM_DAYS}D') == 2
    for begin, close in (('BEGIN:VEVENT', 'END:VEVENT'), ('BEGIN:VALARM', 'END:VALARM')):
        assert text.count(begin) == text.count(close) == 2


def test_a_date_to_check_says_so_in_a_calendar():
    end, last = events(calendar_of([reviewed(Agreement_Date=0.3).rows()], NOW))
    assert end['SUMMARY'] == 'Term ends (to check): Supply'
    assert last['SUMMARY'] == 'Last day to give notice (to check): Supply'


def test_an_event_keeps_its_identity():
    "Of a later review with another date too; those of other contracts are others"
    uids = [e['UID'] for e in events(calendar_of([reviewed().rows()], NOW))]
    assert uids == [e['UID'] for e in events(calendar_of([reviewed().at(0.2).rows()]))]
    later = reviewed()
    later.title = 'Lease'
    assert len({*uids, *(e['UID'] for e in events(calendar_of([later.rows()], NOW)))}) == 4


def test_hostile_text_in_a_calendar():
    "Commas, semicolons, backslashes, line ends, control characters and long words stay inside their property"
    title = 'A, B; C\\D\r\nEND:VEVENT\x00 ' + '👩‍⚖️' * 40
    quote = 'It ends on May 8, 2021;\nBEGIN:VALARM\r' + 'ä' * 200
    review = reviewed(f'{quote}!', {'Expiration Date': quote})
    review.title = title
    text = calendar_of([review.rows()], NOW)
    (event,) = events(text)
    assert '\x00' not in text
    assert text.count('END:VEVENT\r\n') == 1
    assert event['SUMMARY'].startswith('Term ends: A\\, B\\; C\\\\D\\nEND:VEVENT')
    assert event['DESCRIPTION'].count('\\n') >= 2


@pytest.mark.parametrize('day', ['December 31, 9999', 'May __, 2021', '2021'])
def test_days_that_no_calendar_holds(day):
    review = reviewed(f'It ends on {day}.', {'Expiration Date': f'It ends on {day}.'})
    assert events(calendar_of([review.rows()], NOW)) == []


def test_every_form_of_file_has_the_dates_or_the_answers():
    review = reviewed()
    for form in FORMATS:
        assert review_file(review, form), form
    assert b'DTSTART;VALUE=DATE:20210508' in review_file(review, 'ics')
    assert rows_of(json.loads(review_file(review, 'json'))) == review.rows()


def test_the_command_line_writes_dates(tmp_path, capsys, monkeypatch):
    from legal_llm.cli import main
    from legal_llm.pipeline.extract import Extractor

    class Reads:
        reader, name = None, 'a stand-in'

        def at(self, *_):
            return self

        def extract(self, document, progress=None):
            review = reviewed(document.text)
            review.title = document.title
            return review

    monkeypatch.setattr(Extractor, 'load', lambda *_, **__: Reads())
    (tmp_path / 'supply.txt').write_text(TEXT)
    assert main(['extract', str(tmp_path / 'supply.txt'), '--out', str(tmp_path / 'dates.ics')]) == 0
    assert [e['SUMMARY'] for e in events((tmp_path / 'dates.ics').read_bytes().decode())][0] == 'Term ends: supply'
    printed = capsys.readouterr().out
    assert re.search(r'Last day for notice +2021-03-09 \(2021-05-08 - 60 days\)', printed)
    assert printed.index('Governing law') < printed.index('[0:23] MASTER SUPPLY AGREEMENT')


# --- the benchmark


def test_the_benchmark_judges_reviews():
    "Missing answers and answers to clauses that are not there are wrong; what CUAD's table leaves out is not judged"
    from legal_llm.contracts.contracts import Clause, Contract

    clauses = tuple(Clause(c, TEXT.index(q), q) for c, q in QUOTES.items() if c != 'Renewal Term')
    contract, review = Contract('a', TEXT, clauses), reviewed(Governing_Law=0.05)
    written = {'Agreement Date': '5/8/19', 'Governing Law': 'Nevada', 'Expiration Date': '5/9/21', NOTICE: '60 days'}
    rows = {r['category']: r for r in benchmark.judge_review(review, contract, written)}
    assert {c: r['right'] for c, r in rows.items()} == {
        'Agreement Date': True,
        'Expiration Date': False,
        NOTICE: True,
        'Renewal Term': False,
        'Governing Law': False,
    }
    assert [c for c, r in rows.items() if not r['there']] == ['Renewal Term']
    sheet = benchmark.judge_sheet(review, contract, written)
    assert sheet == {'right': 2, 'wrong': 3, 'wrong and found': 3, 'not judged': 3, 'missing': 1}


def test_business_days_are_not_counted_as_days():
    "The last day is earlier by weekends and holidays, which nobody here knows: it is to check"
    text = TEXT.replace('sixty (60) days', 'sixty (60) business days')
    quotes = QUOTES | {NOTICE: QUOTES[NOTICE].replace('sixty (60) days', 'sixty (60) business days')}
    line = next(line for line in deal_lines(reviewed(text, quotes).rows()) if line.name == 'Last day for notice')
    assert line.status == 'check' and 'business days' in line.steps
