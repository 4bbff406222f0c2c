"""Tokenizers built as those of model families are: how text is split, which special tokens there are, and what their
chat templates do.

The vocabularies are learned here from synthetic contracts; real ones are not needed to see whether a family's way of
doing things is borne.
"""

import functools
import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TURNS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + SEP + m.content + '<|im_end|>' + END }}{% endfor %}{% if "
    "add_generation_prompt %}{{ '<|im_start|>assistant' + SEP }}"
)
# of GPT-4's kind
WORDS = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def chatml(sep: str, end: str, last: str = '') -> str:
    return TURNS.replace('SEP', repr(sep)).replace('END', repr(end)) + last + '{% endif %}'


# Family: special tokens (begin, end, pad, others), kind of splitting, chat template
FAMILIES = {
    # a system turn with today's date in every prompt, unless a date is given; begins with a token that is not to come
    # twice
    'Llama 3': (
        (
            '<|begin_of_text|>',
            '<|eot_id|>',
            None,
            ('<|end_of_text|>', '<|start_header_id|>', '<|end_header_id|>', '<|finetune_right_pad_id|>'),
        ),
        'bytes',
        "{{ bos_token }}{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
        "{{ '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: ' + "
        "date_string + '\n\n<|eot_id|>' }}"
        "{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + "
        "'<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    ),
    # no beginning token; an empty thought where thinking is switched off
    'Qwen 3': (
        (None, '<|im_end|>', '<|endoftext|>', ('<|im_start|>', '<think>', '</think>')),
        'bytes',
        chatml(
            '\n',
            '\n',
            "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}",
        ),
    ),
    # spaces are a letter, no word gets one in front; no system turn, and the other side is called model
    'Gemma 3': (
        ('<bos>', '<eos>', '<pad>', ('<unk>', '<start_of_turn>', '<end_of_turn>')),
        'pieces',
        "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% "
        "endif %}"
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must "
        "alternate') }}{% endif %}"
        "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + m.content | trim + "
        "'<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
    ),
    # a separator of its own, and one token that begins, ends and pads
    'Phi 4': (
        ('<|endoftext|>', '<|endoftext|>', '<|endoftext|>', ('<|im_start|>', '<|im_sep|>', '<|im_end|>', '<unk>')),
        'bytes',
        chatml('<|im_sep|>', ''),
    ),
    # a first word gets a space in front; a line break is a space and a byte; no system turn
    'Mistral': (
        ('<s>', '</s>', None, ('<unk>', '[INST]', '[/INST]')),
        'spaced pieces',
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}{% "
        "elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}"
        "{% else %}{{ raise_exception('Only user and assistant roles are supported') }}{% endif %}{% endfor %}",
    ),
}


@functools.cache
def _corpus() -> list[str]:
    from legal_llm.contracts.synthetic import write_contracts

    return [c.text for c in write_contracts(6, seed=3)] + ['Yes', 'No', ' Yes', ' No', '\nYes', '\nNo'] * 50


def _tokenizer(kind: str, specials: list[str]) -> Tokenizer:
    begin, alphabet = [AddedToken(s, special=True) for s in specials], []
    if kind == 'bytes':
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(WORDS), 'isolated'),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        made.decoder, alphabet = decoders.ByteLevel(), pre_tokenizers.ByteLevel.alphabet()
    else:
        made = Tokenizer(models.BPE(unk_token='<unk>', fuse_unk=True, byte_fallback=True))
        spaces = [normalizers.Replace(' ', '▁')]
        made.normalizer = normalizers.Sequence(([normalizers.Prepend('▁')] if kind == 'spaced pieces' else []) + spaces)
        made.pre_tokenizer = pre_tokenizers.Split(Regex('(?<=[^▁])(?=▁)|\n'), 'isolated')
        made.decoder = decoders.Sequence(
            [decoders.Replace('▁', ' '), decoders.ByteFallback(), decoders.Fuse()]
            + ([decoders.Strip(' ', 1, 0)] if kind == 'spaced pieces' else [])
        )
        begin += [f'<0x{i:02X}>' for i in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=1500, special_tokens=begin, initial_alphabet=alphabet, show_progress=False)
    # a line break is a byte
    made.train_from_iterator([t.replace('\n', '') for t in _corpus()] if kind != 'bytes' else _corpus(), trainer)
    if kind != 'bytes':  # the bytes are no special tokens, they stand for text
        said = json.loads(made.to_str())
        said['added_tokens'] = [t for t in said['added_tokens'] if not t['content'].startswith('<0x')]
        made = Tokenizer.from_str(json.dumps(said))
    return made


def make_family(name: str, folder: Path, vocab_size: int | None = None) -> Path:
    "A base model of two layers with a family's tokenizer, as a folder; with more embeddings than tokens if so asked."
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    (begin, end, pad, others), kind, template = FAMILIES[name]
    made = _tokenizer(kind, list(dict.fromkeys(t for t in (begin, end, pad, *others) if t)))
    if begin and name != 'Phi 4':
        made.post_processor = processors.TemplateProcessing(
            single=f'{begin} $A', special_tokens=[(begin, made.token_to_id(begin))]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=begin, eos_token=end, pad_token=pad, clean_up_tokenization_spaces=False
    )
    tokenizer.chat_template = template
    torch.manual_seed(0)
    size = dict(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    )
    ids = dict(bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)
    config = LlamaConfig(vocab_size=vocab_size or len(tokenizer), tie_word_embeddings=True, **size, **ids)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Path(folder)
