"""The same library on two generations of its packages. This file runs under both (`make matrix`), and what it says of
one must hold for the other.
"""

import hashlib
import json
import re
from importlib import metadata

import pytest
import torch
from packaging.version import Version

from legal_llm.machine import compat
from legal_llm.machine.compat import load_model, older, readable_checkpoints
from legal_llm.machine.files import LegalLLMError
from legal_llm.machine.packages import PROFILES, profile, versions
from legal_llm.pipeline.models import add_lora, load_base, load_tokenizer, resolve_base

TEXT = (
    'This Agreement (the “Agreement”) is made 12/05/2019\n\n  by ©  and between X, Inc. § 7.1 — foo’s naïve <|im_end|>'
)


def test_older():
    assert older('torch', '99') and not older('torch', '0.1')
    assert older('transformers', '5') is (Version(metadata.version('transformers')) < Version('5'))
    with pytest.raises(metadata.PackageNotFoundError):
        older('no-such-package', '1')


def test_the_embedded_model_is_the_same_to_the_bit():
    "Weights and tokens do not depend on the transformers that unpacked them"
    model, digest = load_base('smollm2', 'float32', causal=True), hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if name != 'lm_head.weight':
            digest.update(name.encode() + tensor.numpy().tobytes())
    assert digest.hexdigest()[:16] == WEIGHTS
    assert model.get_output_embeddings().weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    tokenizer = load_tokenizer('smollm2')
    ids = tokenizer(TEXT).input_ids
    assert hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16] == TOKENS
    assert tokenizer.decode(ids) == TEXT and tokenizer.convert_tokens_to_ids('<|im_end|>') == ids[-1]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
        states = load_base('smollm2', 'float32')(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
    assert logits.topk(3).indices.tolist() == LIKELIEST and logits.max().item() == pytest.approx(HIGHEST, abs=1e-2)
    # the body alone, which is what the reader reads with
    assert torch.allclose(states @ model.get_output_embeddings().weight.T, logits, atol=1e-3)


WEIGHTS = '785e20b3e653276b'
TOKENS = '82082b9d5554df28'
LIKELIEST = [198, 376, 42]
HIGHEST = 32.743


def test_what_is_stored_opens_under_both():
    """The base of the rotary positions, the kind of tokenizer and its template stand where each generation looks for
    them
    """
    folder = compat.Path(resolve_base('smollm2'))
    config, tokenizer = (json.loads((folder / f'{n}.json').read_text()) for n in ('config', 'tokenizer_config'))
    assert (
        config['rope_theta'] == 100000
        and tokenizer['tokenizer_class'] == 'PreTrainedTokenizerFast'
        and 'im_start' in tokenizer['chat_template']
    )


LLAMA3 = dict(
    rope_type='llama3', factor=32.0, high_freq_factor=4.0, low_freq_factor=1.0, original_max_position_embeddings=128
)


@pytest.mark.parametrize('kind, scaling', [(dict(rope_type='default'), None), (LLAMA3, LLAMA3)])
def test_positions_of_a_new_configuration(kind, scaling):
    "What transformers 5 calls rope_parameters, transformers 4 would overlook, and take 10,000"
    assert compat._old_positions({'rope_theta': 500000.0, **kind}) == dict(rope_theta=500000.0, rope_scaling=scaling)


def test_a_folder_that_transformers_5_saved(tiny, tmp_path):
    "Loaded by either, it computes the same: the base of its positions is not the default"
    import shutil

    from transformers import AutoModel

    shutil.copytree(tiny, tmp_path / 'm')
    path = tmp_path / 'm' / 'config.json'
    config = {
        k: v
        for k, v in json.loads(path.read_text()).items()
        if k not in ('rope_theta', 'rope_scaling', 'rope_parameters')
    }
    ids = torch.arange(20, 120)[None]
    said = []
    old = dict(rope_theta=5000.0)
    new = dict(rope_parameters=dict(rope_theta=5000.0, rope_type='default'))
    plain = dict(rope_theta=10000.0)
    scaled = dict(rope_theta=5000.0, rope_scaling=LLAMA3), dict(rope_parameters=dict(rope_theta=5000.0, **LLAMA3))
    # as 4 writes it, as 5 does, and as `save_for_both`
    for base in (old, new, old | new, *scaled, scaled[0] | scaled[1], plain):
        path.write_text(json.dumps(config | base))
        with torch.inference_mode():
            said.append(load_model(tmp_path / 'm', torch.float32)(input_ids=ids).last_hidden_state)
    assert all(torch.equal(said[0], x) for x in said[1:3]) and all(torch.equal(said[3], x) for x in said[4:6])
    assert not torch.equal(said[0], said[3]) and not torch.equal(said[0], said[6])
    path.write_text(json.dumps(config | scaled[0] | scaled[1]))
    with torch.inference_mode():
        # without this library
        assert torch.equal(said[3], AutoModel.from_pretrained(tmp_path / 'm').eval()(input_ids=ids).last_hidden_state)


def test_random_states_of_a_checkpoint(tmp_path):
    import numpy as np

    torch.save({'numpy': np.random.get_state(), 'cpu': torch.get_rng_state()}, tmp_path / 'rng.pth')
    if older('transformers', '5'):
        with pytest.raises(Exception, match='weights_only|Weights only'):
            torch.load(tmp_path / 'rng.pth')
        with readable_checkpoints():
            assert torch.load(tmp_path / 'rng.pth')['numpy'][0] == 'MT19937'


def test_an_option_that_this_peft_does_not_have_is_refused_by_name(tiny):
    "Row 1.3 of the field's problems: `target_parameters` came with peft 0.17"
    if older('peft', '0.17'):
        with pytest.raises(
            LegalLLMError, match=f"peft {re.escape(metadata.version('peft'))} has no option 'target_parameters'"
        ):
            add_lora(load_base(str(tiny), 'float32'), target_parameters=[])
    else:
        add_lora(load_base(str(tiny), 'float32'), target_parameters=[])


def test_the_demo_needs_a_newer_gradio_and_says_so(monkeypatch):
    "gradio 6.17, the last that goes with transformers 4, does not show the results of a first review"
    from legal_llm.faces import app

    monkeypatch.setattr(app, 'older', lambda package, version: True)
    with pytest.raises(LegalLLMError, match='the demo needs gradio 6.24, and .* is installed.*"transformers>=5,<6"'):
        app.make_demo(None, [], '')


def test_this_environment_is_a_tested_set_or_says_so():
    here = versions()
    name = profile(here)
    assert (name == '') is (
        not any(all(here.get(p, '').split('+')[0] == v for p, v in pins.items()) for pins in PROFILES.values())
    )
