"The command line: what goes wrong ends in one sentence and exit code 2, with nothing half-written; what goes right is counted."

import json

import pytest

from legal_llm.cli import main
from legal_llm.cuad import find_dev_cuad
from legal_llm.synthetic import write_contracts
from legal_llm.cuad import save_squad


def refused(capsys, *argv):
    "Run a command that must fail; returns its one line."
    assert main([str(a) for a in argv]) == 2
    err = capsys.readouterr().err.strip()
    assert err.startswith(f'legal-llm {argv[0]}: ') and '\n' not in err, err
    return err


@pytest.fixture
def contract(tmp_path):
    file = tmp_path / 'contract.txt'
    file.write_text(write_contracts(1, words=400)[0].text, encoding='utf-8')
    return file


def test_data_refuses(capsys, tmp_path):
    out = tmp_path / 'out'
    assert 'nowhere.json' in refused(capsys, 'data', '--source', tmp_path / 'nowhere.json', '--out', out)
    bad = tmp_path / 'bad.json'
    bad.write_text('not JSON at all')
    assert 'bad.json' in refused(capsys, 'data', '--source', bad, '--out', out)
    bad.write_text('{"rows": []}')
    assert 'bad.json' in refused(capsys, 'data', '--source', bad, '--out', out)
    bad.write_text(json.dumps({'version': '1', 'data': [{'title': 'A', 'paragraphs': [{'context': ' ', 'qas': []}]}]}))
    refused(capsys, 'data', '--source', bad, '--out', out)
    bad.write_text(json.dumps({'data': [{'title': 'A', 'paragraphs': [{'context': 'abc', 'qas': [
        {'id': 'A__Parties', 'question': '?', 'answers': [{'text': 'xyz', 'answer_start': 0}]}]}]}]}))
    refused(capsys, 'data', '--source', bad, '--out', out)
    assert not out.exists() and [p.name for p in tmp_path.iterdir()] == ['bad.json']


def test_data_refuses_another_folder(capsys, tmp_path):
    (tmp_path / 'precious.txt').write_text('mine')
    assert 'not empty' in refused(capsys, 'data', '--out', tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ['precious.txt']


def test_train_and_eval_refuse(capsys, tmp_path):
    assert 'no data set' in refused(capsys, 'train', '--data', tmp_path, '--out', tmp_path / 'run')
    assert 'no run folder' in refused(capsys, 'eval', '--run', tmp_path / 'run')
    assert 'no run folder' in refused(capsys, 'eval', '--run', tmp_path)
    assert not (tmp_path / 'run').exists()


def test_extract_refuses(capsys, tmp_path, contract):
    run, out = tmp_path / 'run', tmp_path / 'clauses.json'
    assert 'missing.txt' in refused(capsys, 'extract', tmp_path / 'missing.txt', '--run', run)
    assert 'no run folder' in refused(capsys, 'extract', contract, '--run', run, '--out', out)
    run.mkdir()
    assert 'no record.json' in refused(capsys, 'extract', contract, '--run', run, '--out', out)
    (run / 'record.json').write_text('{}')
    assert 'no adapter' in refused(capsys, 'extract', contract, '--run', run, '--out', out)
    assert '.csv' in refused(capsys, 'extract', contract, '--run', run, '--out', tmp_path / 'clauses.doc')
    contract.write_text(' \n\t ')
    refused(capsys, 'extract', contract, '--run', run, '--out', out)
    assert not out.exists()


def test_score(capsys, tmp_path):
    contracts = write_contracts(3)
    gold, nbest = tmp_path / 'test.json', tmp_path / 'nbest.json'
    save_squad(contracts, gold)
    from legal_llm.cuad import gold_answers

    nbest.write_text(json.dumps({k: [{'text': t, 'probability': .9} for t in v] for k, v in gold_answers(contracts).items()}))
    assert main(['score', '--predictions', str(nbest), '--gold', str(gold)]) == 0
    out = json.loads(capsys.readouterr().out)
    assert out['questions'] == 3 * 41 and out['aupr'] == pytest.approx(1) and out['precision_at_90_recall'] == 1
    assert {'precision_at_80_recall', 'precision', 'recall', 'f1', 'positives'} <= set(out)
    nbest.write_text('[]')
    refused(capsys, 'score', '--predictions', nbest, '--gold', gold)


def test_data_on_cuad(capsys, tmp_path):
    "The 408 contracts of CUAD's training half: counts, and every answer an exact slice."
    source = find_dev_cuad()
    if source is None:
        pytest.skip('CUAD is not here: set LEGAL_LLM_CUAD to its path')
    assert main(['data', '--source', str(source), '--out', str(tmp_path / 'data')]) == 0
    out = capsys.readouterr().out
    assert '408' in out and '16,728' in out and 'coverage' in out
    from legal_llm.data import open_data

    data = open_data(tmp_path / 'data')
    contracts = [c for s in ('train', 'dev', 'test') for c in data.contracts(s)]
    assert len(contracts) == 408 and len({c.title for c in contracts}) == 408
    assert all(c.text[x.start:x.end] == x.text for c in contracts for x in c.clauses) and sum(len(c.clauses) for c in contracts) == data.info['spans']


def test_sources_that_cannot_be_had_are_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_CACHE', str(tmp_path / 'cache'))
    assert 'HF_HUB_OFFLINE' in refused(capsys, 'data', '--source', 'hub', '--out', tmp_path / 'out')
    assert 'one of the words' in refused(capsys, 'data', '--source', 'hubb', '--out', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
