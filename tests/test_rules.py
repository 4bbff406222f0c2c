"The hardware rules on machines that are not here: what is chosen, why, and what is refused."

from dataclasses import replace

import pytest

from legal_llm.machine.files import LegalLLMError, read_record
from legal_llm.machine.platform import Gpu, Hardware
from legal_llm.machine.rules import (
    CONFLICTS,
    RULES,
    SETTINGS,
    SHAPES,
    HardwareContext,
    ModelShape,
    Rule,
    activations_gb,
    choose,
    room_gb,
    weights_gb,
)

T4, P100 = Gpu('Tesla T4', (7, 5), 14.7), Gpu('Tesla P100-PCIE-16GB', (6, 0), 15.9)
A100 = Gpu('NVIDIA A100-SXM4-40GB', (8, 0), 39.4)
H100 = Gpu('NVIDIA H100 80GB HBM3', (9, 0), 79.1)
M40 = Gpu('Tesla M40', (5, 2), 22.5)
SMALL, ONE, THREE, EIGHT = SHAPES.values()
MACHINES = {'t4': [T4], 't4 x2': [T4, T4], 'p100': [P100], 'a100': [A100], 'h100': [H100], 'cpu': [], 'cpu bf16': []}


def on(machine, shape=SMALL, memory_gb=23.0, bitsandbytes='0.50.2', **kwargs):
    return HardwareContext(
        Hardware('a processor', 4, memory_gb, 'bf16' in machine, MACHINES[machine]),
        shape,
        bitsandbytes=bitsandbytes,
        **kwargs,
    )


@pytest.mark.parametrize('shape, parameters', [(SMALL, 135e6), (ONE, 1.24e9), (THREE, 3.2e9), (EIGHT, 8e9)])
def test_shapes_have_the_models_sizes(shape, parameters):
    assert shape.parameters == pytest.approx(parameters, rel=0.01)


def test_shape_and_adapter_are_those_of_the_real_model():
    from transformers import AutoConfig

    from legal_llm.pipeline.models import add_lora, load_base, resolve_base

    shape = ModelShape.of(AutoConfig.from_pretrained(resolve_base('smollm2')))
    model = load_base('smollm2', 'float32')
    assert shape == SMALL and shape.parameters == model.num_parameters()
    assert shape.adapter(16) == sum(p.numel() for p in add_lora(model).parameters() if p.requires_grad)


TABLE = [  # machine, shape, dtype, load_in_4bit, max_pack_tokens, gradient_checkpointing
    ('t4', SMALL, 'float16', False, 4096, False),
    ('t4', ONE, 'float16', False, 4096, False),
    ('t4', THREE, 'float16', True, 4096, True),
    ('t4', EIGHT, 'float16', True, 4096, True),
    ('t4 x2', THREE, 'float16', True, 4096, True),
    ('p100', SMALL, 'float16', False, 4096, False),
    ('p100', THREE, 'float16', True, 4096, True),
    ('a100', THREE, 'bfloat16', False, 8192, False),
    ('a100', EIGHT, 'bfloat16', True, 8192, False),
    ('h100', SMALL, 'bfloat16', False, 16384, False),
    ('h100', THREE, 'bfloat16', False, 16384, False),
    ('h100', EIGHT, 'bfloat16', False, 16384, False),
    ('cpu', SMALL, 'float32', False, 4096, False),
    ('cpu bf16', SMALL, 'bfloat16', False, 4096, False),
    ('cpu bf16', ONE, 'bfloat16', False, 4096, False),
]


@pytest.mark.parametrize(
    'machine, shape, dtype, load_in_4bit, budget, gradient_checkpointing',
    TABLE,
    ids=lambda v: f'{v.parameters / 1e9:.1f}B' if isinstance(v, ModelShape) else None,
)
def test_choices(machine, shape, dtype, load_in_4bit, budget, gradient_checkpointing):
    c = choose(on(machine, shape))
    assert (c['dtype'], c['load_in_4bit'], c['max_pack_tokens'], c['gradient_checkpointing']) == (
        dtype,
        load_in_4bit,
        budget,
        gradient_checkpointing,
    )
    assert list(c.keys()) == list(SETTINGS) and dict(c) == c.to_dict()
    for why in c.reasons.values():
        assert why and '{' not in why
        assert why in str(c) and why in c._repr_markdown_()


@pytest.mark.parametrize('memory_gb, budget', [(6.0, 1536), (8.0, 2048), (12.0, 2048), (16.0, 4096), (64.0, 4096)])
def test_budget_of_a_processor_follows_its_memory(memory_gb, budget):
    assert choose(on('cpu bf16', memory_gb=memory_gb))['max_pack_tokens'] == budget


def test_budget_holds_the_window():
    assert choose(on('cpu', memory_gb=6.0, window=3000))['max_pack_tokens'] >= 3000
    assert choose(on('t4', SMALL, window=6000))['max_pack_tokens'] >= 6000


def test_reasons_name_what_decided():
    t4 = choose(on('t4', THREE)).reasons
    assert 'Tesla T4' in t4['dtype'] and 'emulated' in t4['dtype'] and 'a third' in t4['load_in_4bit']
    without = choose(on('t4', THREE, bitsandbytes=None))
    assert not without['load_in_4bit'] and 'not installed' in without.reasons['load_in_4bit']


def test_the_weakest_gpu_decides():
    s = HardwareContext(Hardware('a processor', 4, 23.0, True, [H100, T4]))
    assert choose(s)['dtype'] == 'float16' and s.memory_gb == 14.7


def test_what_is_asked_for_stands_and_is_named():
    s = on('t4', THREE)
    c = choose(s, max_pack_tokens=2048, gradient_checkpointing=False, dtype='auto', load_in_4bit=None)
    assert (c['max_pack_tokens'], c['gradient_checkpointing'], c['load_in_4bit']) == (2048, False, True)
    assert [n for n in SETTINGS if c.reasons[n] == 'asked for'] == ['max_pack_tokens', 'gradient_checkpointing']
    assert (
        not choose(on('h100', THREE), gradient_checkpointing=None)['gradient_checkpointing']
        and choose(on('h100', THREE), gradient_checkpointing=True)['gradient_checkpointing']
    )
    assert (
        choose(on('cpu bf16'), load_in_4bit=True)['load_in_4bit']
        and choose(on('cpu'), dtype='bfloat16')['dtype'] == 'bfloat16'
    )


REFUSED = [
    (on('t4'), {'dtype': 'bfloat16'}, 'dtype=bfloat16 is only emulated on Tesla T4'),
    (on('p100'), {'dtype': 'bfloat16'}, 'capability 6.0'),
    (on('cpu bf16'), {'dtype': 'float16'}, 'float16 is for GPUs'),
    (on('t4', bitsandbytes=None), {'load_in_4bit': True}, 'bitsandbytes, which is not installed: pip install'),
    (on('cpu', bitsandbytes='0.46.1'), {'load_in_4bit': True}, 'on a processor needs bitsandbytes 0.50'),
    (
        HardwareContext(Hardware('a processor', 4, 23.0, False, [M40]), bitsandbytes='0.50.2'),
        {'load_in_4bit': True},
        'Tesla M40 has 5.2',
    ),
    (on('t4', window=2000), {'max_pack_tokens': 1999}, 'give at least 2000'),
    (on('t4', EIGHT), {'load_in_4bit': False}, 'smaller base model'),
    (on('cpu bf16', THREE, memory_gb=4.0), {}, 'smaller base model'),
    (
        on('t4', EIGHT, shards=2),
        {'load_in_4bit': True},
        'cannot be shared over processes .FSDP.: leave load_in_4bit out, .* --gpus 2',
    ),
    (on('t4'), {'checkpoint': True}, "did you mean 'gradient_checkpointing'"),
    (on('t4'), {'xyzzy': True}, 'there are dtype, load_in_4bit'),
    (on('t4'), {'dtype': 'half'}, 'choose float32, float16, bfloat16'),
    (on('t4'), {'load_in_4bit': 'yes'}, "load_in_4bit='yes'"),
    (on('t4'), {'max_pack_tokens': 2048.5}, 'no number of tokens'),
]


@pytest.mark.parametrize('s, asked, said', REFUSED, ids=lambda v: v if isinstance(v, str) else '')
def test_contradictions_are_refused_by_name(s, asked, said):
    with pytest.raises(LegalLLMError, match=said) as e:
        choose(s, **asked)
    assert '{' not in str(e.value) and '\n' not in str(e.value)


def test_every_rule_and_every_conflict_is_reached():
    "A line of the table that nothing can reach is a mistake: each one decides in some situation of this file."
    bare = HardwareContext(Hardware('a processor', 4, 23.0, False, [M40]), EIGHT)
    situations = [
        on(m, s, memory_gb=g, window=w)
        for m in MACHINES
        for s in SHAPES.values()
        for g in (6.0, 8.0, 23.0)
        for w in (177, 3000)
    ]
    situations += [bare, on('t4', THREE, bitsandbytes=None), on('t4', EIGHT, shards=2)]
    reached = set()
    for s in situations:
        c = {}
        for setting in SETTINGS:
            rule = next(r for r in RULES if r.setting == setting and r.when(s, c))
            reached.add(RULES.index(rule))
            c[setting] = rule.value(s) if callable(rule.value) else rule.value
    assert reached == set(range(len(RULES)))
    assert all(
        any(
            when(s, {**dict.fromkeys(SETTINGS), **_given(s, asked)})
            for s, asked, _ in REFUSED
            if asked.keys() <= set(SETTINGS)
        )
        for when, _ in CONFLICTS
    )
    assert [r.setting for r in RULES] == sorted((r.setting for r in RULES), key=SETTINGS.index)


def _given(s, asked):
    return {'dtype': 'float32', 'load_in_4bit': False, 'max_pack_tokens': 10**6} | asked


def test_the_last_rule_of_each_setting_always_holds():
    always = Rule('x', 0, '').when
    for setting in SETTINGS:
        assert [r for r in RULES if r.setting == setting][-1].when is always


def test_memory_grows_with_everything_it_should():
    for gpu in (False, True):
        for shape in SHAPES.values():
            for dtype in ('float32', 'bfloat16'):
                sizes = [activations_gb(shape, n, dtype, False, gpu) for n in (256, 512, 4096, 16384)]
                again = [activations_gb(shape, n, dtype, True, gpu) for n in (256, 512, 4096, 16384)]
                assert sizes == sorted(sizes) and again == sorted(again) and all(a < b for a, b in zip(again, sizes))
            assert activations_gb(shape, 512, 'float32', False, gpu) > activations_gb(shape, 512, 'float16', False, gpu)
            assert weights_gb(shape, 'float32', False) > weights_gb(shape, 'float16', False)
        assert activations_gb(SMALL, 512, 'float32', False, gpu) < activations_gb(
            replace(SMALL, layers=31), 512, 'float32', False, gpu
        )
    assert [weights_gb(s, 'float16', True) for s in SHAPES.values()] == sorted(
        weights_gb(s, 'float16', True) for s in SHAPES.values()
    )
    assert weights_gb(THREE, 'float16', True) < weights_gb(THREE, 'float16', False)
    rooms = [room_gb(on('cpu', memory_gb=g), 'float32', False) for g in (4.0, 8.0, 16.0)]
    assert rooms == sorted(rooms) and room_gb(on('cpu', r=64), 'float32', False) < room_gb(
        on('cpu', r=8), 'float32', False
    )


def test_memory_is_what_was_measured_on_a_gpu(root):
    """Llama 3.2 3B in 4 bits, with and without checkpointing: weights, adapter with gradients and activations against
    torch's peak, within a quarter
    """
    measured = read_record(root / 'nbs/results/gpu.json')
    shape, seen = SHAPES['Llama-3.2-3B'], 0
    for s in measured['steps']:
        for t in s['training']:
            rule = (
                weights_gb(shape, s['dtype'], True)
                + 8 * shape.adapter(16) / 2**30
                + activations_gb(shape, t['longest'], s['dtype'], t['gradient_checkpointing'], True, True)
            )
            assert rule == pytest.approx(t['peak_gb'], rel=0.25), (s['dtype'], t, rule)
            seen += 1
    assert seen == 4 and measured['machine']['gpus']
