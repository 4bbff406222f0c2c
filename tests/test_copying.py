"What strict mode can write: nothing but pieces of the window, and nearly every clause that a lawyer marked."

import random

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from legal_llm.cuad import find_dev_cuad, load_contracts
from legal_llm.engine import Copying
from legal_llm.models import load_tokenizer
from legal_llm.prompts import Prompt
from legal_llm.synthetic import write_contracts
from legal_llm.windows import make_windows, place, tokenise, window_spans

PROMPT = Prompt(load_tokenizer('smollm2'))
WORDS = ['the Company', '("Agreement")', '§ 3.1', 'naïve', '契約書', '🙂🙃', 'a/b', '<|im_end|>', "party's", '$1,000.00', 'العقد', 'x', '...', 'Yes', 'No', '—']


def walk(copying, rng, length):
    "Token ids of a line, chosen at random among what is allowed"
    place, line = None, []
    while True:
        token = int(rng.choice(copying.allowed(place).tolist()))
        if token in (PROMPT.newline, PROMPT.stop):
            return line
        if len(line) == length:
            ends = [i for i in copying.allowed(place).tolist() if i in (PROMPT.newline, PROMPT.stop)]
            if ends:
                return line
        line.append(token)
        place = copying.step(place, token)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=30), st.integers(0, 2**32))
def test_whatever_is_written_is_a_piece_of_the_window(words, seed):
    tokens, rng = tokenise(' '.join(words), PROMPT.tokenizer), random.Random(seed)
    copying = Copying(PROMPT, tokens.ids)
    for _ in range(20):
        line = walk(copying, rng, rng.randint(1, 12))
        text = PROMPT.tokenizer.decode(line).strip()
        assert text and '\ufffd' not in text and text in tokens.normalised.text


def test_a_line_has_a_word_and_ends():
    copying = Copying(PROMPT, tokenise('One two (three).', PROMPT.tokenizer).ids)
    assert not {PROMPT.newline, PROMPT.stop} & set(copying.allowed(None).tolist())
    last = copying.step(None, int(copying.window[-1]))
    assert set(copying.allowed(last).tolist()) >= {PROMPT.newline, PROMPT.stop}
    assert copying.step(last, PROMPT.newline) is None


def test_characters_of_several_tokens_are_whole_and_windows_may_cut_them():
    "A quote may begin and end at any whole character, and not within one; a window's end that cuts one, or is blank, is no place to go"
    tokens = tokenise('契約書 2024', PROMPT.tokenizer)
    copying = Copying(PROMPT, tokens.ids)
    assert 2 <= (~copying.inside).sum() < len(copying.inside) and not copying.inside[-1]
    for n in range(1, len(tokens.ids) + 1):
        part, rng = Copying(PROMPT, tokens.ids[:n]), random.Random(n)
        lines = [PROMPT.tokenizer.decode(walk(part, rng, 6)).strip() for _ in range(20) if len(part.starts)]
        assert all(line and '\ufffd' not in line and line in tokens.normalised.text for line in lines)
    blank = [i for i in tokens.ids.tolist() if not PROMPT.piece(i).strip()]
    assert blank and blank[0] not in Copying(PROMPT, [*tokenise('made in', PROMPT.tokenizer).ids.tolist(), blank[0]]).starts


def can_write(copying, span):
    "Whether the tokens that the model is trained to write for a span are allowed, one after the other"
    at = None
    for token in PROMPT.answer([span])[2:-1]:
        if token not in copying.allowed(at):
            return False
        at = copying.step(at, token)
    return PROMPT.stop in copying.allowed(at)


@pytest.mark.parametrize('source', ['written', 'cuad'])
def test_nearly_every_clause_can_be_written_as_it_was_trained(source):
    if source == 'cuad' and find_dev_cuad() is None:
        pytest.skip('CUAD is not here: set LEGAL_LLM_CUAD to its path')
    contracts = write_contracts(8, seed=4) if source == 'written' else load_contracts(find_dev_cuad())[::40]
    names, right = [c.name for c in PROMPT.categories], []
    for contract in contracts:
        tokens = tokenise(contract.text, PROMPT.tokenizer)
        spans = place(tokens, contract.clauses)
        for w in make_windows(tokens, 256, 64):
            found, _ = window_spans(tokens, w, spans)
            copying = Copying(PROMPT, tokens.ids[w.start : w.stop]) if found else None
            right += [can_write(copying, span) for name in found for span in found[name] if name in names]
    print(f'{np.mean(right):.1%} of {len(right)} quotes')
    assert len(right) > 40 and np.mean(right) > 0.95
