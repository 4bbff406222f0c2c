"Short answers: one form for each kind, and rules that read it from quotes, which are our own."

import json
import sys
from pathlib import Path

import pytest
from development import find_dev_answers, find_dev_cuad
from hypothesis import given, settings
from hypothesis import strategies as st

from legal_llm.contracts.answers import (
    _COUNTRIES,
    _COUNTRY_OF,
    ANSWERED,
    Date,
    Duration,
    Jurisdictions,
    Parties,
    Party,
    Perpetual,
    Title,
    add_duration,
    find_answers,
    join_answers,
    jurisdictions,
    load_answers,
    parse_answer,
    read_number,
    same_answer,
    unreadable,
)
from legal_llm.contracts.contracts import Clause, Contract
from legal_llm.machine.files import LegalLLMError
from legal_llm.pipeline.answering import answer_by_rule, answer_contract, deadlines

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks import answers as benchmark  # noqa: E402

NOTICE = 'Notice Period To Terminate Renewal'
MAY8 = Date('2019', '05', '08')
quick = settings(max_examples=150, deadline=None, derandomize=True, database=None)


@pytest.mark.parametrize(
    'category, text, expected',
    [
        ('Agreement Date', '5/8/19', '2019-05-08'),
        ('Agreement Date', '12/31/96', '1996-12-31'),
        ('Agreement Date', '31/01/2025', '2025-01-31'),
        ('Agreement Date', '08/[]/2019', '2019-08-??'),
        ('Agreement Date', '[]/[]/19[]', '19??-??-??'),
        ('Agreement Date', '09/14/200[]', '200?-09-14'),
        ('Agreement Date', '12/01/[]', '????-12-01'),
        ('Agreement Date', '[]/[]/[][]', '????-??-??'),
        ('Agreement Date', '07/31/2000; 07/[]/2000', '2000-07-31'),
        ('Agreement Date', 'May 8, 2019', '2019-05-08'),
        ('Expiration Date', 'Perpetual.', 'perpetual'),
        ('Renewal Term', 'successive 1 year', 'successive 1 year'),
        ('Renewal Term', 'succesive one (1) year', 'successive 1 year'),
        ('Renewal Term', '2 successive 10 years', '2 successive 10 years'),
        ('Renewal Term', '0.5 year', '0.5 years'),
        ('Renewal Term', 'perpetual', 'perpetual'),
        (NOTICE, '60) days', '60 days'),
        (NOTICE, 'ninety days', '90 days'),
        ('Governing Law', 'State of New York, USA', 'New York'),
        ('Governing Law', 'England', 'England and Wales'),
        ('Governing Law', 'England, United Kingdom; Wales, United Kingdom', 'England and Wales'),
        ('Governing Law', "People's Republic of China", 'China'),
        ('Governing Law', 'PRC', 'China'),
        ('Governing Law', '[]', '[]'),
        ('Document Name', 'SUPPLY  AGREEMENT ("', 'SUPPLY AGREEMENT'),
        ('Parties', 'Acme Inc. ("Supplier" or "Acme"); Jane Roe', 'Acme Inc. ("Supplier", "Acme"); Jane Roe'),
        ('Parties', '(Acme Inc. (“Acme”); Old Savings Bank (OSB))', 'Acme Inc. ("Acme"); Old Savings Bank ("OSB")'),
        ('Parties', 'Acme (UK) Ltd; [ ] ("Agent"); Acme and Agent (each a "Party")', 'Acme (UK) Ltd; [] ("Agent")'),
    ],
)
def test_one_form_for_each_kind(category, text, expected):
    value = parse_answer(category, text)
    assert not isinstance(value, str), 'it was not read'
    assert str(value) == expected


@pytest.mark.parametrize(
    'category, text',
    [
        ('Agreement Date', '2/30/2019'),
        ('Agreement Date', '1/1/2019; 2/1/2019'),
        ('Renewal Term', '5 years; 2 years'),
        (NOTICE, '180 days / 6 months'),
        (NOTICE, '90 days unless extended'),
        ('Governing Law', 'the state where the goods are delivered'),
        ('Parties', ' ; '),
        ('Document Name', '("'),
    ],
)
def test_what_is_not_certain_stays_text(category, text):
    assert parse_answer(category, text) == text
    assert unreadable({'t': {category: text}}) == [('t', category, text)]
    assert same_answer(category, text, text)


@pytest.mark.parametrize(
    'category, a, b, same',
    [
        ('Renewal Term', 'successive 12 months', 'successive 1 year', True),
        ('Renewal Term', 'successive 1 year', '1 year', False),
        ('Renewal Term', '2 successive 5 years', 'successive 5 years', False),
        (NOTICE, '2 weeks', '14 days', True),
        (NOTICE, '30 days', '1 month', False),
        ('Governing Law', 'Ontario, Canada', 'Province of Ontario', True),
        ('Governing Law', 'Delaware; Texas', 'Texas and Delaware', True),
        ('Governing Law', 'Delaware', 'Texas and Delaware', False),
        ('Expiration Date', '12/31/20', '2020-12-31', True),
        ('Expiration Date', 'perpetual', '12/31/20', False),
        ('Document Name', 'AMENDMENT NO. 1\n\nSUPPLY AGREEMENT', 'Supply Agreement / Amendment No. 1', True),
        ('Document Name', 'AMENDMENT NO. 1', 'AMENDMENT NO. 2', False),
        ('Parties', 'Beta LLC; Acme, Inc. ("Acme")', 'ACME INCORPORATED ("Seller"); Beta L.L.C.', True),
        ('Parties', 'Acme Inc.; Beta LLC', 'Acme Inc.', False),
        ('Parties', 'Acme Inc.', 'Acme Inc.; Beta LLC', False),
        ('Parties', 'Meridian Labs; Acme Inc.', 'Meridain Labs; Acme Inc', True),
        ('Parties', 'Orchard Fund I, L.P.', 'Orchard Fund II, L.P.', False),
        ('Parties', 'Acme, Inc. d/b/a Rocket', 'Acme Inc', True),
        ('Parties', 'Acme Ltd; Acme Inc.', 'Acme; Acme Ltd', True),
    ],
)
def test_which_answers_say_the_same(category, a, b, same):
    assert same_answer(category, a, b) is same
    assert same_answer(category, b, a) is same


dates = st.builds(
    lambda d, k: Date(*(p if i < k else '????'[: len(p)] for i, p in enumerate(str(d).split('-')))),
    st.dates(min_value=MAY8.to_date().replace(year=1950)),
    st.integers(0, 3),
)
durations = st.builds(
    Duration, st.integers(1, 999), st.sampled_from(['day', 'week', 'month', 'year']), st.booleans(), st.none()
) | st.builds(Duration, st.integers(1, 99), st.sampled_from(['month', 'year']), st.just(True), st.integers(2, 20))
places = st.lists(st.sampled_from([*_COUNTRY_OF, *_COUNTRIES.split(', ')]), max_size=3).map(jurisdictions)
words = st.lists(st.sampled_from(['Acme', 'Beta', 'Silver Lake', 'Ärzte', 'O’Neill', '3D']), min_size=1, max_size=3)
names = st.builds(lambda w, ending: ' '.join(w) + ending, words, st.sampled_from(['', ' Inc.', ', LLC', ' (UK) Ltd']))
terms = st.lists(st.sampled_from(['Supplier', 'the Company', 'A & B']), unique=True, max_size=2).map(tuple)
parties = st.lists(st.builds(Party, names, terms), min_size=1, max_size=3, unique_by=lambda p: p.name.casefold())
values = (
    st.tuples(st.sampled_from(['Agreement Date', 'Effective Date', 'Expiration Date']), dates)
    | st.tuples(st.sampled_from(['Expiration Date', 'Renewal Term']), st.just(Perpetual()))
    | st.tuples(st.just('Renewal Term'), durations)
    | st.tuples(st.just('Governing Law'), places)
    | st.tuples(st.just('Parties'), parties.map(lambda p: Parties(tuple(p))))
    | st.tuples(st.just('Document Name'), words.map(' '.join).map(Title))
)


@quick
@given(values)
def test_what_is_shown_is_read_again(answer):
    "The parse of `str(value)` is the value; of parties, those of one name count once"
    category, value = answer
    again = parse_answer(category, str(value))
    if category == 'Parties':
        assert {p.name for p in again.parties} <= {p.name for p in value.parties}
        assert str(parse_answer(category, str(again))) == str(again)
    else:
        assert again == value


PIECES = (
    'May|31|0|9999|99|12/31/|/|-|20|2019|____|[|]|[]|(|)|"|;|,|.|:|day of|years|(60) days|a hundred thousand|thirtieth'
    '|last day of|last day of the month|anniversary|notice|renew|successive|each|until|terminated|from|hereof|effective'
    '|the Effective Date|laws of|New York|England|Party A|Acme Inc.|LLC|and|the|or|?|\n|  |perpetual|0000-00-00'
).split('|')
odd = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=12).map(' '.join)


@quick
@given(st.sampled_from(ANSWERED), odd, odd)
def test_any_text_is_read_or_left(category, quote, text):
    "Whatever stands in a quote or an answer, there is no traceback"
    value = parse_answer(category, quote)
    assert parse_answer(category, str(value)) is not None
    known = {'Agreement Date': Date('9999', '12', '31'), 'Effective Date': Date('0001', '01')}
    assert answer_by_rule(category, [quote, text], quote + text, dates=known).how in ('found', 'computed', 'look')


@pytest.mark.parametrize(
    'piece',
    ['_', '_ ', ' ', '1', 'one ', '[', '(', '"', 'day of ', '1 May ', 'notice ', 'law ', '.', 'between A and ']
    + ['between ' + ' ' * 900 + 'and ', 'between A ("B") and ', '("A") and a B in ', 'called "A" and '],
)
def test_long_quotes_take_no_time(piece):
    "Patterns that start everywhere and find nothing do not go through a quote again and again"
    quote = piece * (3000 // len(piece))
    for category in ANSWERED:
        answer_by_rule(category, [quote], quote)


@pytest.mark.parametrize(
    'words, number',
    [('sixty', 60), ('one hundred and eighty', 180), ('forty-five', 45), ('twenty-fifth', 25), ('12th', 12)]
    + [('two thousand nineteen', 2019), ('nineteen hundred ninety-eight', 1998)],
)
def test_numbers_in_words(words, number):
    assert read_number(words) == number


@pytest.mark.parametrize(
    'day, duration, sign, expected',
    [
        (Date('2019', '01', '31'), Duration(1, 'month'), 1, '2019-02-28'),
        (Date('2020', '02', '29'), Duration(1, 'year'), 1, '2021-02-28'),
        (Date('2020', '03', '01'), Duration(1, 'day'), -1, '2020-02-29'),
        (Date('2019', '11', '30'), Duration(0.5, 'year'), 1, '2020-05-30'),
        (Date('2017', '02'), Duration(4, 'year'), 1, '2021-02-??'),
        (Date('2004'), Duration(10, 'year'), 1, '2014-??-??'),
        (Date('2004'), Duration(6, 'month'), 1, None),
        (Date('2004', '05'), Duration(30, 'day'), 1, None),
        (Date('20??', '05', '08'), Duration(1, 'year'), 1, None),
        (MAY8, Duration(9999, 'year'), 1, None),
        (MAY8, Duration(10**9, 'day'), -1, None),
    ],
)
def test_what_is_counted_from_a_date(day, duration, sign, expected):
    value = add_duration(day, duration, sign)
    assert (value and str(value)) == expected


@pytest.mark.parametrize(
    'quote, expected',
    [
        ('May 8, 2019', '2019-05-08'),
        ('the 8 th day of May 2019', '2019-05-08'),
        ('8t h May, 2019', '2019-05-08'),
        ('May 8th, in the year 2019', '2019-05-08'),
        ('this twenty-first day of June, two thousand and nineteen', '2019-06-21'),
        ('08-May-2019', '2019-05-08'),
        ('25/12/2019', '2019-12-25'),
        ('8.5.2019', '2019-05-08'),
        ('this ___ day of August, 2019', '2019-08-??'),
        ('this ____ day of _______________2019', '2019-??-??'),
        ('[___], 2019', '2019-??-??'),
        ('this day of , 20', '20??-??-??'),
        ('14 day of September, 200_', '200?-09-14'),
        ('1st day of December', '????-12-01'),
        ('[●]', '????-??-??'),
    ],
)
def test_dates_as_contracts_write_them(quote, expected):
    answer = answer_by_rule('Agreement Date', [quote])
    assert str(answer) == expected
    assert answer.how == 'found'


@pytest.mark.parametrize(
    'quote', ['Section 2.10.15 applies', 'February 30, 2019', 'on or about the closing', '99/99/2019']
)
def test_what_is_no_date(quote):
    answer = answer_by_rule('Agreement Date', [quote])
    assert answer.value is None
    assert answer.how == 'look'


def test_a_date_that_reads_in_two_ways_is_looked_at():
    "03/04/2019 is in March or in April; 04/04/2019 is one day"
    assert answer_by_rule('Agreement Date', ['03/04/2019']).how == 'look'
    assert answer_by_rule('Agreement Date', ['04/04/2019']).how == 'found'


@pytest.mark.parametrize(
    'quote, expected, how',
    [
        ('to be effective as of June 1, 2019', '2019-06-01', 'found'),
        ('is in force as of the date first above written', '2019-05-08', 'computed'),
        ('takes effect on the day after the date of last signature', '2019-05-09', 'computed'),
        ('The Term begins on the date hereof and ends as of December 31, 2020', '2019-05-08', 'computed'),
        ('takes effect when the regulator approves it', '–', 'look'),
    ],
)
def test_when_a_contract_takes_effect(quote, expected, how):
    answer = answer_by_rule('Effective Date', [quote], dates={'Agreement Date': MAY8})
    assert (str(answer), answer.how) == (expected, how)


@pytest.mark.parametrize(
    'quote, expected, how',
    [
        ('begins on the Effective Date and continues until December 31, 2020', '2020-12-31', 'found'),
        ('from June 1, 2019 through May 31, 2020', '2020-05-31', 'found'),
        ('Term: June 1, 2019 to May 31, 2020', '2020-05-31', 'found'),
        ('shall expire on the last day in February, 2024', '2024-02-29', 'found'),
        ('lasts five (5) years from the Effective Date', '2024-06-01', 'computed'),
        ('for five years from the date of this Agreement', '2024-05-08', 'computed'),
        ('for one (1) year commencing on the 1st day of July, 2020', '2021-07-01', 'computed'),
        ('shall end on the third (3rd) anniversary of the Effective Date', '2022-06-01', 'computed'),
        ('on the last day of the month eighteen months from the Effective Date', '2020-12-31', 'computed'),
        (
            'for three years, and then renews for one (1) year terms unless sixty days notice is given',
            '2022-06-01',
            'computed',
        ),
        (
            'until the earlier of (a) its termination or (b) two years after the Effective Date',
            '2021-06-01',
            'computed',
        ),
        ('ends twelve months after the Launch of the Website', '2020-06-01', 'look'),
        ('continues until terminated by either party upon thirty (30) days prior written notice', 'perpetual', 'found'),
        ('is valid for an indefinite period', 'perpetual', 'found'),
        ('may be terminated for cause', 'perpetual', 'look'),
        ('see Schedule 2', '–', 'look'),
    ],
)
def test_when_a_contract_ends(quote, expected, how):
    known = {'Agreement Date': MAY8, 'Effective Date': Date('2019', '06', '01')}
    answer = answer_by_rule('Expiration Date', [quote], dates=known)
    assert (str(answer), answer.how) == (expected, how)


def test_steps_of_a_computed_date_are_shown():
    answer = answer_by_rule('Expiration Date', ['a term of five (5) years'], dates={'Effective Date': MAY8})
    assert answer.steps == ('2019-05-08 (Effective Date) + 5 years',)
    answer = answer_by_rule('Expiration Date', ['a term of five (5) years'])
    assert answer.value is None
    assert answer.steps == ('5 years from a date that is not known',)


@pytest.mark.parametrize(
    'quote, expected',
    [
        ('shall renew for successive one (1) year periods', 'successive 1 year'),
        ('renews automatically for additional terms of twelve (12) months each', 'successive 12 months'),
        ('shall continue on a year-to-year basis', 'successive 1 year'),
        ('continues on a month to month basis', 'successive 1 month'),
        ('thereafter automatically for successive annual periods', 'successive 1 year'),
        ('may be prolonged by an additional two year period', '2 years'),
        ('renews for one (1) additional three (3) year term', '3 years'),
        ('two (2) successive terms of five (5) years each', '2 successive 5 years'),
        ('has an initial term of 4 years and renews for additional one (I) year terms', 'successive 1 year'),
        ('shall be extended by half a year', '0.5 years'),
        ('shall thereafter continue until terminated', 'perpetual'),
    ],
)
def test_renewals(quote, expected):
    assert str(answer_by_rule('Renewal Term', [quote])) == expected


@pytest.mark.parametrize(
    'quote, expected, how',
    [
        ('renews for one (1) year terms unless notice is given ninety (90) days before the end', '90 days', 'found'),
        ('upon not less than 6 months prior written notice', '6 months', 'found'),
        ('must notify the other party within 5 days of the end of the 12 month term', '5 days', 'found'),
        ('one hundred eighty (180) days in advance', '180 days', 'found'),
        ('thirty (30) days', '30 days', 'look'),
        ('upon reasonable notice', '–', 'look'),
    ],
)
def test_notice_periods(quote, expected, how):
    answer = answer_by_rule(NOTICE, [quote])
    assert (str(answer), answer.how) == (expected, how)


@pytest.mark.parametrize(
    'quote, expected, how',
    [
        ('made in Texas and governed by the laws of the State of New York, USA', 'New York', 'found'),
        ('laws of New York, without regard to the conflict of laws rules of Texas', 'New York', 'found'),
        ('the laws of the Province of Alberta and the federal laws of Canada that apply there', 'Alberta', 'found'),
        ('in accordance with English law', 'England and Wales', 'found'),
        ('THE LAWS OF ENGLAND AND WALES', 'England and Wales', 'found'),
        ('governed by PRC Laws', 'China', 'found'),
        ('the laws of Hong Kong', 'Hong Kong', 'found'),
        ('the laws of the United States and of the State of Utah', 'Utah', 'found'),
        ('the laws of [***]', '[]', 'found'),
        ('the courts of Illinois have jurisdiction', 'Illinois', 'look'),
        ('as the parties may agree', '–', 'look'),
    ],
)
def test_governing_law(quote, expected, how):
    answer = answer_by_rule('Governing Law', [quote])
    assert (str(answer), answer.how) == (expected, how)


CONTRACT = """MASTER SUPPLY AGREEMENT

This Agreement, made as of May 8, 2019 between Acme Systems, Inc., a Delaware corporation with offices in Dover
("Acme" or the "Supplier"), and Silver Lake, a partnership of Reno (hereinafter referred to as "Silver Lake") and
International Widget Makers Ltd. (IWM), each of them a "Party", all of them the "Parties".

This Agreement has a term of two (2) years from the date hereof and then renews for successive periods of one year
unless notice is given at least sixty (60) days before the end of a term. The laws of Nevada govern.
"""


@pytest.mark.parametrize(
    'quotes, expected',
    [
        (['Acme Systems, Inc.', 'Silver Lake'], 'Acme Systems, Inc. ("Acme", "Supplier"); Silver Lake ("Silver Lake")'),
        (['Acme Systems, Inc.', 'Acme', 'Supplier'], 'Acme Systems, Inc. ("Acme", "Supplier")'),
        (['International Widget Makers Ltd.', 'IWM'], 'International Widget Makers Ltd. ("IWM")'),
        (
            ['Acme Systems, Inc.', 'each of them a "Party", all of them the "Parties"'],
            'Acme Systems, Inc. ("Acme", "Supplier")',
        ),
    ],
)
def test_parties_in_their_contract(quotes, expected):
    assert str(answer_by_rule('Parties', quotes, CONTRACT)) == expected


@pytest.mark.parametrize(
    'quotes, expected',
    [
        (['Acme Inc.', 'Supplier', 'Beta Corp', 'the "Customer"'], 'Acme Inc.; Beta Corp'),
        (['Acme Inc. ("Acme")', 'Beta & Co.'], 'Acme Inc. ("Acme"); Beta & Co.'),
        (['Acme Inc. and Beta LLC'], 'Acme Inc.; Beta LLC'),
        (['Party A (Buyer): Acme Ltd.', 'Party B: Beta Ltd.'], 'Acme Ltd.; Beta Ltd.'),
        (['YOU FIRST HOLDINGS, INC.', 'you', '________'], 'YOU FIRST HOLDINGS, INC.; []'),
        (['d/b/a Rocket', 'Supplier"'], '–'),
    ],
)
def test_parties_without_their_contract(quotes, expected):
    assert str(answer_by_rule('Parties', quotes)) == expected


def test_a_contract_as_a_whole():
    "Dates found first help to compute others; a category without a clause has no answer"
    quotes = {
        'Document Name': 'MASTER SUPPLY AGREEMENT',
        'Agreement Date': 'May 8, 2019',
        'Expiration Date': 'This Agreement has a term of two (2) years from the date hereof',
        'Renewal Term': 'renews for successive periods of one year',
        NOTICE: 'unless notice is given at least sixty (60) days before the end of a term',
        'Governing Law': 'The laws of Nevada govern.',
    }
    contract = Contract('a', CONTRACT, tuple(Clause(k, CONTRACT.index(q), q) for k, q in quotes.items()))
    answers = answer_contract(contract)
    assert {k: str(a) for k, a in answers.items()} == {
        'Document Name': 'MASTER SUPPLY AGREEMENT',
        'Agreement Date': '2019-05-08',
        'Expiration Date': '2021-05-08',
        'Renewal Term': 'successive 1 year',
        NOTICE: '60 days',
        'Governing Law': 'Nevada',
    }
    assert {k: a.quote for k, a in answers.items()} == quotes
    assert answers['Expiration Date'].how == 'computed'


def test_deadlines():
    "For each term the last day; none where an end is not known to the day"
    made = deadlines(Date('2024', '02', '29'), Duration(1, 'month'), Duration(1, 'year', True), terms=3)
    assert [(str(d.day), str(d.term_end)) for d in made] == [
        ('2024-01-29', '2024-02-29'),
        ('2025-01-28', '2025-02-28'),
        ('2026-01-28', '2026-02-28'),
    ]
    assert made[1].steps == ('2024-02-29 + 1 year', '2025-02-28 - 1 month')
    assert deadlines(Date('2024', '02'), Duration(60, 'day')) == []
    assert deadlines(Perpetual(), Duration(60, 'day')) == []
    assert len(deadlines(MAY8, Duration(60, 'day'), terms=5)) == 1


def test_reading_answers(tmp_path):
    "From CUAD's table and from JSON, by title; empty ones are left out"
    heads = ','.join(f'{k}-Answer' for k in ANSWERED)
    table, records = tmp_path / 'master_clauses.csv', tmp_path / 'answers.json'
    table.write_text(
        f'Filename,Parties,{heads}\nLease.pdf,"[\'x\']",LEASE,"Acme, Inc.; Jane Roe",5/8/19,,perpetual,,,Texas\n'
    )
    expected = {'Document Name': 'LEASE', 'Parties': 'Acme, Inc.; Jane Roe', 'Agreement Date': '5/8/19'}
    expected |= {'Expiration Date': 'perpetual', 'Governing Law': 'Texas'}
    assert load_answers(table) == {'Lease': expected}
    rows = [dict(title='Lease', category=k, quotes=[], answer=a) for k, a in expected.items()]
    records.write_text(json.dumps([*rows, dict(title='Lease', category='Insurance', answer='Yes')]))
    assert load_answers(records) == {'Lease': expected}


@pytest.mark.parametrize(
    'name, content, message',
    [
        ('a.json', '[{"title": "x"}]', 'not a list of answers'),
        ('a.json', '{"a": 1}', 'not a list of answers'),
        ('a.json', '[1', 'not JSON'),
        ('a.csv', 'Filename,Parties\nx,y\n', "not CUAD's table of clauses"),
        ('a.csv', '', "not CUAD's table of clauses"),
        ('missing.csv', None, 'no such file'),
    ],
)
def test_files_that_hold_no_answers(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(LegalLLMError, match=message):
        load_answers(tmp_path / name)


@pytest.mark.parametrize(
    'call', [parse_answer, lambda k, text: answer_by_rule(k, [text]), lambda k, t: same_answer(k, t, t)]
)
def test_categories_without_written_answers(call):
    with pytest.raises(LegalLLMError, match='Insurance: this category has no written answers; there are Document Name'):
        call('Insurance', 'Yes')


def test_blank_parties_and_laws():
    assert parse_answer('Governing Law', '[]') == Jurisdictions()
    assert same_answer('Parties', '[ * * * ]; Acme Inc.', 'Acme Inc.; ________')


def test_the_benchmark_counts():
    "Right, wrong and missing answers, by category and by how they were found"
    quotes = ('Agreement Date', 'May 8, 2019'), ('Governing Law', 'The laws of Nevada govern.')
    contract = Contract('a', CONTRACT, tuple(Clause(k, CONTRACT.index(q), q) for k, q in quotes))
    written = {'a': {'Agreement Date': '5/8/19', 'Governing Law': 'Texas', 'Renewal Term': '5 years; 2 years'}}
    made = benchmark.score([contract], written)
    exact = {k: (r['n'], r['value']) for k, r in made['exact'].items() if r['n']}
    assert exact == {
        'Agreement Date': (1, 1),
        'Renewal Term': (1, 0),
        'Governing Law': (1, 0),
        'all': (3, pytest.approx(1 / 3)),
        'full dates': (1, 1),
    }
    assert made['how']['found'] == dict(right=1, n=2)
    assert made['unreadable'] == {'Renewal Term': 1}


def test_the_benchmark_says_what_it_lacks(monkeypatch, capsys):
    import tests.development as development

    monkeypatch.setattr(development, 'find_dev_answers', lambda: None)
    benchmark.main()
    assert capsys.readouterr().out.startswith('skipped: this needs CUAD and its written answers')


def test_cuads_table_is_found_beside_its_contracts(tmp_path):
    "Or in the folder of them; what is found without being named need not fit"
    release = tmp_path / 'release'
    (release / 'deep').mkdir(parents=True)
    contracts = release / 'CUADv1.json'
    contracts.write_text('{}')
    assert find_answers(None) is find_answers(contracts) is find_answers(release) is None
    table = release / 'master_clauses.csv'
    table.write_text('Filename\n')
    assert find_answers(contracts) == find_answers(release) == find_answers(table) == table
    table.rename(release / 'deep' / table.name)
    assert find_answers(contracts) is None
    assert find_answers(release) == release / 'deep' / table.name
    answers = tmp_path / 'answers.json'
    answers.write_text('[{"title": "Lease", "category": "Document Name", "answer": "Lease"}]')
    lease, other = Contract('Lease', 'x'), Contract('Other', 'x')
    assert [c.answers for c in join_answers([lease, other], answers)] == [{'Document Name': 'Lease'}, {}]
    assert join_answers([other], answers, strict=False) == [other]
    answers.write_text('[]x')
    with pytest.warns(UserWarning, match='go without short answers'):
        assert join_answers([lease], answers, strict=False) == [lease]
    with pytest.raises(LegalLLMError):
        join_answers([lease], answers)


@pytest.mark.skipif(not find_dev_cuad() or not find_dev_answers(), reason="CUAD's written answers are not at hand")
def test_cuads_answers():
    "How many of CUAD's answers can be read, and how many the rules give on the training contracts"
    from legal_llm.contracts.readers import load_contracts
    from legal_llm.contracts.splits import split_contracts

    written = load_answers(find_dev_answers())
    assert (len(written), sum(map(len, written.values()))) == (406, 2299)
    train = split_contracts(load_contracts(find_dev_cuad()))['train']
    made = benchmark.score(train, written)
    assert sum(made['unreadable'].values()) == 7
    exact = {k: r['value'] for k, r in made['exact'].items()}
    assert exact['full dates'] > 0.98
    assert exact['Governing Law'] > 0.98
    assert exact[NOTICE] > 0.94
    assert exact['Parties'] > 0.87
    assert exact['all'] > 0.95
