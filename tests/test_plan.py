"Every fault that preflight looks for, made on purpose; what it leaves behind; what the plan counts."

import copy
import random
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import legal_llm.plan as plan
from legal_llm.compat import load_model
from legal_llm.env import LegalLLMError
from legal_llm.models import add_lora, load_tokenizer
from legal_llm.packing import make_pack, make_packs, step_gradients
from legal_llm.plan import Measured, check_prompt, run_gb, make_plan, preflight
from legal_llm.prompts import Prompt


def tokenizer():
    return load_tokenizer('smollm2')


@pytest.fixture(scope='module')
def prompt():
    return Prompt(tokenizer())


@pytest.fixture
def model(tmp_path):
    "By the library's loader, which teaches a model of transformers 4 what packs ask of it"
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=49152, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)
    LlamaForCausalLM(config).save_pretrained(tmp_path / 'model')
    return add_lora(load_model(tmp_path / 'model', torch.float32), r=4)


@pytest.fixture(scope='module')
def packs(prompt):
    "Three windows of 40, 60 and 80 tokens with two or three questions each; the last in two packs"
    text = prompt.tokenizer('This Agreement is governed by the laws of the State of New York. ' * 10, add_special_tokens=False)['input_ids']
    asked = [(0, ['This Agreement']), (1, []), (2, ['the laws', 'New York'])]
    first = [make_pack(prompt, text[:40], asked[:2]), make_pack(prompt, text[1:61], asked)]
    return first + make_packs(prompt, text[2:82], asked, budget=len(prompt.prefix(text[2:82])) + 60)


def test_a_sound_training_passes_and_is_measured(model, prompt, packs, tmp_path):
    m = preflight(model, prompt, packs, folder=tmp_path)
    assert m.longest == max(map(len, packs)) and m.tokens == sorted(map(len, packs))[len(packs) // 2]
    assert 0 < m.seconds < 60 and 0 < m.weights_gb < m.peak_gb < m.memory_gb and np.isfinite(m.loss)
    assert m.trainable == sum(p.numel() for p in model.parameters() if p.requires_grad) and m.parameters == model.num_parameters() - m.trainable
    assert m.disk_gb == run_gb(m.trainable) and m.free_gb > m.disk_gb


def test_nothing_of_it_shows(model, prompt, packs, tmp_path):
    "Random numbers, gradients, modes and weights are as they were: the training is the same with and without preflight."
    model.train()
    model.base_model.model.lm_head.eval()
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    states = [random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()]
    preflight(model, prompt, packs, folder=tmp_path)
    assert random.getstate() == states[0] and (np.random.get_state()[1] == states[1]).all() and torch.equal(torch.get_rng_state(), states[2])
    assert all(p.grad is None for p in model.parameters()) and [m.training for m in model.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    with pytest.raises(LegalLLMError):
        model.base_model.model.model.embed_tokens.weight.data.fill_(float('nan'))
        preflight(model, prompt, packs, folder=tmp_path)
    assert torch.equal(torch.get_rng_state(), states[2]) and [m.training for m in model.modules()] == modes, 'after a fault, too'


def test_gradients_are_bit_equal_with_and_without(model, prompt, packs, tmp_path):
    found = []
    for before in (False, True):
        torch.manual_seed(3)
        if before:
            preflight(model, prompt, packs, folder=tmp_path)
        model.train()  # dropout is on
        found.append(step_gradients(model, packs)[1])
    assert torch.equal(*found)


def test_adapter_is_missing_or_in_16_bits(model, prompt, packs):
    for without in (copy.deepcopy(model).unload().requires_grad_(True), copy.deepcopy(model).requires_grad_(False)):
        with pytest.raises(LegalLLMError, match='no adapter to train: call add_lora'):
            preflight(without, prompt, packs)
    next(p for p in model.parameters() if p.requires_grad).data = torch.zeros(4, 64, dtype=torch.bfloat16)
    with pytest.raises(LegalLLMError, match='is bfloat16, but adapters must be float32'):
        preflight(model, prompt, packs)


def test_packs_that_teach_nothing(model, prompt, packs):
    for wrong, said in [([], 'no pack was made'), ([replace(p, kinds=p.kinds * 0) for p in packs], 'no pack holds a target')]:
        with pytest.raises(LegalLLMError, match=said):
            preflight(model, prompt, wrong)


def test_an_answer_without_its_end(model, prompt, packs):
    "Its last target is another token, or is not trained; the other answers of the pack are right."
    p = packs[1]
    end = np.flatnonzero(p.branches == 2)[-1]
    other, none, all_of_it = p.targets.copy(), p.kinds.copy(), p.kinds.copy()
    other[end], none[end], all_of_it[p.branches == 2] = prompt.yes, 0, 0
    for wrong in (replace(p, targets=other), replace(p, kinds=none), replace(p, kinds=all_of_it)):
        with pytest.raises(LegalLLMError, match='answer in pack 1 does not end with the end-of-turn token'):
            preflight(model, prompt, [packs[0], wrong])


LLAMA = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start|>' + m['role'] + '\n\n' + m['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant\n\n' }}{% endif %}"
)  # one beginning-of-text token in all, as Llama's


def templated(template, **tokens):
    t = tokenizer()
    t.chat_template = template
    for name, token in tokens.items():
        setattr(t, name, token)
    return Prompt(t)


def test_one_beginning_of_text(prompt):
    check_prompt(prompt)  # SmolLM2: every turn opens with it
    check_prompt(templated(LLAMA))
    check_prompt(templated(LLAMA.replace('{{ bos_token }}', ''), bos_token=None))  # as Qwen's
    own = tokenizer().chat_template
    for wrong in ('{{ bos_token }}' + LLAMA, LLAMA.replace("'<|start|>' + m['role']", 'bos_token + m["role"]', 1), '{{ bos_token }}' + own):
        with pytest.raises(LegalLLMError, match='more than one beginning-of-text token <|im_start|>'):
            check_prompt(templated(wrong))
    for wrong in (LLAMA.replace('{{ bos_token }}', ''), "{{ 'Hello. ' }}" + own):
        with pytest.raises(LegalLLMError, match='does not open with the beginning-of-text token'):
            check_prompt(templated(wrong))


def test_pad_token():
    own = tokenizer().chat_template
    with pytest.raises(LegalLLMError, match='no pad token: load it with load_tokenizer'):
        check_prompt(templated(own, pad_token=None))
    with pytest.raises(LegalLLMError, match='pad token is the end token <|im_end|>'):
        check_prompt(templated(own, pad_token='<|im_end|>'))


def test_date_of_the_template():
    "Llama 3.2's template takes the date that it is given; one that does not is refused on any day."
    dated = "{{ '<|im_start|>system\nToday is ' + DATE + '<|im_end|>\n' }}" + tokenizer().chat_template
    check_prompt(templated(dated.replace('DATE', "(date_string if date_string is defined else strftime_now('%d %b %Y'))")))
    for form in ('%d %b %Y', '%Y-%m-%d', '%A, %B %d, %Y'):
        with pytest.raises(LegalLLMError, match="prints today's date"):
            check_prompt(templated(dated.replace('DATE', f"strftime_now('{form}')")))


def test_full_disk(model, prompt, packs, tmp_path, monkeypatch):
    monkeypatch.setattr('shutil.disk_usage', lambda path: namedtuple('usage', 'total used free')(10**12, 10**12, 0))
    with pytest.raises(LegalLLMError, match='0.0 GB are free'):
        preflight(model, prompt, packs, folder=tmp_path / 'not' / 'yet')
    assert not (tmp_path / 'not').exists()
    monkeypatch.undo()
    with pytest.raises(LegalLLMError, match='keep fewer checkpoints'):
        preflight(model, prompt, packs, folder=tmp_path, keep=10**9)


def test_numbers_that_are_not_finite(model, prompt, packs):
    model.base_model.model.model.layers[1].mlp.down_proj.base_layer.weight.data[0, 0] = float('inf')
    with pytest.raises(LegalLLMError, match='not finite'):
        preflight(model, prompt, packs)


def test_adapters_that_no_gradient_reaches(model, prompt, packs):
    layer = model.base_model.model.model.layers[1]
    forward, layer.mlp.forward = layer.mlp.forward, lambda x: x
    with pytest.raises(LegalLLMError, match=r'no gradient reaches 6 of 28 adapter weights, such as .*layers\.1\.mlp'):
        preflight(model, prompt, packs)
    layer.mlp.forward = forward
    layer.self_attn.v_proj.lora_A['default'].weight.data.zero_()
    with pytest.raises(LegalLLMError, match=r'1 adapters have a gradient of zero, such as .*layers\.1\.self_attn\.v_proj'):
        preflight(model, prompt, packs)


def test_nothing_is_differentiated_at_all(model, prompt, packs):
    "The graph is cut behind the last layer"
    head = model.base_model.model.lm_head
    head.forward = lambda x: torch.nn.functional.linear(x.detach(), head.weight)
    with pytest.raises(LegalLLMError, match='no gradient reaches 28 of 28'):
        preflight(model, prompt, packs)


@pytest.mark.parametrize('fault', [torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB'), RuntimeError("DefaultCPUAllocator: can't allocate memory")], ids=['gpu', 'cpu'])
def test_longest_pack_that_does_not_fit(model, prompt, packs, monkeypatch, fault):
    tried = []

    def full(model, some, *args):
        tried.append(len(some[0]))
        raise fault

    monkeypatch.setattr(plan, 'step_gradients', full)
    with pytest.raises(LegalLLMError, match='does not fit into memory: lower --budget') as e:
        preflight(model, prompt, packs)
    assert tried == [max(map(len, packs))] and e.value.__cause__ is fault


def test_other_errors_are_not_renamed(model, prompt, packs, monkeypatch):
    def broken(*args):
        step_gradients(*args)
        raise RuntimeError('something else')

    monkeypatch.setattr(plan, 'step_gradients', broken)
    with pytest.raises(RuntimeError, match='something else'):
        preflight(model, prompt, packs)


MEASURED = Measured(loss=2.0, longest=500, tokens=400, seconds=2.0, parameters=135_000_000, trainable=2**28, weights_gb=1.0, peak_gb=6.0, memory_gb=8.0, disk_gb=1.0, free_gb=50.0)


def test_plan_counts(prompt, packs):
    p = make_plan(packs, accumulation=2, processes=1, measured=MEASURED)
    alone = sum(len(make_pack(prompt, window, [q])) for window, questions in windows(packs, prompt) for q in questions)
    assert (p.packs, p.windows, p.questions) == (len(packs), 3, 8) and len(packs) > 3, 'the last window has two packs'
    assert p.tokens == sum(map(len, packs)) and p.separate == alone > p.tokens
    assert p.targets == sum((pack.kinds > 0).sum() for pack in packs)
    assert p.steps == -(-len(packs) // 2) and make_plan(packs, 1, 3, MEASURED).steps == -(-len(packs) // 3)
    assert p.seconds == pytest.approx(p.tokens * 2 / 400) and make_plan(packs, 2, 2, MEASURED).seconds == pytest.approx(p.seconds / 2)


def windows(packs, prompt):
    "Each window's tokens and its questions, read back from the fixture's recipe"
    asked = [(0, ['This Agreement']), (1, []), (2, ['the laws', 'New York'])]
    n = len(prompt.head), len(prompt.gap)
    trunks = list(dict.fromkeys(tuple(p.ids[: (p.branches == 0).sum()].tolist()) for p in packs))
    return [(t[n[0] : len(t) - n[1]], asked[: 2 if i == 0 else 3]) for i, t in enumerate(trunks)]


def test_plan_says_whether_it_fits(packs):
    fits = make_plan(packs, 4, 1, MEASURED)
    assert fits.adapter_gb == 4.0 and fits.need_gb == 8.0 and fits.fits and 'does not fit' not in str(fits)
    tight = make_plan(packs, 4, 1, replace(MEASURED, memory_gb=7.9))
    assert not tight.fits and 'It does not fit: lower --budget' in str(tight) and '**It does not fit**' in tight._repr_markdown_()
    for shown in (str(fits), fits._repr_markdown_()):
        assert all(word in shown for word in ('packs', 'tokens', 'steps', 'memory', 'time', 'disk', 'separate sequences', 'GB free'))
