"Windows and prompts: whatever the text, every offset leads back to the words it stands for."
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from legal_llm.cuad import Clause, find_dev_cuad, load_contracts
from legal_llm.env import LegalLLMError
from legal_llm.models import load_tokenizer
from legal_llm.prompts import Answer, Prompt
from legal_llm.synthetic import write_contracts
from legal_llm.windows import make_windows, normalise, place, tokenise, whole_spans, window_spans

quick = settings(max_examples=150, deadline=None, derandomize=True, database=None)
letters = st.characters(exclude_categories=['Cs'])
printed = st.characters(exclude_categories=['Cs', 'Cc', 'Co', 'Cn'])  # SmolLM2's vocabulary lacks some bytes, of control characters and of planes in which nothing stands
text = st.text(letters, min_size=1, max_size=400)
# words, marks and breaks as contracts have them, beside anything that Unicode has
contract = st.lists(st.sampled_from(['Agreement', '“Parties”', '§', '7.2', '[***]', '©', '—', '\xa0', ' ', '\n', '\n\n', '\t', 'a', '.', ';', '  ', '\u3000', '𝔘', 'é']) | st.text(letters, max_size=5),
                    min_size=1, max_size=200).map(''.join)


@pytest.fixture(scope='module')
def tokenizer(): return load_tokenizer('smollm2')


@pytest.fixture(scope='module')
def prompt(tokenizer): return Prompt(tokenizer)


@pytest.fixture(scope='module', params=['byte-level BPE', 'BPE with word marks', 'WordPiece'])
def any_tokenizer(request, tokenizer):
    "Fast tokenizers of the three common kinds; the last two are made here"
    if request.param == 'byte-level BPE': return tokenizer
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast
    words = [c.text for c in write_contracts(20, seed=2, words=400)]
    if request.param == 'WordPiece':
        made, trainer = Tokenizer(models.WordPiece(unk_token='[UNK]')), trainers.WordPieceTrainer(vocab_size=2000, special_tokens=['[UNK]'])
        made.pre_tokenizer, made.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    else:
        made, trainer = Tokenizer(models.BPE(unk_token='[UNK]')), trainers.BpeTrainer(vocab_size=2000, special_tokens=['[UNK]'])
        made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    made.train_from_iterator(words, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token='[UNK]')


def spans_of(text, draw):
    "A few clauses of a text that are not white space only"
    out = []
    for _ in range(draw(st.integers(0, 6))):
        a = draw(st.integers(0, len(text) - 1)); b = draw(st.integers(a + 1, len(text)))
        if text[a:b].strip(): out.append(Clause('Insurance', a, text[a:b]))
    return out


@quick
@given(text | contract)
def test_normalised_text_leads_back_to_the_source(text):
    n = normalise(text)
    assert n.text == ' '.join(text.split())
    assert len(n.offsets) == len(n.text) and all(n.text[i] == text[o] or n.text[i] == ' ' for i, o in enumerate(n.offsets))


@quick
@given(contract.filter(str.strip), st.data())
def test_a_span_survives_the_way_there_and_back(text, data):
    n = normalise(text)
    for c in spans_of(text, data.draw):
        a, b = n.from_source(c.start, c.end)
        assert n.text[a:b] == ' '.join(c.text.split())
        x, y = n.to_source(a, b)
        assert text[x:y] == c.text.strip()


@quick
@given(contract.filter(str.strip), st.data())
def test_windows_hold_every_span_up_to_the_overlap(any_tokenizer, text, data):
    try: tokens = tokenise(text, any_tokenizer)
    except LegalLLMError: reject()  # a text of control characters alone has no tokens
    size = data.draw(st.integers(8, 64)); overlap = data.draw(st.integers(0, size - size // 8 - 1))
    windows, spans = make_windows(tokens, size, overlap), place(tokens, spans_of(text, data.draw))
    assert windows[0].start == 0 and windows[-1].stop == len(tokens) and all(len(w) <= size for w in windows)
    assert all(a.start < b.start and a.stop - b.start == overlap for a, b in zip(windows, windows[1:]))
    assert all(whole for s, whole in zip(spans, whole_spans(windows, spans)) if s.stop - s.start <= overlap)
    for w in windows:
        inside = tokens.normalised.text[w.char_start:w.char_end]
        found, partial = window_spans(tokens, w, spans)
        assert all(q and q in inside for quotes in found.values() for q in quotes) and not partial & set(found)


@quick
@given(st.lists(st.text(printed, min_size=1, max_size=400).map(lambda t: ' '.join(t.split())).filter(bool), max_size=4))
def test_answers_survive_tokens(prompt, spans):
    ids = prompt.answer(spans)
    assert ids.count(prompt.stop) == 1 and ids[-1] == prompt.stop
    assert prompt.parse(ids) == Answer(bool(spans), tuple(spans))


def test_special_characters_of_contracts_round_trip(tokenizer, prompt):
    text = 'Page 3 of 12\n\n\u00a9 2020 Widget\u2019s \u201cGoods\u201d \u2014 see \u00a7\u00a04.1; fee: [***]\xa0per unit\u2026\n\n- 4 -\n\nEXHIBIT\u00a010.1   caf\u00e9 \u2122'
    tokens = tokenise(text, tokenizer)
    words = [(i, i + len(w)) for w in dict.fromkeys(text.split()) for i in [text.find(w)]]
    for a, b in words:
        s, = place(tokens, [Clause('Insurance', a, text[a:b])])
        assert text[slice(*tokens.normalised.to_source(s.char_start, s.char_end))] == text[a:b]
        assert prompt.parse(prompt.answer([text[a:b]])).spans == (text[a:b],)


@pytest.mark.parametrize('size,overlap', [(256, 64), (512, 128), (1024, 256)])
def test_real_spans_up_to_the_overlap_are_whole(tokenizer, size, overlap):
    if find_dev_cuad() is None: pytest.skip('CUAD is not here: set LEGAL_LLM_CUAD to its path')
    for c in load_contracts(find_dev_cuad())[::20]:
        tokens = tokenise(c.text, tokenizer)
        spans = place(tokens, c.clauses)
        assert len(spans) == len(c.clauses)
        assert all(whole for s, whole in zip(spans, whole_spans(make_windows(tokens, size, overlap), spans)) if s.stop - s.start <= overlap)
