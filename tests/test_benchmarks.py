"The benchmarks run, on sizes that take seconds. What they measure on a busy machine is not tested."

import json
import pickle
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks import answers, fuzz, gpu, measure, pdfs, review, scale, training  # noqa: E402
from benchmarks.__main__ import main  # noqa: E402
from legal_llm.training.dataset import open_data  # noqa: E402


def test_parts_that_there_are_not(capsys):
    with pytest.raises(SystemExit):
        main(['nothing'])
    assert "there is no benchmark 'nothing'" in capsys.readouterr().err


def test_a_process_of_its_own():
    "What a function returns comes back; what it says when it fails is told"
    assert json.loads(json.dumps(measure.about())) == measure.alone(measure.about)
    with pytest.raises(RuntimeError, match='unexpected keyword'):
        measure.alone(measure.about, size=1)


def test_review(screen_run, tiny):
    "Screen alone, and what `generate` takes for all windows and categories by the sample that it was timed on"
    made = review.review(fast=True, run=str(screen_run), words=(700,), most=0)
    (row,) = made['rows']
    assert (
        row['read'] == 0 < row['sentences']
        and row['seconds'].keys() == {'screen', 'whole'}
        and made['load']['megabytes'] > 10
    )
    asked = review.generate(str(tiny), words=(700,), most=0, sample=(1, 2), max_tokens=4)
    (row,) = asked['extrapolated']
    # the shortest contract is the longest here
    assert asked['pairs'] == 4 and 0 < asked['written'] <= 16 and row['windows'] > 1
    assert row['seconds'] == pytest.approx(asked['seconds_per_pair'] * row['windows'] * 41, abs=0.3)


@pytest.mark.parametrize('method', training.METHODS)
def test_training(method, tiny, tmp_path):
    "Every method trains on the same windows; what counts once for a window counts for each pair of the others"
    if method == 'trl':
        pytest.importorskip('trl', reason='trl comes with `make bench`')
    from tiny import make_examples

    examples, file = make_examples(3, 64)[: 2 * training.WINDOWS], tmp_path / 'examples'
    file.write_bytes(pickle.dumps(examples))
    row = training.run_case(method, str(file), 2, str(tiny), most=128)
    assert (
        row['pairs'] == sum(e.doubt.sum() for e in examples[training.WINDOWS :])
        and row['seconds'] > 0 < row['pairs_per_second']
    )
    assert 0 < training.gradients(str(file), str(tiny))['off_by'] < 1e-4
    assert row['tokens'] == row['timed'] if method == 'windows' else row['tokens'] > row['timed']


def test_scale():
    row = scale.week1(21)
    assert (
        row['contracts'] == 21
        and row['windows'] > 0
        and row['stages'].keys() >= {'fit the screen', 'the whole of week 1'}
    )


def test_pdfs(tmp_path, monkeypatch, capsys):
    "Each way of reading finds what stands in a PDF; without the PDFs a sentence says so"
    from test_documents import write_pdf

    write_pdf(tmp_path / 'A.pdf', ['It is governed by the laws of Ohio.', 'The end.'])
    qas = [dict(answers=[dict(text=text) for text in ('the laws  of Ohio', 'not there')])]
    source = tmp_path / 'cuad.json'
    source.write_text(json.dumps(dict(data=[dict(title='A', paragraphs=[dict(qas=qas)])])))
    made = pdfs.read_all(str(tmp_path), str(source))
    assert [row['method'] for row in made['rows']] == ['pdfium', 'ours']
    assert all((row['pages'], row['quotes'], row['verbatim']) == (2, 2, 1) for row in made['rows'])
    monkeypatch.setenv('LEGAL_LLM_PDFS', str(tmp_path / 'none'))
    pdfs.main()
    assert "CUAD's PDFs are not on this machine" in capsys.readouterr().out


def test_scores_from_pdf_and_from_text(tmp_path, tiny_data):
    "Contracts without a PDF are left out; what is read of the others answers as their texts do"
    from test_documents import lay_out, write_pdf

    from legal_llm.training.dataset import open_data

    contracts = open_data(tiny_data).contracts('dev')[:2]
    for c in contracts:
        write_pdf(tmp_path / f'{c.title}.pdf', lay_out(c.text)[0])
    scores = pdfs.score_texts(str(tmp_path), str(tiny_data), ['dev'])['dev']
    assert scores['contracts'] == len(contracts)
    assert abs(scores['pdf']['aupr']['value'] - scores['text']['aupr']['value']) < 0.1
    assert scores['difference']['value'] == pytest.approx(
        scores['pdf']['aupr']['value'] - scores['text']['aupr']['value']
    )


@pytest.mark.skipif(sys.platform != 'linux', reason='forks')
def test_answers_are_read_by_stages_that_have_not_seen_the_contracts(tiny_data):
    extractor = answers.load_extractor(str(tiny_data), ['A contract of somebody else'])
    calibration = extractor.calibration
    assert set(calibration.thresholds) == {c.name for c in extractor.categories}
    assert 0 < calibration.check <= min(calibration.thresholds.values())
    trained = open_data(tiny_data).contracts('train')[0].title
    with pytest.raises(ValueError, match='were trained on'):
        answers.load_extractor(str(tiny_data), [trained])


def test_fuzz():
    rows = fuzz.fuzz(4)
    assert [row['kind'] for row in rows] == ['PDF', 'Word', 'HTML and Markdown', 'labels']
    for row in rows:
        assert row['files'] == 4
        assert not row.keys() & {'died', 'no sentence'}
        assert 0 < row['seconds'] < fuzz.SECONDS
        assert 0 <= row['megabytes'] < fuzz.MEGABYTES
    assert 'error' not in rows[-1], 'label files are read without a process that makes sentences of errors'


def test_gpu(tiny, tmp_path, capsys):
    "What is measured on a card, on a model of two layers and this processor"
    from tiny import make_examples

    from legal_llm.pipeline.models import load_tokenizer

    shape = dict(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
    )
    base = gpu.random_base(tmp_path / 'base', load_tokenizer(str(tiny)), **shape)
    made = gpu.steps(str(base), make_examples(3, 64)[: 2 * gpu.WINDOWS], 'float32')
    assert 0 < made['gradients'] < 1e-3 and [t['gradient_checkpointing'] for t in made['training']] == [True, False]
    assert len({p['pairs'] for p in made['pairs']}) == 1 and all(
        r['tokens_per_second'] > 0 for r in (*made['training'], *made['reading'])
    )
    assert gpu.main() is None and 'there is no GPU' in capsys.readouterr().out
