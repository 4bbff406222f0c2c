"""A training that goes wrong is stopped and told why, one that is well is left alone; the log survives a kill; views
show what they are sent.
"""

import io
import json
import math
import pickle
import random
import subprocess
import sys

import pytest

from legal_llm.machine.files import LegalLLMError
from legal_llm.training import views
from legal_llm.training.monitor import KINDS, Divergence, Log, NoLearning, NonFinite, Slow, Stopped, read_log
from legal_llm.training.views import (
    NotebookView,
    TensorBoard,
    TerminalView,
    plot_run,
    seconds_left,
    try_to_draw,
    view_for,
)

BEGIN, SCREEN = dict(present=1.4, absent=0.25), dict(present=1.6, absent=0.3)


def course(steps=200, seed=0, noise=0.5, learns=True, diverges=None, absent=1 / 7, spike=None):
    """The lines of a made-up training: losses that fall, scatter, lack clauses now and then, and may jump for a dozen
    steps; on the same pairs the screen's losses
    """
    rng, lines = random.Random(seed), []
    for step in range(1, steps + 1):
        up = step > diverges if diverges else False
        jump = 8 * 0.8 ** (step - spike) if spike and step >= spike else 0
        chance = {k: math.exp(rng.gauss(0, noise)) for k in BEGIN}
        losses = {
            k: chance[k]
            * (4 * b if up else b * (0.4 + 0.6 * math.exp(-step / 50)) if learns else 1.01 * SCREEN[k])
            * (1 + jump)
            for k, b in BEGIN.items()
        }
        share = dict(present=0.1, absent=0.9)
        if rng.random() < absent:
            # both ways of saying that there is none
            losses['present'], share = rng.choice((math.nan, None)), dict(absent=1.0)
        lines.append(
            dict(
                step=step,
                steps=steps,
                **losses,
                loss=sum(w * losses[k] for k, w in share.items()),
                screen=sum(w * chance[k] * SCREEN[k] for k, w in share.items()),
                grad_norm=rng.random(),
                lr=1e-4,
                tokens=100,
                tokens_per_second=100.0 * rng.uniform(0.5, 1.2),
                seconds=1.0 * step,
                memory_gb=1.5,
            )
        )
    return lines


def dev(step, **more):
    return dict(
        step=step, dev_score=0.1, dev_ap=0.8, screen_ap=0.7, dev_loss=0.3, **{f'dev_{k}': 0.7 for k in KINDS}, **more
    )


def first(dog, lines):
    return next(((line['step'], said) for line in lines if (said := dog(line))), None)


def dogs():
    return [NonFinite(), Divergence(), NoLearning(), Slow()]


# watchdogs


@pytest.mark.parametrize('seed', range(12))
@pytest.mark.parametrize(
    'kind', [dict(), dict(noise=0.8), dict(spike=46), dict(spike=3), dict(absent=0.6), dict(steps=1000)]
)
def test_silent_on_healthy_courses(seed, kind):
    lines = course(seed=seed, **kind)
    lines[50:50] = [dev(50, note='not a number')]
    assert [first(dog, lines) for dog in dogs()] == [None] * 4


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf, None])
def test_non_finite_loss(value):
    """The step's own loss, without the filter that replaces a NaN by the mean of other steps; None is how the log
    writes it
    """
    lines = course(10)
    lines[6]['loss'] = value
    step, said = first(NonFinite(patience=25), lines)
    assert step == 7 and '1.0e-04' in said and 'learning rate' in said


def test_non_finite_gradients():
    lines = course(60)
    for line in lines[20:45]:
        line['grad_norm'] = math.inf
    assert first(NonFinite(), lines)[0] == 21
    assert first(NonFinite(patience=25), lines) is None
    lines[45]['grad_norm'] = math.nan
    step, said = first(NonFinite(patience=25), lines)
    assert step == 46 and '26 steps in a row' in said


def test_missing_gradient_norm_is_not_looked_at():
    assert first(NonFinite(), [dict(step=1, loss=1.0)]) is None


@pytest.mark.parametrize('seed', range(12))
def test_divergence(seed):
    step, said = first(Divergence(), course(seed=seed, diverges=120))
    assert 120 < step <= 160 and 'diverge' in said and 'half the learning rate' in said


def test_a_kind_that_joins_late_is_no_rise():
    lines = course(200)
    for line in lines[:100]:
        line['present'] = None
    for line in lines[100:]:
        line['present'] = 6.0
    assert first(Divergence(), lines) is None


@pytest.mark.parametrize('seed', range(12))
def test_no_learning(seed):
    step, said = first(NoLearning(), course(seed=seed, learns=False, noise=0.2))
    assert 100 <= step < 130 and 'learning rate' in said and 'labels' in said
    assert first(NoLearning(warmup=60), course(seed=seed, learns=False, noise=0.2))[0] >= 180
    assert first(NoLearning(), course(99, seed=seed, learns=False)) is None


def test_a_reader_that_is_as_good_as_it_gets_need_not_learn():
    "Its head was fitted before: what counts is whether it is better than the screen alone, not whether the loss falls"
    lines = course(300)
    for line in lines:
        line['loss'] = 0.95 * line['screen']
    assert first(NoLearning(), lines) is None


def test_slow():
    lines = course(100)
    for line in lines[60:]:
        line['tokens_per_second'] /= 5
    step, said = first(Slow(), lines)
    assert 65 < step <= 80 and 'tokens/s' in said and 'last checkpoint' in said
    for line in lines[60:]:
        line['seconds'] -= 60  # another process, on a machine that was never faster
    assert first(Slow(), lines) is None


def test_few_slow_steps_are_normal():
    lines = course(100)
    for line in lines[30:39]:
        line['tokens_per_second'] = 1.0
    assert first(Slow(), lines) is None


@pytest.mark.parametrize('at', [1, 30, 90, 125])
def test_resumed_watchdogs_bark_at_the_same_step(at, tmp_path):
    "State comes from the log alone, dev evaluations and rounding included"
    lines = course(300, diverges=120)
    log = Log(tmp_path)
    for line in lines[:at]:
        log.write(line)
        if line['step'] % 20 == 0:
            log.write(dev(line['step']))
    log.close()
    again = Divergence()
    for line in read_log(tmp_path / 'log.jsonl'):
        again(line)
    assert first(again, lines[at:])[0] == first(Divergence(), lines)[0]


def test_stopped():
    stopped = pickle.loads(pickle.dumps(Stopped(7, 'because')))
    assert isinstance(stopped, LegalLLMError) and (stopped.step, stopped.sentence) == (7, 'because')
    assert str(stopped) == 'stopped at step 7: because'


# log


def test_log_is_cut_at_the_checkpoint(tmp_path):
    log = Log(tmp_path)
    for line in course(10):
        log.write(line)
        if line['step'] in (5, 10):
            log.write(dev(line['step']))
    again = Log(tmp_path, step=7)
    assert [line['step'] for line in again.lines] == [1, 2, 3, 4, 5, 5, 6, 7]
    again.write(dict(step=8, loss=1.0))
    # before close: on the disk at once
    assert [line['step'] for line in read_log(tmp_path / 'log.jsonl')] == [1, 2, 3, 4, 5, 5, 6, 7, 8]
    assert Log(tmp_path).lines == []  # a training that begins anew
    assert [p.name for p in tmp_path.iterdir()] == ['log.jsonl']


@pytest.mark.parametrize('tail', ['{"step": 3, "lo', '{', '\0\0\0\0', '\xff', '{"step": 3, "loss": 1.0'])
def test_half_written_line(tmp_path, tail):
    path = tmp_path / 'log.jsonl'
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n' + tail.encode('latin-1'))
    assert [line['step'] for line in read_log(path)] == [1, 2]
    Log(tmp_path, step=2).write(dict(step=3))
    assert [json.loads(line)['step'] for line in path.read_text().splitlines()] == [1, 2, 3]


def test_damaged_or_missing_log(tmp_path):
    (tmp_path / 'log.jsonl').write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(LegalLLMError, match='line 2'):
        read_log(tmp_path / 'log.jsonl')
    with pytest.raises(LegalLLMError, match='no log'):
        read_log(tmp_path / 'other.jsonl')


def test_numbers_are_stored_as_json(tmp_path):
    np = pytest.importorskip('numpy')
    log = Log(tmp_path)
    log.write(
        dict(
            step=1,
            loss=math.nan,
            grad_norm=math.inf,
            present=np.float32('nan'),
            lr=1.23456789e-5,
            tokens=10**9,
            absent=np.float64(0.25),
        )
    )
    text = (tmp_path / 'log.jsonl').read_text()
    assert 'NaN' not in text and 'Infinity' not in text
    assert json.loads(text) == dict(
        step=1, loss=None, grad_norm=None, present=None, lr=1.23457e-5, tokens=10**9, absent=0.25
    )


# views


def send(view, lines, **begin):
    view.begin(lines[-1]['steps'], title='a <title>', **begin)
    for line in lines:
        view.step(line)
        if line['step'] % 50 == 0:
            view.dev(dev(line['step']))
    view.note('checkpoint-50 saved')
    view.end('ended <here>')


def test_terminal_view_is_plain_and_sparse():
    out = io.StringIO()
    send(TerminalView(every=1000, file=out), course(100))
    text = out.getvalue()
    assert '\r' not in text and 'checkpoint-50 saved' in text and text.endswith('ended <here>\n')
    steps = [line for line in text.splitlines() if line.startswith('step ')]
    # the first, and the last
    assert len(steps) == 2 and steps[0].startswith('step 1/100') and steps[1].startswith('step 100/100')
    assert len([line for line in text.splitlines() if line.startswith('dev after step')]) == 2
    assert 'nan' not in text and 'None' not in text


def test_terminal_view_has_a_bar_in_a_terminal():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    send(TerminalView(file=out), course(100))
    assert (
        '100/100' in out.getvalue()
        and 'dev after step 50' in out.getvalue()
        and 'checkpoint-50 saved' in out.getvalue()
    )


@pytest.fixture
def displayed(monkeypatch):
    "What a notebook was given to show: the first drawing and its updates"
    IPython = pytest.importorskip('IPython')
    drawn = []

    class Handle:
        def update(self, bundle, raw):
            drawn.append(bundle)

    def display(bundle, raw, display_id):
        drawn.append(bundle)
        return Handle()

    monkeypatch.setattr(IPython.display, 'display', display)
    return drawn


def test_notebook_view_is_one_small_display(displayed):
    send(NotebookView(every=1000), course(5000, seed=1))
    # at the beginning, for each dev evaluation, the note and the end; no step was due
    assert len(displayed) == 1 + 100 + 2
    page = displayed[-1]['text/html']
    assert len(page) < 40_000 and '\n' not in page
    assert 'ended &lt;here&gt;' in page and 'a &lt;title&gt;' in page and '<title>' not in page
    assert (
        page.count('<polyline') == 6
        and page.count('<circle') == 2 * 100
        and 'nan' not in page.lower()
        and 'None' not in page
    )
    assert 'step 5000/5000' in displayed[-1]['text/plain'].replace(',', '')


def test_notebook_view_is_drawn_in_time(displayed, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(views.time, 'monotonic', lambda: now[0])
    view = NotebookView(every=2)
    view.begin(100)
    for line in course(100):
        now[0] += 0.5
        view.step(line)
    assert len(displayed) == 1 + 25


def test_views_bear_lines_without_numbers(displayed):
    "The first steps may have no target of a kind, no gradient norm and no memory"
    bare = [dict(step=s, steps=2, loss=None, present=None, absent=math.nan, seconds=0.0) for s in (1, 2)]
    for view in (TerminalView(file=io.StringIO()), NotebookView()):
        view.begin(2)
        for line in bare:
            view.step(line)
        view.dev(dict(step=2, dev_score=None))
        view.end()


def test_time_left_is_of_this_process():
    lines = [dict(step=s, steps=20, seconds=100.0 * s) for s in range(1, 11)] + [
        dict(step=s, steps=20, seconds=2.0 * (s - 10)) for s in range(11, 16)
    ]
    assert seconds_left(lines) == pytest.approx(10)
    assert seconds_left(lines[:11]) is None and seconds_left(lines[:1]) is None


def test_resumed_view_begins_with_the_log(displayed):
    lines = course(60)
    view = NotebookView()
    view.begin(60, 40, lines=lines[:40])
    assert 'step 40 of 60' in displayed[0]['text/html']
    out = io.StringIO()
    TerminalView(file=out).begin(60, 40, lines=lines[:40])
    assert '20 of 60 steps to do' in out.getvalue()


def test_view_for():
    assert isinstance(view_for(), TerminalView)


def test_tensorboard_files_can_be_read(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    lines = course(60)
    board = TensorBoard(tmp_path)
    board.begin(60)
    for line in lines[:50]:
        board.step(line)
    board.dev(dev(50))
    board.end()
    board = TensorBoard(tmp_path)  # resumes from a checkpoint: steps 41 to 50 are done again
    board.begin(60, 40)
    for line in lines[40:]:
        board.step(dict(line, lr=0.5))
    board.end()
    events = EventAccumulator(str(tmp_path / 'tensorboard'))
    events.Reload()
    rates = events.Scalars('train/lr')
    assert [e.step for e in rates] == list(range(1, 61))
    assert rates[39].value == pytest.approx(1e-4) and rates[40].value == 0.5
    assert {
        'loss/present',
        'loss/absent',
        'train/loss',
        'train/screen',
        'train/grad_norm',
        'machine/tokens_per_second',
        'machine/memory_gb',
    } <= set(events.Tags()['scalars'])
    assert len(events.Scalars('loss/present')) == sum(
        line['present'] is not None and line['present'] == line['present'] for line in lines
    )


def test_without_tensorboard_it_says_so_once(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)  # what importing does where it is not installed
    said = []
    send(TensorBoard(tmp_path, say=said.append), course(60))
    assert len(said) == 1 and 'pip install tensorboard' in said[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'lines',
    [
        [],
        course(1),
        course(150),
        [x for line in course(150) for x in ([line, dev(line['step'])] if line['step'] % 50 == 0 else [line])],
        [dict(step=0, dev_score=0.0, dev_loss=0.0, dev_present=0.0, dev_absent=0.0)],
        [dict(step=0, dev_score=-0.1, dev_loss=0.0, dev_present=1e-9, dev_absent=0.0)],
    ],
)
def test_plot_run(tmp_path, lines):
    plot_run(lines, tmp_path / 'pictures' / 'training.png')
    assert (tmp_path / 'pictures' / 'training.png').read_bytes().startswith(b'\x89PNG')


def test_a_picture_that_fails_is_said(capsys):
    assert not try_to_draw(lambda: 1 / 0, 'the course') and 'the course could not be drawn' in capsys.readouterr().out
    assert try_to_draw(lambda: None, 'the course') and capsys.readouterr().out == ''


def test_light():
    "Whoever only reads a log waits for no other library"
    code = (
        "import sys, legal_llm.training.monitor; print([m for m in ('torch', 'transformers', 'matplotlib', 'IPython') "
        "if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == '[]'
