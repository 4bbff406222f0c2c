"""The fast path against the plain one, on the real base model and, where CUAD is at hand, on its contracts: one pass
over a window is many sequences.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from development import find_dev_cuad

from legal_llm.contracts.categories import CATEGORIES
from legal_llm.contracts.readers import load_contracts
from legal_llm.contracts.sentences import label_sentences, split_sentences
from legal_llm.contracts.synthetic import write_contracts
from legal_llm.pipeline.models import add_lora, load_base, load_tokenizer
from legal_llm.pipeline.reader import (
    LossWeights,
    Reader,
    check_pack,
    collate,
    read_windows,
    separate,
    split_pack,
    step_gradients,
)
from legal_llm.pipeline.windows import make_examples


@pytest.fixture(scope='module')
def reader():
    """The first layers of SmolLM2 in float32 with an adapter and a head that do something; all thirty take a minute a
    test
    """
    reader = Reader(add_lora(load_base('smollm2', 'float32', num_hidden_layers=8), lora_dropout=0.0), len(CATEGORIES))
    torch.manual_seed(1)
    for name, p in reader.named_parameters():
        if 'lora_B' in name or name.startswith('head'):
            torch.nn.init.normal_(p, std=0.002)
    return reader


@pytest.fixture(scope='module', params=['written', pytest.param('cuad', marks=pytest.mark.slow)])
def pack(request):
    "Windows of unlike length with several clauses; a few pairs of each in doubt, for the sake of time"
    if request.param == 'cuad' and find_dev_cuad() is None:
        pytest.skip('CUAD is not here: set LEGAL_LLM_CUAD to its path')
    contract = write_contracts(1, seed=9)[0] if request.param == 'written' else load_contracts(find_dev_cuad())[3]
    sentences = split_sentences(contract.text)
    label = label_sentences(sentences, contract.clauses, [c.name for c in CATEGORIES])
    odds = np.random.default_rng(0).normal(-6, 1, label.shape).astype(np.float32)
    examples = make_examples(contract.text, sentences, odds, label, load_tokenizer('smollm2'), 200, 0.005)
    few = sorted(sorted(examples, key=lambda e: -e.label.sum())[:3], key=len)
    return [
        replace(e, doubt=(e.label | e.doubt) & (np.cumsum(e.label | e.doubt).reshape(e.doubt.shape) <= 4)) for e in few
    ]


def plain_step(reader, pack, weights):
    """Loss and gradients of separate sequences, written without packs: one pass for each pair, up to the end of its
    sentence
    """
    reader.zero_grad()
    total, mass = 0.0, 0.0
    for e in pack:
        for row, category in np.argwhere(e.doubt):
            a, b = e.window.spans[row]
            states = (
                reader.model(input_ids=torch.from_numpy(e.window.ids[None, :b]).long())
                .last_hidden_state[0, a:b]
                .mean(0)
            )
            odds = (
                (states - reader.center) / reader.scale @ reader.head.weight[category]
                + reader.head.bias[category]
                + float(e.offset[row, category])
            )
            label = torch.tensor(float(e.label[row, category]))
            weight = weights.present if label else weights.absent
            total = total + weight * F.binary_cross_entropy_with_logits(odds, label)
            mass = mass + weight
    loss = total / mass
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in reader.parameters() if p.requires_grad])


@pytest.mark.parametrize('weights', [LossWeights(), LossWeights(3.0, 0.5)], ids=['even', 'weighed'])
def test_pack_equals_separate_sequences(reader, pack, weights):
    want_loss, want = plain_step(reader, pack, weights)
    in_two = split_pack(pack, 2 * len(pack[1]))
    one_by_one = [[s] for e in pack for s in separate(e)]
    assert len(in_two) == 2 and len(one_by_one) == sum(e.doubt.sum() for e in pack)
    for packs in ([pack], in_two, one_by_one):
        loss, got = step_gradients(reader, packs, weights)
        assert abs(loss - want_loss) <= 1e-5 * want_loss
        assert (got - want).norm() <= 1e-5 * want.norm()
    assert check_pack(reader, pack, weights) < 1e-5


def test_a_pack_whose_windows_are_mixed_up_is_found_out(reader, pack, monkeypatch):
    states = reader.states
    monkeypatch.setattr(reader, 'states', lambda input_ids, mean: states(input_ids, mean).roll(len(mean) - 1, 0))
    assert check_pack(reader, pack) > 0.1


def test_windows_read_together_equal_windows_read_alone(reader, pack):
    "In the order in which they came, whatever is padded"
    windows = [e.window for e in pack][::-1]
    together = read_windows(reader, windows, 10**6)
    alone = np.concatenate([read_windows(reader, [w], 1) for w in windows])
    # one window twice
    assert np.abs(read_windows(reader, windows[:1] * 2) - alone[: len(windows[0].sentences)]).max() <= 1e-4
    assert np.abs(together - alone).max() <= 1e-4 and together.shape == (sum(len(w.sentences) for w in windows), 41)
    with torch.no_grad():
        one = reader(**collate(windows[:1])).numpy()
    assert np.abs(together[: len(one)] - one).max() <= 1e-4


def test_early_exit_gives_the_states_of_that_layer(pack):
    "The first layers of a model, without the others: the same states, up to the last norm"
    whole = load_base('smollm2', 'float32')
    few = load_base('smollm2', 'float32', num_hidden_layers=6)
    batch = collate([e.window for e in pack])
    with torch.no_grad():
        want = whole.norm(whole(input_ids=batch['input_ids'], output_hidden_states=True).hidden_states[6])
        got = few(input_ids=batch['input_ids']).last_hidden_state
    assert torch.allclose(got, want, atol=1e-4)


def test_the_check_holds_no_more_than_a_training(pack):
    "Layers are computed again where the training does so, and dropout is off"
    reader = Reader(
        add_lora(load_base('smollm2', 'float32', num_hidden_layers=2), lora_dropout=0.3, gradient_checkpointing=True),
        len(CATEGORIES),
    )
    for name, p in reader.named_parameters():
        if 'lora_B' in name or name.startswith('head'):
            torch.nn.init.normal_(p, std=0.002)
    calls, layer = [], reader.model.get_base_model().layers[1].self_attn
    layer.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    reader.eval()
    assert check_pack(reader, pack) < 1e-5 and not reader.training
    assert len(calls) % 2 == 0 and calls.count(True) >= len(calls) // 2  # once forward, and again backward
    plain = len([1 for e in pack for _ in separate(e)]) + 1
    assert len(calls) == 2 * plain, (len(calls), plain)


def test_parts_hold_little_padding():
    from legal_llm.pipeline.reader import PADDING, computed, padded

    rng = np.random.default_rng(0)
    for _ in range(50):
        pack = [range(n) for n in rng.integers(20, 178, 16)]
        parts = split_pack(pack, 2048)
        assert sorted(map(len, pack)) == [len(x) for part in parts for x in part]
        assert all(padded(p) <= 2048 and padded(p) - sum(map(len, p)) <= PADDING for p in parts)
        assert computed(pack, 2048) == sum(map(padded, parts)) <= padded(pack)
        assert split_pack(pack, padding=10**9) == [sorted(pack, key=len)]
    assert len(split_pack([range(100)] * 16)) == 1 and split_pack([]) == []


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.slow
def test_autocast_leaves_sums_and_margins_in_32_bits(reader, pack, dtype):
    """The layers compute in 16 bits, and what comes of their states is no 16-bit number: numpy has no bfloat16, and
    float16 would round log odds
    """
    windows = [e.window for e in pack]
    plain = read_windows(reader, windows)
    with torch.autocast('cpu', dtype):
        got = read_windows(reader, windows)
        states = read_windows(reader, windows, states=True)
        loss, _ = step_gradients(reader, [pack], scale=1024.0)
    assert got.dtype == states.dtype == np.float32 and np.isfinite(loss)
    assert 0 < np.abs(got - plain).max() < 0.05 * np.abs(plain).max() and (got.astype(np.float16) != got).any()


def test_a_model_with_sliding_attention_needs_no_masks_of_ours():
    "Windows are rows of a batch, read from left to right: whatever attention a causal model has inside is its own"
    from transformers import MistralConfig, MistralModel

    torch.manual_seed(0)
    size = dict(
        vocab_size=50000,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    reader = Reader(add_lora(MistralModel(MistralConfig(sliding_window=8, **size)), lora_dropout=0.0), len(CATEGORIES))
    for name, p in reader.named_parameters():
        if 'lora_B' in name or name.startswith('head'):
            torch.nn.init.normal_(p, std=0.02)
    contract = write_contracts(1, seed=9)[0]
    sentences = split_sentences(contract.text)
    label = label_sentences(sentences, contract.clauses, [c.name for c in CATEGORIES])
    examples = make_examples(
        contract.text, sentences, np.zeros(label.shape, np.float32), label, load_tokenizer('smollm2'), 200
    )[:6]
    assert max(map(len, examples)) > 24 and check_pack(reader, examples, scale=1024.0) < 1e-5
