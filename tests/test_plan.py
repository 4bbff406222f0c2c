"Every fault that preflight looks for, made on purpose; what it leaves behind; what the plan counts."

import copy
import random
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import make_examples
from transformers import LlamaConfig, LlamaModel

import legal_llm.training.plan as plan
from legal_llm.contracts.categories import CATEGORIES
from legal_llm.machine.files import LegalLLMError
from legal_llm.pipeline.models import add_lora
from legal_llm.pipeline.reader import LossWeights, Reader, padded, separate, step_gradients
from legal_llm.training.plan import Measured, make_plan, preflight, run_gb


@pytest.fixture
def reader():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return Reader(add_lora(LlamaModel(config), lora_r=4), len(CATEGORIES))


@pytest.fixture(scope='module')
def packs():
    "Five packs of two windows, of unlike length"
    examples = sorted(make_examples(), key=len)[-10:]
    return [[examples[i], examples[-1 - i]] for i in range(4)] + [[examples[4], examples[5]]]


def test_a_sound_training_passes_and_is_measured(reader, packs, tmp_path):
    m, sizes = preflight(reader, packs, folder=tmp_path), sorted(map(padded, packs))
    assert m.longest == sizes[-1] and m.tokens == sizes[2]
    assert (
        0 < m.reading < 60 and 0 < m.seconds < 60 and 0 < m.weights_gb < m.peak_gb < m.memory_gb and np.isfinite(m.loss)
    )
    assert m.trainable == sum(p.numel() for p in reader.parameters() if p.requires_grad) and m.parameters == LLAMA
    assert m.disk_gb == run_gb(m.trainable) and m.free_gb > m.disk_gb
    # a larger pack is computed in parts
    parts = preflight(reader, packs, folder=tmp_path, budget=max(len(e) for p in packs for e in p))
    assert parts.longest < m.longest


# without the last norm, which a reader does not read through
LLAMA = 49152 * 64 + 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128 + 2 * 64)


def test_nothing_of_it_shows(reader, packs, tmp_path):
    """Random numbers, gradients, modes and weights are as they were, the zeros of a fresh head too: the training is the
    same with and without preflight.
    """
    reader.train()
    reader.model.base_model.model.norm.eval()
    before = copy.deepcopy(reader.state_dict())
    modes = [m.training for m in reader.modules()]
    states = [random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()]
    preflight(reader, packs, folder=tmp_path)
    assert (
        random.getstate() == states[0]
        and (np.random.get_state()[1] == states[1]).all()
        and torch.equal(torch.get_rng_state(), states[2])
    )
    assert all(p.grad is None for p in reader.parameters()) and [m.training for m in reader.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in reader.state_dict().items()) and not reader.head.weight.any()
    with pytest.raises(LegalLLMError):
        reader.model.base_model.model.embed_tokens.weight.data.fill_(float('nan'))
        preflight(reader, packs, folder=tmp_path)
    assert torch.equal(torch.get_rng_state(), states[2]) and [m.training for m in reader.modules()] == modes, (
        'after a fault, too'
    )


def test_gradients_are_bit_equal_with_and_without(reader, packs, tmp_path):
    torch.nn.init.normal_(reader.head.weight, std=0.02)
    found = []
    for before in (False, True):
        torch.manual_seed(3)
        if before:
            preflight(reader, packs, folder=tmp_path)
        reader.train()  # dropout is on
        found.append(step_gradients(reader, packs)[1])
    assert torch.equal(*found)


def test_gradients_scaled_for_float16_are_the_same(reader, packs):
    torch.nn.init.normal_(reader.head.weight, std=0.02)
    (loss, got), (same, scaled) = (
        step_gradients(reader.eval(), packs[:1], LossWeights(), scale) for scale in (1.0, 1024.0)
    )
    assert loss == same and torch.allclose(got, scaled, rtol=1e-5, atol=0)


def test_adapter_is_missing_or_in_16_bits(reader, packs):
    for without in (
        Reader(copy.deepcopy(reader.model).unload().requires_grad_(True), 41),
        copy.deepcopy(reader).requires_grad_(False),
    ):
        with pytest.raises(LegalLLMError, match='no adapter to train: call add_lora'):
            preflight(without, packs)
    reader.head.requires_grad_(False)
    with pytest.raises(LegalLLMError, match='head is frozen'):
        preflight(reader, packs)
    next(p for p in reader.parameters() if p.requires_grad).data = torch.zeros(4, 64, dtype=torch.bfloat16)
    with pytest.raises(LegalLLMError, match='is bfloat16, but what is trained must be float32'):
        preflight(reader, packs)


def test_packs_that_teach_nothing(reader, packs):
    def changed(**how):
        return [[replace(e, **{k: f(e) for k, f in how.items()}) for e in p] for p in packs]

    wrongs = [
        ([], 'no pack was made'),
        (changed(doubt=lambda e: e.doubt & False), 'nothing is in doubt'),
        (changed(doubt=lambda e: e.doubt & ~e.label), 'no pack holds a clause'),
        ([packs[0], *changed(offset=lambda e: e.offset * np.nan)[1:]], 'log odds in pack 1 are not finite'),
    ]
    for wrong, said in wrongs:
        with pytest.raises(LegalLLMError, match=said):
            preflight(reader, wrong)


def test_full_disk(reader, packs, tmp_path, monkeypatch):
    monkeypatch.setattr('shutil.disk_usage', lambda path: namedtuple('usage', 'total used free')(10**12, 10**12, 0))
    with pytest.raises(LegalLLMError, match='0.0 GB are free'):
        preflight(reader, packs, folder=tmp_path / 'not' / 'yet')
    assert not (tmp_path / 'not').exists()
    monkeypatch.undo()
    with pytest.raises(LegalLLMError, match='keep fewer checkpoints'):
        preflight(reader, packs, folder=tmp_path, keep=10**9)


def test_numbers_that_are_not_finite(reader, packs):
    reader.model.base_model.model.layers[1].mlp.down_proj.base_layer.weight.data[0, 0] = float('inf')
    with pytest.raises(LegalLLMError, match='not finite'):
        preflight(reader, packs)


def test_adapters_that_no_gradient_reaches(reader, packs):
    layer = reader.model.base_model.model.layers[1]
    forward, layer.mlp.forward = layer.mlp.forward, lambda x: x
    with pytest.raises(LegalLLMError, match=r'no gradient reaches 6 of 30 trainable weights, such as .*layers\.1\.mlp'):
        preflight(reader, packs)
    layer.mlp.forward = forward
    layer.self_attn.v_proj.lora_A['default'].weight.data.zero_()
    with pytest.raises(
        LegalLLMError, match=r'1 adapters have a gradient of zero, such as .*layers\.1\.self_attn\.v_proj'
    ):
        preflight(reader, packs)


def test_nothing_is_differentiated_at_all(reader, packs):
    "The graph is cut before the head"
    states = reader.states
    reader.states = lambda input_ids, mean: states(input_ids, mean).detach()
    with pytest.raises(LegalLLMError, match='no gradient reaches 28 of 30'):
        preflight(reader, packs)


@pytest.mark.parametrize(
    'problem',
    [
        torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB'),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=['gpu', 'cpu'],
)
def test_longest_pack_that_does_not_fit(reader, packs, monkeypatch, problem):
    tried = []

    def full(reader, some, *args):
        tried.append(padded(some[0]))
        raise problem

    monkeypatch.setattr(plan, 'step_gradients', full)
    with pytest.raises(LegalLLMError, match='do not fit into memory: lower --max-pack-tokens') as e:
        preflight(reader, packs)
    assert tried == [max(map(padded, packs))] and e.value.__cause__ is problem


def test_other_errors_are_not_renamed(reader, packs, monkeypatch):
    def broken(*args):
        step_gradients(*args)
        raise RuntimeError('something else')

    monkeypatch.setattr(plan, 'step_gradients', broken)
    with pytest.raises(RuntimeError, match='something else'):
        preflight(reader, packs)


MEASURED = Measured(
    loss=2.0,
    longest=500,
    tokens=400,
    seconds=2.0,
    reading=0.5,
    parameters=135_000_000,
    trainable=2**28,
    weights_gb=1.0,
    peak_gb=6.0,
    memory_gb=8.0,
    disk_gb=1.0,
    free_gb=50.0,
)


def test_plan_counts(packs):
    p = make_plan(packs, packs[0], gradient_accumulation_steps=2, processes=1, measured=MEASURED)
    examples = [e for pack in packs for e in pack]
    alone = [s for e in examples for s in separate(e)]
    assert (p.packs, p.windows, p.pairs, p.steps) == (5, 10, len(alone), 3) and p.present == sum(
        bool((s.doubt & s.label).any()) for s in alone
    )
    assert p.tokens == sum(map(len, examples)) <= p.computed == sum(map(padded, packs))
    assert make_plan(packs, [], 1, 3, MEASURED).steps == 2
    assert p.seconds == pytest.approx(p.computed * 2 / 400) and make_plan(
        packs, [], 2, 2, MEASURED
    ).seconds == pytest.approx(p.seconds / 2)
    assert (p.probe, p.probe_tokens) == (2, sum(map(len, packs[0]))) and p.probe_seconds == pytest.approx(
        p.probe_tokens * 0.5 / 400
    )
    assert (
        'begins with zeros' in str(make_plan(packs, [], 1, 1, MEASURED))
        and make_plan([], packs[0], 1, 1, MEASURED).steps == 0
        and str(make_plan([], packs[0], 1, 1, MEASURED))
    )


def test_plan_says_whether_it_fits(packs):
    fits = make_plan(packs, packs[0], 4, 1, MEASURED)
    assert fits.adapter_gb == 4.0 and fits.need_gb == 8.0 and fits.fits and 'does not fit' not in str(fits)
    tight = make_plan(packs, packs[0], 4, 1, replace(MEASURED, memory_gb=7.9))
    assert (
        not tight.fits
        and 'It does not fit: lower --max-pack-tokens' in str(tight)
        and '**It does not fit**' in tight._repr_markdown_()
    )
    for shown in (str(fits), fits._repr_markdown_()):
        assert all(word in shown for word in ('head', 'packs', 'tokens', 'steps', 'memory', 'time', 'disk', 'GB free'))
