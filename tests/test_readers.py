"""Reading CUAD: every published form gives the same contracts, every damaged one is refused in a sentence, nothing is
lost on the way.
"""

import gzip
import json
import random
import time
import warnings
import zipfile

import pytest
from development import find_dev_cuad
from hypothesis import given, settings
from hypothesis import strategies as st

from legal_llm.contracts.categories import CATEGORIES
from legal_llm.contracts.contracts import Clause, Contract, corpus_stats, gold_answers, validate
from legal_llm.contracts.readers import load_contracts
from legal_llm.contracts.splits import split_contracts, verify_no_leak
from legal_llm.contracts.squad import from_squad, save_squad, to_squad
from legal_llm.contracts.synthetic import write_contracts
from legal_llm.machine.files import LegalLLMError


@pytest.fixture(scope='module')
def written():
    return write_contracts(6, words=400)


def as_json(contracts):
    return to_squad(sorted(contracts, key=lambda c: c.title))


def separate(squad, number):
    """The layout of train_separate_questions.json: every answer a question of its own; `number` is put at the end of
    the id
    """
    squad = json.loads(json.dumps(squad))
    for entry in squad['data']:
        for p in entry['paragraphs']:
            p['qas'] = [
                dict(q, id=q['id'] + number.format(i), answers=answers)
                for q in p['qas']
                for i, answers in enumerate([[a] for a in q['answers']] or [[]])
            ]
    return squad


def make_forms(folder, contracts):
    """Each published form of CUAD, as a path that load_contracts accepts, by name; half of the contracts are the test
    half
    """
    whole, half = json.dumps(to_squad(contracts)), len(contracts) // 2
    train = json.dumps(separate(to_squad(contracts[half:]), '_{}'))
    test = json.dumps(to_squad(contracts[:half]))
    files = {
        'plain/CUADv1.json': whole,
        'zenodo/CUAD_v1/CUAD_v1.json': whole,
        'bom/CUADv1.json': '\ufeff' + whole,
        'any/contracts.json': whole,
        'halves/train_separate_questions.json': train,
        'halves/test.json': test,
        'release/CUADv1.json': whole,
        'release/train_separate_questions.json': train,
        'release/test.json': test,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding='utf-8')
    (folder / 'packed.json.gz').write_bytes(gzip.compress(whole.encode()))
    for name, members in {
        'data.zip': {
            'CUADv1.json': whole,
            'train_separate_questions.json': train,
            'test.json': test,
            '__MACOSX/._CUADv1.json': 'x',
        },
        'CUAD_v1.zip': {
            'CUAD_v1/CUAD_v1.json': whole,
            'CUAD_v1/CUAD_v1_README.txt': 'read me',
            'CUAD_v1/master_clauses.csv': 'a,b',
        },
        'folder/data.zip': {'CUADv1.json': whole},
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(folder / name, 'w', zipfile.ZIP_DEFLATED) as z:
            for member, text in members.items():
                z.writestr(member, text)
    return {
        'plain': 'plain/CUADv1.json',
        'folder with the file': 'plain',
        'as on the hub': 'zenodo',
        'byte order mark': 'bom',
        'any name': 'any/contracts.json',
        'folder with one file': 'any',
        'packed': 'packed.json.gz',
        'train and test': 'halves',
        'release folder': 'release',
        'release zip': 'data.zip',
        'Zenodo zip': 'CUAD_v1.zip',
        'folder with a zip': 'folder',
    }


def test_every_form_gives_the_same_contracts(tmp_path, written):
    forms = make_forms(tmp_path, written)
    for name, path in forms.items():
        assert as_json(load_contracts(tmp_path / path)) == as_json(written), name
    official = {c.title for c in written[:3]}
    for name in ('train and test', 'release folder', 'release zip'):
        contracts = load_contracts(tmp_path / forms[name])
        assert {c.title for c in contracts if c.split == 'test'} == official and {c.split for c in contracts} == {
            'train',
            'test',
        }
        assert {c.title for c in split_contracts(contracts)['test']} == official
    assert {c.split for c in load_contracts(tmp_path / forms['plain'])} == {None}


@pytest.mark.parametrize('number', ['', '_{}'])
def test_separate_questions_lose_no_answer(written, number):
    squad = separate(to_squad(written), number)
    assert sum(len(p['qas']) for e in squad['data'] for p in e['paragraphs']) > 41 * len(written)
    contracts, problems = from_squad(squad, 'train_separate_questions.json')
    assert not problems and to_squad(contracts) == to_squad(written)


def test_a_contract_spread_over_entries_is_merged(written):
    squad = to_squad(written[:1])
    entry = squad['data'][0]
    p = entry['paragraphs'][0]
    spread = {'data': [dict(entry, paragraphs=[dict(context=p['context'], qas=[q])]) for q in p['qas']]}
    with warnings.catch_warnings():
        warnings.simplefilter('error')  # all 41 are asked, so there is nothing to warn about
        contracts, problems = from_squad(spread, 'spread')
    assert not problems and to_squad(contracts) == squad


def test_order_in_the_file_does_not_matter(written):
    squad = to_squad(written)
    for entry in squad['data']:
        random.Random(1).shuffle(entry['paragraphs'][0]['qas'])
        for q in entry['paragraphs'][0]['qas']:
            q['answers'].reverse()
    assert to_squad(from_squad(squad, 'shuffled')[0]) == to_squad(written)


def test_saving_is_repeatable_and_round_trips(tmp_path, written):
    for name in ('a.json', 'a.json.gz'):
        save_squad(written, tmp_path / name)
        first = (tmp_path / name).read_bytes()
        save_squad(written, tmp_path / name)
        assert (tmp_path / name).read_bytes() == first and to_squad(load_contracts(tmp_path / name)) == to_squad(
            written
        )


marks = '© § — “as is” ’ \u00a0 [***] é 漢 𝔘 \u2028 \t \r\n -12- ﬁ'


@st.composite
def contracts(draw):
    alphabet = st.one_of(st.sampled_from(list(marks)), st.characters(codec='utf-8'))
    out = []
    for title in draw(st.lists(st.text(st.characters(codec='utf-8'), min_size=1, max_size=8), max_size=4, unique=True)):
        text = draw(st.text(alphabet, min_size=1, max_size=60).filter(str.strip))
        clauses = []
        for _ in range(draw(st.integers(0, 6))):
            a = draw(st.integers(0, len(text) - 1))
            b = draw(st.integers(a + 1, len(text)))
            if text[a:b].strip():
                clauses.append(Clause(draw(st.sampled_from(CATEGORIES)).name, a, text[a:b]))
        out.append(Contract(title, text, clauses))
    return out


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(contracts())
def test_any_text_round_trips_exactly(made):
    assert validate(made, lengths=False) == []
    if not made:
        return
    back, problems = from_squad(json.loads(json.dumps(to_squad(made))), 'memory')
    assert not problems
    for a, b in zip(made, back):
        assert a.title == b.title and a.text == b.text and set(a.clauses) == set(b.clauses)
        assert all(b.text[c.start : c.end] == c.text for c in b.clauses)
        assert b._repr_html_().count('<span') == b._repr_html_().count('</span>')
    gold = gold_answers(made)
    assert len(gold) == 41 * len(made) and sum(map(len, gold.values())) == corpus_stats(made).spans


# what is broken, and what the message must say

FILES = {
    'not there': (None, 'no such file or folder'),
    'not JSON': (b'sign in first', 'not JSON (Expecting value, line 1, column 1)'),
    'web page': (b'\n <!DOCTYPE html><html>sign in</html>', 'a web page, not JSON'),
    'Git LFS pointer': (
        b'version https://git-lfs.github.com/spec/v1\noid sha256:0\n',
        'a Git LFS pointer, not the file itself',
    ),
    'too deep': (b'[' * 200_000, 'nested too deeply'),
    'empty': (b'', 'not JSON'),
    'cut off': (b'{"data": [{"title": "A", "para', 'not JSON (Unterminated string'),
    'not text': (b'{"data": "\xff\xfe"}', 'not a text file in UTF-8 (byte 10)'),
    'damaged gzip': (gzip.compress(b'{"data": []}')[:15], 'the gzip file is damaged'),
    'list': (b'[1, 2]', 'expected an object, found a list of 2'),
    'other keys': (
        b'{"rows": [], "columns": []}',
        "the field 'data' is missing (found an object with the keys 'rows', 'columns')",
    ),
    'no data': (b'{"data": []}', 'the list "data" is empty'),
    'nbest predictions': (b'{"A__Parties": [{"text": "x", "probability": 1}]}', "the field 'data' is missing"),
    'data of strings': (b'{"data": ["a"]}', "in the first entry of \"data\" expected an object, found 'a'"),
    'no paragraphs': (b'{"data": [{"title": "A"}]}', "the field 'paragraphs' is missing"),
}


@pytest.mark.parametrize('name', FILES)
def test_broken_files_are_refused(tmp_path, name):
    raw, message = FILES[name]
    path = tmp_path / 'CUADv1.json'
    if raw is not None:
        path.write_bytes(raw)
    for quarantine in (None, []):
        with pytest.raises(LegalLLMError) as e:
            load_contracts(path, quarantine)
        assert message in str(e.value) and str(path) in str(e.value) and '\n' not in str(e.value)
        assert not quarantine


def test_broken_folders_and_zips_are_refused(tmp_path, written):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'many').mkdir()
    for n in 'ab':
        save_squad(written, tmp_path / f'many/{n}.json')
    (tmp_path / 'bad.zip').write_bytes(b'PK\x03\x04 and then nothing')
    with zipfile.ZipFile(tmp_path / 'flipped.zip', 'w', zipfile.ZIP_DEFLATED) as z:
        z.writestr('CUADv1.json', json.dumps(to_squad(written)))
    raw = bytearray((tmp_path / 'flipped.zip').read_bytes())
    raw[200] ^= 255
    (tmp_path / 'flipped.zip').write_bytes(raw)
    for name, message in {
        'empty': 'found no JSON file',
        'many': 'found a.json, b.json',
        'bad.zip': 'zip file is damaged',
        'flipped.zip': 'cannot be read',
    }.items():
        with pytest.raises(LegalLLMError, match=message):
            load_contracts(tmp_path / name)


def breaks(squad, kind):
    "Break one record of a good file; what is broken is in the second contract"
    entry = squad['data'][1]
    p = entry['paragraphs'][0]
    qa = next(q for q in p['qas'] if q['answers'] and 'Document Name' in q['id'])
    answer = qa['answers'][0]
    if kind == 'offset':
        answer['answer_start'] += 1
    elif kind == 'outside':
        answer['answer_start'] = 10**7
    elif kind == 'negative':
        answer['answer_start'] = -5
    elif kind == 'offset as text':
        answer['answer_start'] = '12'
    elif kind == 'offset missing':
        del answer['answer_start']
    elif kind == 'text missing':
        del answer['text']
    elif kind == 'empty answer':
        answer['text'] = ' '
    elif kind == 'no answers field':
        del qa['answers']
    elif kind == 'no id':
        del qa['id']
    elif kind == 'unknown category':
        qa['id'] = qa['id'].replace('Document Name', 'Weather')
    elif kind == 'impossible':
        qa['is_impossible'] = True
    elif kind == 'empty contract':
        p['context'] = ' \n'
    elif kind == 'no context':
        del p['context']
    elif kind == 'half a character':
        p['context'] += '\ud800'
    elif kind == 'no title':
        del entry['title']
    elif kind == 'no paragraph':
        entry['paragraphs'] = []
    elif kind == 'two texts':
        entry['paragraphs'].append(dict(p, context='Other.', qas=[]))
    elif kind == 'half a character in the title':
        entry['title'] += '\udc80'
    elif kind == 'contradiction':
        p['qas'].append(dict(qa, answers=[], is_impossible=True))
    elif kind == 'too few words':
        p.update(context='This exhibit was not filed.', qas=[dict(q, answers=[]) for q in p['qas']])
    elif kind == 'too many characters':
        p['context'] += ' x' * 2_500_000
    elif kind == 'answer too long':
        p['context'], answer['text'], answer['answer_start'] = (
            p['context'] + 'x' * 20_001 + ' y' * 20_000,
            'x' * 20_001,
            len(p['context']),
        )
    elif kind == 'answer most of the contract':
        answer['text'], answer['answer_start'] = p['context'][:-10], 0
    elif kind == 'title twice':
        entry['title'] = squad['data'][0]['title']
    return squad


KINDS = {
    'offset': "not the contract's text at offset",
    'outside': 'lies outside the contract',
    'negative': 'lies outside the contract',
    'offset as text': "'answer_start' should be int, found '12'",
    'offset missing': "'answer_start' is missing",
    'text missing': "'text' is missing",
    'empty answer': 'text is empty',
    'no answers field': "'answers' is missing",
    'no id': "'id' is missing",
    'unknown category': '41 category names',
    'impossible': 'is_impossible',
    'empty contract': "the contract's text is empty",
    'no context': "'context' is missing",
    'half a character': 'half a character',
    'no title': "'title' is missing",
    'no paragraph': 'has no paragraph',
    'two texts': 'different texts',
    'title twice': 'occurs twice with different texts',
    'half a character in the title': 'the title has half a character',
    'contradiction': 'once with an answer and once without',
    'too few words': 'the contract has 5 words, fewer than 50',
    'too many characters': 'characters, more than 5,000,000',
    'answer too long': 'the answer has 20,001 characters, more than 20,000',
    'answer most of the contract': '% of the contract',
}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.filterwarnings('ignore:.*lack some of the 41 questions')
def test_bad_records_are_quarantined_with_file_record_and_reason(tmp_path, written, kind):
    path = tmp_path / 'CUADv1.json'
    path.write_text(json.dumps(breaks(to_squad(written), kind)))
    with pytest.raises(LegalLLMError, match='CUADv1.json.*quarantine'):
        load_contracts(path)
    quarantine = []
    kept = load_contracts(path, quarantine)
    assert [KINDS[kind] in q['reason'] for q in quarantine] == [True] and quarantine[0]['file'] == str(path)
    assert set(quarantine[0]) == {'file', 'record', 'reason'} and validate(kept) == []
    lost = sum(len(c.clauses) for c in written) - sum(len(c.clauses) for c in kept)
    whole = {
        'empty contract',
        'no context',
        'half a character',
        'half a character in the title',
        'no title',
        'no paragraph',
        'title twice',
        'too few words',
        'too many characters',
    }
    assert lost == (
        len(written[1].clauses) if kind in whole else 0 if kind in ('impossible', 'two texts', 'contradiction') else 1
    )


def test_too_many_bad_records_are_refused_even_with_a_quarantine(tmp_path, written):
    squad = to_squad(written)
    for entry in squad['data'][1:]:
        entry['paragraphs'][0]['context'] = 'x' + entry['paragraphs'][0]['context']
    path = tmp_path / 'CUADv1.json'
    path.write_text(json.dumps(squad))
    quarantine = []
    with pytest.raises(LegalLLMError, match=r'\d+ such problems\); \d\d% of the records are bad'):
        load_contracts(path, quarantine)
    assert len(load_contracts(path, quarantine, max_bad=1)) == len(written)
    assert len(quarantine) == sum(len(c.clauses) for c in written[1:])


def test_unasked_questions_are_announced(written):
    squad = to_squad(written)
    squad['data'][0]['paragraphs'][0]['qas'].pop()
    with pytest.warns(UserWarning, match='1 of 6 contracts lack some of the 41 questions'):
        from_squad(squad, 'x')


def test_a_contract_in_both_halves_stays_in_test_only(tmp_path, written):
    save_squad(written, tmp_path / 'train.json')
    save_squad(written[:1], tmp_path / 'test.json')
    quarantine = []
    contracts = load_contracts(tmp_path, quarantine)
    assert [q['record'] for q in quarantine] == [written[0].title] and len(contracts) == len(written)
    verify_no_leak(split_contracts(contracts))


# the real thing


def test_the_408_training_contracts():
    path = find_dev_cuad()
    if path is None:
        pytest.skip('CUAD is not on this machine: set LEGAL_LLM_CUAD to its JSON file')
    start = time.perf_counter()
    contracts = load_contracts(path)
    seconds = time.perf_counter() - start
    assert all(c.text[s.start : s.end] == s.text for c in contracts for s in c.clauses) and validate(contracts) == []
    stats = corpus_stats(contracts)
    if '408' in path.name:
        assert (stats.contracts, stats.questions, stats.positives, stats.spans) == (408, 16728, 5458, 11180)
    assert len(gold_answers(contracts)) == stats.questions == 41 * stats.contracts
    back, problems = from_squad(separate(to_squad(contracts), '_{}'), 'separate')
    assert not problems and to_squad(back) == to_squad(contracts)
    official = (
        [
            q['question']
            for q in json.loads((gzip.open if path.suffix == '.gz' else open)(path).read())['data'][0]['paragraphs'][0][
                'qas'
            ]
        ]
        if path.is_file()
        else [c.official_question for c in CATEGORIES]
    )
    assert official == [c.official_question for c in CATEGORIES]
    assert seconds < 20, f'{seconds:.1f} s'


def test_the_variable_that_names_cuad_must_be_right(tmp_path, monkeypatch):
    monkeypatch.setenv('LEGAL_LLM_CUAD', str(tmp_path / 'gone.json'))
    with pytest.raises(FileNotFoundError, match='LEGAL_LLM_CUAD names .*gone.json, which does not exist'):
        find_dev_cuad()
