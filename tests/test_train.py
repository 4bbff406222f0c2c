"A training ends where it should, however often it is interrupted; memory that runs out, watchdogs, early stopping, several processes, records."

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from legal_llm import packing, train as train_module, trainer as trainer_module
from legal_llm.compat import can_split, older
from legal_llm.data import open_data, week1_data
from legal_llm.env import LegalLLMError, environment
from legal_llm.models import add_lora, load_adapter, load_base, load_tokenizer
from legal_llm.monitor import Stopped
from legal_llm.packing import LossWeights, step_gradients
from legal_llm.prompts import Prompt
from legal_llm.train import TrainSettings, bring_run, open_run, prepare_training, processes_in, recorded_settings, sample_packs, train, train_on, week2_run


@pytest.fixture(scope='module')
def settings(tiny, tiny_data):
    "Three steps of two packs on a tiny model, with dropout, so that random generators matter"
    return TrainSettings(
        data=str(tiny_data), base=str(tiny), dtype='float32', max_packs=6, accumulation=2, questions=4, absent=2, save_every=1, dropout=0.1, dev_every=0
    )


@pytest.fixture(scope='module')
def whole(settings, tmp_path_factory):
    return train(settings, tmp_path_factory.mktemp('train') / 'whole', progress=False)


def weights(run):
    return load_file(run.adapter / 'adapter_model.safetensors')


def equal(a, b):
    "Whether two runs ended with the same adapter, bit for bit"
    a, b = weights(a), weights(b)
    return a.keys() == b.keys() and all((a[k] == b[k]).all() for k in a)


def steps(run):
    return [line['step'] for line in run.log() if 'loss' in line]


def interrupt(run, path, step=3):
    "A copy of a run as it stands before a step, whose checkpoint was never finished"
    shutil.copytree(run.path, path)
    shutil.rmtree(path / 'adapter')
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
    other = replace(settings, lr=1e-4, clip=0.5)
    with pytest.raises(LegalLLMError, match=r'other settings.*lr was None and is 0.0001.*--change'):
        train(other, half, progress=False)
    with pytest.raises(LegalLLMError, match='cannot go on with another adapter'):
        train(replace(settings, r=8), half, progress=False, change=True)
    with pytest.raises(LegalLLMError, match='is finished'):
        train(other, whole.path, progress=False, change=True)
    changed = train(other, half, progress=False, change=True)
    assert changed.record['changes'] == [{'lr': [None, 1e-4], 'clip': [1.0, 0.5]}] and not equal(whole, changed)
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


def first_step(settings, checkpointing=False, weights=None):
    "The same gradient, by hand, over the packs of the first step"
    prompt = Prompt(load_tokenizer(settings.base))
    packs = sample_packs(open_data(settings.data), prompt, settings)[: settings.accumulation]
    model = add_lora(load_base(settings.base, 'float32'), dropout=0.0, checkpointing=checkpointing)
    return step_gradients(model.train(), packs, weights or settings.weights)[1]


def near(got, want, tolerance=1e-5):
    return (got - want).norm() <= tolerance * want.norm()


@pytest.mark.parametrize('change', [{}, dict(plain=True), dict(yes=0.7, no=0.2, edge=2.0, text=0.0), dict(checkpointing=True), dict(attention='dense')])
def test_accumulation_equals_one_step_over_all_packs(settings, tmp_path, monkeypatch, change):
    "The gradient that the optimiser sees after three packs is that of their targets together, whatever the weights, the attention and the checkpointing"
    s = replace(settings, dropout=0.0, accumulation=3, clip=1e9, **change)
    got, trainer = gradient_of_the_first_step(s, tmp_path / 'run', monkeypatch)
    assert near(got, first_step(s)) and got.norm() > 0
    assert trainer.model.is_gradient_checkpointing == (change.get('checkpointing') is True)


@pytest.mark.parametrize('where', ['forward', 'backward'])
def test_memory_that_runs_out_halves_the_pack_and_keeps_the_step(settings, tmp_path, monkeypatch, where):
    s = replace(settings, dropout=0.0, clip=1e9)
    want, most = first_step(s), []

    class Full(torch.autograd.Function):
        "The forward pass is fine; in the backward pass, memory is full"

        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB')

    weigh = packing.weigh

    def full(losses, kinds, counts, weights):
        "A machine that holds no more than six tenths of the largest pack's targets"
        most.append(len(kinds)) if not most else None
        if len(kinds) > 0.6 * most[0]:
            if where == 'forward':
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes.")
            losses = Full.apply(losses)
        return weigh(losses, kinds, counts, weights)

    monkeypatch.setattr(trainer_module, 'weigh', full)
    got, trainer = gradient_of_the_first_step(s, tmp_path / 'run', monkeypatch)
    assert near(got, want)
    record = json.loads((tmp_path / 'run' / 'record.json').read_text())
    assert record['limit'] == trainer.budget < record['budget'] and 'memory ran out in step 1' in record['out_of_memory'][0]
    monkeypatch.undo()
    run = train(s, tmp_path / 'run', progress=False)  # the same packs again, tried and computed in parts
    assert run.record['packs'] == record['packs'] and run.record['limit'] == record['limit'] and run.record['measured']['longest'] < record['measured']['longest']


def test_one_question_that_does_not_fit_is_said(settings, tmp_path, monkeypatch):
    def full(*args):
        raise torch.OutOfMemoryError('CUDA out of memory')

    monkeypatch.setattr(trainer_module, 'weigh', full)
    with pytest.raises(LegalLLMError, match='out of memory with one question on a window of .* tokens'):
        train(settings, tmp_path / 'run', progress=False)


def test_a_loss_that_is_not_finite_stops_before_the_update(settings, whole, tmp_path, monkeypatch):
    "Weights and random generators are saved as they were before the bad step: mended, the run ends like one without it"
    weigh, calls = packing.weigh, []

    def bad(losses, *args):
        calls.append(1)
        return weigh(losses, *args) * (float('nan') if len(calls) == 6 else 1)  # the second pack of the third step

    monkeypatch.setattr(trainer_module, 'weigh', bad)
    s = replace(settings, save_every=100)
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

    monkeypatch.setattr(train_module, 'Slow', Dog)
    with pytest.raises(Stopped, match='stopped at step 2: it smells'):
        train(settings, tmp_path / 'run', progress=False)
    assert steps(train(settings, tmp_path / 'run', progress=False, watch=False)) == [1, 2, 3]


def test_early_stopping_keeps_the_best_adapter(settings, tmp_path, monkeypatch):
    "Scores by script: best after step 2 of 8, then worse three times"
    scores, kept = iter([0.2, 0.5, 0.4, 0.4, 0.4, 0.9, 0.9, 0.9]), {}

    def scripted(model, *args):
        kept[len(kept) + 1] = {k: v.detach().clone() for k, v in model.named_parameters() if 'lora_B' in k}
        return dict(dev_score=next(scores))

    monkeypatch.setattr(trainer_module, 'score_packs', scripted)
    s = replace(settings, max_packs=16, dev_every=1, patience=3, save_every=3)
    run = train(s, tmp_path / 'run', progress=False)
    assert run.record['best'] == dict(score=0.5, step=2) and run.record['stopped_early'] and steps(run) == [1, 2, 3, 4, 5]
    got = {k: v for k, v in load_adapter(load_base(s.base, 'float32'), run.path).named_parameters() if 'lora_B' in k}
    assert all((got[k] == kept[2][k]).all() for k in got) and not all((got[k] == kept[5][k]).all() for k in got)
    assert not (run.path / 'best').exists()


def test_dev_score_is_what_greedy_decoding_would_write(settings):
    "An answer counts as right to the last token just when generating, from its decision on, writes it"
    from legal_llm.trainer import dev_packs, score_packs

    tokenizer = load_tokenizer('smollm2')
    prompt, model = Prompt(tokenizer), add_lora(load_base('smollm2', 'float32'), dropout=0.0)
    data = open_data(settings.data)
    packs = [p.take([b]) for p in dev_packs(data, prompt, n=4, absent=0) for b in range(1, p.branches.max() + 1) if (p.kinds[p.branches == b] == 1).any()]
    packs = sorted(packs, key=len)[:3]
    torch.manual_seed(3)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    for _ in range(7):  # learn one answer by heart, and not all
        step_gradients(model, packs[:1], LossWeights(plain=True))
        optimizer.step()
    right = []
    for p in packs:
        at = [i for i, k in enumerate(p.kinds) if k]
        want = p.targets[at].tolist()
        start = p.ids[: at[0] + 1].tolist() + want[:1]
        with torch.inference_mode():
            out = model.generate(
                input_ids=torch.tensor([start]), attention_mask=torch.ones(1, len(start), dtype=torch.long), max_new_tokens=len(want) - 1, do_sample=False, pad_token_id=0, eos_token_id=prompt.stop
            )
        right.append(out[0, len(start) :].tolist() == want[1:])
    assert score_packs(model, packs, prompt)['dev_exact'] == sum(right) / len(right) and 0 < sum(right) < len(right)


def test_two_processes_make_the_updates_of_one(settings, tmp_path):
    "Two gloo processes, started by torchrun, share the packs of each step; the record and the log are written once"
    s = replace(settings, dropout=0.0, max_packs=8, accumulation=4)
    one, two = train(s, tmp_path / 'one', progress=False), train_on(2, s, tmp_path / 'two', progress=False)
    a, b = weights(one), weights(two)
    assert two.record['processes'] == 2 and all(torch.allclose(a[k], b[k], rtol=1e-3, atol=1e-6) for k in a)
    moved = [(a[k] - b[k]).norm() / a[k].norm() for k in a if 'lora_B' in k]
    assert max(moved) < 1e-3
    assert [round(line['loss'], 4) for line in one.log()] == [round(line['loss'], 4) for line in two.log()]
    assert [line['tokens'] for line in one.log()] == [line['tokens'] for line in two.log()]
    with pytest.raises(LegalLLMError, match='cannot be shared by 3 processes'):
        train_on(3, s, tmp_path / 'three')


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
def test_a_model_in_shards_makes_the_updates_of_a_whole_one(settings, tmp_path, monkeypatch):
    "FSDP, as accelerate's configuration file asks for it, over two gloo processes: steps, looks at dev, checkpoints, a stop and a new start"
    (tmp_path / 'fsdp.yaml').write_text(CONFIG)
    s = replace(settings, dropout=0.0, max_packs=8, accumulation=2, dev_every=2, dev_windows=2)
    one = train(s, tmp_path / 'one', progress=False)
    tests = str(Path(__file__).parent)
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(filter(None, [tests, os.environ.get('PYTHONPATH')])))
    monkeypatch.setattr(train_module, 'PROGRAM', 'sharded')
    two = train_on(None, s, tmp_path / 'two', progress=False, config=tmp_path / 'fsdp.yaml')
    a, b = weights(one), weights(two)
    assert a.keys() == b.keys() and all(a[k].shape == b[k].shape for k in a)
    assert max((a[k] - b[k]).norm() / a[k].norm() for k in a if 'lora_B' in k) < 1e-3
    looks = [[line for line in run.log() if 'dev_score' in line] for run in (one, two)]
    assert len(looks[0]) == 2 and [x['dev_yes'] for x in looks[0]] == pytest.approx([x['dev_yes'] for x in looks[1]], rel=1e-3)
    assert [line['loss'] for line in one.log() if 'loss' in line] == pytest.approx([line['loss'] for line in two.log() if 'loss' in line], rel=1e-3)
    last = sorted(p.name for p in (two.path / 'checkpoints' / 'checkpoint-4' / 'optimizer_0').glob('*.distcp'))
    assert last == ['__0_0.distcp', '__1_0.distcp']  # each process wrote its own part
    half = interrupt(two, tmp_path / 'half', 4)
    again = train_on(None, s, half, progress=False, config=tmp_path / 'fsdp.yaml')
    assert steps(again) == [1, 2, 3, 4] and equal(two, again)


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
    monkeypatch.setattr(train_module, 'older', lambda package, version: True)
    with pytest.raises(LegalLLMError, match='sharing a model needs accelerate 1.6.*--gpus 2'):
        processes_in(tmp_path / 'c.yaml')


def test_what_goes_wrong_in_a_process_is_said_once(settings, tmp_path):
    with pytest.raises(LegalLLMError, match='there is no setting|is not known'):
        train_on(2, replace(settings, attention='flash'), tmp_path / 'run', progress=False)


def test_the_plan_is_made_and_nothing_is_written(settings, tmp_path, capsys):
    from legal_llm.cli import main

    assert main(['train', '--data', settings.data, '--base', settings.base, '--max-packs', '6', '--out', str(tmp_path / 'run'), '--plan', '--check']) == 0
    said = capsys.readouterr().out
    assert f'check: {"split" if can_split() else "dense"} attention' in said and 'separate sequences would need' in said and 'steps   6' in said
    assert not (tmp_path / 'run').exists()


@pytest.mark.skipif(not can_split(), reason='this transformers takes no attention of one\'s own')
def test_attention_that_fails_the_check_is_replaced_by_one_that_does_not(settings, tmp_path, monkeypatch, capsys):
    "Split attention that looks ahead is found out, and dense attention used"
    right = packing.split_attention

    def wrong(module, query, key, value, attention_mask, **kwargs):
        return right(module, query, key, value, None if attention_mask is None else attention_mask.new_ones(attention_mask.shape), **kwargs)

    monkeypatch.setattr(packing, 'split_attention', wrong)
    job = prepare_training(settings, tmp_path / 'run', check=True)
    assert 'split' in capsys.readouterr().out and job.choices['attention'] == packing.attention_of(job.model) == 'dense'
    monkeypatch.setattr(train_module, 'check_pack', lambda *args: 0.3)
    with pytest.raises(LegalLLMError, match='do not give this model the gradients of separate sequences'):
        prepare_training(settings, tmp_path / 'run', check=True)


def test_every_setting_is_an_option_of_the_command_line():
    from dataclasses import fields

    from legal_llm.cli import TRAIN

    assert {name for name, *_ in TRAIN} == {f.name for f in fields(TrainSettings)} - {'data'}


def test_options_reach_the_training(settings, tmp_path):
    from legal_llm.cli import main

    options = ['--dtype', 'float32', '--lora', 'use_rslora=true', '--no-checkpointing', '--max-packs', '2', '--dev-every', '0', '--warmup', '0', '--r', '4', '--quiet']
    assert main(['train', '--data', settings.data, '--base', settings.base, '--out', str(tmp_path / 'run'), *options]) == 0
    run = open_run(tmp_path / 'run')
    config = json.loads((run.adapter / 'adapter_config.json').read_text())
    assert config['use_rslora'] and config['r'] == 4 and run.record['warmup'] == 0 and steps(run) == [1, 2]
    assert main(['train', '--record', str(run.path / 'record.json'), '--seed', '7', '--out', str(tmp_path / 'again'), '--quiet']) == 0
    again = open_run(tmp_path / 'again')
    assert again.record['settings'] == {**run.record['settings'], 'seed': 7}
    assert main(['train', '--out', str(tmp_path / 'x'), '--quiet']) == 2


def test_an_interrupted_command_goes_on(settings, tmp_path):
    "Ctrl-C in the middle of a training, then the same command again"
    command = [sys.executable, '-m', 'legal_llm.cli', 'train', '--data', settings.data, '--base', settings.base, '--dtype', 'float32', '--max-packs', '40', '--dev-every', '0', '--save-every', '5']
    command += ['--no-watch', '--out', str(tmp_path / 'run')]
    process = subprocess.Popen(command, env={**os.environ, 'PYTHONUNBUFFERED': '1'}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    log = tmp_path / 'run' / 'log.jsonl'
    while process.poll() is None and not (log.exists() and log.read_bytes().count(b'\n') >= 12):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[0]
    assert process.returncode == 130 and 'the same command goes on' in said and 'Traceback' not in said
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and 'resuming from checkpoint-' in done.stdout
    assert steps(open_run(tmp_path / 'run')) == list(range(1, 41))


def test_a_training_that_runs_out_of_hours_goes_on_in_the_next_session(settings, whole, tmp_path, capsys):
    "It stops with a checkpoint, says so, and what comes out of two sessions is what comes out of one"
    first = train(settings, tmp_path / 'run', progress=False, hours=1e-9)
    said = capsys.readouterr().out
    assert 'at step 1 of 3, with everything saved: the same call goes on from there' in said
    assert not first.record['finished'] and open_run(tmp_path / 'run').record['stopped'] == first.record['stopped'] and steps(first) == [1]
    with pytest.raises(LegalLLMError, match='no adapter'):
        first.adapter
    second = train(settings, tmp_path / 'run', progress=False, hours=1000)
    assert second.record['finished'] and second.record['stopped'] is None and steps(second) == [1, 2, 3] and equal(whole, second)
    with pytest.raises(LegalLLMError, match='leave no time'):
        train(settings, tmp_path / 'other', hours=0)
    assert not (tmp_path / 'other').exists()


def test_the_last_step_is_never_out_of_time(settings, tmp_path):
    assert train(replace(settings, max_packs=2), tmp_path / 'run', progress=False, hours=1e-9).record['finished']


@pytest.mark.parametrize('left, hours', [(None, None), (12.0, 11.75), (0.2, None), (0.0, None)])
def test_a_platform_limits_the_hours(left, hours, monkeypatch):
    "A session that should have ended already is no limit: its beginning was mistaken"
    monkeypatch.setattr(train_module, 'hours_left', lambda: left)
    assert train_module._session_hours() == hours


def kaggle(folder):
    (folder / 'kaggle/working').mkdir(parents=True, exist_ok=True)
    return environment(folder, {'KAGGLE_KERNEL_RUN_TYPE': 'Batch'})


def test_a_run_of_an_earlier_session_is_brought_and_gone_on_with(settings, whole, tmp_path, capsys):
    "Kaggle: the interrupted run is in a read-only input; it is copied, whole or not at all, and ends as if nothing had been"
    assert bring_run('week2', kaggle(tmp_path)) == tmp_path / 'kaggle/working/runs/week2'  # nothing to bring: it is trained there
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
    out = bring_run('week2', kaggle(tmp_path))
    assert capsys.readouterr().out == 'The run week2 is that of /kaggle/input/week-2-output/runs/week2\n'
    assert out == tmp_path / 'kaggle/working/runs/week2' and {p.relative_to(out): p.read_bytes() for p in out.rglob('*') if p.is_file()} == before
    assert all(p.stat().st_mode & 0o200 for p in (out, *out.rglob('*')))
    assert equal(whole, train(settings, out, progress=False))
    assert bring_run('week2', kaggle(tmp_path)) == out and open_run(out).record['finished']  # what is here already stays
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
