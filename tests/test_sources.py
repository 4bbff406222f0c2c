"""Sources: every form gives the same contracts, every damaged one is refused by name, a download survives a bad line,
every place is reported, own labels are located.
"""

import csv
import hashlib
import http.server
import io
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import unicodedata
import warnings
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from development import find_dev_cuad
from huggingface_hub import constants
from hypothesis import given, settings
from hypothesis import strategies as st

from legal_llm.contracts import sources
from legal_llm.contracts.categories import CATEGORIES, CATEGORY, Category
from legal_llm.contracts.chat import ask_prompt
from legal_llm.contracts.clauses import _Finder, from_csv
from legal_llm.contracts.contracts import Clause, Contract, corpus_stats, gold_answers, validate
from legal_llm.contracts.labels import label_categories, load_labels
from legal_llm.contracts.readers import fingerprint, load_contracts, save_quarantine
from legal_llm.contracts.sources import Remote, find_source
from legal_llm.contracts.squad import save_squad, to_squad
from legal_llm.contracts.synthetic import write_contracts
from legal_llm.machine.download import download
from legal_llm.machine.files import LegalLLMError
from legal_llm.machine.platform import environment

SPECIAL = (
    'SCHEDULE “A”\n\n© 2020 — the “Licensee’s” fee: § 4.2(b)\u00a0… [***] per unit, ½ of €1 000; naïve café, '
    'e\u0301, ﬁ, 漢字, 𝔘, \u200b, \x0c\t\r\n  -12-  \n\u2028Page 3 of 9\n<omitted'
)
HALF = 3  # contracts in the test half


@pytest.fixture(scope='module')
def written():
    """Six synthetic contracts; each ends in the tier of special characters. Each clause is the first place of its
    words, as in CUAD, since a table without offsets can say no other
    """
    contracts = write_contracts(6, words=400)
    for c in contracts:
        at, c.clauses = len(c.text) + 2, [cl for cl in c.clauses if c.text.find(cl.text) == cl.start]
        c.text += '\n\n' + SPECIAL
        c.clauses += [
            Clause('Insurance', at, SPECIAL),
            Clause('License Grant', at + SPECIAL.index('[***]'), '[***] per unit, ½ of €1 000; naïve café, e\u0301'),
        ]
    return contracts


# the forms, each made here


def write_table(
    folder,
    contracts,
    quote=lambda text: text,
    name=lambda title: title + '.pdf',
    file=lambda title: title + '.txt',
    newline=' ',
):
    "The layout of Zenodo's archive: master_clauses.csv and the folder full_contract_txt"
    (folder / 'full_contract_txt').mkdir(parents=True)
    out = io.StringIO(newline='')
    rows = csv.writer(out)
    heads = [
        h
        for k in CATEGORIES
        for h in (k.name, k.name + ('- Answer' if k.name.startswith('Notice Period') else '-Answer'))
    ]
    rows.writerow(['Filename', *heads])
    for c in contracts:
        (folder / 'full_contract_txt' / file(c.title)).write_bytes(c.text.encode())
        rows.writerow(
            [
                name(c.title),
                *(
                    cell
                    for k in CATEGORIES
                    for cell in (repr([quote(s.text) for s in c.spans(k)]), 'Yes' if c.spans(k) else 'No')
                ),
            ]
        )
    (folder / 'master_clauses.csv').write_bytes(out.getvalue().encode())
    return folder


def flat(contracts):
    "Rows of a question-answering table, as on the hub"
    return [
        dict(
            id=q['id'],
            title=e['title'],
            context=e['paragraphs'][0]['context'],
            question=q['question'],
            answers=dict(
                text=[a['text'] for a in q['answers']], answer_start=[a['answer_start'] for a in q['answers']]
            ),
        )
        for e in to_squad(contracts)['data']
        for q in e['paragraphs'][0]['qas']
    ]


def write_parquet(path, contracts, rows=slice(None)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(flat(contracts)[rows]), path)


class PlainName(zipfile.ZipInfo):
    "A name in UTF-8 that is not flagged as such, as macOS writes it"

    def _encodeFilenameFlags(self):
        return self.filename.encode(), self.flag_bits & ~0x800


def zipped(path, folder, info=zipfile.ZipInfo):
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z:
        for f in sorted(p for p in folder.rglob('*') if p.is_file()):
            z.writestr(info(f.relative_to(folder.parent).as_posix()), f.read_bytes())
            if info is PlainName:
                z.writestr(info(f'__MACOSX/._{f.name}'), b'x')
    return path


def make_forms(folder, contracts):
    "Form -> (path, whether it has the official split)"
    test, train = contracts[:HALF], contracts[HALF:]
    save_squad(contracts, folder / 'json/CUADv1.json')
    save_squad(contracts, folder / 'packed.json.gz')
    save_squad(train, folder / 'halves/train_separate_questions.json')
    save_squad(test, folder / 'halves/test.json')
    for name, titles in (
        ('titles.txt', '\r\n'.join(c.title for c in test)),
        ('titles.json', json.dumps([c.title for c in test])),
    ):
        save_squad(contracts, folder / name / 'any.json')
        (folder / name / f'test_{name}').write_text(titles, encoding='utf-8')
    save_squad(contracts, folder / 'release/CUADv1.json')
    save_squad(test, folder / 'release/test.json')
    write_table(folder / 'CUAD_v1', contracts, quote=lambda t: re.sub(r'\s+', ' ', t))
    (folder / 'CUAD_v1/CUAD_v1_README.txt').write_text('read me')
    write_parquet(folder / 'one.parquet', contracts)
    # a shard may end within a contract
    write_parquet(folder / 'shards/data/train-00000-of-00002.parquet', train, slice(None, 20))
    write_parquet(folder / 'shards/data/train-00001-of-00002.parquet', train, slice(20, None))
    write_parquet(folder / 'converted/default/train/0000.parquet', train)
    write_parquet(folder / 'converted/default/test/0000.parquet', test)
    write_parquet(folder / 'shards/data/test-00000-of-00001.parquet', test)
    zipped(folder / 'data.zip', folder / 'release')
    zipped(folder / 'tables.zip', folder / 'CUAD_v1')
    return {
        'JSON': ('json/CUADv1.json', False),
        'folder': ('json', False),
        'packed': ('packed.json.gz', False),
        'halves': ('halves', True),
        'one half named, the other beside it': ('halves/train_separate_questions.json', True),
        'titles as text': ('titles.txt', True),
        'file with titles beside it': ('titles.txt/any.json', True),
        'titles as JSON': ('titles.json', True),
        'release': ('release', True),
        'release, the file': ('release/CUADv1.json', True),
        'release zip': ('data.zip', True),
        'table and texts': ('CUAD_v1', False),
        'the table itself': ('CUAD_v1/master_clauses.csv', False),
        'zip of table and texts': ('tables.zip', False),
        'parquet': ('one.parquet', False),
        'parquet shards': ('shards', True),
        'parquet in folders': ('converted', True),
    }


def test_every_form_gives_the_same_contracts(tmp_path, written):
    "Equal fingerprints, so equal titles, texts and labels; the tier of special characters is in all of them"
    for name, (path, split) in make_forms(tmp_path, written).items():
        got = {c.title: c for c in load_contracts(tmp_path / path)}
        assert fingerprint(got.values()) == fingerprint(written), name
        for c in written:
            assert got[c.title].text == c.text and got[c.title].text.endswith(SPECIAL), name
            assert SPECIAL in [s.text for s in got[c.title].spans('Insurance')], name
            assert got[c.title].split == (('test' if c in written[:HALF] else 'train') if split else None), name


def test_the_fingerprint_sees_every_change(written):
    def changed(f):
        contracts = [Contract(c.title, c.text, list(c.clauses)) for c in written]
        f(contracts)
        return fingerprint(contracts)

    same = fingerprint(written)
    assert changed(lambda cs: random.Random(3).shuffle(cs)) == changed(lambda cs: cs[0].clauses.reverse()) == same
    edits = [
        lambda cs: cs.pop(),
        lambda cs: setattr(cs[0], 'title', 'x'),
        lambda cs: setattr(cs[1], 'text', cs[1].text.replace('“', '"')),
        lambda cs: cs[2].clauses.pop(),
        lambda cs: cs[2].clauses.append(Clause('Parties', 0, cs[2].text[:5])),
    ]
    assert len({same, *map(changed, edits)}) == 1 + len(edits)


def test_test_titles_by_argument(tmp_path, written):
    save_squad(written, tmp_path / 'CUADv1.json')
    (tmp_path / 'mine.txt').write_text('\n'.join(c.title for c in written[:HALF]) + '\n')
    for titles in ([c.title for c in written[:HALF]], tmp_path / 'mine.txt', str(tmp_path / 'mine.txt')):
        assert [c.split for c in load_contracts(tmp_path / 'CUADv1.json', test_titles=titles)] == ['test'] * HALF + [
            'train'
        ] * (6 - HALF)
    with pytest.warns(UserWarning, match="1 of 2 test titles are not among the contracts, 'Gone'"):
        load_contracts(tmp_path / 'CUADv1.json', test_titles=[written[0].title, 'Gone'])
    for titles, message in ((['Gone'], 'none of the 1 test titles'), (tmp_path / 'gone.txt', 'no such file')):
        with pytest.raises(LegalLLMError, match=message):
            load_contracts(tmp_path / 'CUADv1.json', test_titles=titles)
    for raw, message in (
        ('{}', 'expected a list of titles'),
        ('["a", 1]', 'expected a list of titles'),
        ('[', 'not JSON'),
    ):
        (tmp_path / 'test_titles.json').write_text(raw)
        with pytest.raises(LegalLLMError, match=message):
            load_contracts(tmp_path)


# the table of clauses


def test_file_names_are_mended(tmp_path, written):
    """A quote or a hyphen at the end, characters that a file system refuses, capitals, accents in one character or two,
    in a folder and in a zip that does not say how its names are encoded
    """
    contracts = [
        Contract(t, c.text, c.clauses)
        for t, c in zip(
            (
                "LÉMAN S.A. - AGREEMENT",
                'MILL_S & CO,INC-SUPPLY',
                'NETCO,INC-AMENDMENT',
                'Plain ',
                'dots.in.INC.',
                'a(1)',
            ),
            written,
        )
    ]
    in_table = dict(
        zip(
            (c.title for c in contracts),
            (
                "LE\u0301MAN S.A. - AGREEMENT.PDF",
                "MILL'S & CO,INC-SUPPLY.pdf",
                'NETCO,INC-AMENDMENT-.pdf',
                'plain.PDF ',
                'dots.in.INC..pdf',
                'a(1).pdf',
            ),
        )
    )
    on_disk = {
        'NETCO,INC-AMENDMENT': 'NETCO,INC-AMENDMENT".txt',
        'LÉMAN S.A. - AGREEMENT': unicodedata.normalize('NFD', 'LÉMAN S.A. - AGREEMENT.txt'),
    }
    folder = write_table(tmp_path / 'CUAD_v1', contracts, name=in_table.get, file=lambda t: on_disk.get(t, t + '.txt'))
    archive = zipped(tmp_path / 'mac.zip', folder, PlainName)
    with zipfile.ZipFile(archive) as z:
        assert any('LE╠üMAN' in n for n in z.namelist())  # the trap is set
    for path in (folder, archive):
        assert fingerprint(load_contracts(path)) == fingerprint(contracts)


def test_quotes_are_split_where_something_is_left_out(written):
    c = Contract(
        'T',
        'This Agreement may be\n  ended by (a) the Seller, (b)\u00a0the Buyer, on notice. '
        + 'It is made in two copies. ' * 12,
    )
    cells = {
        "['This Agreement may be ended by<omitted>(b) the Buyer, on notice.']": [
            'This Agreement may be\n  ended by',
            '(b)\u00a0the Buyer, on notice.',
        ],
        "['<omitted>(a) the Seller,<omitted>', 'theSeller, (b)the Buyer']": [
            '(a) the Seller,',
            'the Seller, (b)\u00a0the Buyer',
        ],
        'This  Agreement': ['This Agreement'],
        '[]': [],
        '': [],
        '<OMITTED>': [],
    }
    for cell, pieces in cells.items():
        out = io.StringIO()
        csv.writer(out).writerows([['Filename', *(k.name for k in CATEGORIES)], ['T.pdf', cell, *[''] * 40]])
        contracts, problems = from_csv(out.getvalue(), {'full_contract_txt/T.txt': c.text}, 'x')
        assert not problems and [s.text for s in contracts[0].clauses] == sorted(pieces, key=c.text.index), cell
        assert validate(contracts) == []


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    st.text(st.sampled_from('ab \n\u00a0\u2003\t')),
    st.text(st.sampled_from('ab'), min_size=1),
    st.text(st.sampled_from('ab \n')),
    st.randoms(),
)
def test_white_space_never_hides_a_quote(before, words, after, dice):
    """Whatever white space is put in or taken out, what is found has the same other characters, and is a slice without
    white space at its ends
    """
    text = before + ''.join(ch + dice.choice(['', ' ', '\n  ', '\u00a0']) for ch in words) + after
    quote = ''.join(ch + dice.choice(['', ' ', '\n']) for ch in words).strip()
    a, b = _Finder(text)(quote)
    assert ''.join(text[a:b].split()) == words and text[a:b] == text[a:b].strip()


def test_what_the_table_gets_wrong_is_quarantined(tmp_path, written):
    "File, record and reason for each; the rest is read"
    folder = write_table(tmp_path / 't', written)
    table = list(csv.reader(io.StringIO((folder / 'master_clauses.csv').read_bytes().decode(), newline='')))
    table[1][1] = "['these words are in no contract']"
    table[2][1] = "['unfinished"
    table[3][table[0].index('Price Restrictions')], table[3][table[0].index('Price Restrictions-Answer')] = '[]', 'Yes'
    table.append(['Gone.pdf', *table[1][1:]])
    table.append(table[4])
    out = io.StringIO(newline='')
    csv.writer(out).writerows(table)
    (folder / 'master_clauses.csv').write_bytes(out.getvalue().encode())
    (folder / 'full_contract_txt/Extra.txt').write_text('A contract without a row.')
    (folder / 'full_contract_txt/Latin.txt').write_bytes('© é'.encode('latin-1'))
    quarantine = []
    with pytest.warns(UserWarning, match=': 1 clauses are answered Yes without a quote'):
        contracts = load_contracts(folder, quarantine, max_bad=0.1)
    assert {os.path.relpath(q['file'], folder) for q in quarantine} == {
        'master_clauses.csv',
        'full_contract_txt/Latin.txt',
    }
    assert sorted((q['record'], re.sub(r':.*', '', q['reason'])) for q in quarantine) == sorted(
        [
            (f'{written[0].title}__Document Name', 'the quote is not in the contract'),
            (f'{written[1].title}__Document Name', 'the cell is not a list of quotes'),
            ('Gone.pdf', 'its text file is missing, or several match its name'),
            (written[3].title, 'the table has a second row for it; the first is kept'),
            ('full_contract_txt/Extra.txt', 'the table has no row for this text file'),
            ('Latin', 'not a text file in UTF-8 (byte 0)'),
        ]
    )
    assert len(contracts) == len(written) and validate(contracts) == []
    with pytest.raises(LegalLLMError, match='master_clauses.csv: .*such problems'):
        load_contracts(folder)


# what is damaged, and what the message must say


def damaged(folder, contracts, kind):
    path = folder / 'data.zip'
    if kind.startswith('zip'):
        save_squad(contracts, folder / 'in/CUADv1.json')
        raw = bytearray(zipped(path, folder / 'in').read_bytes())
        if kind == 'zip cut off':
            raw = raw[: len(raw) // 2]
        if kind == 'zip with a flipped bit':
            raw[len(raw) // 2] ^= 4
        if kind == 'zip that is a web page':
            raw = b'<!DOCTYPE html><html>rate limit</html>'
        path.write_bytes(raw)
        if kind == 'zip of pictures':
            with zipfile.ZipFile(path, 'w') as z:
                z.writestr('a.jpg', b'x')
        return path
    if kind.startswith('parquet'):
        path = folder / 'x.parquet'
        write_parquet(path, contracts[:1])
        if kind == 'parquet cut off':
            path.write_bytes(path.read_bytes()[:-200])
        if kind == 'parquet of something else':
            pq.write_table(pa.table({'text': ['a'], 'label': [1]}), path)
        if kind == 'parquet that is empty':
            path.write_bytes(b'')
        return path
    if kind == 'folder of two files of one name':
        for name in 'ab':
            save_squad(contracts[:3] if name == 'a' else contracts[3:], folder / f'two/{name}/contracts.json')
        return folder / 'two'
    folder = write_table(folder / 't', contracts)
    table = folder / 'master_clauses.csv'
    if kind == 'table without texts':
        [p.unlink() for p in (folder / 'full_contract_txt').iterdir()]
    if kind == 'table of something else':
        table.write_text('a,b\n1,2\n')
    if kind == 'table that is empty':
        table.write_text('')
    if kind == 'table that is a web page':
        table.write_text('<html>\n')
    if kind == 'table in Latin-1':
        table.write_bytes('Filename,Document Name\n©'.encode('latin-1'))
    return folder


DAMAGED = {
    'folder of two files of one name': 'found a/contracts.json, b/contracts.json; expected',
    'zip cut off': 'the zip file is damaged',
    'zip with a flipped bit': 'cannot be read',
    'zip that is a web page': 'the zip file is damaged',
    'zip of pictures': 'found no JSON file, no parquet file',
    'parquet cut off': 'the parquet file cannot be read',
    'parquet of something else': "the column 'id' is missing (found text, label)",
    'parquet that is empty': 'the parquet file cannot be read',
    'table without texts': 'expected the folder full_contract_txt',
    'table of something else': "not CUAD's table of clauses",
    'table that is empty': "not CUAD's table of clauses",
    'table that is a web page': "not CUAD's table of clauses",
    'table in Latin-1': 'its text file is missing',
}


@pytest.mark.parametrize('kind', DAMAGED)
def test_damaged_forms_are_refused_by_name(tmp_path, written, kind):
    path = damaged(tmp_path, written, kind)
    for quarantine in (None, []):
        with pytest.raises(LegalLLMError) as e:
            load_contracts(path, quarantine)
        assert (
            DAMAGED[kind] in str(e.value) and str(path) in str(e.value) and '\n' not in str(e.value) and not quarantine
        )


def test_bad_parquet_rows_are_quarantined(tmp_path, written):
    rows = flat(written)
    rows[0]['answers']['answer_start'] = [*rows[0]['answers']['answer_start'], 5]
    rows[1]['answers'] = None
    rows[50]['answers'] = dict(text=['nowhere'], answer_start=[3])
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / 'x.parquet')
    quarantine = []
    assert len(load_contracts(tmp_path / 'x.parquet', quarantine)) == 6
    assert [q['record'] for q in quarantine] == [rows[i]['id'] for i in (0, 1, 50)]


# validation and the quarantine file


def test_encodings(tmp_path, written):
    c = Contract('Half', written[0].text + '\udc80', [])
    assert ['half a character' in p['reason'] for p in validate([c])] == [True]
    lost = Contract('Lost', written[0].text.replace('Agreement', 'Agreement\ufffd'), [])
    with pytest.warns(
        UserWarning, match=r"1 of 2 contracts have replacement characters \(U\+FFFD\), \d+ in all, first 'Lost'"
    ):
        assert validate([written[1], lost]) == []
    save_squad([lost, written[1]], tmp_path / 'x.json')
    with pytest.warns(UserWarning, match='replacement characters'):
        assert len(load_contracts(tmp_path / 'x.json')) == 2


def test_lengths_can_be_let_through(tmp_path):
    save_squad([Contract('Note', 'Paid in full.', [Clause('Document Name', 0, 'Paid in full.')])], tmp_path / 'x.json')
    with pytest.raises(LegalLLMError, match='Note: the contract has 3 words, fewer than 50'):
        load_contracts(tmp_path / 'x.json')
    assert load_contracts(tmp_path / 'x.json', lengths=False)[0].clauses[0].text == 'Paid in full.'


def test_the_quarantine_file(tmp_path):
    problems = [
        dict(
            file='a.json',
            record=f'T{i}__Parties',
            reason=f"the answer at offset {i},000 lies outside the contract ({i} characters)",
        )
        for i in range(3)
    ] + [
        dict(file='a.json', record='half \udc80 — ©', reason="unknown category 'Weather'"),
        dict(file='b.json', record='U', reason="the answer is not the contract's text at offset 7: 'a' against 'b'"),
    ]
    kept = save_quarantine(problems, tmp_path / 'quarantine.jsonl')
    lines = [json.loads(line) for line in (tmp_path / 'quarantine.jsonl').read_text(encoding='utf-8').splitlines()]
    assert (
        lines == problems and [*kept.by_reason.values()] == [3, 1, 1] and sum(kept.by_reason.values()) == len(problems)
    )
    assert "the answer is not the contract's text at offset …: … against …" in kept.by_reason
    assert str(kept).startswith('5 records set aside') and '| **all** | 5 |' in kept._repr_markdown_()
    assert save_quarantine([], tmp_path / 'none.jsonl').path.read_text() == ''


# downloads, from a server that misbehaves on demand

CONTENT = random.Random(1).randbytes(700_000)
SHA = hashlib.sha256(CONTENT).hexdigest()


class Site:
    "A server whose next answers are planned: each is a function of the request; after them, everything is served well"

    def __init__(self):
        site = self
        self.plan, self.log, self.files = [], [], {'/data.zip': CONTENT}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                site.log.append((self.command, self.path, self.headers.get('Range')))
                (site.plan.pop(0) if site.plan else serve)(self, site)

            do_HEAD = do_GET

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self.server.server_port}'
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    ranges = property(lambda self: [r for _, _, r in self.log])


def serve(h, site, cut=None, ranges=True, stall=0, content=None, headers=()):
    "Answer like a good server; `cut`: bytes after which the connection closes, or stalls for some seconds first"
    content = site.files.get(h.path) if content is None else content
    if content is None:
        return h.send_error(404)
    start = int(h.headers['Range'][6:-1]) if ranges and h.headers.get('Range') else 0
    if start >= len(content) > 0:
        h.send_response(416)
        h.send_header('Content-Range', f'bytes */{len(content)}')
        h.send_header('Content-Length', '0')
        return h.end_headers()
    h.send_response(206 if start else 200)
    if start:
        h.send_header('Content-Range', f'bytes {start}-{len(content) - 1}/{len(content)}')
    h.send_header('Content-Length', str(len(content) - start))
    for k, v in headers:
        h.send_header(k, v)
    h.end_headers()
    if h.command == 'HEAD':
        return
    h.wfile.write(content[start:][:cut])
    h.wfile.flush()
    if stall:
        time.sleep(stall)
    if cut is not None:
        h.close_connection = True


def cut(n, **kw):
    return lambda h, site: serve(h, site, cut=n, **kw)


def error(code, **headers):
    def answer(h, site):
        h.send_response(code)
        for k, v in headers.items():
            h.send_header(k.replace('_', '-'), v)
        h.send_header('Content-Length', '0')
        h.end_headers()

    return answer


def slam(h, site):
    h.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
    h.connection.close()


def hang_up(h, site):
    h.close_connection = True


def page(h, site):
    serve(h, site, content=b'<html>sign in</html>', headers=[('Content-Type', 'text/html')])


@pytest.fixture
def site():
    site = Site()
    yield site
    site.server.shutdown()
    site.server.server_close()


def get(site, folder, size=len(CONTENT), sha256=SHA, **kw):
    return download(f'{site.url}/data.zip', folder / 'data.zip', size, sha256, **dict(wait=0.01, progress=False) | kw)


def left(folder):
    return sorted(p.name for p in folder.iterdir())


GOOD = {
    'good at once': ([], [None]),
    'cut once': ([cut(300_000)], [None, 'bytes=300000-']),
    'cut again and again': ([cut(100_000)] * 5, [None, *(f'bytes={i}00000-' for i in range(1, 6))]),
    '500, then well': ([error(500)], [None, None]),
    'overloaded three times': ([error(503), error(429), error(502)], [None] * 4),
    'cut, then overloaded': ([cut(300_000), error(503)], [None, 'bytes=300000-', 'bytes=300000-']),
    'connection slammed': ([slam], [None, None]),
    'connection closed without an answer': ([hang_up], [None, None]),
    'stalled': ([cut(200_000, stall=2)], [None, 'bytes=200000-']),
    'no ranges': ([cut(300_000), lambda h, site: serve(h, site, ranges=False)], [None, 'bytes=300000-']),
}


@pytest.mark.parametrize('kind', GOOD)
def test_downloads_survive(site, tmp_path, kind):
    plan, ranges = GOOD[kind]
    site.plan = list(plan)
    assert get(site, tmp_path, timeout=0.5).read_bytes() == CONTENT
    assert site.ranges == ranges and left(tmp_path) == ['data.zip']


BAD = {
    '404': ([error(404)], 'the server answers 404', 1, False),
    '403': ([error(403)], 'the server answers 403', 1, False),
    'always 500': ([error(500)] * 9, r'the server answers 500 .* \(4 tries\)', 4, False),
    'always slammed': ([slam] * 9, r'the connection to 127.0.0.1 broke .* \(4 tries\)', 4, False),
    'cut, then always overloaded': ([cut(300_000), *[error(503)] * 9], r'\(4 tries\); 300,000 bytes are kept', 4, True),
    'always cut at the same place, no ranges': (
        [lambda h, site: serve(h, site, cut=300_000, ranges=False)] * 9,
        r'closed after 300,000 of 700,000 bytes \(4 tries\)',
        4,
        True,
    ),
    'a web page': ([page], r'offers 20 bytes \(text/html\) instead of 700,000: it is another file', 1, False),
    'another file of the same size': (
        [lambda h, site: serve(h, site, content=bytes(len(CONTENT)))],
        'the download is damaged .SHA-256 .* and was deleted',
        1,
        False,
    ),
}


@pytest.mark.parametrize('kind', BAD)
def test_downloads_that_cannot_be_are_one_sentence(site, tmp_path, kind):
    plan, message, requests, keeps = BAD[kind]
    site.plan = list(plan)
    with pytest.raises(LegalLLMError, match=message) as e:
        get(site, tmp_path)
    assert str(e.value).startswith(f'{site.url}/data.zip: ') and '\n' not in str(e.value) and len(site.log) == requests
    assert left(tmp_path) == (['data.zip.part'] if keeps else [])


def test_a_download_goes_on_from_an_earlier_session(site, tmp_path):
    site.plan = [cut(300_000), error(404)]
    with pytest.raises(LegalLLMError):
        get(site, tmp_path)
    assert (tmp_path / 'data.zip.part').read_bytes() == CONTENT[:300_000]
    assert get(site, tmp_path).read_bytes() == CONTENT and site.ranges[-1] == 'bytes=300000-'
    get(site, tmp_path)
    assert len(site.log) == 3  # it is there and right: nothing is asked
    (tmp_path / 'data.zip').write_bytes(CONTENT[:-1] + b'?')
    assert get(site, tmp_path).read_bytes() == CONTENT and len(site.log) == 4  # there and wrong: fetched again


@pytest.mark.parametrize('part', [CONTENT, CONTENT + b'more', b'?' + CONTENT[1:5000], b''])
@pytest.mark.parametrize('known', [True, False])
def test_whatever_an_earlier_session_left(site, tmp_path, part, known):
    """A part that is whole, too long, of another file, or empty ends in the right file, or in a refusal that deletes
    it; never in a wrong file
    """
    (tmp_path / 'data.zip.part').write_bytes(part)
    if part[:1] == b'?' or (not known and len(part) > len(CONTENT)):
        try:
            got = get(site, tmp_path, len(CONTENT) if known else None)
        except LegalLLMError as e:
            assert 'damaged' in str(e) and left(tmp_path) == []
        else:
            assert got.read_bytes() == CONTENT
    assert get(site, tmp_path, len(CONTENT) if known else None).read_bytes() == CONTENT and left(tmp_path) == [
        'data.zip'
    ]


def test_without_size_and_checksum_a_cut_is_still_noticed(site, tmp_path):
    site.plan = [cut(10_000)]
    assert get(site, tmp_path, None, '').read_bytes() == CONTENT and site.ranges == [None, 'bytes=10000-']


def test_no_internet_is_one_sentence(tmp_path, monkeypatch):
    def unknown(*args, **kw):
        raise socket.gaierror(socket.EAI_AGAIN, 'Temporary failure in name resolution')

    monkeypatch.setattr(socket, 'getaddrinfo', unknown)
    for name in [k for k in os.environ if k.lower().endswith('_proxy')]:
        monkeypatch.delenv(name)
    with pytest.raises(LegalLLMError, match=r'no internet connection \(cuad.invalid cannot be resolved\) \(4 tries\)'):
        download('https://cuad.invalid/data.zip', tmp_path / 'data.zip', wait=0, progress=False)


def test_a_full_disk_is_said_before_the_download(site, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda p: shutil._ntuple_diskusage(10**6, 10**6 - 1000, 1000))
    with pytest.raises(LegalLLMError, match='no room for 700,000 bytes'):
        get(site, tmp_path)


def test_the_server_says_how_long_to_wait(site, tmp_path):
    site.plan = [error(503, Retry_After='1')]
    start = time.monotonic()
    get(site, tmp_path)
    assert 0.9 < time.monotonic() - start < 5


# places


@pytest.fixture
def offline(monkeypatch, tmp_path):
    "Nothing is asked of the internet, and the hub's cache is empty"
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub-cache'))
    monkeypatch.delenv('LEGAL_LLM_INPUT', raising=False)


def platform(root, name=''):
    if name:
        (root / name).mkdir(parents=True, exist_ok=True)
    return environment(
        root, {'LEGAL_LLM_CACHE': str(root / 'cache'), **({'COLAB_RELEASE_TAG': '1'} if 'content' in name else {})}
    )


def statuses(source):
    return {p.name: p.status for p in source.places}


def test_kaggle_inputs(tmp_path, written, offline):
    save_squad(written, tmp_path / 'kaggle/input/datasets/legal/cuad/CUAD_v1/CUAD_v1.json')
    (tmp_path / 'kaggle/input/pictures').mkdir()
    for i in range(50):
        (tmp_path / f'kaggle/input/pictures/{i}.json').write_text('{}')
    found = find_source(here=platform(tmp_path, 'kaggle/working'))
    assert (
        found.kind == 'kaggle'
        and statuses(found) == {'path': 'skipped', 'Kaggle inputs': 'found'}
        and fingerprint(load_contracts(found.path)) == fingerprint(written)
    )
    assert found.places[-1].where == '/kaggle/input/datasets/legal/cuad/CUAD_v1/CUAD_v1.json' and str(
        tmp_path
    ) not in str(found)


def test_a_drive(tmp_path, written, offline):
    (tmp_path / 'drive.d').mkdir()
    zipped(tmp_path / 'CUAD_v1.zip', write_table(tmp_path / 'CUAD_v1', written))
    for name in ('content/drive/MyDrive/papers/law', 'content/drive/MyDrive/.Trash/CUAD_v1'):
        (tmp_path / name).mkdir(parents=True)
    here = platform(tmp_path, 'content/drive/MyDrive')
    save_squad(written, tmp_path / 'content/drive/MyDrive/.Trash/CUAD_v1/CUAD_v1.json')
    # what is in the bin is not found
    with pytest.warns(UserWarning, match='NOT CUAD'):
        assert find_source(here=here).kind == 'sample'
    (tmp_path / 'CUAD_v1.zip').rename(tmp_path / 'content/drive/MyDrive/papers/law/CUAD_v1.zip')
    found = find_source(here=here)
    assert found.kind == 'drive' and statuses(found) == {
        'path': 'skipped',
        'Kaggle inputs': 'skipped',
        'Drive': 'found',
    }
    assert fingerprint(load_contracts(found.path)) == fingerprint(written)


def test_a_drive_that_is_not_mounted_is_said(tmp_path, offline):
    with pytest.warns(UserWarning):
        found = find_source(here=platform(tmp_path, 'content'))
    assert [(p.status, 'drive.mount' in p.why) for p in found.places if p.name == 'Drive'] == [('not found', True)]


FOUND = {
    'whole': ('a/CUADv1.json', lambda f, cs: save_squad(cs, f / 'a/CUADv1.json')),
    'packed': ('CUAD_v1.json.gz', lambda f, cs: save_squad(cs, f / 'CUAD_v1.json.gz')),
    'zip by any name': (
        'x/my cuad copy.zip',
        lambda f, cs: (
            save_squad(cs, f / '../in/CUADv1.json'),
            (f / 'x').mkdir(),
            zipped(f / 'x/my cuad copy.zip', f / '../in'),
        ),
    ),
    'halves': (
        'h/train_separate_questions.json',
        lambda f, cs: (
            save_squad(cs[1:], f / 'h/train_separate_questions.json'),
            save_squad(cs[:1], f / 'h/test.json'),
        ),
    ),
    'table': ('deep/er/master_clauses.csv', lambda f, cs: write_table(f / 'deep/er', cs)),
    'parquet': ('cuad/qa.parquet', lambda f, cs: write_parquet(f / 'cuad/qa.parquet', cs)),
    'shards': (
        'cuad/data',
        lambda f, cs: (
            write_parquet(f / 'cuad/data/train-0.parquet', cs[1:]),
            write_parquet(f / 'cuad/data/test-0.parquet', cs[:1]),
        ),
    ),
}


@pytest.mark.parametrize('form', FOUND)
def test_every_form_is_found_and_read(tmp_path, written, offline, monkeypatch, form):
    where, make = FOUND[form]
    folder = tmp_path / 'inputs'
    (folder / 'other').mkdir(parents=True)
    for name in ('other/train.json', 'other/results.zip', 'other/data.zip', 'notes.csv'):
        (folder / name).write_bytes(b'no')
    make(folder, written)
    monkeypatch.setenv('LEGAL_LLM_INPUT', str(folder))
    found = find_source(here=platform(tmp_path / 'nowhere'))
    assert (
        found.kind == 'path'
        and found.path == folder / where
        and fingerprint(load_contracts(found.path)) == fingerprint(written)
    )


def test_the_search_is_bounded_and_says_so(tmp_path, written):
    for i in range(40):
        (tmp_path / f'd{i:02}').mkdir()
        (tmp_path / f'd{i:02}/x.txt').touch()
    save_squad(written, tmp_path / 'z/CUAD/v1/CUAD_v1.json')
    path, why = sources._search(tmp_path)
    assert path == tmp_path / 'z/CUAD/v1/CUAD_v1.json' and 'stopped' not in why
    assert sources._search(tmp_path, most=30) == (None, '31 entries looked at, then stopped')
    assert sources._search(tmp_path, seconds=-1)[0] is None and sources._search(tmp_path, deepest=2)[0] is None
    (tmp_path / 'loop').symlink_to(tmp_path)
    assert sources._search(tmp_path)[0] is not None


def test_damaged_zips_are_passed_over_and_named(tmp_path, offline):
    (tmp_path / 'kaggle/input/cuad').mkdir(parents=True)
    (tmp_path / 'kaggle/input/cuad/CUAD_v1.zip').write_bytes(b'PK\x03\x04 cut off')
    with pytest.warns(UserWarning):
        found = find_source(here=platform(tmp_path, 'kaggle/working'))
    assert 'CUAD_v1.zip is a damaged zip' in str(found)


def test_release_and_zenodo(tmp_path, written, site, offline, monkeypatch):
    """`auto` comes to the release after all before it, fetches it once, and uses its cache when offline; where it is
    gone, Zenodo's is taken
    """
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    monkeypatch.setattr(constants, 'ENDPOINT', site.url)
    save_squad(written, tmp_path / 'r/CUADv1.json')
    save_squad(written[:HALF], tmp_path / 'r/test.json')
    for name, target in (
        ('release', zipped(tmp_path / 'data.zip', tmp_path / 'r')),
        ('zenodo', zipped(tmp_path / 'CUAD_v1.zip', write_table(tmp_path / 'CUAD_v1', written))),
    ):
        raw = target.read_bytes()
        site.files[f'/{target.name}'] = raw
        monkeypatch.setitem(
            sources.REMOTES, name, Remote(f'{site.url}/{target.name}', len(raw), hashlib.sha256(raw).hexdigest())
        )
    here = platform(tmp_path / 'nowhere')
    found = find_source(here=here, progress=False)
    assert found.kind == 'release' and statuses(found) == {
        'path': 'skipped',
        'Kaggle inputs': 'skipped',
        'Drive': 'skipped',
        'hub': 'not found',
        'release archive': 'found',
    }
    contracts = load_contracts(found.path)
    assert fingerprint(contracts) == fingerprint(written) and sum(c.split == 'test' for c in contracts) == HALF
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    asked = len(site.log)
    for again in (find_source('release', here), find_source(here=here)):
        assert again.path == found.path and 'fetched before' in again.places[-1].why
    assert len(site.log) == asked
    found.path.write_bytes(b'damaged on the disk')
    with pytest.raises(LegalLLMError, match='release archive, .*HF_HUB_OFFLINE is set'):
        find_source('release', here)
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    del site.files['/data.zip']
    found = find_source(here=here, progress=False)
    assert found.kind == 'zenodo' and fingerprint(load_contracts(found.path)) == fingerprint(written)
    assert [p.why[:26] for p in found.places if p.name == 'release archive'] == ['the server answers 404 (No']
    with pytest.raises(LegalLLMError, match='release archive, .*the server answers 404'):
        find_source('release', here, progress=False)
    assert find_source('zenodo', here).path == found.path


def test_an_archive_that_was_exchanged_is_refused(tmp_path, site, monkeypatch):
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    monkeypatch.setitem(sources.REMOTES, 'release', Remote(f'{site.url}/data.zip', len(CONTENT), 'f8161d18' + '0' * 56))
    with pytest.raises(LegalLLMError, match='SHA-256 .* instead of f8161d180000'):
        find_source('release', platform(tmp_path), progress=False)
    assert left(tmp_path / 'cache/cuad') == []


def test_the_addresses_are_whole():
    for remote in sources.REMOTES.values():
        assert re.fullmatch('[0-9a-f]{64}', remote.sha256) and remote.size > 10**7 and remote.url.endswith('.zip')
    assert re.fullmatch('[0-9a-f]{40}', sources.HUB['revision'])


HUB_SCRIPT = '''
import json, sys
from legal_llm.contracts import sources
sources.HUB_SIZE = int(sys.argv[1])
try: found = sources.find_source('hub', progress=False); print(json.dumps([found.kind, str(found.path), found.places[-1].why]))
except sources.LegalLLMError as e: print(json.dumps(['error', str(e)]))
'''  # noqa: E501


def test_the_hub(tmp_path, written, site):
    """The hub's own client, against a stand-in for the hub: the right repository, file and revision, the size checked,
    the cache used when offline, no script and no listing ever asked for
    """
    raw = save_squad(written, tmp_path / 'x.json').read_bytes()
    where = f"/datasets/theatticusproject/cuad/resolve/{sources.HUB['revision']}/CUAD_v1/CUAD_v1.json"
    site.files[where] = raw
    headers = [
        ('ETag', f'"{hashlib.sha256(raw).hexdigest()}"'),
        ('X-Repo-Commit', sources.HUB['revision']),
        ('Accept-Ranges', 'bytes'),
    ]
    site.plan = [lambda h, s: serve(h, s, headers=headers)] * 9

    def hub(size=len(raw), **env):
        env = {
            **os.environ,
            'HF_ENDPOINT': site.url,
            'HF_HOME': str(tmp_path / 'home'),
            'HF_HUB_OFFLINE': '0',
            'HF_HUB_DISABLE_TELEMETRY': '1',
            'HF_HUB_DISABLE_PROGRESS_BARS': '1',
            **env,
        }
        for name in ('HF_HUB_CACHE', 'HF_TOKEN'):
            env.pop(name, None)
        done = subprocess.run(
            [sys.executable, '-c', HUB_SCRIPT, str(size)], env=env, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    kind, path, why = hub()
    assert kind == 'hub' and fingerprint(load_contracts(path)) == fingerprint(written) and 'revision a3c393f5' in why
    assert {p for _, p, _ in site.log} == {where}
    assert hub(HF_HUB_OFFLINE='1')[0] == 'hub'
    assert (
        'instead of 40,128,638: it' not in hub(40_128_638)[1]
        and f'{len(raw):,} bytes instead of 40,128,638' in hub(40_128_638)[1]
    )
    site.plan = []
    site.files.clear()
    gone = hub(HF_HOME=str(tmp_path / 'other'))
    assert (
        gone[0] == 'error'
        and gone[1].startswith('hub, theatticusproject/cuad: CUAD_v1/CUAD_v1.json: ')
        and '\n' not in gone[1]
    )
    start = time.monotonic()
    unreachable = hub(HF_HOME=str(tmp_path / 'other'), HF_ENDPOINT='http://127.0.0.1:9')
    assert unreachable == [
        'error',
        'hub, theatticusproject/cuad: CUAD_v1/CUAD_v1.json: 127.0.0.1 refuses the connection',
    ]
    assert time.monotonic() - start < 20  # the hub's client alone takes 24 seconds
    assert 'HF_HUB_OFFLINE is set' in hub(HF_HOME=str(tmp_path / 'other'), HF_HUB_OFFLINE='1')[1]


def test_named_sources_and_the_sample(tmp_path, written, offline):
    here = platform(tmp_path / 'nowhere')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        sample = find_source('sample', here)  # who asks for the sample needs no warning, and is told all the same
        given = find_source(str(save_squad(written, tmp_path / 'my contracts.json')), here)
    assert (
        sample.kind == 'sample'
        and sample.path is None
        and 'NOT CUAD' in str(sample)
        and 'NOT CUAD' in sample._repr_markdown_()
    )
    assert given.kind == 'path' and len(load_contracts(given.path)) == 6
    with pytest.warns(UserWarning, match='CUAD was found in no place. SAMPLE: synthetic contracts, NOT CUAD'):
        nothing = find_source(here=here)
    assert (
        nothing.kind == 'sample'
        and [p.status for p in nothing.places] == ['skipped'] * 6 + ['found']
        and nothing._repr_markdown_().count('\n| ') == 8
    )
    for word in ('hub', 'release', 'zenodo'):
        with pytest.raises(LegalLLMError, match='HF_HUB_OFFLINE is set'):
            find_source(word, here)
    with pytest.raises(
        LegalLLMError,
        match='Hub: no such file or folder; give the path of CUAD, or one of the words auto, hub, release, zenodo, '
        'sample',
    ):
        find_source('Hub', here)


# labels of one's own

BODY = (
    'LEASE\n\nBaker lets the shop at 4 Mill Lane to Carver. '
    + 'The rent is paid on the first day of each month. ' * 6
    + 'The tenant may keep\n   one cat. '
    + SPECIAL
    + '\n\nThis lease is governed by the laws of Oregon.\n'
)


def write_labels(path, rows):
    if path.suffix == '.csv':
        out = io.StringIO(newline='')
        w = csv.DictWriter(out, ['contract', 'category', 'quote', 'title'])
        w.writeheader()
        w.writerows(rows)
        path.write_bytes(out.getvalue().encode())
    else:
        path.write_text('\n'.join(json.dumps(r) for r in rows) + '\n', encoding='utf-8')
    return path


@pytest.mark.parametrize('suffix', ['.jsonl', '.csv'])
@pytest.mark.parametrize('inline', [True, False])
def test_labels(tmp_path, suffix, inline):
    (tmp_path / 'leases').mkdir()
    (tmp_path / 'leases/baker.txt').write_bytes(BODY.encode())
    where = BODY if inline else 'leases/baker.txt'
    quotes = {
        'GOVERNING LAW': 'governed by the laws of Oregon',
        'Pets': 'the tenant may keep one cat.',
        'Insurance': SPECIAL,
        'Rent': '',
    }
    path = write_labels(
        tmp_path / f'labels{suffix}', [dict(contract=where, category=k, quote=q) for k, q in quotes.items()]
    )
    (contract,) = load_labels(path)
    assert contract.text == BODY and contract.title == ('labels 1' if inline else 'baker')
    assert [(c.category, c.text) for c in contract.clauses] == [
        ('Governing Law', 'governed by the laws of Oregon'),
        ('Insurance', SPECIAL),
        ('Pets', 'The tenant may keep\n   one cat.'),
    ]
    mine = label_categories([contract], {'Pets': 'animals in the house'})
    assert (
        [c.name for c in mine] == ['Governing Law', 'Insurance', 'Pets']
        and mine[0] is CATEGORY['Governing Law']
        and mine[2].gloss == 'animals in the house'
    )
    assert validate([contract], categories=mine) == [] and [p['reason'] for p in validate([contract])] == [
        "unknown category 'Pets'"
    ]


def test_labels_that_are_wrong_are_quarantined_with_their_line(tmp_path):
    (tmp_path / 'baker.txt').write_text(BODY)
    (tmp_path / 'latin.txt').write_bytes('©'.encode('latin-1'))
    (tmp_path / 'short.txt').write_text('Pets are welcome.')
    good = dict(contract='baker.txt', category='Pets', quote='may keep one cat')
    lines = [
        good,
        good | dict(quote='may keep a whole pack of wolves'),
        '{"contract": "baker.txt", ',
        '["a"]',
        good | dict(contract='gone.txt'),
        good | dict(contract='latin.txt'),
        good | dict(category=' '),
        good | dict(quote=[7]),  # a number alone is text, as in tables of other kinds
        dict(contract='baker.txt', quote='cat'),
        good | dict(contract='short.txt', quote='Pets'),
        good | dict(contract=' '),
        good | dict(contract=BODY + 'x', title='baker'),
        good | dict(contract=BODY + '\udc80'),
    ]
    (tmp_path / 'labels.jsonl').write_text('\n\n'.join(x if isinstance(x, str) else json.dumps(x) for x in lines))
    problems = []
    (contract,) = load_labels(tmp_path / 'labels.jsonl', quarantine=problems, max_bad=1)
    assert [c.text for c in contract.clauses] == ['may keep\n   one cat']
    assert sorted(((p['record'], p['reason'][:26]) for p in problems), key=str) == sorted(
        [
            ('line 3', 'the quote is not in the co'),
            ('line 5', 'not a JSON object (Expecti'),
            ('line 7', 'expected an object, found '),
            ('line 9', "'gone.txt' cannot be read "),
            ('line 11', "'latin.txt' is not a text "),
            ('line 13', 'the category is empty'),
            ('line 15', "the field 'quote' should b"),
            ('line 17', "the field 'category' is mi"),
            ('short', 'the contract has 3 words, '),
            ('line 21', "the contract's text is emp"),
            ('line 23', "the title 'baker' has anot"),
            ('line 25', 'the text, the title or the'),
        ],
        key=str,
    )
    with pytest.raises(LegalLLMError, match='% of the records are bad'):
        load_labels(tmp_path / 'labels.jsonl', quarantine=[])
    with pytest.raises(LegalLLMError, match='labels.jsonl: line 3: the quote is not in the contract'):
        load_labels(tmp_path / 'labels.jsonl')


def test_labels_are_held_to_given_categories(tmp_path):
    pets = Category('Pets', 'animals in the house', 'May the tenant keep animals?')
    rows = [
        dict(contract=BODY, category=k, quote='may keep one cat') for k in ('pets', 'PETS', 'Pest', 'Governing Law')
    ]
    problems = []
    (contract,) = load_labels(write_labels(tmp_path / 'l.jsonl', rows), (pets,), problems, 1)
    assert {c.category for c in contract.clauses} == {'Pets'} and [p['reason'] for p in problems] == [
        "unknown category 'Pest'",
        "unknown category 'Governing Law'",
    ]


def test_labels_say_what_was_guessed(tmp_path):
    rows = [
        dict(contract=BODY, category='Rent', quote=q)
        for q in ('The rent is paid on the first day', 'the rent is payed on the frist day of each month', 'one cat')
    ]
    with pytest.warns(UserWarning) as said:
        load_labels(write_labels(tmp_path / 'l.csv', rows))
    text = ' '.join(str(w.message) for w in said)
    assert (
        '1 quotes were located approximately, first in line' in text
        and '1 quotes occur more than once in their contracts, first in line' in text
        and len(said) == 2
    )


@pytest.mark.parametrize(
    'raw, name, message',
    [
        (
            b'contract,quote\na,b\n',
            'l.csv',
            "the column 'category' is missing; expected the heading contract,category,quote,title",
        ),
        (b'', 'l.csv', "the column 'contract' is missing"),
        (b'', 'l.jsonl', 'no labels in it'),
        (b'\xff', 'l.jsonl', 'not a text file in UTF-8'),
        (None, 'l.jsonl', 'no such file'),
        (b'<html>', 'l.jsonl', 'not a JSON object'),
    ],
)
def test_files_that_are_no_labels_are_refused(tmp_path, raw, name, message):
    if raw is not None:
        (tmp_path / name).write_bytes(raw)
    with pytest.raises(LegalLLMError, match=re.escape(message)):
        load_labels(tmp_path / name, quarantine=[])


@pytest.mark.filterwarnings('ignore:.*lack some of the 2 questions')
def test_own_categories_go_all_the_way(tmp_path):
    """From labels to a saved file and back, to gold answers, counts and the prompt; nothing is lost on the way, and a
    plain call refuses rather than lose
    """
    rows = [
        dict(contract=BODY, category=k, quote=q, title='Baker')
        for k, q in (('Pets', 'may keep one cat'), ('Governing Law', 'the laws of Oregon'))
    ]
    labelled = load_labels(write_labels(tmp_path / 'l.jsonl', rows))
    mine = label_categories(labelled)
    back = load_contracts(save_squad(labelled, tmp_path / 'mine.json', mine))
    assert fingerprint(back) == fingerprint(labelled) and back[0].spans('Pets') == back[0].spans(mine[1]) == labelled[
        0
    ].spans('Pets')
    assert gold_answers(back, mine) == {
        'Baker__Governing Law': ['the laws of Oregon'],
        'Baker__Pets': ['may keep\n   one cat'],
    }
    assert (
        corpus_stats(back, mine).by_category == {'Governing Law': (1, 1), 'Pets': (1, 1)}
        and corpus_stats(back, mine).questions == 2
    )
    assert '<span title="Pets"' in back[0]._repr_html_()
    for f in (gold_answers, corpus_stats, to_squad):
        with pytest.raises(LegalLLMError, match="category 'Pets', which would be lost"):
            f(back)
    with pytest.raises(LegalLLMError, match='one of the 2 category names'):
        load_contracts(tmp_path / 'mine.json', categories=(CATEGORY['Parties'], CATEGORY['Governing Law']))
    with pytest.raises(LegalLLMError, match="'Pest' is not one of the 41"):
        back[0].spans('Pest')
    assert back[0].spans(Category('Pest', '', '')) == [] == back[0].spans('Parties')
    (tmp_path / 'bad.json').write_text(json.dumps(to_squad(labelled, mine) | dict(categories=['Pets'])))
    with pytest.raises(LegalLLMError, match='its "categories" should be a list'):
        load_contracts(tmp_path / 'bad.json')


def test_own_categories_can_be_asked():
    from legal_llm.pipeline.models import load_tokenizer

    (pets,) = (c for c in label_categories([Contract('a', 'x', [Clause('Pets', 0, 'x')])]))
    tokenizer = load_tokenizer('smollm2')
    assert '"Pets" (clause on pets)' in tokenizer.decode(ask_prompt(tokenizer, 'One cat is allowed.', pets))


# the real thing


@pytest.fixture(scope='module')
def cuad():
    path = find_dev_cuad()
    if path is None:
        pytest.skip('CUAD is not on this machine: set LEGAL_LLM_CUAD to its JSON file')
    return load_contracts(path)


def test_the_training_contracts_rebuilt_from_table_and_texts(cuad, tmp_path):
    """Quotes as the release has them, with other white space, and joined by <omitted>: the same contracts, nothing in
    quarantine
    """
    folder = write_table(tmp_path / 'CUAD_v1', cuad, quote=lambda t: ' '.join(t.split()))
    start, quarantine = time.perf_counter(), []
    contracts = load_contracts(folder, quarantine)
    seconds = time.perf_counter() - start
    assert quarantine == [] and fingerprint(contracts) == fingerprint(cuad) and validate(contracts) == []
    assert seconds < 30, f'{seconds:.1f} s'


def test_the_training_contracts_from_parquet(cuad, tmp_path):
    write_parquet(tmp_path / 'cuad.parquet', cuad[:120])
    assert fingerprint(load_contracts(tmp_path / 'cuad.parquet')) == fingerprint(cuad[:120])


def test_the_training_contracts_pass_every_check(cuad):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert validate(cuad) == []


def test_labels_that_would_mislead_are_said(tmp_path, written):
    text = written[0].text

    def read(rows, quarantine=None):
        (tmp_path / 'l.jsonl').write_text(
            '\n'.join(
                json.dumps(dict(dict(contract=text, title='T', category='Pets', quote=text[5:60]), **r)) for r in rows
            )
        )
        return load_labels(tmp_path / 'l.jsonl', quarantine=quarantine, max_bad=1)

    (one,) = read([dict(category='Data Protection'), dict(category='data protection', quote=text[70:120])])
    assert {c.category for c in one.clauses} == {'Data Protection'}  # one spelling each
    for row, message in (
        (dict(category='A__Fee'), '__'),
        (dict(contract='nda.pdf'), 'there is no file nda.pdf'),
        (dict(category='Pr\ud800'), 'half a character'),
    ):
        problems = []
        read([{}, row], problems)
        assert len(problems) == 1 and message in problems[0]['reason'], row
    with pytest.raises(LegalLLMError, match='no labels in it'):
        read([dict(quote='')])
