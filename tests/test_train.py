"""A training ends where it should, however often it is interrupted; memory that runs out, watchdogs, early stopping,
several processes, records.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import tiny_settings

from legal_llm import launch
from legal_llm.eval import evaluate
from legal_llm.evaluation import report
from legal_llm.launch import processes_in, train_on
from legal_llm.machine.compat import older
from legal_llm.machine.files import LegalLLMError
from legal_llm.machine.platform import Gpu, Hardware, environment
from legal_llm.pipeline import reader as reader_module
from legal_llm.pipeline.extract import default_run
from legal_llm.pipeline.models import add_lora, load_base, load_tokenizer
from legal_llm.pipeline.reader import LossWeights, Reader, load_head, load_reader, padded, read_windows, step_gradients
from legal_llm.train import train
from legal_llm.training import fit, probe
from legal_llm.training import job as job_module
from legal_llm.training import trainer as trainer_module
from legal_llm.training.dataset import open_data
from legal_llm.training.job import in_time, lay_out, prepare_training
from legal_llm.training.monitor import Stopped
from legal_llm.training.runs import open_run, restore_run
from legal_llm.training.settings import TrainSettings, preset, week2_settings
from legal_llm.weeks import recorded_settings, week1_data, week2_run


@pytest.fixture(scope='module')
def settings(tiny, tiny_data):
    "Three steps of two packs on a tiny model, with dropout, so that random generators matter"
    return tiny_settings(
        tiny_data,
        tiny,
        probe_windows=80,
        max_packs=6,
        pack_windows=2,
        gradient_accumulation_steps=2,
        learning_rate=1e-3,
        save_steps=1,
        lora_dropout=0.1,
    )


@pytest.fixture(scope='module')
def whole(settings, tmp_path_factory):
    return train(settings, tmp_path_factory.mktemp('train') / 'whole', progress=False)


def weights(run, folder='adapter'):
    return {
        k: v
        for name in ('adapter_model', 'head')
        for k, v in load_file(run.path / folder / f'{name}.safetensors').items()
    }


def equal(a, b, folder='adapter'):
    "Whether two runs ended with the same adapter and head, bit for bit"
    a, b = weights(a, folder), weights(b, folder)
    return a.keys() == b.keys() and all((a[k] == b[k]).all() for k in a)


def steps(run):
    return [line['step'] for line in run.log() if 'loss' in line]


def interrupt(run, path, step=3):
    "A copy of a run as it stands before a step, whose checkpoint was never finished"
    shutil.copytree(run.path, path)
    (path / 'adapter').rename(path / 'best')  # which a training keeps until it is finished
    (path / 'checkpoints' / f'checkpoint-{step}' / 'seal.json').unlink()
    record = json.loads((path / 'record.json').read_text())
    (path / 'record.json').write_text(json.dumps({**record, 'finished': False}))
    return path


def test_resumed_equals_uninterrupted(settings, whole, tmp_path, capsys):
    resumed = train(settings, interrupt(whole, tmp_path / 'resumed'), progress=False)
    said = capsys.readouterr().out
    assert 'passing over checkpoint-3' in said and 'resuming from checkpoint-2' in said
    assert equal(whole, resumed) and steps(resumed) == [1, 2, 3]


def test_two_runs_of_one_record_are_equal(settings, whole, tmp_path):
    again = recorded_settings(whole.path / 'record.json')
    assert again == settings
    assert equal(whole, train(again, tmp_path / 'again', progress=False))


def test_a_record_whose_data_is_gone_prepares_it_again(settings, whole, tmp_path):
    record = json.loads((whole.path / 'record.json').read_text())
    record['settings']['data'] = str(tmp_path / 'data')
    (tmp_path / 'record.json').write_text(json.dumps(record))
    again = recorded_settings(tmp_path / 'record.json')
    assert open_data(again.data).info['fingerprint'] == record['data']
    (tmp_path / 'record.json').write_text(json.dumps({**record, 'data': '0' * 12}))
    with pytest.raises(LegalLLMError, match='is not what'):
        recorded_settings(tmp_path / 'record.json')
    for bad in ('', '[]', '{}', '{"settings": {"data": "x", "color": "red"}}'):
        (tmp_path / 'record.json').write_text(bad)
        with pytest.raises(LegalLLMError, match='record'):
            recorded_settings(tmp_path / 'record.json')


def test_finished_run_is_reused(settings, whole):
    before = (whole.adapter / 'adapter_model.safetensors').stat().st_mtime_ns
    assert train(settings, whole.path, progress=False).record == whole.record
    assert (whole.adapter / 'adapter_model.safetensors').stat().st_mtime_ns == before


def test_other_settings_are_refused_unless_asked_for(settings, whole, tmp_path):
    half = interrupt(whole, tmp_path / 'half')
    other = replace(settings, learning_rate=1e-4, max_grad_norm=0.5)
    with pytest.raises(LegalLLMError, match=r'other settings.*learning_rate was 0.001 and is 0.0001.*--allow-changes'):
        train(other, half, progress=False)
    with pytest.raises(LegalLLMError, match='cannot be resumed with another adapter'):
        train(replace(settings, lora_r=8), half, progress=False, allow_changes=True)
    with pytest.raises(LegalLLMError, match='is finished'):
        train(other, whole.path, progress=False, allow_changes=True)
    changed = train(other, half, progress=False, allow_changes=True)
    assert changed.record['changes'] == [{'learning_rate': [1e-3, 1e-4], 'max_grad_norm': [1.0, 0.5]}] and not equal(
        whole, changed
    )
    assert [line['lr'] <= 1e-4 for line in changed.log()] == [False, False, True]  # the third step has the new rate
    (tmp_path / 'mine.txt').write_text('mine')
    with pytest.raises(LegalLLMError, match='not empty'):
        train(settings, tmp_path, progress=False)
    with pytest.raises(LegalLLMError, match='no run folder'):
        open_run(tmp_path / 'nowhere')


def gradient_of_the_first_step(settings, path, monkeypatch, **kwargs):
    "What the optimiser sees, as one vector; the training is stopped there"
    seen = {}

    def look(self, args, state, control, **kwargs):
        seen['gradient'] = torch.cat([p.grad.flatten() for p in self.trainer.trainable])
        seen['trainer'] = self.trainer
        raise Stopped(1, 'seen enough')

    monkeypatch.setattr(trainer_module.Watch, 'on_pre_optimizer_step', look)
    with pytest.raises(Stopped):
        train(settings, path, progress=False, **kwargs)
    return seen['gradient'], seen['trainer']


def first_step(settings, start, gradient_checkpointing=False):
    "The same gradient, by hand, over the packs of the first step, from the head that a run began with"
    data, tokenizer = open_data(settings.data), load_tokenizer(settings.base_model)
    packs = lay_out(data.examples('train', tokenizer, settings.window_tokens, settings.min_probability), settings)[
        : settings.gradient_accumulation_steps
    ]
    reader = Reader(
        add_lora(
            load_base(settings.base_model, 'float32'), lora_dropout=0.0, gradient_checkpointing=gradient_checkpointing
        ),
        len(data.categories),
    )
    load_head(reader, start)
    return step_gradients(
        reader.train(), packs, LossWeights(settings.loss_weight_present, settings.loss_weight_absent)
    )[1]


def near(got, want, tolerance=1e-5):
    return (got - want).norm() <= tolerance * want.norm()


@pytest.mark.parametrize(
    'change',
    [
        {},
        dict(loss_weight_present=3.0, loss_weight_absent=0.5),
        dict(gradient_checkpointing=True),
        dict(max_pack_tokens=250),
    ],
)
def test_accumulation_equals_one_step_over_all_packs(settings, tmp_path, monkeypatch, change):
    """The gradient that the optimiser sees after three packs is that of their targets together, whatever the weights,
    the checkpointing and the parts
    """
    s = replace(settings, lora_dropout=0.0, gradient_accumulation_steps=3, max_grad_norm=1e9, **change)
    got, trainer = gradient_of_the_first_step(s, tmp_path / 'run', monkeypatch)
    assert near(got, first_step(s, tmp_path / 'run' / 'head_start.safetensors')) and got.norm() > 0
    assert trainer.model.model.base_model.model.is_gradient_checkpointing == (
        change.get('gradient_checkpointing') is True
    )


def test_the_head_has_a_rate_of_its_own(settings, tmp_path):
    run = train(replace(settings, head_learning_rate=1e-12, warmup_steps=0), tmp_path / 'run', progress=False)
    start = load_file(run.path / 'head_start.safetensors')
    end = load_file(run.adapter / 'head.safetensors')
    assert torch.allclose(start['weight'], end['weight'], atol=1e-9) and any(
        v.any() for k, v in weights(run).items() if 'lora_B' in k
    )


@pytest.mark.parametrize('where', ['forward', pytest.param('backward', marks=pytest.mark.slow)])
def test_memory_that_runs_out_halves_the_pack_and_keeps_the_step(settings, tmp_path, monkeypatch, where):
    s = replace(settings, lora_dropout=0.0, max_grad_norm=1e9, pack_windows=4)
    data = open_data(settings.data)
    most = max(
        e.doubt.sum()
        for p in lay_out(data.examples('train', load_tokenizer(s.base_model), s.window_tokens), s)
        for e in p
    )

    class Full(torch.autograd.Function):
        "The forward pass is fine; in the backward pass, memory is full"

        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB')

    weigh = reader_module.weigh

    def full(losses, kinds, counts, weights):
        "A machine that holds no more than the targets of one window"
        if len(kinds) > most:
            if where == 'forward':
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes.")
            losses = Full.apply(losses)
        return weigh(losses, kinds, counts, weights)

    monkeypatch.setattr(trainer_module, 'weigh', full)
    got, trainer = gradient_of_the_first_step(s, tmp_path / 'run', monkeypatch)
    assert near(got, first_step(s, tmp_path / 'run' / 'head_start.safetensors'))
    record = json.loads((tmp_path / 'run' / 'record.json').read_text())
    assert (
        record['limit'] == trainer.budget < record['max_pack_tokens']
        and 'memory ran out in step 1' in record['out_of_memory'][0]
    )
    monkeypatch.undo()
    run = train(s, tmp_path / 'run', progress=False)  # the same packs again, tried and computed in parts
    assert (
        run.record['packs'] == record['packs']
        and run.record['limit'] == record['limit']
        and run.record['measured']['longest'] < record['measured']['longest']
    )


def test_one_window_that_does_not_fit_is_said(settings, tmp_path, monkeypatch):
    def full(*args):
        raise torch.OutOfMemoryError('CUDA out of memory')

    monkeypatch.setattr(trainer_module, 'weigh', full)
    with pytest.raises(LegalLLMError, match='out of memory with one window of .* tokens'):
        train(settings, tmp_path / 'run', progress=False)


def test_a_loss_that_is_not_finite_stops_before_the_update(settings, whole, tmp_path, monkeypatch):
    "Weights and random generators are saved as they were before the bad step: fixed, the run ends like one without it"
    weigh, calls = reader_module.weigh, []

    def bad(losses, *args):
        calls.append(1)
        return weigh(losses, *args) * (float('nan') if len(calls) == 6 else 1)  # the second pack of the third step

    monkeypatch.setattr(trainer_module, 'weigh', bad)
    s = replace(settings, save_steps=100)
    with pytest.raises(Stopped, match='step 3.*not finite.*lower the learning rate'):
        train(s, tmp_path / 'run', progress=False)
    assert 'not finite' in json.loads((tmp_path / 'run' / 'record.json').read_text())['stopped']
    assert (tmp_path / 'run' / 'checkpoints' / 'checkpoint-2' / 'seal.json').exists()
    monkeypatch.undo()
    run = train(s, tmp_path / 'run', progress=False)
    assert equal(run, whole) and steps(run) == [1, 2, 3] and run.record['stopped'] is None


def test_any_watchdog_stops_the_training(settings, tmp_path, monkeypatch):
    class Dog:
        def __call__(self, line):
            return 'it smells: give it a bath' if line['step'] == 2 else None

    monkeypatch.setattr(fit, 'Slow', Dog)
    with pytest.raises(Stopped, match='stopped at step 2: it smells'):
        train(settings, tmp_path / 'run', progress=False)
    assert steps(train(settings, tmp_path / 'run', progress=False, watch=False)) == [1, 2, 3]


def test_early_stopping_keeps_the_best_adapter(settings, tmp_path, monkeypatch):
    "Scores by script: .1 before the first step, best after step 2 of 8, then worse three times"
    scores, kept = iter([0.1, 0.2, 0.5, 0.4, 0.4, 0.4, 0.9, 0.9, 0.9]), []

    def scripted(reader, *args):
        kept.append({k: v.detach().clone() for k, v in reader.named_parameters() if v.requires_grad})
        return dict(dev_score=next(scores))

    monkeypatch.setattr(trainer_module, 'score_examples', scripted)
    s = replace(settings, max_packs=16, eval_steps=1, early_stopping_patience=3, save_steps=3)
    run = train(s, tmp_path / 'run', progress=False)
    assert (
        run.record['best'] == dict(score=0.5, step=2) and run.record['stopped_early'] and steps(run) == [1, 2, 3, 4, 5]
    )
    got = dict(load_reader(run, 'float32')[0].named_parameters())
    assert all((got[k] == v).all() for k, v in kept[2].items()) and not all(
        (got[k] == v).all() for k, v in kept[5].items()
    )
    assert not (run.path / 'best').exists()


def test_fine_tuning_that_only_harms_is_left_out(settings, tmp_path, monkeypatch):
    "The best look is the one before the first step: what is kept is the frozen model with its head, and no adapter"
    scores = iter([0.5, 0.4, 0.3, 0.2])
    monkeypatch.setattr(trainer_module, 'score_examples', lambda *args: dict(dev_score=next(scores)))
    run = train(replace(settings, eval_steps=1, early_stopping_patience=0), tmp_path / 'run', progress=False)
    assert run.record['best'] == dict(score=0.5, step=0) and not list(run.adapter.glob('adapter_*'))
    reader = load_reader(run, 'float32')[0]
    start = load_file(run.path / 'head_start.safetensors')
    assert all(torch.equal(v, start[k]) for k, v in reader.head_tensors().items())


def test_nothing_but_the_head(settings, tmp_path):
    "max_packs=0: the screen and the frozen model's states"
    run = train(replace(settings, max_packs=0, eval_steps=1), tmp_path / 'run', progress=False)
    assert (
        run.record['finished']
        and run.record['steps'] == 0
        and not list(run.adapter.glob('adapter_*'))
        and [line['step'] for line in run.log()] == [0]
    )
    assert run.record['head']['loss'] < run.record['head']['screen'] and run.record['head']['windows'] == 80
    reader, _ = load_reader(run.adapter, 'float32')
    assert all(
        torch.equal(v, load_file(run.path / 'head_start.safetensors')[k]) for k, v in reader.head_tensors().items()
    )


class Broken:
    "A view whose display has gone"

    def begin(self, *args):
        raise ConnectionError('the browser has gone')


def test_no_picture_ends_a_run(settings, tmp_path, monkeypatch, capsys):
    "A view, the curves and the report fail: the run is finished, and its evaluation written"
    monkeypatch.setattr(fit, 'view_for', Broken)
    monkeypatch.setattr(fit, 'plot_run', lambda *args: 1 / 0)
    run = train(replace(settings, max_packs=0, probe_windows=40, eval_steps=1, eval_windows=4), tmp_path / 'run')
    said = capsys.readouterr().out
    assert 'Broken shows nothing more' in said and 'the course of the training could not be drawn' in said
    assert open_run(run.path).record['finished']
    (run.path / 'record.json').write_text(json.dumps({k: v for k, v in run.record.items() if k != 'adapter'}))
    monkeypatch.setattr(report, 'plot_evaluation', lambda *args: 1 / 0)
    evaluate(run.path, 'test', limit=1, progress=False)
    assert (run.path / 'metrics_test.json').exists() and (run.path / 'report_test.html').exists()
    assert 'curves_test.png could not be drawn' in capsys.readouterr().out


def test_a_head_that_begins_with_zeros(settings, tmp_path):
    run = train(replace(settings, probe_windows=0), tmp_path / 'run', progress=False)
    assert (
        steps(run) == [1, 2, 3] and not (run.path / 'head_start.safetensors').exists() and weights(run)['weight'].any()
    )


def test_the_reading_goes_on_where_it_was_interrupted(settings, tmp_path, monkeypatch, capsys):
    """The states are stored in pieces; a training that runs out of time between two goes on, and ends as if nothing had
    been; the head is fitted once
    """
    monkeypatch.setattr(probe, 'PIECE', 20)
    alone, read = train(settings, tmp_path / 'alone', progress=False), []
    monkeypatch.setattr(
        reader_module,
        'read_windows',
        lambda reader, windows, *args, **kwargs: (
            read.append(len(windows)) or read_windows(reader, windows, *args, **kwargs)
        ),
    )
    first = train(settings, tmp_path / 'run', progress=False, max_hours=1e-9)
    assert (
        not first.record['finished']
        and read == [20]
        and 'at step 0 of 3, with everything saved' in capsys.readouterr().out
    )
    with monkeypatch.context() as m, pytest.raises(ZeroDivisionError):
        m.setattr(trainer_module.Watch, 'on_train_begin', lambda *args, **kwargs: 1 / 0)
        train(settings, tmp_path / 'run', progress=False)
    assert read == [20] * 4 and not list((tmp_path / 'run').glob('states-*'))
    second = train(settings, tmp_path / 'run', progress=False)
    assert (
        read == [20] * 4
        and equal(alone, second)
        and steps(second) == [1, 2, 3]
        and second.record['head'] == alone.record['head']
    )


def test_what_is_left_of_a_run_is_enough(settings, whole, tmp_path):
    "The adapter folder alone: screen, reader, and what they were taught; what does not belong together is refused"
    shutil.copytree(whole.adapter, tmp_path / 'a')
    run, data = open_run(tmp_path / 'a'), open_data(settings.data)
    assert (
        run.categories == data.categories
        and run.screen().categories == data.categories
        and run.adapter_hash == whole.adapter_hash
    )
    reader, tokenizer = load_reader(tmp_path / 'a', 'float32')
    windows = [e.window for e in data.examples('dev', tokenizer, 96)][:3]
    got = read_windows(reader, windows)
    frozen = read_windows(load_reader(run, 'float32', adapter=False)[0], windows)
    with reader.model.disable_adapter():
        assert (read_windows(reader, windows) == frozen).all() and not (got == frozen).all()
    about = json.loads((tmp_path / 'a' / 'legal_llm.json').read_text())
    assert str(settings.data) not in json.dumps(about) and 'titles' not in about
    (tmp_path / 'a' / 'legal_llm.json').write_text(json.dumps({**about, 'tokenizer': '0' * 16}))
    with pytest.raises(LegalLLMError, match='another tokenizer'):
        load_reader(tmp_path / 'a')
    (tmp_path / 'a' / 'legal_llm.json').write_text(json.dumps({**about, 'categories': about['categories'][:5]}))
    with pytest.raises(LegalLLMError, match='does not fit this base model: weight is'):
        load_reader(tmp_path / 'a', 'float32')
    (tmp_path / 'a' / 'legal_llm.json').write_text(json.dumps(about))
    (tmp_path / 'a' / 'adapter_model.safetensors').unlink()
    with pytest.raises(LegalLLMError, match="can't find adapter_model.safetensors"):
        load_reader(tmp_path / 'a', 'float32')
    (tmp_path / 'a' / 'head.safetensors').unlink()
    with pytest.raises(LegalLLMError, match='no adapter in .*head.safetensors'):
        load_reader(tmp_path / 'a', 'float32')


def test_checkpoints_hold_no_base_model(whole):
    trained = sum(v.numel() for v in weights(whole).values())
    size = sum(p.stat().st_size for p in (whole.path / 'checkpoints' / 'checkpoint-3').rglob('*'))
    assert size < 12 * trained + 200_000


def test_few_layers_are_read(settings, tmp_path):
    run = train(replace(settings, num_hidden_layers=1, max_packs=2), tmp_path / 'run', progress=False)
    reader, _ = load_reader(run, 'float32')
    assert reader.config.num_hidden_layers == 1 and not any('layers.1.' in k for k in weights(run))


@pytest.mark.slow
def test_two_processes_make_the_updates_of_one(settings, tmp_path):
    "Two gloo processes, started by torchrun, share the packs of each step; the record and the log are written once"
    # more than enough; the two must agree on it
    s = replace(settings, lora_dropout=0.0, max_packs=8, gradient_accumulation_steps=4, hours=1.0)
    one = train(s, tmp_path / 'one', progress=False)
    two = train_on(2, s, tmp_path / 'two', progress=False)
    a, b = weights(one), weights(two)
    assert list((two.path / 'tensorboard').glob('events*'))  # although they show nothing
    assert two.record['processes'] == 2 and all(torch.allclose(a[k], b[k], rtol=1e-3, atol=1e-6) for k in a)
    moved = [(a[k] - b[k]).norm() / a[k].norm() for k in a if 'lora_B' in k]
    assert max(moved) < 1e-3
    assert [round(line['loss'], 4) for line in one.log()] == [round(line['loss'], 4) for line in two.log()]
    assert [line['tokens'] for line in one.log()] == [line['tokens'] for line in two.log()]
    with pytest.raises(LegalLLMError, match='cannot be shared by 3 processes'):
        train_on(3, s, tmp_path / 'three')


@pytest.mark.skipif(
    older('transformers', '5'), reason='transformers 4 resumes several processes on GPUs only: it looks for a cpu:0'
)
@pytest.mark.slow
def test_two_gpus_pass_over_what_overflows_in_float16_and_go_on_where_they_were(settings, tmp_path, monkeypatch):
    "Two T4, as far as anything decides from them (tests/gpus), whose scaled loss overflows in the first step"
    t4 = [('Tesla T4', (7, 5), 14.7)] * 2
    monkeypatch.setenv('LEGAL_LLM_TEST_GPUS', json.dumps(t4))
    monkeypatch.setenv('LEGAL_LLM_TEST_SCALE', str(2.0**27))
    monkeypatch.setenv('PYTHONPATH', str(Path(__file__).parent / 'gpus'))
    s = replace(settings, dtype='auto', max_packs=12)
    whole = train_on(2, s, tmp_path / 'whole', progress=False)
    assert (whole.record['dtype'], whole.record['processes']) == ('float16', 2)
    norms = [line['grad_norm'] for line in whole.log()]
    assert norms[0] is None and norms[-1] is not None
    half = interrupt(whole, tmp_path / 'half', 6)
    again = train_on(2, s, half, progress=False)
    assert steps(again) == [1, 2, 3, 4, 5, 6] and equal(whole, again)
    for run in (whole, again):  # halved by each overflow
        scaler = torch.load(run.path / 'checkpoints/checkpoint-6/scaler.pt')
        assert scaler['scale'] == 2.0 ** (27 - norms.count(None))


CONFIG = """
compute_environment: LOCAL_MACHINE
distributed_type: FSDP
fsdp_config:
  fsdp_version: 2
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_reshard_after_forward: true
  fsdp_state_dict_type: SHARDED_STATE_DICT
machine_rank: 0
main_training_function: main
mixed_precision: 'no'
num_machines: 1
num_processes: 2
"""


@pytest.mark.skipif(older('accelerate', '1.6'), reason='FSDP needs accelerate 1.6')
@pytest.mark.slow
def test_a_model_in_shards_makes_the_updates_of_a_whole_one(settings, tmp_path, monkeypatch):
    """FSDP, as accelerate's configuration file asks for it, over two gloo processes: steps, dev evaluations,
    checkpoints, a stop and a new start
    """
    (tmp_path / 'fsdp.yaml').write_text(CONFIG)
    s = replace(settings, lora_dropout=0.0, max_packs=8, gradient_accumulation_steps=2, eval_steps=2, eval_windows=8)
    s = replace(s, max_pack_tokens=100)  # so that some packs have two parts and others one
    one = train(s, tmp_path / 'one', progress=False)
    tests = str(Path(__file__).parent)
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(filter(None, [tests, os.environ.get('PYTHONPATH')])))
    monkeypatch.setattr(launch, 'PROGRAM', 'sharded')
    two = train_on(None, s, tmp_path / 'two', progress=False, config=tmp_path / 'fsdp.yaml')
    last = 'checkpoints/checkpoint-4'  # the adapter folder holds what was best on dev, perhaps the head alone
    a, b = weights(one, last), weights(two, last)
    assert a.keys() == b.keys() and all(a[k].shape == b[k].shape for k in a)
    assert max((a[k] - b[k]).norm() / a[k].norm() for k in a if 'lora_B' in k) < 1e-3
    looks = [[line for line in run.log() if 'dev_score' in line] for run in (one, two)]
    assert len(looks[0]) == 3 and [x['dev_loss'] for x in looks[0]] == pytest.approx(
        [x['dev_loss'] for x in looks[1]], rel=1e-3
    )
    assert [line['loss'] for line in one.log() if 'loss' in line] == pytest.approx(
        [line['loss'] for line in two.log() if 'loss' in line], rel=1e-3
    )
    parts = sorted(p.name for p in (two.path / last / 'optimizer_0').glob('*.distcp'))
    assert parts == ['__0_0.distcp', '__1_0.distcp']  # each process wrote its own part
    half = interrupt(two, tmp_path / 'half', 4)
    again = train_on(None, s, half, progress=False, config=tmp_path / 'fsdp.yaml')
    assert steps(again) == [1, 2, 3, 4] and equal(two, again, last)


@pytest.mark.parametrize(
    'text, said',
    [
        (None, 'cannot be read'),
        ('[', 'cannot be read'),
        ('a: 1', 'num_processes'),
        ('num_processes: 2\ndistributed_type: DEEPSPEED', 'DEEPSPEED'),
        (CONFIG.replace('fsdp_version: 2', 'fsdp_version: 1'), 'fsdp_version: 2'),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused(tmp_path, text, said):
    if text is not None:
        (tmp_path / 'c.yaml').write_text(text)
    with pytest.raises(LegalLLMError, match=said):
        processes_in(tmp_path / 'c.yaml')


def test_sharing_a_model_needs_a_newer_accelerate(tmp_path, monkeypatch):
    (tmp_path / 'c.yaml').write_text(CONFIG)
    monkeypatch.setattr(launch, 'older', lambda package, version: True)
    with pytest.raises(LegalLLMError, match='sharing a model needs accelerate 1.6.*--gpus 2'):
        processes_in(tmp_path / 'c.yaml')


def test_a_model_in_shards_is_not_read_whole_by_mistake(settings, tmp_path):
    with pytest.raises(LegalLLMError, match='give --probe-windows'):
        prepare_training(replace(settings, probe_windows=None), tmp_path / 'run', shards=2)


def test_a_session_that_holds_the_gpu_is_told_so(monkeypatch):
    "A notebook's model on GPU 0 would leave too little to the processes that are started: it goes, or the figures come"
    import torch

    from legal_llm.launch import free_gpu

    emptied = []
    monkeypatch.setattr(torch.cuda, 'is_initialized', lambda: True)
    monkeypatch.setattr(torch.cuda, 'empty_cache', lambda: emptied.append(1))
    monkeypatch.setattr(torch.cuda, 'memory_allocated', lambda: 0.4 * 2**30)
    free_gpu()
    monkeypatch.setattr(torch.cuda, 'memory_allocated', lambda: 3.2 * 2**30)
    with pytest.raises(LegalLLMError, match='this session holds 3.2 GiB of the first GPU.*del job'):
        free_gpu()
    assert len(emptied) == 2
    monkeypatch.setattr(torch.cuda, 'is_initialized', lambda: False)
    free_gpu()


@pytest.mark.slow
def test_what_goes_wrong_in_a_process_is_said_once(settings, tmp_path):
    with pytest.raises(LegalLLMError, match='is not known'):
        train_on(2, replace(settings, dtype='float64'), tmp_path / 'run', progress=False)


def test_the_plan_is_made_and_nothing_is_written(settings, tmp_path, capsys):
    from legal_llm.cli import main

    assert (
        main(
            [
                'train',
                '--data',
                settings.data,
                '--base-model',
                settings.base_model,
                '--max-packs',
                '6',
                '--probe-windows',
                '8',
                '--out',
                str(tmp_path / 'run'),
                '--dry-run',
                '--verify-packing',
            ]
        )
        == 0
    )
    said = capsys.readouterr().out
    assert 'check: batched gradients match unbatched ones' in said
    assert 'steps   6' in said
    assert not (tmp_path / 'run').exists()


def test_packs_that_fail_the_check_are_refused(settings, tmp_path, monkeypatch, capsys):
    prepare_training(settings, tmp_path / 'run', verify_packing=True)
    assert 'batched gradients match unbatched ones' in capsys.readouterr().out
    states = reader_module.Reader.states
    monkeypatch.setattr(
        reader_module.Reader,
        'states',
        lambda self, input_ids, mean: states(self, input_ids, mean).roll(len(mean) - 1, 0),
    )
    with pytest.raises(LegalLLMError, match='do not give this model the gradients of separate sequences'):
        prepare_training(settings, tmp_path / 'run', verify_packing=True)


def test_a_step_is_shared_by_length_and_each_window_comes_once_an_epoch(settings):
    s = replace(settings, max_packs=None, num_train_epochs=2.0, gradient_accumulation_steps=4, pack_windows=4)
    data = open_data(settings.data)
    examples = data.examples('train', load_tokenizer(s.base_model), s.window_tokens)
    packs = lay_out(examples, s)
    again = lay_out(examples, s)
    assert len(packs) == 2 * len(examples) // 16 * 4 and [[id(e) for e in p] for p in packs] == [
        [id(e) for e in p] for p in again
    ]
    seen = [sum(e is x for p in packs for e in p) for x in examples]
    assert sum(seen) == 4 * len(packs) and max(seen) <= 2 and seen.count(2) >= len(examples) - 15
    shared, waits, ordered = lay_out(examples, s, 2), [], 0
    assert list(map(len, shared)) == list(map(len, packs))
    for k in range(0, len(packs), 4):
        step = [e for p in packs[k : k + 4] for e in p]
        assert list(map(len, step)) == sorted(map(len, step))  # one process computes little padding
        mine, other = (shared[k : k + 4][i::2] for i in (0, 1))  # as each of two takes them
        assert {id(e) for p in mine + other for e in p} == set(map(id, step))
        waits.append(abs(np.subtract(*[sum(len(e) for p in own for e in p) for own in (mine, other)])))
        waits[-1] /= sum(map(len, step))
        ordered += all(max(map(len, a)) <= min(map(len, b)) for a, b in (mine, other))
    assert ordered == len(waits) and np.mean(waits) < 0.05, waits
    with pytest.raises(LegalLLMError, match='fill no step'):
        lay_out(examples[:1], s)


def test_fine_tuning_begins_with_windows_that_the_head_was_not_fitted_on(settings, tmp_path):
    job = prepare_training(replace(settings, probe_windows=8, max_packs=4), tmp_path / 'run')
    fitted = {(e.window.ids.tobytes(), int(e.window.sentences[0])) for e in job.probe}
    trained = [(e.window.ids.tobytes(), int(e.window.sentences[0])) for p in job.packs for e in p]
    assert len(fitted) == 8 and len(trained) >= 8 and not fitted & set(trained)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_a_look_at_dev_gives_float32_under_autocast(settings, whole, dtype):
    "In 16 bits log odds would fall on a few dozen values"
    reader, tokenizer = load_reader(whole, dtype)
    examples = trainer_module.dev_examples(open_data(settings.data), tokenizer, 96, n=6)
    with torch.autocast('cpu', torch.bfloat16):
        margins, states = (read_windows(reader, [e.window for e in examples], states=x) for x in (False, True))
        line = trainer_module.score_examples(reader, examples)
    assert margins.dtype == states.dtype == 'float32' and len(set(margins[:, 0].tolist())) == len(margins)
    assert line['dev_score'] == pytest.approx(line['dev_ap'] - line['screen_ap']) and 0 < line['dev_loss'] < 5
    assert line['screen_ap'] == trainer_module.score_examples(Reader(reader.model, 41), examples)['dev_ap']


def test_every_setting_is_an_option_of_the_command_line():
    from dataclasses import fields

    from legal_llm.cli import parser

    known = vars(parser('train').parse_args(['train', '--data', 'x', '--out', 'y']))
    assert {f.name for f in fields(TrainSettings)} <= known.keys()


def test_options_reach_the_training(settings, tmp_path):
    from legal_llm.cli import main

    options = [
        '--dtype',
        'float32',
        '--lora-options',
        'use_rslora=true',
        '--no-gradient-checkpointing',
        '--probe-windows',
        '8',
        '--max-packs',
        '2',
        '--eval-steps',
        '0',
        '--warmup-steps',
        '0',
        '--lora-r',
        '4',
        '--quiet',
    ]
    assert (
        main(
            [
                'train',
                '--data',
                settings.data,
                '--base-model',
                settings.base_model,
                '--out',
                str(tmp_path / 'run'),
                *options,
            ]
        )
        == 0
    )
    run = open_run(tmp_path / 'run')
    config = json.loads((run.adapter / 'adapter_config.json').read_text())
    assert config['use_rslora'] and config['r'] == 4 and run.record['warmup_steps'] == 0 and steps(run) == [1, 2]
    assert (
        main(
            [
                'train',
                '--from-record',
                str(run.path / 'record.json'),
                '--seed',
                '7',
                '--out',
                str(tmp_path / 'again'),
                '--quiet',
            ]
        )
        == 0
    )
    again = open_run(tmp_path / 'again')
    assert again.record['settings'] == {**run.record['settings'], 'seed': 7}
    assert main(['train', '--out', str(tmp_path / 'x'), '--quiet']) == 2


@pytest.mark.slow
def test_an_interrupted_command_goes_on(settings, tmp_path):
    "Ctrl-C in the middle of a training, then the same command again"
    command = [
        sys.executable,
        '-m',
        'legal_llm.cli',
        'train',
        '--data',
        settings.data,
        '--base-model',
        settings.base_model,
        '--dtype',
        'float32',
        '--probe-windows',
        '20',
        '--pack-windows',
        '2',
        '--max-packs',
        '80',
        '--eval-steps',
        '0',
        '--save-steps',
        '5',
    ]
    command += ['--no-watch', '--out', str(tmp_path / 'run')]
    process = subprocess.Popen(
        command,
        env={**os.environ, 'PYTHONUNBUFFERED': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    log = tmp_path / 'run' / 'log.jsonl'
    while process.poll() is None and not (log.exists() and log.read_bytes().count(b'\n') >= 12):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[0]
    assert process.returncode == 130 and 'the same command resumes' in said and 'Traceback' not in said
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and 'resuming from checkpoint-' in done.stdout
    assert steps(open_run(tmp_path / 'run')) == list(range(1, 81))


def test_a_training_that_runs_out_of_hours_goes_on_in_the_next_session(settings, tmp_path, capsys):
    "It stops with a checkpoint, says so, and what comes out of two sessions is what comes out of one"
    settings = replace(settings, probe_windows=40)
    whole = train(settings, tmp_path / 'whole', progress=False)
    first = train(settings, tmp_path / 'run', progress=False, max_hours=1e-9)
    said = capsys.readouterr().out
    assert 'at step 1 of 3, with everything saved: the same call resumes from there' in said
    assert (
        not first.record['finished']
        and open_run(tmp_path / 'run').record['stopped'] == first.record['stopped']
        and steps(first) == [1]
    )
    with pytest.raises(LegalLLMError, match='no adapter'):
        first.adapter
    second = train(settings, tmp_path / 'run', progress=False, max_hours=1000)
    assert (
        second.record['finished']
        and second.record['stopped'] is None
        and steps(second) == [1, 2, 3]
        and equal(whole, second)
    )
    with pytest.raises(LegalLLMError, match='leave no time'):
        train(settings, tmp_path / 'other', max_hours=0)
    assert not (tmp_path / 'other').exists()


def test_hours_set_the_packs_by_the_speed_that_is_measured(settings):
    job = prepare_training(replace(settings, max_packs=None, probe_windows=None), 'nowhere')
    m = replace(job.plan.measured, tokens=1000, seconds=1.0, reading=0.25)
    tokens = [sum(map(len, job.probe)), sum(map(padded, job.packs))]

    def within(seconds, processes=1):
        return in_time(seconds / 3600, job.probe, job.packs, 2, m, processes)

    assert within(10 * sum(tokens)) == (len(job.probe), len(job.packs))
    seconds = (tokens[0] / 4000 + tokens[1] / 1000) / 2
    heads, packs = within(seconds)
    took = sum(map(len, job.probe[:heads])) / 4000, sum(map(padded, job.packs[:packs])) / 1000
    assert (
        0 < heads < len(job.probe)
        and 0 < packs < len(job.packs)
        and packs % 2 == 0
        and took[0] <= 0.3 * seconds
        and 0.8 * seconds < sum(took) <= 0.9 * seconds
    )
    assert within(seconds / 2, processes=2) == (heads, packs)
    assert in_time(seconds / 3600, job.probe, [], 2, m, 1)[0] > heads
    with pytest.raises(LegalLLMError, match='hours=.* is not enough for one step, which takes'):
        within(1e-6)
    with pytest.raises(LegalLLMError, match='a model in shards'):
        in_time(1, job.probe, job.packs, 2, replace(m, seconds=None), 1)


def test_a_training_in_hours_ends_where_it_was_to_end_although_the_speed_has_changed(settings, tmp_path, monkeypatch):
    s = replace(settings, hours=1.0, probe_windows=40)
    monkeypatch.setattr(job_module, 'in_time', lambda *args: (20, 4))
    first = train(s, tmp_path / 'run', progress=False, max_hours=1e-9)
    assert (first.record['probe'], first.record['packs'], first.record['head']['windows']) == (20, 4, 20) and steps(
        first
    ) == [1]
    monkeypatch.setattr(job_module, 'in_time', lambda *args: (40, 6))
    assert steps(train(s, tmp_path / 'run', progress=False)) == [1, 2]


def from_cuad(path):
    "A data set of which one could think that it is CUAD"
    data = open_data(path)
    return replace(data, info=data.info | dict(source='CUADv1.json'))


def test_the_preset_of_a_machine(tiny_data):
    """What a week trains where nothing else is asked for: on every GPU a person may have, in steps that its processes
    can share
    """
    chosen = {}
    for gpus in ((), ('T4',), ('T4', 'T4'), ('P100',), ('A100',), ('L4',) * 4, ('GTX',)):
        machine = Hardware('', 4, 30.0, False, [GPUS[g] for g in gpus])
        s = week2_settings(from_cuad(tiny_data), machine)
        chosen[' '.join(gpus)] = (preset(machine)[0].name, s.base_model, s.hours, s.gradient_accumulation_steps)
    large = 'llama3.2-3b'
    assert chosen == {
        '': ('processor', 'smollm2', 2.0, 4), 'T4': ('T4', large, 2.0, 1), 'T4 T4': ('T4 x2', large, 2.0, 2),
            'P100': ('P100', large, 3.0, 1),
        'A100': ('A100, H100, L4', large, 1.0, 1), 'L4 L4 L4 L4': ('A100, H100, L4', large, 1.0, 4), 'GTX': (
            'small GPU', 'smollm2', 0.5, 1),
    }  # fmt: skip
    # a processor evaluates on some contracts, and every GPU that is there takes part, if there is Ray to share them
    evaluated = [preset(Hardware('', 4, 30.0, False, g))[0].evaluation for g in ([], [GPUS['T4']], [GPUS['T4']] * 2)]
    assert evaluated == [dict(limit=12), {}, dict(workers=2) if find_spec('ray') else {}]
    # the embedded sample is small, and no reason to fetch a large model
    s = week2_settings(open_data(tiny_data), Hardware('', 4, 30.0, False, [GPUS['T4']] * 2))
    assert (s.base_model, s.hours, s.max_packs, s.gradient_accumulation_steps) == ('smollm2', None, 12, 2)
    # the number of layers is the preset's base model's own
    other = week2_settings(open_data(tiny_data), Hardware('', 4, 30.0, False), base_model='another')
    assert (s.num_hidden_layers, other.num_hidden_layers) == (20, None)


@pytest.mark.parametrize(
    'gpus, speed, base, dtype, load_in_4bit, again, packs, minutes',
    [  # tokens/s of a step on each GPU, first guesses but for what was measured on an H200
        (('T4',), 700, 'llama3.2-3b', 'float16', True, True, 694, 22), (('T4', 'T4'), 700, 'llama3.2-3b',
            'float16', True, True, 694, 11),
        (('P100',), 400, 'llama3.2-3b', 'float16', True, True, 694, 42), (('L4',), 1800, 'llama3.2-3b',
            'bfloat16', False, True, 347, 9),
        (('A100',), 7000, 'llama3.2-3b', 'bfloat16', False, False, 347, 2), (('H200',), 14000, 'llama3.2-3b',
            'bfloat16', False, False, 347, 1),
        (('GTX',), 1500, 'smollm2', 'float16', False, False, 694, 10),
    ],
)  # fmt: skip
def test_what_run_all_would_train_on_cuad(gpus, speed, base, dtype, load_in_4bit, again, packs, minutes, tiny_data):
    """From the machine to the plan, for as many windows as CUAD's training contracts have: the base model, its number
    format and weights, one epoch, and minutes, well within the hours that the preset gives
    """
    from legal_llm.machine.rules import SHAPES, HardwareContext, choose
    from legal_llm.pipeline.windows import Example, Window
    from legal_llm.training.plan import Measured, make_plan

    machine = Hardware('', 4, 30.0, False, [GPUS[g] for g in gpus])
    s = week2_settings(from_cuad(tiny_data), machine)
    shape = SHAPES['Llama-3.2-3B' if s.base_model == 'llama3.2-3b' else 'SmolLM2-135M']
    c = choose(HardwareContext(machine, shape, s.window_tokens, s.pack_windows, s.lora_r, '0.50.2'))
    assert (s.base_model, c['load_in_4bit'], c['gradient_checkpointing']) == (base, load_in_4bit, again) and c[
        'dtype'
    ] == dtype
    window = Window(np.zeros(69, np.int32), np.array([[17, 69]], np.int32), np.zeros(1, np.int32))
    windows = [Example(window, np.zeros((1, 41), np.float32), np.ones((1, 41), bool), np.zeros((1, 41), bool))] * 11_105
    laid = lay_out(windows, s)
    measured = Measured(
        1.0,
        1104,
        1104,
        1104 / speed,
        1104 / (3 * speed),
        3 * 10**9,
        24 * 10**6,
        2.8,
        10.0,
        machine.gpus[0].memory_gb,
        1.0,
        50.0,
    )
    heads, n = in_time(s.hours, windows, laid, s.gradient_accumulation_steps, measured, len(gpus))
    plan = make_plan(laid[:n], windows[:heads], s.gradient_accumulation_steps // len(gpus), len(gpus), measured)
    assert (heads, plan.packs) == (len(windows), packs) and plan.steps == packs // len(gpus)
    assert (
        round((plan.seconds + plan.probe_seconds) / 60) == pytest.approx(minutes, abs=3)
        and plan.seconds + plan.probe_seconds < 3600 * s.hours
    )


GPUS = {
    n: Gpu(n, c, gb)
    for n, c, gb in (
        ('T4', (7, 5), 14.7),
        ('P100', (6, 0), 15.9),
        ('A100', (8, 0), 39.5),
        ('L4', (8, 9), 22.0),
        ('GTX', (6, 1), 8.0),
        ('H200', (9, 0), 139.8),
    )
}


def test_a_log_is_read_from_where_it_was_read_to(tmp_path):
    log = tmp_path / 'log.jsonl'
    log.write_bytes(b'{"step": 1}\n{"st')
    assert launch._new_lines(log, 0) == ([{'step': 1}], 12)
    log.write_bytes(b'{"step": 1}\n{"step": 2}\n')
    assert launch._new_lines(log, 12) == ([{'step': 2}], 24) and launch._new_lines(log, 24) == ([], 24)


def test_the_last_step_is_never_out_of_time(settings, tmp_path):
    assert train(
        replace(settings, max_packs=2, probe_windows=40), tmp_path / 'run', progress=False, max_hours=1e-9
    ).record['finished']


@pytest.mark.parametrize('left, hours', [(None, None), (12.0, 11.75), (0.2, 0.1), (0.0, None)])
def test_a_platform_limits_the_hours(left, hours, monkeypatch):
    "A session that should have ended already is no limit: its beginning was mistaken"
    monkeypatch.setattr(fit, 'hours_left', lambda: left)
    assert fit.Deadline(0.0).hours == hours


def kaggle(folder):
    (folder / 'kaggle/working').mkdir(parents=True, exist_ok=True)
    return environment(folder, {'KAGGLE_KERNEL_RUN_TYPE': 'Batch'})


def test_a_run_of_an_earlier_session_is_brought_and_gone_on_with(settings, whole, tmp_path, capsys):
    """Kaggle: the interrupted run is in a read-only input; it is copied, whole or not at all, and ends as if nothing
    had been
    """
    # nothing to bring: it is trained there
    assert restore_run('week2', kaggle(tmp_path)) == tmp_path / 'kaggle/working/runs/week2'
    assert capsys.readouterr().out == 'There is no run week2 yet; looked in /kaggle/working\n'
    earlier = tmp_path / 'kaggle/input/week-2-output/runs/week2'
    earlier.parent.mkdir(parents=True)
    interrupt(whole, earlier)
    before = {p.relative_to(earlier): p.read_bytes() for p in earlier.rglob('*') if p.is_file()}
    for p in earlier.rglob('*'):
        p.chmod(0o555 if p.is_dir() else 0o444)
    shutil.copytree(earlier, tmp_path / 'kaggle/input/a-first-output/runs/week2')
    (tmp_path / 'kaggle/input/a-first-output/runs/week2/log.jsonl').chmod(0o644)
    (tmp_path / 'kaggle/input/a-first-output/runs/week2/log.jsonl').write_text('')  # an output that had come less far
    out = restore_run('week2', kaggle(tmp_path))
    assert capsys.readouterr().out == 'The run week2 is that of /kaggle/input/week-2-output/runs/week2\n'
    assert (
        out == tmp_path / 'kaggle/working/runs/week2'
        and {p.relative_to(out): p.read_bytes() for p in out.rglob('*') if p.is_file()} == before
    )
    assert all(p.stat().st_mode & 0o200 for p in (out, *out.rglob('*')))
    assert equal(whole, train(settings, out, progress=False))
    # what is here already stays
    assert restore_run('week2', kaggle(tmp_path)) == out and open_run(out).record['finished']
    assert not [p for p in out.parent.iterdir() if p.name.startswith('.')]


def test_a_run_on_other_data_is_not_taken_for_this_one(settings, whole, tmp_path):
    "Week 2's output without week 1's: the data is prepared anew, and is not what the run was trained on"
    here = kaggle(tmp_path)
    shutil.copytree(whole.path, tmp_path / 'kaggle/input/w2/runs/week2')
    shutil.copytree(settings.data, tmp_path / 'kaggle/input/w1/data')
    data = week1_data(environment(tmp_path, {'KAGGLE_KERNEL_RUN_TYPE': 'Batch'}))
    assert data.path == tmp_path / 'kaggle/input/w1/data'
    here = environment(tmp_path, {'KAGGLE_KERNEL_RUN_TYPE': 'Batch'})
    assert week2_run(data, here).record['finished']
    (tmp_path / 'kaggle/input/w1/data/data.json').write_text(json.dumps({**data.info, 'fingerprint': 'another'}))
    with pytest.raises(LegalLLMError, match="was trained on other contracts .*attach week 1's output"):
        week2_run(week1_data(here), here)


def test_the_shipped_model_shows_itself():
    assert 'best on dev' in open_run(default_run())._repr_markdown_()
