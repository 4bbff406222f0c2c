"Many documents: places, the table of all results, and workers on Ray that are killed, stopped and left alone"

import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from legal_llm.cli import main
from legal_llm.machine import places
from legal_llm.machine.files import LegalLLMError
from legal_llm.machine.places import place, walk, write_whole
from legal_llm.pipeline.review import Extraction, Review
from legal_llm.serving.folder import find_documents, review_documents
from legal_llm.serving.results import ExtractionTable

pytestmark = pytest.mark.xdist_group('ray')
TEXTS = (
    'Acme Inc. sells.',
    'Bolt Ltd. buys.',
    'Core LLC rents.',
    'Dart AG lends.',
    'Echo SA leases.',
    'Flux BV licenses.',
)


class Everything:
    "Finds the first word of any contract; does harm where a text says so."

    name = 'a stand-in'

    def extract(self, document, progress=None):
        word, _, rest = document.text.partition(' ')
        if word == 'WAIT' and not (marker := Path(rest.strip())).exists():
            write_whole(marker, str(os.getpid()))
            time.sleep(60)
        if word == 'FOREVER':
            time.sleep(600)
        if word == 'DEADLY':
            os.kill(os.getpid(), signal.SIGKILL)
        quotes = [Extraction('Parties', word, 0, len(word), 0.9)]
        return Review(document.title, document.text, quotes, ('Parties',), pages=document.pages)


class Together(Everything):
    documents_at_once = 3

    def extract_all(self, documents):
        assert len(documents) > 1
        if any('alone' in d.text for d in documents):
            raise RuntimeError('too large together')
        return [self.extract(d) for d in documents]


def read(path):
    text = path.read_text()
    if text.startswith('ENDLESS'):
        time.sleep(600)
    return SimpleNamespace(text=text, title=path.stem, pages=(0,), notes=())


def fill(room, texts=TEXTS):
    for i, text in enumerate(texts):
        write_whole(room / f'd{i % 2}' / f'c{i}.txt', text)
    return room


def review(room, out, extractor=Everything, **options):
    return review_documents(find_documents(room, ['.txt']), out, extractor, read, progress=False, **options)


def results(out) -> dict:
    "What was written, but for seconds and what names a part"
    said = {}
    for name, path in walk(place(out)):
        if name.endswith('.json') and name != 'manifest.json':
            said[name] = {k: v for k, v in json.loads(place(path).read_text()).items() if k != 'seconds'}
    return dict(said, table=ExtractionTable(out).read().to_pylist(), csv=(place(out) / 'clauses.csv').read_bytes())


@pytest.fixture(scope='module')
def ray():
    "A cluster of this machine, whose workers know this file by its content"
    ray = pytest.importorskip('ray', reason='the workers need Ray: pip install "legal_llm[scale]"')
    from legal_llm.serving.scale import _ray

    assert _ray() is ray
    os.environ |= S3
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init('local', num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
    yield ray
    ray.shutdown()


# --- without workers


def test_results_here_and_in_a_bucket_are_the_same(tmp_path):
    pytest.importorskip('upath', reason='addresses need universal-pathlib: pip install "legal_llm[scale]"')
    import fsspec

    fsspec.filesystem('memory').store.clear()
    here, there = fill(tmp_path / 'room'), fill(place('memory://room'))
    write_whole(there / '.hidden.txt', 'nobody')
    local, remote = review(here, tmp_path / 'out'), review(there, 'memory://out')
    assert local.done == remote.done and len(local.done) == len(TEXTS) and 'memory://out' in str(remote)
    assert results(tmp_path / 'out') == results('memory://out')
    again = review(there, 'memory://out')
    assert again.reused == remote.done and not again.done and again.rows == remote.rows == len(TEXTS)
    write_whole(there / 'd0' / 'c0.txt', 'Apex now.')
    (there / 'd1' / 'c1.txt').unlink()
    (place('memory://out') / 'd1' / 'c3.txt.json').unlink()
    (there / 'd1' / 'c3.txt').unlink()
    changed = review(there, 'memory://out')
    rows = ExtractionTable('memory://out').read().to_pylist()
    assert changed.done == ['d0/c0.txt'] and changed.rows == len(rows) == len(TEXTS) - 1
    assert [r['quote'] for r in rows if r['file'] == 'd0/c0.txt'] == ['Apex']
    assert 'd1/c1.txt' in str(rows), 'what has a result has rows'
    assert 'd1/c3.txt' not in str(rows), 'and what has none has none'


def test_the_table_is_read_as_the_how_to_says(root, tmp_path, monkeypatch):
    review(fill(tmp_path / 'room'), tmp_path / 'reviews')
    cells = json.loads((root / 'nbs/howto.ipynb').read_text())['cells']
    (code,) = re.findall(r'```python\n(.*?)```', ''.join(''.join(c['source']) + '\n' for c in cells), re.S)
    monkeypatch.chdir(tmp_path)
    exec(code.replace('Governing Law', 'Parties').replace('\nclauses[', '\nshown = clauses['), made := {})
    assert sorted(made['shown'].quote) == sorted(t.split()[0] for t in TEXTS)


def test_addresses_that_lead_nowhere(tmp_path):
    pytest.importorskip('upath', reason='addresses need universal-pathlib: pip install "legal_llm[scale]"')
    with pytest.raises(LegalLLMError, match='correct the address'):
        place('nowhere://room')
    with pytest.raises(LegalLLMError, match='there is no file or folder'):
        find_documents('memory://empty-room', ['.txt'])


def test_a_place_without_a_rename_shows_no_half_file(tmp_path, monkeypatch):
    "What is no object store gets a file under another name first, and keeps nothing of one that fails"
    pytest.importorskip('upath', reason='addresses need universal-pathlib: pip install "legal_llm[scale]"')
    monkeypatch.setattr(places, '_STORES', set())
    target = place('memory://slow/deep/a.txt')
    write_whole(target, 'whole')
    assert target.read_text() == 'whole'
    monkeypatch.setattr(type(target.fs), 'mv', lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, 'broken')))
    with pytest.raises(LegalLLMError, match='cannot be read or written .*broken'):
        write_whole(target, 'other')
    assert target.read_text() == 'whole' and [p.name for p in target.parent.iterdir()] == ['a.txt']


NAMES = ['lease[1].txt', 'what?*.txt', 'a b #%.txt', 'é' * 100 + '.txt', '👩‍⚖️' * 15 + '.txt', 'x' * 251 + '.txt']


@pytest.mark.parametrize('kind', ['disk', 'store', 'slow'])
def test_odd_names(tmp_path, monkeypatch, kind):
    "Patterns, signs, long names, and on a disk bytes that are no characters"
    if kind != 'disk':
        pytest.importorskip('upath', reason='addresses need universal-pathlib: pip install "legal_llm[scale]"')
        import fsspec

        fsspec.filesystem('memory').store.clear()
    if kind == 'slow':
        monkeypatch.setattr(places, '_STORES', set())
    base = tmp_path if kind == 'disk' else place('memory://odd')
    for i, name in enumerate(NAMES):
        write_whole(base / 'room' / name, f'Party{i} sells.') if len(os.fsencode(name)) < 256 else None
    others = [n for n in NAMES if len(os.fsencode(n)) < 256]
    if kind == 'disk':
        (tmp_path / 'room' / os.fsdecode(b'z\xff.txt')).write_text('Zed sells.')
        (tmp_path / 'room' / os.fsdecode(b'z\xff.jpg')).write_text('no document')
        others.append(os.fsdecode(b'z\xff.txt'))
    left_out = []
    for call in ('done', 'reused'):
        documents = find_documents(base / 'room', ['.txt'], left_out=left_out)
        report = review_documents(documents, base / 'out', Everything, read, left_out=left_out, progress=False)
        assert sorted(getattr(report, call)) == sorted(others) and not report.failed
        assert report.rows == len(others)
    write_whole(base / 'room' / 'what?*.txt', 'ENDS')
    (base / 'room' / 'what1.txt').write_text('One sells.')
    assert len(review(base / 'room', base / 'out').done) == 2
    monkeypatch.setattr(Everything, 'extract', lambda *_, **__: 1 / 0)
    write_whole(base / 'room' / 'what?*.txt', 'fails')
    assert list(review(base / 'room', base / 'out').failed) == ['what?*.txt']
    assert (base / 'out' / 'what1.txt.json').exists() and not (base / 'out' / 'what?*.txt.json').exists()


def test_what_cannot_be_reached_now_keeps_its_result(tmp_path, monkeypatch):
    room = fill(tmp_path / 'room')
    review(room, tmp_path / 'out')
    whole = results(tmp_path / 'out')

    def broken(path):
        raise OSError(errno.EIO, 'the cable is out')

    monkeypatch.setattr('legal_llm.serving.outcomes.sha256_of', broken)
    report = review(room, tmp_path / 'out')
    assert len(report.failed) == len(TEXTS) and report.rows == len(TEXTS)
    monkeypatch.undo()
    assert len(review(room, tmp_path / 'out').reused) == len(TEXTS) and results(tmp_path / 'out') == whole, (
        'and nothing is left of the failure'
    )


def test_calls_add_up(tmp_path):
    "One document after the other into one folder; a folder of folders that was reviewed in part; itself as the place"
    room = fill(tmp_path / 'room')
    for name in ('d0/c0.txt', 'd0/c2.txt'):
        report = review(room / name, tmp_path / 'out')
    assert report.rows == 2 and {r['file'] for r in ExtractionTable(tmp_path / 'out').read().to_pylist()} == {
        'c0.txt',
        'c2.txt',
    }
    review(room / 'd1', tmp_path / 'all' / 'd1')
    (tmp_path / 'all' / 'd1' / 'clauses.csv').unlink()
    report = review(room, tmp_path / 'all')
    assert len(report.reused) == 3 and len(report.done) == 3 and report.rows == 6
    assert len(review(room, room).done) == 6 and len(review(room, room).reused) == 6
    with pytest.raises(LegalLLMError, match='two folders'):
        review([room / 'd0', room / 'd1' / 'c1.txt', fill(tmp_path / 'other') / 'd1' / 'c1.txt'], tmp_path / 'two')


def test_a_full_disk_ends_the_work_and_loses_nothing(tmp_path, monkeypatch):
    room, room_left = fill(tmp_path / 'room'), [3]
    real = places.atomic_write

    def full(path, data):
        if not room_left[0]:
            raise OSError(errno.ENOSPC, 'No space left on device')
        room_left[0] -= 1
        return real(path, data)

    monkeypatch.setattr(places, 'atomic_write', full)
    with pytest.raises(LegalLLMError, match='no room left in .* run the same command again'):
        review(room, tmp_path / 'out')
    monkeypatch.undo()
    report = review(room, tmp_path / 'out')
    assert len(report.reused) == 3 and len(report.done) == len(TEXTS) - 3 and report.rows == len(TEXTS)


def test_documents_are_read_together_where_one_does_not_fill_a_gpu(tmp_path):
    alone = fill(tmp_path / 'room', (*TEXTS, 'Gold Inc. stays alone.'))
    assert review(alone, tmp_path / 'one').done == review(alone, tmp_path / 'three', Together).done
    assert results(tmp_path / 'one') == results(tmp_path / 'three')


def test_extract_all_says_what_extract_says():
    from legal_llm.contracts.synthetic import write_contracts
    from legal_llm.pipeline.extract import Extractor

    extractor = Extractor.load()
    texts = [c.text for c in write_contracts(2, seed=11, words=400)]
    for text, made in zip(texts, extractor.extract_all(texts)):
        one = extractor.extract(text)
        assert (made.read, made.sentences) == (one.read, one.sentences) and made.read
        for a, b in zip(made.extractions, one.extractions, strict=True):
            assert (a.category, a.start, a.end) == (b.category, b.start, b.end)
            assert a.confidence == pytest.approx(b.confidence, abs=0.02)


MILLION = """
import re, time
import fsspec
from fsspec.spec import AbstractFileSystem

class MadeUp(AbstractFileSystem):
    protocol = 'madeup'

    def ls(self, path, detail=True, **_):
        path = self._strip_protocol(path).rstrip('/')
        inside = 1000 if path.count('/') == 1 else 500
        if path.count('/') == 0:
            return [dict(name=f'{path}/{i:04}', type='directory', size=0) for i in range(2)]
        kind = 'directory' if inside == 1000 else 'file'
        return [dict(name=f'{path}/{i:04}' + '.txt' * (kind == 'file'), type=kind, size=9) for i in range(inside)]

    def info(self, path, **_):
        return dict(name=path, type='directory', size=0)

fsspec.register_implementation('madeup', MadeUp)
from legal_llm.serving.folder import find_documents

begun = time.perf_counter()
documents = find_documents('madeup://room', ['.txt'])
first = next(documents)
took = time.perf_counter() - begun
n = 1 + sum(1 for _ in documents)
print(n, took, int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 2**20, first[1])
"""


def test_a_million_documents_are_begun_with_at_once():
    pytest.importorskip('upath', reason='addresses need universal-pathlib: pip install "legal_llm[scale]"')
    said = subprocess.run([sys.executable, '-c', MILLION], capture_output=True, text=True, check=True).stdout.split()
    n, first, gigabytes, path = int(said[0]), float(said[1]), float(said[2]), said[3]
    assert n == 1_000_000 and first < 10 and gigabytes < 1 and path == 'madeup://room/0000/0000/0000.txt'


def test_workers_need_ray(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(LegalLLMError, match=r"pip install 'legal_llm\[scale\]'"):
        review(fill(tmp_path / 'room'), tmp_path / 'out', workers=2)


# --- with workers


def test_workers_write_what_one_process_writes(ray, tmp_path):
    room = fill(tmp_path / 'room', [f'Party{i} Inc. sells.' for i in range(30)])
    (room / 'gone.txt').write_bytes(b'\xff\xfe\x00')
    one, two = review(room, tmp_path / 'one'), review(room, tmp_path / 'two', workers=2)
    assert sorted(one.done) == sorted(two.done) and one.failed == two.failed and list(one.failed) == ['gone.txt']
    assert results(tmp_path / 'one') == results(tmp_path / 'two')
    again = review(room, tmp_path / 'two', workers=2)
    assert sorted(again.reused) == sorted(one.done) and not again.done
    together = review(room, tmp_path / 'three', Together, workers=2)
    assert sorted(together.done) == sorted(one.done) and results(tmp_path / 'three') == results(tmp_path / 'one')


def test_a_killed_worker_loses_nothing(ray, tmp_path):
    marker = tmp_path / 'marker'
    room = fill(tmp_path / 'room', (*TEXTS, f'WAIT {marker}'))

    def kill():
        while not marker.exists():
            time.sleep(0.05)
        os.kill(int(marker.read_text()), signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    report = review(room, tmp_path / 'out', workers=2)
    assert len(report.done) == len(set(report.done)) == len(TEXTS) + 1 and not report.failed


def test_a_document_that_ends_processes_is_given_up(ray, tmp_path):
    report = review(fill(tmp_path / 'room', (*TEXTS, 'DEADLY')), tmp_path / 'out', workers=2)
    assert len(report.done) == len(TEXTS) and list(report.failed) == ['d0/c6.txt']
    assert '3 processes ended' in report.failed['d0/c6.txt']
    assert (
        json.loads((tmp_path / 'out' / 'd0' / 'c6.txt.failed.json').read_text())['error'] == report.failed['d0/c6.txt']
    )


@pytest.mark.slow
def test_a_document_that_takes_for_ever_is_stopped(ray, tmp_path, monkeypatch):
    monkeypatch.setattr('legal_llm.serving.scale.START', 5)
    room = fill(tmp_path / 'room', (*TEXTS, 'FOREVER and a day', 'ENDLESS reading'))
    report = review(room, tmp_path / 'out', workers=2, timeout=10)
    assert len(report.done) == len(TEXTS) and sorted(report.failed) == ['d0/c6.txt', 'd1/c7.txt']
    assert all('longer than 10 s' in why for why in report.failed.values())
    manifest = json.loads((tmp_path / 'out' / 'manifest.json').read_text())
    assert manifest['failed'] == report.failed and manifest['documents'] == dict(reviewed=6, reused=0, failed=2)


@pytest.mark.slow
def test_a_slow_list_is_no_slow_document(ray, tmp_path, monkeypatch):
    "What was finished while nobody looked is not taken for overdue"
    monkeypatch.setattr('legal_llm.serving.scale.START', 1)
    room = fill(tmp_path / 'room')

    def slowly():
        for i, document in enumerate(find_documents(room, ['.txt'])):
            yield document
            time.sleep(22 * (i == 2))

    report = review_documents(slowly(), tmp_path / 'out', Everything, read, workers=2, timeout=20, progress=False)
    assert not report.failed
    assert len(report.done) == len(TEXTS)


def test_workers_write_where_the_call_stands(ray, tmp_path, monkeypatch):
    "A relative folder is that of the caller, not of the cluster"
    fill(tmp_path / 'room')
    monkeypatch.chdir(tmp_path)
    report = review('room', 'out', workers=2)
    assert len(report.done) == len(TEXTS) and len(list((tmp_path / 'out').rglob('c*.txt.json'))) == len(TEXTS)


def test_shares_fit_the_nodes():
    from legal_llm.serving.scale import worker_share

    def nodes(*resources):
        return SimpleNamespace(nodes=lambda: [dict(Alive=True, Resources=r) for r in resources])

    assert worker_share(nodes(dict(CPU=1), dict(CPU=1)), 1) == dict(num_cpus=1.0, num_gpus=0.0)
    assert worker_share(nodes(*[dict(CPU=2)] * 3), 2) == dict(num_cpus=2.0, num_gpus=0.0)
    assert worker_share(nodes(dict(CPU=8, GPU=2)), 3) == dict(num_cpus=2.0, num_gpus=0.5)
    assert worker_share(nodes(dict(CPU=8, GPU=2)), 2) == dict(num_cpus=4.0, num_gpus=1.0)
    assert worker_share(nodes(dict(CPU=2)), 4) == dict(num_cpus=0.5, num_gpus=0.0)


def test_no_cluster_answers(monkeypatch, tmp_path):
    ray = pytest.importorskip('ray', reason='the workers need Ray: pip install "legal_llm[scale]"')
    monkeypatch.setattr(ray, 'is_initialized', lambda: False)
    with pytest.raises(LegalLLMError, match='no Ray cluster answers at 127.0.0.1:9 .*correct --address'):
        review(fill(tmp_path / 'room'), tmp_path / 'out', workers=2, address='127.0.0.1:9')


@pytest.mark.slow
def test_no_document_is_to_blame(ray, tmp_path):
    "A model that cannot be loaded, and a disk that is full, end the work in one sentence"

    def broken():
        raise LegalLLMError('no adapter')

    room = fill(tmp_path / 'room')
    with pytest.raises(LegalLLMError, match='no adapter'):
        review(room, tmp_path / 'out', broken, workers=2)
    assert not list((tmp_path / 'out').rglob('*.failed.json'))
    small = tmp_path / 'small'
    small.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=16k', 'none', small], capture_output=True).returncode:
        pytest.skip('a small disk is mounted for this, which only root may do')
    try:
        with pytest.raises(LegalLLMError, match='no room left'):
            review(room, small / 'out', workers=2)
        subprocess.run(['mount', '-o', 'remount,size=1m', small], check=True)
        report = review(room, small / 'out', workers=2)
        assert len(report.done) + len(report.reused) == len(TEXTS) and report.reused and report.rows == len(TEXTS)
    finally:
        subprocess.run(['umount', '-l', small])


S3 = dict(AWS_ACCESS_KEY_ID='test', AWS_SECRET_ACCESS_KEY='test', AWS_ENDPOINT_URL='http://127.0.0.1:5123')


def test_a_bucket(ray, tmp_path):
    "Documents and results in S3, by one process and by workers"
    server = pytest.importorskip('moto.server', reason='the local S3 server comes with moto')
    pytest.importorskip('s3fs', reason='s3:// addresses need s3fs')
    import fsspec

    s3 = server.ThreadedMotoServer(port=5123)
    s3.start()
    try:
        fsspec.filesystem('s3').mkdir('s3://house')
        room = fill(place('s3://house/room'))
        one = review(room, 's3://house/one')
        two = review(room, 's3://house/two', workers=2)
        assert sorted(one.done) == sorted(two.done) and len(one.done) == len(TEXTS)
        assert results('s3://house/one') == results('s3://house/two')
        assert sorted(review('s3://house/room', 's3://house/two', workers=2).reused) == sorted(one.done)
        place('s3://house/odd/sub//a.txt').fs.pipe_file('house/odd/sub//a.txt', b'Acme sells.')
        write_whole('s3://house/odd/b[1].txt', 'Bolt buys.')
        assert review('s3://house/odd', 's3://house/three').done == ['b[1].txt'], 'and no endless loop at an empty name'
        for source, out in (('s3://nowhere/room', 's3://house/x'), ('s3://house/room', 's3://nowhere/x')):
            with pytest.raises(LegalLLMError, match='nowhere'):
                review(source, out)
        assert main(['extract', 's3://house/room/nope.txt', '--fast']) == 2
        assert main(['extract', 's3://house/room/d0/c0.txt', '--fast', '--out', 's3://house/c0.csv']) == 0
        assert place('s3://house/c0.csv').read_text().startswith('\ufefftitle,') and not Path('s3:').exists()
    finally:
        s3.stop()


# --- clusters of their own


def command(room, out, *more) -> list:
    return [
        sys.executable,
        '-m',
        'legal_llm.cli',
        'extract',
        str(room),
        '--fast',
        '--out',
        str(out),
        '--workers',
        '2',
        *more,
    ]


@pytest.mark.slow
def test_a_killed_driver_is_gone_on_with(tmp_path):
    "kill -9 in the middle: no half file, and the same command does the rest"
    pytest.importorskip('ray', reason='the workers need Ray: pip install "legal_llm[scale]"')
    from legal_llm.contracts.synthetic import write_contracts

    room, out = tmp_path / 'room', tmp_path / 'out'
    for i, c in enumerate(write_contracts(30, seed=5, words=400)):
        write_whole(room / f'{i}.txt', c.text)
    first = subprocess.Popen(command(room, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while first.poll() is None and len(list(out.glob('*.txt.json'))) < 5:
        time.sleep(0.05)
    first.kill()
    first.wait()
    deadline = time.monotonic() + 30
    there = None
    while time.monotonic() < deadline and there != (now := sorted(p.name for p in out.glob('*.json'))):
        there = now
        time.sleep(2)  # its workers notice
    assert 5 <= len(there) < 30 and all(json.loads((out / n).read_text())['clauses'] for n in there)
    second = subprocess.run(command(room, out), capture_output=True, text=True)
    assert second.returncode == 0 and 'reviewed               30' in second.stdout, second.stderr[-2000:]
    manifest = json.loads((out / 'manifest.json').read_text())
    assert manifest['documents']['reused'] >= len(there) and manifest['documents']['failed'] == 0
    table = ExtractionTable(out).read(['file']).to_pydict()['file']
    assert len(set(table)) == 30 and manifest['table']['rows'] == len(table)
    assert all(p.name.startswith('.') for p in out.rglob('*.part')), 'what is half written cannot be taken for a result'


LEAVES = """
import sys, threading, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from legal_llm.cli import main

room, out = sys.argv[1:]
cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=1, include_dashboard=False))
node = cluster.add_node(num_cpus=1)

def leave():
    while len(list(Path(out).glob('*.txt.json'))) < 5:
        time.sleep(.05)
    cluster.remove_node(node, allow_graceful=False)
    print('left', flush=True)

threading.Thread(target=leave, daemon=True).start()
code = main(['extract', room, '--fast', '--out', out, '--workers', '2', '--address', cluster.address])
cluster.shutdown()
sys.exit(code)
"""


@pytest.mark.slow
def test_a_node_that_leaves_loses_nothing(tmp_path):
    pytest.importorskip('ray', reason='the workers need Ray: pip install "legal_llm[scale]"')
    from legal_llm.contracts.synthetic import write_contracts

    room, out = tmp_path / 'room', tmp_path / 'out'
    for i, c in enumerate(write_contracts(30, seed=6, words=400)):
        write_whole(room / f'{i}.txt', c.text)
    said = subprocess.run(
        [sys.executable, '-c', LEAVES, str(room), str(out)], capture_output=True, text=True, timeout=240
    )
    assert said.returncode == 0 and 'left' in said.stdout and 'reviewed               30' in said.stdout, said.stderr[
        -3000:
    ]
    assert len(list(out.glob('*.txt.json'))) == 30 and not list(out.glob('*.failed.json'))
