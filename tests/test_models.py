"LoRA options are those of the installed peft; adapters of every kind come back; number formats follow the rules."

import json
import re
import shutil

import pytest
import torch
from transformers import LlamaConfig, LlamaModel

import legal_llm.machine.compat as compat
import legal_llm.pipeline.models as models
from legal_llm.machine.files import LegalLLMError
from legal_llm.machine.platform import Hardware
from legal_llm.machine.rules import HardwareContext
from legal_llm.pipeline.extract import default_run
from legal_llm.pipeline.models import (
    add_lora,
    choose_dtype,
    load_adapter,
    load_base,
    load_tokenizer,
    resolve_base,
    tokenizer_hash,
)
from legal_llm.training.runs import open_run


def tiny():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return LlamaModel(config)


@pytest.fixture(scope='module')
def tiny_folder(tmp_path_factory):
    from tiny import make_tiny

    return make_tiny(tmp_path_factory.mktemp('base'))


def states(model):
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(20)[None]).last_hidden_state


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'use_rslora': True},
        {'use_dora': True},
        {'target_modules': ['q_proj', 'v_proj']},
        {'init_lora_weights': 'gaussian'},
    ],
    ids=str,
)
def test_options_reach_peft_and_the_adapter_comes_back(options, tmp_path):
    model = add_lora(tiny(), **options)
    config = model.peft_config['default']
    assert all(getattr(config, k) == (set(v) if isinstance(v, list) else v) for k, v in options.items())
    assert all(p.dtype == torch.float32 for p in model.parameters() if p.requires_grad)
    for name, p in model.named_parameters():
        if 'lora_B' in name:
            torch.nn.init.normal_(p, std=0.1)
    model.save_pretrained(tmp_path)
    assert torch.equal(states(load_adapter(tiny(), tmp_path)), states(model))


def test_an_adapter_sits_in_the_layers_that_are_named_and_in_no_others(tmp_path):
    model = add_lora(tiny(), layers_to_transform=[1], target_modules=['q_proj', 'v_proj'])
    assert {n.split('.lora_')[0].rpartition('model.')[2] for n, p in model.named_parameters() if p.requires_grad} == {
        f'layers.1.self_attn.{k}_proj' for k in 'qv'
    }
    for options, n in (({}, 7), ({'target_modules': 'all-linear'}, 7), ({'target_modules': r'.*\.mlp\..*'}, 3)):
        assert (
            len(
                {
                    n.split('.lora_')[0]
                    for n, p in add_lora(tiny(), layers_to_transform=0, **options).named_parameters()
                    if p.requires_grad
                }
            )
            == n
        )
    for name, p in model.named_parameters():
        if 'lora_B' in name:
            torch.nn.init.normal_(p, std=0.1)
    model.save_pretrained(tmp_path)
    assert torch.equal(states(load_adapter(tiny(), tmp_path)), states(model))
    with pytest.raises(LegalLLMError, match='names no layer of this model, which has 2'):
        add_lora(tiny(), layers_to_transform=[2])


@pytest.mark.parametrize(
    'options, said',
    [
        ({'use_rs_lora': True}, "no option 'use_rs_lora': did you mean 'use_rslora'"),
        ({'usedora': True}, "did you mean 'use_dora'"),
        ({'zzz': 1}, "no option 'zzz': leave it out"),
        ({'r': 8}, "called 'lora_r' here"),
    ],
)
def test_unknown_options_are_refused_by_name(options, said):
    with pytest.raises(LegalLLMError, match=said):
        add_lora(tiny(), **options)


def test_checkpointing_gives_the_same_gradients():
    grads = []
    for on in (False, True):
        model = add_lora(tiny(), lora_dropout=0.0, gradient_checkpointing=on).train()
        model(input_ids=torch.arange(20)[None]).last_hidden_state.square().mean().backward()
        assert model.base_model.model.is_gradient_checkpointing == on
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad]))
    assert grads[0].norm() > 0 and torch.equal(*grads)


def test_number_formats_follow_the_rules(monkeypatch):
    monkeypatch.setattr(models, 'hardware_context', lambda: HardwareContext(Hardware('a processor', 2, 8.0, True)))
    assert choose_dtype() == 'bfloat16' and choose_dtype('float32') == 'float32'
    for dtype, said in (('float16', 'for GPUs'), ('half', 'not known: choose float32')):
        with pytest.raises(LegalLLMError, match=said):
            choose_dtype(dtype)
    with pytest.raises(LegalLLMError, match='bitsandbytes, which is not installed'):
        load_base('smollm2', load_in_4bit=True)


@pytest.mark.parametrize(
    'token, name', [(None, 'unsloth/Llama-3.2-3B-Instruct'), ('hf_x', 'meta-llama/Llama-3.2-3B-Instruct')]
)
def test_the_gated_llama_is_for_those_who_are_logged_in(token, name, monkeypatch):
    monkeypatch.setattr('huggingface_hub.get_token', lambda: token)
    assert (
        resolve_base('llama3.2-3b') == name
        and resolve_base('meta-llama/Llama-3.2-3B-Instruct') == 'meta-llama/Llama-3.2-3B-Instruct'
    )


def test_an_adapter_that_is_not_there_or_changes_nothing(tmp_path):
    """Rows 6.1 and 7.1 of the field's problems: the folder without the file, the base model taken for the tuned one,
    keys that do not match
    """
    with pytest.raises(LegalLLMError, match="can't find adapter_config.json"):
        load_adapter(tiny(), tmp_path)
    model = add_lora(tiny())
    model.save_pretrained(tmp_path)
    with pytest.raises(LegalLLMError, match='changes nothing'):
        load_adapter(tiny(), tmp_path)
    (tmp_path / 'adapter_model.safetensors').rename(tmp_path / 'gone')
    with pytest.raises(LegalLLMError, match="can't find adapter_model.safetensors"):
        load_adapter(tiny(), tmp_path)
    from safetensors.torch import load_file, save_file

    saved = load_file(tmp_path / 'gone')
    save_file({k: v for k, v in saved.items() if 'layers.1' not in k}, tmp_path / 'adapter_model.safetensors')
    with pytest.raises(LegalLLMError, match='does not fit: 14 keys|keys differ'):
        load_adapter(tiny(), tmp_path)


def test_the_pad_token_is_not_the_end_token(tmp_path):
    tokenizer = load_tokenizer('smollm2')
    for pad in (None, tokenizer.eos_token):
        tokenizer.pad_token = pad
        tokenizer.save_pretrained(tmp_path)
        (tmp_path / 'config.json').write_text('{"model_type": "llama"}')
        assert load_tokenizer(str(tmp_path)).pad_token == '<|endoftext|>'


def test_a_tokenizer_is_known_by_its_hash(tmp_path):
    tokenizer = load_tokenizer('smollm2')
    assert tokenizer_hash(tokenizer) == TOKENIZER
    tokenizer.add_tokens(['§ 7.1'])
    assert tokenizer_hash(tokenizer) != TOKENIZER


TOKENIZER = '2667b6d7afd579a6'  # the same under each version of transformers


def test_a_login_without_access_takes_the_ungated_copy(monkeypatch, capsys):
    "The licence was not accepted, or a fine-grained token does not reach gated repositories"
    from types import SimpleNamespace

    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

    def fail(kind, **known):
        error = kind.__new__(kind)
        vars(error).update(known)
        return lambda name: (_ for _ in ()).throw(error)

    given, ours = 'unsloth/Llama-3.2-3B-Instruct', 'meta-llama/Llama-3.2-3B-Instruct'
    for check, name, said in (
        (fail(GatedRepoError), given, f'its licence was not accepted there: {given} is taken'),
        (fail(HfHubHTTPError, response=SimpleNamespace(status_code=403)), given, 'may not read public gated'),
        (fail(HfHubHTTPError, response=SimpleNamespace(status_code=500)), ours, ''),
        (lambda name: None, ours, ''),
    ):
        models._refused.cache_clear()
        monkeypatch.setattr('huggingface_hub.get_token', lambda: 'hf_x')
        monkeypatch.setattr(models, 'offline', lambda: False)
        monkeypatch.setattr('huggingface_hub.auth_check', check)
        assert resolve_base('llama3.2-3b') == name
        out = capsys.readouterr().out
        assert said in out and bool(said) == bool(out)
    models._refused.cache_clear()


def test_old_gpus_get_as_many_keys_as_queries(monkeypatch):
    sdpa = pytest.importorskip('transformers.integrations.sdpa_attention')
    if not hasattr(sdpa, 'use_gqa_in_sdpa'):
        pytest.skip('this transformers always expands them')
    key = torch.zeros(1, 2, 3, 4)
    monkeypatch.setattr(sdpa, 'use_gqa_in_sdpa', sdpa.use_gqa_in_sdpa)  # put back afterwards
    compat.expand_keys((8, 0))
    assert sdpa.use_gqa_in_sdpa(None, key, key)
    compat.expand_keys((7, 5))
    assert not sdpa.use_gqa_in_sdpa(None, key, key)


NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for "
    "m in messages %}<start_of_turn>{{ m.role }}\n{{ m.content }}<end_of_turn>\n{% endfor "
    "%}<start_of_turn>model\n"
)
DATED = (
    "{{ strftime_now('%d %b %Y') if strftime_now is defined else date_string }}{% for m in messages %}<|user|>{{ "
    "m.content }}<|end|>{% endfor %}<|assistant|>"
)


@pytest.mark.parametrize(
    'template, config, status, said',
    [
        (NO_SYSTEM, {}, 'green', 'llama, 2 layers of'),
        (DATED, {}, 'green', 'llama, 2 layers of'),
        ("{{ raise_exception('no users here') }}", {}, 'amber', "refuses a user's turn .no users here"),
        (None, {}, 'amber', 'has no chat template'),
        (NO_SYSTEM, dict(model_type='t5', is_encoder_decoder=True), 'red', 'encoder-decoder'),
        (
            NO_SYSTEM,
            dict(model_type='llava', text_config=dict(model_type='llama'), num_hidden_layers=None, hidden_size=None),
            'red',
            'for pictures|its configuration',
        ),
        (NO_SYSTEM, dict(model_type='of another world'), 'red', 'its configuration cannot be read'),
    ],
)
def test_whether_a_base_model_will_do(tmp_path, tiny_folder, capsys, template, config, status, said):
    from legal_llm.cli import main
    from legal_llm.pipeline.models import check_base

    folder = tmp_path / 'base'
    shutil.copytree(tiny_folder, folder)
    made = json.loads((folder / 'tokenizer_config.json').read_text())
    made.pop('chat_template', None)
    (folder / 'chat_template.jinja').unlink(missing_ok=True)
    (folder / 'tokenizer_config.json').write_text(
        json.dumps({**made, **({'chat_template': template} if template else {})})
    )
    (folder / 'config.json').write_text(json.dumps({**json.loads((folder / 'config.json').read_text()), **config}))
    found = check_base(str(folder))
    assert found[-1].status == status and re.search(said, found[-1].found), found
    assert main(['doctor', '--base-model', str(folder)]) == (status == 'red')
    assert found[-1].found in capsys.readouterr().out.replace('\n', ' ') or status != 'green'


def test_a_base_model_that_is_not_there(tmp_path):
    from legal_llm.pipeline.models import check_base

    assert check_base(str(tmp_path))[0].status == check_base('nobody/nothing')[0].status == 'red'


def test_settings_of_a_newer_peft_are_left_out(tmp_path):
    "An adapter that a newer peft saved opens under an older one, as the default under the packages of 2024 has to"
    shutil.copytree(default_run(), tmp_path / 'new')
    file = tmp_path / 'new/adapter_config.json'
    file.write_text(json.dumps(json.loads(file.read_text()) | {'use_tomorrow': False, 'tomorrow_config': None}))
    run = open_run(default_run())
    model = load_base('smollm2', 'float32', num_hidden_layers=run.record['settings']['num_hidden_layers'])
    assert load_adapter(model, tmp_path / 'new').active_adapters
