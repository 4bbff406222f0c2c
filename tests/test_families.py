"Base models of other families: how they split text, begin and end turns, and what their templates refuse."

import numpy as np
import pytest
from families import FAMILIES, make_family

from legal_llm.contracts.categories import CATEGORIES
from legal_llm.contracts.chat import DATE, answer_tokens, ask_prompt
from legal_llm.contracts.sentences import split_sentences
from legal_llm.contracts.synthetic import write_contracts
from legal_llm.evaluation.asked import ask
from legal_llm.pipeline.models import check_base, load_base, load_tokenizer
from legal_llm.pipeline.windows import cut_windows, start_token

START = {
    'Llama 3': '<|begin_of_text|>',
    'Qwen 3': '<|endoftext|>',
    'Gemma 3': '<bos>',
    'Phi 4': '<|endoftext|>',
    'Mistral': '<s>',
}


@pytest.fixture(scope='module', params=FAMILIES)
def family(request, tmp_path_factory):
    return request.param, str(make_family(request.param, tmp_path_factory.mktemp('family')))


def test_the_doctor_takes_it(family):
    name, folder = family
    assert {f.status for f in check_base(folder)} == {'green'}
    tokenizer = load_tokenizer(folder)
    assert tokenizer.pad_token and tokenizer.pad_token != tokenizer.eos_token


def test_it_is_asked_in_its_own_words(family, monkeypatch):
    """One beginning token where there is one, the question in the user's turn, the same on every day, and an answer's
    first token is what stands behind the prompt
    """
    name, folder = family
    tokenizer, (_, _, template) = load_tokenizer(folder), FAMILIES[name]
    prompt = ask_prompt(tokenizer, 'This Agreement is governed\n by the laws of Ohio.', CATEGORIES[0])
    said = tokenizer.apply_chat_template(
        [dict(role='user', content=tokenizer.decode(prompt))],
        tokenize=False,
        add_generation_prompt=True,
        date_string=DATE,
    )
    assert prompt.count(tokenizer.bos_token_id) == ('bos_token' in template)
    assert 'governed by the laws of Ohio.' in said and 'Answer Yes or No' in said and '2026' not in said
    for word, first in zip(('Yes', 'No'), answer_tokens(tokenizer)):
        without, whole = (tokenizer(said + end, add_special_tokens=False)['input_ids'] for end in ('', word))
        assert whole[: len(without)] == without and whole[len(without)] == first
    model = load_base(folder, 'float32', causal=True)
    odds = ask(model, tokenizer, [prompt, prompt[:-3], prompt])
    assert np.isfinite(odds).all() and abs(odds[0] - odds[2]) < 1e-5


def test_windows_hold_the_sentences(family):
    """Behind the token that begins a document; white space as one space or line break, whatever that is in tokens; and
    nothing in a contract becomes a special token
    """
    name, folder = family
    tokenizer = load_tokenizer(folder)
    text = write_contracts(1, seed=9)[0].text[:6000] + '\n\nThe Buyer writes <|eot_id|></s><end_of_turn> [INST] here.'
    sentences = split_sentences(text)
    windows = cut_windows(text, sentences, tokenizer, 500)
    special = {i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    assert len(windows) == len(sentences)
    for w, (a, b) in zip(windows, sentences):
        assert tokenizer.convert_ids_to_tokens(int(w.ids[0])) == START[name] and not special & set(w.ids[1:].tolist())
        start, end = w.spans[0]
        assert tokenizer.decode(w.ids[start:end], clean_up_tokenization_spaces=False).split() == text[a:b].split()
    assert start_token(tokenizer) == windows[0].ids[0]


def test_both_copies_of_llama_give_one_prompt(tmp_path):
    "One falls back on today's date, the other on a fixed one; neither is asked without a date"
    gated = load_tokenizer(str(make_family('Llama 3', tmp_path / 'gated')))
    ungated = load_tokenizer(str(tmp_path / 'gated'))
    ungated.chat_template = gated.chat_template.replace("strftime_now('%d %b %Y')", "'26 July 2024'")
    assert ungated.chat_template != gated.chat_template
    one, other = (ask_prompt(t, 'A sentence.', CATEGORIES[0]) for t in (gated, ungated))
    assert one == other and f'Today Date: {DATE}' in gated.decode(one)
