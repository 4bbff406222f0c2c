"""The writer: what it is asked, what it learns, how it writes, and what of that is believed. The models are tiny, after
five families.
"""

import html
import json
import math
import re
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from families import FAMILIES, make_family
from safetensors.torch import load_file

from legal_llm.cli import main
from legal_llm.contracts.answers import ANSWERED, Date, parse_answer
from legal_llm.contracts.chat import (
    DATE,
    SYSTEM,
    ChatExample,
    answer_frame,
    ask_about,
    chat_examples,
    encode_example,
    load_chat,
    passages,
    save_chat,
    show_example,
)
from legal_llm.contracts.contracts import Clause, Contract
from legal_llm.contracts.squad import save_squad
from legal_llm.contracts.synthetic import write_contracts
from legal_llm.evaluation.exact import (
    answers_statistic,
    choose_categories,
    choose_on_dev,
    exact_answers,
    right_answers,
    score_answers,
    worked_examples,
)
from legal_llm.machine.files import LegalLLMError, save_json
from legal_llm.pipeline.answering import Answer, answer_contract
from legal_llm.pipeline.extract import Extractor
from legal_llm.pipeline.models import add_lora, decoder_of, load_base, load_tokenizer
from legal_llm.pipeline.review import Extraction, Review
from legal_llm.pipeline.screen import load_screen
from legal_llm.pipeline.writer import LONGEST, Written, find_writer, load_writer, stop_tokens, write
from legal_llm.pipeline.writing import supported, write_answers, write_in_reviews, written_answer
from legal_llm.serving import share
from legal_llm.training.instruct import collate_chat, lay_out_chat, score_chat, train_writer, writer_settings
from legal_llm.training.runs import existing_run

END = {
    'Llama 3': '<|eot_id|>',
    'Qwen 3': '<|im_end|>',
    'Gemma 3': '<end_of_turn>',
    'Phi 4': '<|im_end|>',
    'Mistral': '</s>',
}
LAWS = 'Nevada', 'Utah', 'Ohio', 'Texas', 'Maine', 'Iowa', 'France', 'Japan'


def law(place: str) -> ChatExample:
    quote = Clause('Governing Law', 0, f'This Agreement is governed by the laws of {place}.')
    return ChatExample('A lease', 'Governing Law', ask_about('Governing Law', [quote]), place)


@pytest.fixture(scope='module', params=FAMILIES)
def family(request, tmp_path_factory):
    return request.param, str(make_family(request.param, tmp_path_factory.mktemp('family')))


def make_llama(folder: Path) -> str:
    "A model with the Llama 3 template whose output layer, which stays frozen, is not all but zero"
    from transformers import AutoModelForCausalLM

    make_family('Llama 3', folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.get_input_embeddings().weight *= 20
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope='module')
def llama(tmp_path_factory) -> str:
    return make_llama(tmp_path_factory.mktemp('llama'))


@pytest.fixture(scope='module')
def laws(tmp_path_factory) -> Path:
    "A folder of questions that have one answer, which a tiny model can learn by heart"
    folder = tmp_path_factory.mktemp('laws')
    examples = [replace(law(place), answer='Nevada') for place in LAWS]
    save_chat(dict(train=examples * 4, dev=examples, test=examples), folder / 'chat')
    return folder


def quick(laws, base, **settings):
    usual = dict(dtype='float32', pack_windows=4, save_minutes=0.0, save_steps=2, eval_steps=0, hours=None)
    return writer_settings(laws, base_model=base, **{**usual, **settings})


@pytest.fixture(scope='module')
def trained(llama, laws, tmp_path_factory):
    settings = quick(laws, llama, learning_rate=0.01, num_train_epochs=12.0, save_steps=200, eval_steps=96)
    return train_writer(settings, tmp_path_factory.mktemp('run') / 'writer', progress=False)


def test_examples_come_from_a_contract_and_its_answers():
    text = 'Made on May 8, 2024 by Acme Inc., a Utah company (the "Supplier"). It ends '
    text += 'five years from the date hereof, unless it is terminated before.'
    found = {
        'Parties': ['Acme Inc.', 'Supplier'],
        'Agreement Date': ['May 8, 2024'],
        'Expiration Date': ['It ends five years from the date hereof, unless it is terminated before.'],
    }
    clauses = [Clause(k, text.index(q), q) for k, quotes in found.items() for q in quotes]
    contract = Contract('Supply', text, clauses)
    examples = {e.category: e for e in chat_examples(contract, {'Parties': 'Acme Inc.', 'Expiration Date': '5/8/29'})}
    assert list(examples) == ['Parties', 'Expiration Date']  # the date has no answer in the table
    assert '«Acme Inc.», a Utah company (the "«Supplier»")' in examples['Parties'].question
    assert examples['Expiration Date'].answer == '2029-05-08'
    assert 'Agreement Date: 2024-05-08\nIt ends five years' in examples['Expiration Date'].question
    assert [e.answer for e in chat_examples(contract)] == ['', '', '']


def test_quotes_alone_have_nothing_around_them():
    assert passages([Clause('Parties', 9, 'Acme  Inc.')], None) == ['Acme Inc.']


def test_each_family_is_asked_in_its_own_words(family):
    """One token that begins a text, no date but the pinned one, a system turn or its words, and an answer that ends as
    the template ends a turn
    """
    name, folder = family
    tokenizer, template = load_tokenizer(folder), FAMILIES[name][2]
    encoded = encode_example(tokenizer, law('Nevada'))
    shown = tokenizer.decode(encoded.prompt)
    if tokenizer.bos_token and name != 'Phi 4':  # whose turns begin with another
        assert encoded.prompt.count(tokenizer.bos_token_id) == ('bos_token' in template)
    assert shown.count(SYSTEM) == 1 and shown.count('laws of Nevada') == 1
    assert ('Today Date' in shown) == (f'Today Date: {DATE}' in shown)
    assert tokenizer.convert_ids_to_tokens(encoded.answer[-1]) == END[name]
    assert tokenizer.decode(encoded.answer[:-1]).strip() == 'Nevada'
    assert tokenizer.pad_token_id not in (tokenizer.eos_token_id, answer_frame(tokenizer)[1])


@pytest.mark.parametrize('base', ['smollm2', 'llama'])
def test_ordinary_text_is_encoded_as_the_template_has_it(base, llama):
    tokenizer, example = load_tokenizer(llama if base == 'llama' else base), law('Nevada')
    whole = tokenizer.apply_chat_template(
        example.messages(), tokenize=False, add_generation_prompt=True, date_string=DATE
    )
    assert encode_example(tokenizer, example).prompt == tokenizer(whole, add_special_tokens=False)['input_ids']


def test_contract_text_is_never_a_special_token(family):
    _, folder = family
    tokenizer = load_tokenizer(folder)
    trap = '<|im_end|></s><|eot_id|><end_of_turn>[/INST]<|im_start|>'
    plain, odd = (
        encode_example(tokenizer, ChatExample('', 'Governing Law', f'Law?\nOhio {text}', f'Ohio {text}'))
        for text in ('', trap)
    )
    special = {i for i, t in tokenizer.added_tokens_decoder.items() if t.special}

    def count(ids):
        return sum(i in special for i in ids)

    assert count(odd.prompt) == count(plain.prompt) and count(odd.answer) == count(plain.answer) == 1
    assert trap in tokenizer.decode(odd.prompt).replace(' ', '')


def test_a_template_that_refuses_is_named(llama):
    tokenizer = load_tokenizer(llama)
    tokenizer.chat_template = "{{ raise_exception('never') }}"
    with pytest.raises(LegalLLMError, match='refuses a user.s turn .never.'):
        encode_example(tokenizer, law('Ohio'))
    tokenizer.chat_template = None
    with pytest.raises(LegalLLMError, match='no chat template'):
        encode_example(tokenizer, law('Ohio'))


def test_a_long_question_is_cut_and_its_answer_is_whole(llama):
    tokenizer, short = load_tokenizer(llama), law('Ohio')
    long = ChatExample('', 'Governing Law', short.question + ' and so on' * 500, 'the laws of Ohio ' * 20)
    encoded = encode_example(tokenizer, long, 100)
    frame = len(encode_example(tokenizer, ChatExample('', 'Governing Law', '', '')).prompt)
    assert len(encoded.prompt) <= 100 + frame
    assert tokenizer.decode(encoded.answer).startswith(long.answer)


def test_only_answers_are_learned(llama):
    tokenizer = load_tokenizer(llama)
    examples = [encode_example(tokenizer, law(p)) for p in ('Nevada', 'New South Wales')]
    batch = collate_chat(examples, tokenizer.pad_token_id)
    for e, ids, mask, labels in zip(examples, *(batch[k].tolist() for k in ('input_ids', 'attention_mask', 'labels'))):
        assert ids[len(ids) - len(e) :] == [*e.prompt, *e.answer] and sum(mask) == len(e)
        assert [i for i in labels if i != -100] == e.answer and labels[len(labels) - len(e.answer) :] == e.answer
        assert set(ids[: len(ids) - len(e)]) <= {tokenizer.pad_token_id}
    model = load_base(llama, 'float32', causal=True)
    alone, padded = (score_chat(model, examples, tokenizer.pad_token_id, batch_size=n)['dev_loss'] for n in (1, 2))
    assert abs(alone - padded) < 1e-4


def test_batches_hold_examples_of_like_length(llama, laws):
    tokenizer = load_tokenizer(llama)
    examples = [encode_example(tokenizer, ChatExample('', 'Parties', 'who ' * n, 'Acme')) for n in range(1, 65)]
    examples.append(encode_example(tokenizer, ChatExample('', 'Parties', 'who', 'Acme ' * LONGEST)))
    batches = lay_out_chat(examples, quick(laws, llama, num_train_epochs=2.0))
    assert sorted(len(e) for b in batches for e in b) == sorted(2 * [len(e) for e in examples[:-1]])
    assert max(max(map(len, b)) - min(map(len, b)) for b in batches) <= 8
    assert batches != sorted(batches, key=lambda b: len(b[0]))
    with pytest.raises(LegalLLMError, match='fill no step'):
        lay_out_chat(examples[:1], quick(laws, llama))


def test_it_learns_and_stops(trained, laws):
    "Before, none is right; after, all are, as scored in one pass and as written"
    record = trained.record
    assert record['dev_exact'] == dict(before=0.0, after=1.0) and record['finished'] and record['kind'] == 'writer'
    writer, examples = load_writer(trained.path), load_chat(laws / 'chat', 'dev')
    written = writer.write(examples)
    assert {w.text for w in written} == {'Nevada'}
    assert all(w.finished and 0.3 < w.confidence <= 1 for w in written)
    with writer.model.disable_adapter():
        assert 'Nevada' not in {w.text for w in writer.write(examples)}


def test_its_run_shows_what_it_learned(trained):
    shown = trained._repr_markdown_()
    assert 'right to the letter, on dev' in shown
    assert f"{trained.record['dev_exact']['after']:.1%} after" in shown


def test_a_batch_is_answered_as_single_questions_are(trained, laws, tmp_path):
    writer, examples = load_writer(trained.path, 'float32'), [law(p) for p in (*LAWS, 'the State of New South Wales')]
    together, alone = (writer.write(examples, batch_size=n) for n in (9, 1))
    assert [w.text for w in together] == [w.text for w in alone]
    assert all(abs(a.confidence - b.confidence) < 1e-4 for a, b in zip(together, alone))


def test_no_family_writes_special_tokens(family):
    name, folder = family
    model, tokenizer = load_base(folder, 'float32', causal=True), load_tokenizer(folder)
    assert tokenizer.convert_tokens_to_ids(END[name]) in stop_tokens(model, tokenizer)
    with torch.no_grad():  # a special token that is no end is the most probable one, always
        odd = next(i for i in tokenizer.all_special_ids if i not in stop_tokens(model, tokenizer))
        model.get_output_embeddings().weight[odd] *= 50
    (written,) = write(model, tokenizer, [law('Ohio')])
    assert not any(t.content in written.text for t in tokenizer.added_tokens_decoder.values() if t.special)


def test_worked_examples_come_first(llama):
    tokenizer = load_tokenizer(llama)
    prompt = tokenizer.decode(encode_example(tokenizer, law('Ohio'), shots=(law('Utah'), law('Iowa'))).prompt)
    assert prompt.index('laws of Utah') < prompt.index('laws of Iowa') < prompt.index('laws of Ohio')
    assert prompt.count(SYSTEM) == 1 and prompt.count('<|eot_id|>') == 7


def test_killed_and_resumed_is_as_uninterrupted(llama, laws, tmp_path, root):
    "kill -9 behind a checkpoint: the adapter is the same, bit for bit"
    settings = quick(laws, llama, max_packs=10, lora_dropout=0.1)
    alone = train_writer(settings, tmp_path / 'alone', progress=False)
    code = (
        'import json, sys, time; from legal_llm.training import instruct; '
        'from legal_llm.training.settings import TrainSettings; w = instruct.WriterTrainer; step = w.compute_loss; '
        'w.compute_loss = lambda *a, **k: time.sleep(0.3) or step(*a, **k); '
        'instruct.train_writer(TrainSettings(**json.loads(sys.argv[1])), sys.argv[2])'
    )
    killed = tmp_path / 'killed'
    child = subprocess.Popen([sys.executable, '-c', code, json.dumps(asdict(settings)), str(killed)], cwd=root)
    while not (killed / 'checkpoints' / 'checkpoint-4').exists() and child.poll() is None:
        time.sleep(0.05)
    child.kill()
    assert child.wait() == -9, 'it ended by itself'
    assert not (killed / 'adapter').exists()
    resumed = train_writer(settings, killed, progress=False)
    one, other = (load_file(r.adapter / 'adapter_model.safetensors') for r in (alone, resumed))
    assert one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
    assert any(v.any() for k, v in one.items() if 'lora_B' in k)
    assert [l['step'] for l in resumed.log()] == list(range(1, 11))
    assert train_writer(settings, killed, progress=False).record == resumed.record  # nothing is left to do


def test_another_training_is_not_continued(trained, laws, llama):
    with pytest.raises(LegalLLMError, match='holds a run with other settings'):
        train_writer(quick(laws, llama, lora_r=4), trained.path, progress=False)


def test_a_writer_is_found_where_it_was_trained(trained, tmp_path):
    assert find_writer(trained.path.parent) == find_writer(trained.path) == trained.path / 'adapter'
    with pytest.raises(LegalLLMError, match='no writer in'):
        find_writer(tmp_path)


def test_a_writer_may_be_trained_before_the_reader(tmp_path):
    "Its folder is no other run's; anything else in the folder still is"
    (tmp_path / 'run' / 'writer').mkdir(parents=True)
    assert existing_run(tmp_path / 'run', None, None, False) is None
    (tmp_path / 'run' / 'notes.txt').write_text('mine')
    with pytest.raises(LegalLLMError, match='is not empty and holds no run'):
        existing_run(tmp_path / 'run', None, None, False)


def test_from_contracts_to_a_writer_on_the_command_line(llama, tmp_path, capsys):
    "Data, a plan, a training, and what it answers in reviews"
    contracts = save_squad(write_contracts(40, seed=3, words=400), tmp_path / 'contracts.json')
    data, run = str(tmp_path / 'data'), str(tmp_path / 'run')
    assert main(['data', '--source', str(contracts), '--out', data]) in (None, 0)
    assert 'as chat examples in' in capsys.readouterr().out
    train = ['train', '--data', data, '--out', run, '--writer', '--base-model', llama, '--max-packs', '2']
    assert main([*train, '--eval-steps', '0', '--dry-run']) in (None, 0)
    assert '2 batches' in capsys.readouterr().out
    assert main([*train, '--eval-steps', '0']) in (None, 0)
    assert 'in reviews it answers' in capsys.readouterr().out
    assert 'chosen' in json.loads((tmp_path / 'run/writer/adapter/legal_llm.json').read_text())


def contract_with(answers: dict[str, str], clauses=('Governing Law',)) -> Contract:
    text = 'This lease is governed by the laws of Nevada. It was made on May 8, 2024.'
    quotes = {'Governing Law': 'governed by the laws of Nevada', 'Agreement Date': 'May 8, 2024'}
    return Contract('A', text, [Clause(k, text.index(quotes[k]), quotes[k]) for k in clauses], answers=answers)


@pytest.mark.parametrize(
    'answers, given, share',
    [
        ({'Governing Law': 'Nevada'}, {'Governing Law': 'Nevada'}, 1.0),
        ({'Governing Law': 'Nevada'}, {'Governing Law': 'Utah'}, 0.0),
        ({'Governing Law': 'Nevada'}, {}, 0.0),
        ({'Governing Law': 'Nevada'}, {'Governing Law': 'Nevada', 'Agreement Date': '2024-05-08'}, 0.5),
        ({}, {'Governing Law': 'Utah'}, None),
    ],
    ids=['right', 'wrong', 'missing', 'a clause that is not there', 'an answer that nobody knows'],
)
def test_shares_of_right_answers(answers, given, share):
    given = {k: Answer(k, parse_answer(k, v), '', 'found') for k, v in given.items()}
    value = answers_statistic([contract_with(answers)], [given]).value()['all']
    assert math.isnan(value) if share is None else value == share


def test_worked_examples_are_short_and_of_training():
    contracts = write_contracts(12, seed=3, words=400)
    shots = worked_examples(contracts)
    assert shots == worked_examples(contracts)
    assert all(e.category == k and len(e.question) < 400 for k, examples in shots.items() for e in examples)
    assert len(shots['Parties']) == 3 and not shots['Renewal Term'], 'the writer of contracts knows no renewals'


def test_a_table_of_answers(trained):
    "Rules, base model, writer and what reviews have, with intervals, and the writer beside the rules"
    writer = load_writer(trained.path)
    writer.record = dict(writer.record, chosen=['Governing Law'])
    contract = contract_with({'Governing Law': 'Nevada'})
    quote = Extraction('Governing Law', contract.text[:45], 0, 45, 0.9)
    reviews = [Review('A', contract.text, [quote], ('Governing Law',))]
    scores = score_answers(writer, [contract], reviews, asked=1)
    values = {system: shares['all'].value for system, shares in scores.exact.items()}
    assert values.pop('base model') in (0, 1)
    assert values == {'rules': 1, 'writer': 1, 'as chosen': 1, 'end to end, rules': 1, 'end to end, as chosen': 1}
    text = scores._repr_markdown_()
    assert '| Governing Law | 1 | 100.0 |' in text and 'in reviews, the writer answers: Governing Law' in text
    assert 'writer against rules, all: 100.0 against 100.0' in text
    assert json.loads(json.dumps(scores.to_dict()))['counts']['all'] == 1


def test_merged_it_is_a_chat_model_that_writes_the_same(trained, tmp_path, capsys):
    "transformers loads it and knows nothing of this library; it stops at the end of its turn"
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = tmp_path / 'Llama-writer'
    assert main(['merge', '--writer', '--run', str(trained.path), '--out', str(out)]) in (None, 0)
    assert '100% of the questions' in capsys.readouterr().out
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    question = law('Maine')
    ids = tokenizer.apply_chat_template(
        question.messages(), add_generation_prompt=True, date_string=DATE, return_tensors='pt', return_dict=True
    )['input_ids']
    written = model.generate(ids, max_new_tokens=20)[0, ids.shape[1] :]
    (expected,) = load_writer(trained.path).write([question])
    assert tokenizer.decode(written, skip_special_tokens=True).strip() == expected.text == 'Nevada'
    card = (out / 'README.md').read_text(encoding='utf-8')
    assert 'pipeline_tag: text-generation' in card and '/tmp' not in card


def test_a_merged_writer_that_writes_something_else_is_not_kept(trained, llama, tmp_path, monkeypatch):
    save, base = share.save_for_both, load_base(llama, 'float32', causal=True)
    monkeypatch.setattr(share, 'save_for_both', lambda model, tokenizer, folder: save(base, tokenizer, folder))
    with pytest.raises(LegalLLMError, match='nothing was kept: merge with --dtype float32'):
        share.merge_writer(trained.path, tmp_path / 'out', 'float32')
    assert not (tmp_path / 'out').exists()


def test_other_trainers_read_the_examples(laws):
    from datasets import load_dataset

    rows = load_dataset('json', data_files={s: str(laws / 'chat' / f'{s}.jsonl') for s in ('train', 'dev')})
    assert [m['role'] for m in rows['train'][0]['messages']] == ['system', 'user', 'assistant']
    assert rows['dev'][0]['messages'][-1]['content'] == 'Nevada' and rows['dev'].num_rows == len(LAWS)
    assert load_chat(laws / 'chat', 'dev') == [replace(law(p), answer='Nevada') for p in LAWS]


def test_files_that_hold_no_examples(tmp_path):
    with pytest.raises(LegalLLMError, match='no such file'):
        load_chat(tmp_path, 'train')
    (tmp_path / 'train.jsonl').write_text('{"text": "x"}\n')
    with pytest.raises(LegalLLMError, match='line 1: not a chat example'):
        load_chat(tmp_path, 'train')


NOTICE = 'Notice Period To Terminate Renewal'


@pytest.mark.parametrize(
    'category, answer, quote, expected',
    [
        ('Governing Law', 'Nevada', 'the laws of the State of Nevada', True),
        ('Governing Law', 'Utah', 'the laws of the State of Nevada', False),
        ('Agreement Date', '2024-05-08', 'May 8th, 2024', True),
        ('Agreement Date', '2024-05-09', 'May 8th, 2024', False),
        ('Expiration Date', '2029-05-08', 'five (5) years from the Effective Date', True),
        ('Expiration Date', '2029-05-07', 'five (5) years from the Effective Date', True),
        ('Expiration Date', '2030-05-08', 'five (5) years from the Effective Date', False),
        ('Expiration Date', 'perpetual', 'until terminated', True),
        ('Renewal Term', 'successive 12 months', 'for one-year terms', True),
        (NOTICE, '30 days', 'sixty (60) days', False),
        ('Parties', 'Acme Inc. ("Supplier"); Jane Roe', 'ACME, Inc., by Jane Roe', True),
        ('Parties', 'Acme Inc.; John Doe', 'ACME, Inc., by Jane Roe', False),
        ('Parties', 'Roe', 'Monroe Ltd', False),
        ('Document Name', 'SUPPLY AGREEMENT', 'Supply Agreement', True),
        ('Document Name', 'LEASE AGREEMENT', 'Supply Agreement', False),
        (NOTICE, 'as agreed', 'as agreed', False),
    ],
)
def test_what_the_quotes_support(category, answer, quote, expected):
    dates = {'Effective Date': Date('2024', '05', '08')} if category == 'Expiration Date' else {}
    assert supported(parse_answer(category, answer), [quote], dates) is expected


def test_an_answer_without_support_is_to_be_looked_at():
    quotes = ['the laws of Ohio', 'the laws of Utah']
    good, bad, odd, cut = (
        written_answer('Governing Law', Written(text, 0.9, done), quotes)
        for text, done in (('Utah', True), ('Iowa', True), ('I am a model', True), ('Utah', False))
    )
    assert (good.how, good.quote, str(good)) == ('found', 'the laws of Utah', 'Utah')
    assert bad.how == odd.how == cut.how == 'look' and odd.value is None and str(bad) == 'Iowa'


LEASE = 'This LEASE is governed by the laws of Ohio, or those of Utah.'


class Utah:
    "A writer that says one thing, chosen for governing law"

    record = dict(chosen=['Governing Law'])

    def write(self, examples):
        return [Written('Utah', 0.9, True) for _ in examples]


def lease_review(*quotes) -> Review:
    quotes = [
        Extraction(k, q, LEASE.index(q), LEASE.index(q) + len(q), p)
        for k, q, p in (('Document Name', 'LEASE', 0.9), *quotes)
    ]
    return Review('Lease', LEASE, quotes, ('Document Name', 'Governing Law'))


def test_the_writer_answers_where_it_was_better():
    "And where the quotes that it was shown support what it wrote; else the rule does"
    ohio, utah = ('Governing Law', 'the laws of Ohio', 0.9), ('Governing Law', 'those of Utah.', 0.3)
    supported_, unsupported = (
        write_in_reviews([lease_review(*q)], Utah())[0] for q in ((('Governing Law', LEASE[5:], 0.9),), (ohio, utah))
    )
    shown = supported_.answers['Governing Law']
    assert (str(shown), shown.status) == ('Utah', 'found')
    assert shown.steps == ('written by the model, 90% sure',)
    assert [q.quote for q in shown.quotes] == [LEASE[5:]]
    assert supported_.answers['Document Name'].steps == ()
    assert str(unsupported.answers['Governing Law']) == 'Ohio'
    assert 'writer' in unsupported.seconds
    assert not write_in_reviews([lease_review(ohio)], Utah(), ())[0].written


def test_it_answers_in_reviews_where_it_beats_the_rules_on_dev(tmp_path):
    "Where the quotes do not support it, the rule's answer counts for it"
    quotes = 'This is governed by what holds in Utah and Ohio.', 'Utah law governs.', 'Ohio law governs.'
    contracts = [
        Contract(f'c{i}', q, [Clause('Governing Law', 0, q)], answers={'Governing Law': right})
        for i, (q, right) in enumerate(zip(quotes, ('Utah', 'Utah', 'Ohio')))
    ]
    save_json(tmp_path / 'legal_llm.json', dict(kind='writer'))
    writer = Utah()
    writer.path, writer.record = tmp_path, dict(kind='writer')
    by_rule = right_answers(contracts, [answer_contract(c) for c in contracts])
    assert by_rule == {'Governing Law': 2}
    assert choose_on_dev(writer, contracts) == ('Governing Law',)
    assert json.loads((tmp_path / 'legal_llm.json').read_text()) == dict(kind='writer', chosen=['Governing Law'])
    assert choose_on_dev(writer, contracts[1:]) == ()


def test_answers_are_compared_in_canonical_form():
    examples = [replace(law('Nevada'), answer='Nevada') for _ in range(4)]
    assert exact_answers(examples, ['State of Nevada', 'nevada', 'Utah', 'I am a model']) == [True, True, False, False]


def test_an_example_is_shown_with_its_masked_tokens_in_grey(llama):
    tokenizer, question = load_tokenizer(llama), replace(law('<b>Utah</b>'), answer='Utah')
    shown = show_example(tokenizer, encode_example(tokenizer, question))
    grey, bold = re.findall(r'<span style="color: ([^"]*)">(.*?)</span>', shown, re.S)
    assert grey[0] == '#999'
    assert 'bold' in bold[0]
    text = html.unescape(bold[1].replace('<wbr>|', ''))
    assert text.startswith('Utah')
    assert '<b>' not in shown


def test_what_was_written_about_other_quotes_is_not_shown():
    review = write_in_reviews([lease_review(('Governing Law', LEASE[5:], 0.6))], Utah())[0]
    assert str(review.answers['Governing Law']) == 'Utah'
    assert str(review.at(0.5).answers['Governing Law']) == 'Utah'
    assert review.at(0.95).answers['Governing Law'].status == 'check'
    assert 'Governing Law' not in review.at(0.95, 0.95).answers
    more = replace(review, extractions=[*review.extractions, *lease_review(('Governing Law', 'Ohio', 0.9)).extractions])
    assert 'written' not in str(more.answers['Governing Law'].steps)


def test_an_extractor_lets_its_writer_answer(screen_run):
    "The same alone and together; `fast` loads none"
    extractor = Extractor(load_screen(screen_run), writer=Utah()).at(0.0001)
    assert repr(extractor).endswith('screen + writer)')
    one, two = extractor.extract(LEASE, 'Lease'), extractor.extract_all([LEASE, LEASE])
    assert one.written
    assert [r.written for r in two] == [one.written] * 2
    assert extractor.without_reader().extract(LEASE, 'Lease').written == {}


@pytest.mark.parametrize('name', FAMILIES)
def test_a_reader_and_a_writer_share_their_weights(name, tmp_path):
    "The decoder of a loaded model is that of a model loaded for the reader, in the same memory, with its own modules"
    folder = str(make_family(name, tmp_path))
    whole, alone = load_base(folder, 'float32', causal=True), load_base(folder, 'float32', num_hidden_layers=1)
    decoder, ids = decoder_of(whole, 1), torch.tensor([[5, 6, 7]])
    assert len(decoder.layers) == 1 < len(whole.base_model.layers)
    with torch.inference_mode():
        assert torch.equal(decoder(ids).last_hidden_state, alone(ids).last_hidden_state)
        before = whole(ids).logits
    shared = {p.data_ptr() for p in whole.parameters()}
    assert all(p.data_ptr() in shared for p in decoder.parameters())
    adapted = add_lora(decoder, 2)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.fill_(1)
    with torch.inference_mode():
        assert not torch.equal(adapted(ids).last_hidden_state, alone(ids).last_hidden_state)
        assert torch.equal(whole(ids).logits, before), "an adapter of the one is none of the other's"


def test_answers_of_many_contracts_are_written_at_once():
    text = LEASE
    contract = Contract('Lease', text, [Clause('Document Name', 5, 'LEASE'), Clause('Governing Law', 11, text[11:])])
    both = write_answers([contract, Contract('None', text)], Utah().write)
    assert both[1] == {} and list(both[0]) == ['Document Name', 'Governing Law']
    right = dict.fromkeys(ANSWERED, 5)
    assert choose_categories(right, {**right, 'Parties': 6, 'Governing Law': 4}) == ('Parties',)
