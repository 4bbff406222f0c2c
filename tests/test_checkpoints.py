"A damaged checkpoint is never loaded; a save that is stopped, or finds the disk full, leaves the older ones whole."

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_settings

from legal_llm.machine.files import LegalLLMError
from legal_llm.training import checkpoints
from legal_llm.training.checkpoints import SEAL, claim, latest_valid, problem, publish, room_for, rotate, saving


def save(folder, step, content=b'weights'):
    with saving(folder, step) as staged:
        (staged / 'adapter.bin').write_bytes(content)
    return folder / f'checkpoint-{step}'


def names(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture(scope='module')
def run(tiny, tiny_data, tmp_path_factory):
    "A finished training with its last two checkpoints, as transformers' Trainer writes them"
    from legal_llm.train import train

    s = tiny_settings(tiny_data, tiny, max_packs=6, pack_windows=1, gradient_accumulation_steps=2, save_steps=1)
    return s, train(s, tmp_path_factory.mktemp('run') / 'whole', progress=False)


def truncate(file):
    file.write_bytes(file.read_bytes()[:-2])


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def lengthen(file):
    file.write_bytes(file.read_bytes() + b'\n')


def replace(file):
    file.unlink()
    file.mkdir()


def test_checkpoints_are_saved_by_time(run, tmp_path, monkeypatch):
    "With save_minutes, what is due too early is not saved, and the last step is"
    from dataclasses import replace

    from legal_llm.train import train
    from legal_llm.training import trainer

    class Clock:
        now = 0.0

        def __getattr__(self, name):
            return getattr(time, name)

        def monotonic(self):
            self.now += 1000  # each look at the clock is a quarter of an hour later
            return self.now

    s = replace(run[0], save_total_limit=5)
    often, seldom = train(s, tmp_path / 'often', progress=False), replace(s, save_minutes=60.0)
    seldom = train(seldom, tmp_path / 'seldom', progress=False)
    assert names(often.path / 'checkpoints') == ['.lock', *(f'checkpoint-{k}' for k in (1, 2, 3))]
    assert names(seldom.path / 'checkpoints') == ['.lock', 'checkpoint-3']
    monkeypatch.setattr(trainer, 'time', Clock())
    timed = train(replace(s, save_minutes=30.0), tmp_path / 'timed', progress=False)
    assert 'checkpoint-1' not in names(timed.path / 'checkpoints') and len(names(timed.path / 'checkpoints')) == 3


def test_what_was_verified_is_not_read_again(tmp_path, monkeypatch):
    read, real = [], checkpoints.problem
    monkeypatch.setattr(checkpoints, 'problem', lambda folder: read.append(folder.name) or real(folder))
    for step in (1, 2, 3):
        save(tmp_path, step)
    assert names(tmp_path) == ['checkpoint-2', 'checkpoint-3']
    assert read == ['checkpoint-1', 'checkpoint-2', 'checkpoint-3'], 'each once'
    flip(tmp_path / 'checkpoint-3' / 'adapter.bin')
    assert rotate(tmp_path) == [tmp_path / 'checkpoint-2'] and read[-1] == 'checkpoint-3', (
        'a changed file is read again'
    )


@pytest.mark.parametrize('damage', [truncate, flip, lengthen, os.unlink, replace], ids=lambda f: f.__name__)
def test_each_damaged_file_of_a_real_checkpoint_is_noticed(run, damage, tmp_path):
    source = run[1].path / 'checkpoints'
    files = [p.name for p in (source / 'checkpoint-3').iterdir()]
    assert {
        'adapter_model.safetensors',
        'head.safetensors',
        'optimizer.pt',
        'scheduler.pt',
        'rng_state.pth',
        'trainer_state.json',
        SEAL,
    } <= set(files)
    for name in files:
        shutil.copytree(source, tmp_path / name)
        damage(tmp_path / name / 'checkpoint-3' / name)
        said = []
        if damage is lengthen and name == SEAL:  # white space at the end of JSON says nothing
            assert latest_valid(tmp_path / name, said.append).name == 'checkpoint-3'
            continue
        assert latest_valid(tmp_path / name, said.append) == tmp_path / name / 'checkpoint-2', (name, said)
        # a damaged seal may blame another file
        assert len(said) == 1 and 'checkpoint-3' in said[0] and (name in said[0] or name == SEAL)


def test_training_goes_on_from_the_one_before(run, tmp_path, capsys):
    from safetensors.torch import load_file

    from legal_llm.train import train

    wanted, whole = run
    shutil.copytree(whole.path, tmp_path / 'again')
    shutil.rmtree(tmp_path / 'again' / 'adapter')
    record = json.loads((whole.path / 'record.json').read_text())
    (tmp_path / 'again' / 'record.json').write_text(json.dumps({**record, 'finished': False}))
    flip(tmp_path / 'again' / 'checkpoints' / 'checkpoint-3' / 'optimizer.pt')
    again = train(wanted, tmp_path / 'again', progress=False)
    said = capsys.readouterr().out
    assert 'passing over checkpoint-3: optimizer.pt is damaged' in said and 'resuming from checkpoint-2' in said
    for name in ('adapter_model.safetensors', 'head.safetensors'):
        a, b = (load_file(r.adapter / name) for r in (whole, again))
        assert a.keys() == b.keys() and all((a[k] == b[k]).all() for k in a)
    assert problem(tmp_path / 'again' / 'checkpoints' / 'checkpoint-3') is None  # written anew over the damaged one


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_change_to_any_byte_is_noticed(tmp_path_factory, data):
    folder = save(tmp_path_factory.mktemp('any'), 1, b'0123456789' * 20)
    file = folder / data.draw(st.sampled_from(['adapter.bin', SEAL]))
    whole = file.read_bytes()
    start = data.draw(st.integers(0, len(whole) - 2))
    end = data.draw(st.integers(start + 1, len(whole) - 1))  # the last byte of the seal is white space
    other = data.draw(st.binary(max_size=2 * (end - start)).filter(lambda b: b.split() != whole[start:end].split()))
    file.write_bytes(whole[:start] + other + whole[end:])
    try:
        same = json.loads(file.read_bytes()) == json.loads(whole)  # white space between the words
    except ValueError:
        same = False
    assert problem(folder) is not None or same
    file.write_bytes(whole)
    assert problem(folder) is None


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'{',
        b'\xff\xfe',
        b'[' * 100_000,
        b'null',
        b'3',
        b'[]',
        b'{}',
        b'{"adapter.bin": null}',
        b'{"adapter.bin": {}}',
        b'{"adapter.bin": 7}',
        b'{"adapter.bin": {"bytes": 7}}',
        b'{"adapter.bin": {"bytes": "7", "sha256": null}}',
        b'{"adapter.bin": {"bytes": [7], "sha256": {}}}',
    ],
    ids=lambda b: b[:50].decode('latin-1') or 'empty',
)
def test_a_damaged_seal_is_no_error(tmp_path, content):
    folder = save(tmp_path, 1)
    (folder / SEAL).write_bytes(content)
    assert 'damaged' in problem(folder)


def test_a_seal_cannot_lead_out_of_its_folder(tmp_path):
    folder = save(tmp_path, 1)
    (tmp_path / 'other.bin').write_bytes(b'weights')
    mine = json.loads((folder / SEAL).read_text())['adapter.bin']
    for name in ('../other.bin', str(tmp_path / 'other.bin'), './adapter.bin', '..', '', '\0'):
        (folder / SEAL).write_text(json.dumps({'adapter.bin': mine, name: mine}))
        assert 'is missing' in problem(folder), name


def test_odd_names_are_no_checkpoints(tmp_path):
    for name in ('checkpoint-', 'checkpoint-x', 'checkpoint-3.old', 'checkpoint--4', '.saving-9', 'checkpoint-٣'):
        (tmp_path / name).mkdir()
    (tmp_path / 'checkpoint-7').write_bytes(b'a file')
    said = []
    assert latest_valid(tmp_path, said.append) is None and said == ['passing over checkpoint-7: it was never finished']
    assert latest_valid(tmp_path / 'nowhere') is None


def test_rotation_keeps_the_newest_whole_ones(tmp_path):
    for step in (1, 2, 3, 4, 10, 9):
        with saving(tmp_path, step, keep=5) as staged:
            (staged / 'adapter.bin').write_bytes(b'weights')
    assert names(tmp_path) == ['checkpoint-10', 'checkpoint-2', 'checkpoint-3', 'checkpoint-4', 'checkpoint-9']
    flip(tmp_path / 'checkpoint-10' / 'adapter.bin')
    flip(tmp_path / 'checkpoint-4' / 'adapter.bin')
    (tmp_path / 'notes.txt').write_text('mine')
    assert [p.name for p in rotate(tmp_path, 2)] == ['checkpoint-9', 'checkpoint-3']
    # 10 is damaged, but nothing newer replaces it
    assert names(tmp_path) == ['checkpoint-10', 'checkpoint-3', 'checkpoint-9', 'notes.txt']


def test_what_is_deleted_is_emptied_first(tmp_path, monkeypatch):
    "Google Drive's trash counts: ten checkpoints of 0.3 GB in it are 3 GB of the free 15"
    deleted, real = [], shutil.rmtree
    monkeypatch.setattr(
        shutil,
        'rmtree',
        lambda path, *args, **kwargs: (
            deleted.append(sum(f.stat().st_size for f in Path(path).rglob('*'))),
            real(path, *args, **kwargs),
        ),
    )
    for step in (1, 2, 3, 4):
        save(tmp_path, step)
    assert len(deleted) >= 2 and not any(deleted) and names(tmp_path) == ['checkpoint-3', 'checkpoint-4']


def test_rotation_never_takes_the_last_whole_one(tmp_path):
    for step in (1, 2):
        save(tmp_path, step)
    (tmp_path / 'checkpoint-2' / SEAL).unlink()
    for _ in range(3):
        assert [p.name for p in rotate(tmp_path)] == ['checkpoint-1']
    (tmp_path / 'checkpoint-1' / SEAL).unlink()
    assert rotate(tmp_path) == [] and names(tmp_path) == ['checkpoint-1', 'checkpoint-2']


@pytest.mark.parametrize('keep', [-1, 0, 1, 6, 2.5, None])
def test_too_few_or_too_many_to_keep_are_refused(tmp_path, keep):
    save(tmp_path, 1)
    with pytest.raises(LegalLLMError, match='give 2'):
        rotate(tmp_path, keep)
    with pytest.raises(LegalLLMError, match='give 2'), saving(tmp_path, 2, keep=keep):
        pytest.fail('nothing should be written')


def test_whatever_has_the_name_is_replaced(tmp_path):
    for i, taken in enumerate(('damaged', 'whole', 'file', 'link')):
        final = save(tmp_path, i)
        if taken == 'damaged':
            flip(final / 'adapter.bin')
        elif taken != 'whole':
            shutil.rmtree(final)
            final.write_bytes(b'') if taken == 'file' else final.symlink_to(tmp_path / 'nowhere')
        staged = tmp_path / '.saving-new'
        staged.mkdir()
        (staged / 'adapter.bin').write_bytes(b'newer')
        assert (
            publish(staged, final) == final
            and problem(final) is None
            and (final / 'adapter.bin').read_bytes() == b'newer'
        )
        assert not [n for n in names(tmp_path) if n.startswith('.')]


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='forks')
def test_a_save_stopped_at_any_moment_leaves_whole_checkpoints(root, tmp_path):
    done = subprocess.run(
        [sys.executable, root / 'tests' / 'crashed.py', tmp_path], capture_output=True, text=True, cwd=root
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert min(report['moments']) > 50 and report['newest'] == ['checkpoint-2', 'checkpoint-3'], report


def test_an_interrupted_save_is_cleared_by_the_next(tmp_path):
    save(tmp_path, 1)
    with pytest.raises(KeyboardInterrupt), saving(tmp_path, 2) as staged:
        (staged / 'adapter.bin').write_bytes(b'wei')
        raise KeyboardInterrupt
    assert latest_valid(tmp_path).name == 'checkpoint-1'
    save(tmp_path, 3)
    assert names(tmp_path) == ['checkpoint-1', 'checkpoint-3']


def test_another_fault_keeps_its_name(tmp_path):
    save(tmp_path, 1)
    with pytest.raises(ZeroDivisionError), saving(tmp_path, 2):
        1 / 0
    assert names(tmp_path) == ['checkpoint-1']


def test_room_is_checked_before_anything_is_written(tmp_path):
    room_for(tmp_path / 'not' / 'yet', 0.001)
    with (
        pytest.raises(LegalLLMError, match=r'1000000\.000 GB does not fit .* GB are free'),
        saving(tmp_path, 2, gb=1e6),
    ):
        pytest.fail('nothing should be written')
    assert names(tmp_path) == []


def writers():
    import torch
    from safetensors.torch import save_file

    big = dict(x=torch.zeros(1000, 1000))
    return dict(
        torch=lambda p: torch.save(big, p),
        safetensors=lambda p: save_file(big, p),
        python=lambda p: p.write_bytes(bytes(4_000_000)),
    )


@pytest.fixture
def small_disk(tmp_path):
    "A disk of 3 MB"
    folder = tmp_path / 'disk'
    folder.mkdir()
    try:
        mounted = (
            subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', folder], capture_output=True).returncode
            == 0
        )
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip('a small disk cannot be mounted here')
    yield folder
    subprocess.run(['umount', '-l', folder], check=True)


@pytest.mark.parametrize('writer', ['torch', 'safetensors', 'python'])
def test_a_full_disk_is_named(small_disk, writer):
    for step in (1, 2):
        save(small_disk, step, bytes(100_000))
    with (
        pytest.raises(LegalLLMError, match='is full: the checkpoint of step 3 was not written'),
        saving(small_disk, 3) as staged,
    ):
        writers()[writer](staged / 'optimizer.pt')
    assert names(small_disk) == ['checkpoint-1', 'checkpoint-2'] and problem(small_disk / 'checkpoint-2') is None


def test_training_on_a_full_disk_ends_with_whole_checkpoints(run, small_disk, monkeypatch):
    from legal_llm.train import train

    monkeypatch.setattr(checkpoints, 'room_for', lambda *_: None)  # the disk fills while it is written
    monkeypatch.setattr('legal_llm.training.plan.check_disk', lambda *_: 1.0)
    (small_disk / 'ballast').write_bytes(bytes(2_000_000))
    with pytest.raises(LegalLLMError, match='is full: the checkpoint of step 3 was not written'):
        train(run[0], small_disk / 'run', progress=False)
    assert latest_valid(small_disk / 'run' / 'checkpoints').name == 'checkpoint-2'
    (small_disk / 'ballast').unlink()
    train(run[0], small_disk / 'run', progress=False)
    assert latest_valid(small_disk / 'run' / 'checkpoints').name == 'checkpoint-3'


def test_training_checks_for_room(run, tmp_path, monkeypatch):
    from legal_llm.train import train

    monkeypatch.setattr(checkpoints, 'free_bytes', lambda folder: 100_000)
    with pytest.raises(LegalLLMError, match='0.000 GB are free'):
        train(run[0], tmp_path / 'run', progress=False)


@pytest.mark.skipif(checkpoints.fcntl is None, reason='no locks')
def test_a_process_that_dies_lets_go(tmp_path):
    code = 'from legal_llm.training.checkpoints import claim\n'
    code += f"with claim({str(tmp_path)!r}): print('mine', flush=True); input()"
    other = subprocess.Popen([sys.executable, '-c', code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == 'mine\n'
    with pytest.raises(LegalLLMError, match='another training is writing'), claim(tmp_path):
        pytest.fail('it should have been refused')
    other.kill()
    other.communicate()
    with claim(tmp_path):
        pass
