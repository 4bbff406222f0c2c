"A training that is interrupted ends where an uninterrupted one ends; finished and foreign run folders are recognised."

import json
import shutil

import pytest
from safetensors.torch import load_file

from legal_llm.data import DataSettings, prepare_data
from legal_llm.env import LegalLLMError
from legal_llm.models import load_tokenizer
from legal_llm.train import TrainSettings, open_run, train


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp('train')
    data = prepare_data(DataSettings(n=21, size=160, overlap=32), root / 'data', load_tokenizer('smollm2'), progress=False)
    settings = TrainSettings(data=str(data.path), max_packs=6, accumulation=2, questions=4, absent=2, save_every=1, dtype='float32')
    return settings, train(settings, root / 'whole', progress=False)


def weights(run):
    return load_file(run.adapter / 'adapter_model.safetensors')


def interrupt(run, path):
    "A copy of a run as it stands after its second step, in the middle of saving the third"
    shutil.copytree(run.path, path)
    shutil.rmtree(path / 'adapter')
    (path / 'checkpoints' / 'checkpoint-3' / 'seal.json').unlink()
    record = json.loads((path / 'record.json').read_text())
    (path / 'record.json').write_text(json.dumps({**record, 'finished': False}))


def test_resumed_equals_uninterrupted(whole, tmp_path, capsys):
    settings, run = whole
    interrupt(run, tmp_path / 'resumed')
    resumed = train(settings, tmp_path / 'resumed', progress=False)
    said = capsys.readouterr().out
    assert 'passing over checkpoint-3' in said and 'resuming from checkpoint-2' in said
    a, b = weights(run), weights(resumed)
    assert a.keys() == b.keys() and all((a[k] == b[k]).all() for k in a)
    assert [line['step'] for line in resumed.log()] == [1, 2, 3]


def test_finished_run_is_reused(whole):
    settings, run = whole
    before = (run.adapter / 'adapter_model.safetensors').stat().st_mtime_ns
    assert train(settings, run.path, progress=False).record == run.record
    assert (run.adapter / 'adapter_model.safetensors').stat().st_mtime_ns == before


def test_other_settings_are_refused(whole, tmp_path):
    settings, run = whole
    with pytest.raises(LegalLLMError, match='other settings'):
        train(TrainSettings(data=settings.data, max_packs=7), run.path, progress=False)
    (tmp_path / 'mine.txt').write_text('mine')
    with pytest.raises(LegalLLMError, match='not empty'):
        train(settings, tmp_path, progress=False)
    with pytest.raises(LegalLLMError, match='no run folder'):
        open_run(tmp_path / 'nowhere')


def test_accumulation_equals_one_step_over_all_packs(whole, tmp_path):
    "The gradient that the optimiser sees after two packs is that of both packs' targets together."
    import torch
    from transformers import TrainerCallback, TrainingArguments

    from legal_llm.data import open_data
    from legal_llm.models import add_lora, load_base
    from legal_llm.packing import collate, step_gradients
    from legal_llm.prompts import Prompt
    from legal_llm.train import _trainer_class, sample_packs

    settings, _ = whole
    packs = sample_packs(open_data(settings.data), Prompt(load_tokenizer('smollm2')), settings)[:2]
    model = add_lora(load_base('smollm2', 'float32'), dropout=0.0)
    _, want = step_gradients(model, packs, settings.weights)
    seen = {}

    class Look(TrainerCallback):
        def on_pre_optimizer_step(self, *args, **kwargs):
            seen['gradient'] = torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])

    arguments = TrainingArguments(output_dir=str(tmp_path), per_device_train_batch_size=1, gradient_accumulation_steps=2, max_grad_norm=0, max_steps=1, report_to=[],
                                  save_strategy='no', disable_tqdm=True, remove_unused_columns=False, use_cpu=True)
    trainer = _trainer_class()(model=model, args=arguments, train_dataset=packs, data_collator=collate, callbacks=[Look()])
    trainer.weights = settings.weights
    trainer.train()
    assert (seen['gradient'] - want).norm() <= 1e-5 * want.norm()
