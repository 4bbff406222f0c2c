"""Sharing: a merged model answers as base and adapter do; what is sent loads anywhere; the card's own code runs; the
Space starts by itself.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time

import pytest
from hub import Hub
from tiny import tiny_settings

from legal_llm.cli import main
from legal_llm.contracts.sentences import split_sentences
from legal_llm.contracts.synthetic import write_contracts
from legal_llm.evaluation.scoring import SYSTEMS
from legal_llm.machine.compat import older
from legal_llm.machine.files import LegalLLMError, save_json
from legal_llm.pipeline.extract import Extractor, chosen_writer
from legal_llm.pipeline.reader import load_reader, read_windows
from legal_llm.pipeline.windows import cut_windows
from legal_llm.scores.metrics import TIERS
from legal_llm.serving.card import card, check_name, licence_of
from legal_llm.serving.merge import merge
from legal_llm.serving.share import export, push, space
from legal_llm.train import train
from legal_llm.training.runs import open_run

TEXT = write_contracts(1, seed=4, words=400)[0].text
OPTIONS = dict(dtype='float32', heard=True, min_probability=1e-6)  # every sentence is read


@pytest.fixture(scope='module')
def run(tiny, tiny_data, tmp_path_factory):
    """A run on a base model of its own, which learned next to nothing in four steps, but whose adapter changes what it
    says
    """
    settings = tiny_settings(tiny_data, tiny, learning_rate=0.01, max_packs=4)
    return train(settings, tmp_path_factory.mktemp('share') / 'run', progress=False)


@pytest.fixture(scope='module')
def merged(run, tmp_path_factory):
    out = tmp_path_factory.mktemp('merged') / 'model'
    return merge(run, out, 'float32')


@pytest.fixture
def hub(monkeypatch, tmp_path):
    "A stand-in for the hub, for this process and those that it starts"
    from huggingface_hub import constants

    hub = Hub()
    for name, value in dict(
        HF_ENDPOINT=hub.url,
        HF_HUB_DISABLE_XET='1',
        HF_HUB_OFFLINE='0',
        HF_HOME=str(tmp_path / 'hf'),
        HF_TOKEN=hub.TOKEN,
    ).items():
        monkeypatch.setenv(name, value)
    template = hub.url + '/{repo_id}/resolve/{revision}/{filename}'
    for name, value in dict(
        ENDPOINT=hub.url,
        HUGGINGFACE_CO_URL_TEMPLATE=template,
        HF_HUB_OFFLINE=False,
        HF_HUB_DISABLE_XET=True,
        HF_HUB_CACHE=str(tmp_path / 'hf' / 'hub'),
    ).items():
        monkeypatch.setattr(constants, name, value)
    yield hub
    hub.close()


def test_a_merged_model_answers_as_before(run, merged):
    assert merged.flips == 0 and merged.change < 1e-3 and merged.pairs > 300
    whole = Extractor.load(merged.path, **OPTIONS)
    parts = Extractor.load(run, **OPTIONS)
    assert (
        not hasattr(whole.reader.model, 'peft_config')
        and whole.settings == parts.settings
        and whole.calibrations == parts.calibrations
    )
    a, b = whole.extract(TEXT), parts.extract(TEXT)
    assert [(f.category, f.start, f.quote) for f in a.extractions] == [
        (f.category, f.start, f.quote) for f in b.extractions
    ] and a.read == b.read == b.sentences
    assert all(abs(p - b.confidences[c]) < 1e-4 for c, p in a.confidences.items())
    reader, _ = load_reader(run, 'float32', adapter=False)
    windows = cut_windows(TEXT, split_sentences(TEXT), parts.tokenizer)
    assert abs(read_windows(reader, windows) - read_windows(parts.reader, windows)).max() > 1e-2, (
        'the adapter must matter for this test to mean anything'
    )


def test_a_merge_that_goes_wrong_leaves_nothing(run, merged, tmp_path, monkeypatch):
    import peft

    with pytest.raises(LegalLLMError, match='is there already'):
        merge(run, merged.path)
    with pytest.raises(LegalLLMError, match='merged model already'):
        merge(merged.path, tmp_path / 'twice')
    # a merge that forgets the adapter
    monkeypatch.setattr(peft.PeftModel, 'merge_and_unload', lambda self, **_: self.unload(), raising=False)
    with pytest.raises(LegalLLMError, match='does not answer as the adapter does'):
        merge(run, tmp_path / 'wrong', 'float32')
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk(run, tmp_path, monkeypatch):
    "A disk that is known to be too small, and one that turns out to be"
    from legal_llm.training import checkpoints

    monkeypatch.setattr(checkpoints, 'free_bytes', lambda _: 10_000)
    with pytest.raises(LegalLLMError, match=r'the merged model of 0\.\d+ GB does not fit on the disk'):
        merge(run, tmp_path / 'model')
    monkeypatch.undo()
    disk = tmp_path / 'disk'
    disk.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', disk], capture_output=True).returncode:
        pytest.skip('a disk of 6 MB needs the right to mount one')
    try:
        monkeypatch.setattr(checkpoints, 'room_for', lambda *_: None)
        with pytest.raises(LegalLLMError, match='is full: the merged model was not written'):
            merge(run, disk / 'model')
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(['umount', disk], check=True)


def test_names_and_licences():
    assert licence_of('meta-llama/Llama-3.2-3B-Instruct').name == 'llama3.2' and licence_of(
        'llama3.2-3b'
    ).notice.startswith('Llama 3.2 is licensed')
    assert licence_of('codellama/CodeLlama-7b').name == licence_of('some/llama-3b').name == 'other'
    check_name('me/Llama-3.2-contracts', 'llama3.2-3b')
    with pytest.raises(LegalLLMError, match="begins with 'Llama': give me/Llama-contracts"):
        check_name('me/contracts', 'llama3.2-3b')


def as_llama(run, tmp_path):
    "The same run, as if its base had been Llama"
    path = shutil.copytree(run.path, tmp_path / 'llama')
    record = json.loads((path / 'record.json').read_text())
    record['settings']['base_model'] = 'meta-llama/Llama-3.2-3B-Instruct'
    (path / 'record.json').write_text(json.dumps(record))
    return path


def test_the_card(run, tmp_path, monkeypatch):
    import yaml

    with pytest.raises(LegalLLMError, match='say with --base-model where others get it'):
        card(run)
    metrics = dict(
        split='test',
        contracts=['secret title'],
        source='x/CUAD_v1.json',
        settings={},
        seconds_per_contract=1.2,
        table=None,
        fine_tuned=None,
    )
    score = dict(value=0.25, low=0.2, high=0.3)
    families = dict(
        official=dict(aupr=score, precision_at_80_recall=dict(value=None, low=None, high=None), precision_at_90_recall=score, max_recall=score), span=dict(precision=score, recall=score, f1=score),  # noqa: E501
        detection=dict(f1=score, average_precision=score), coverage=dict(f1=score), squad=dict(answerable_f1=score), similarity={  # noqa: E501
            f'above_{t}': score for t in TIERS},
    )  # fmt: skip
    metrics.update(
        table=dict(contracts=1, questions=41, positives=10, thresholds={}, systems={SYSTEMS['fine-tuned']: families}),
        fine_tuned=families,
    )
    path = as_llama(run, tmp_path)
    (path / 'metrics_test.json').write_text(json.dumps(metrics))
    text = card(path, 'me/Llama-contracts')
    head = yaml.safe_load(text.split('---\n')[1])
    assert (
        head['license'] == 'llama3.2'
        and head['base_model'] == 'meta-llama/Llama-3.2-3B-Instruct'
        and head['library_name'] == 'peft'
    )
    assert {r['name']: r['value'] for r in head['model-index'][0]['results'][0]['metrics']}['AUPR'] == 0.25
    assert (
        '**Built with Llama**' in text
        and 'Community License, Copyright © Meta' in text
        and '25.0 [20.0, 30.0]' in text
        and 'no legal advice' in text
    )
    assert str(tmp_path) not in text and 'secret title' not in text
    # that of Llama is not to be had here
    monkeypatch.setattr('legal_llm.serving.share.load_tokenizer', lambda _: Extractor.load(run, **OPTIONS).tokenizer)
    assert (
        (export(path, tmp_path / 'out', 'me/Llama-contracts') / 'Notice')
        .read_text()
        .startswith('Llama 3.2 is licensed under')
    )


def test_the_card_of_a_frozen_model_names_no_adapter(run, tmp_path):
    path = shutil.copytree(open_run(run).path, tmp_path / 'run')
    for file in (path / 'record.json', path / 'adapter/legal_llm.json'):
        file.write_text(json.dumps(json.loads(file.read_text()) | dict(adapter=False)))
    text = card(path, 'owner/model', base='owner/tiny')
    assert 'AutoModel.from_pretrained("owner/tiny"' in text and 'here are a head on its states and' in text
    assert 'LoRA' not in text and '- lora' not in text and 'library_name: transformers' in text
    assert 'too few contracts to calibrate it on' in text


def test_what_is_shared_names_no_path_and_no_contract(run, merged, tmp_path):
    titles = open_run(run).record['titles']['train']
    for what in (run, merged.path):
        out = export(what, tmp_path / 'out', 'owner/model', base='owner/tiny')
        for p in out.iterdir():
            if p.suffix in ('.json', '.md', '.jinja'):
                text = p.read_text(encoding='utf-8')
                assert '/tmp' not in text and not any(t in text for t in titles), p.name
        assert json.loads((out / 'legal_llm.json').read_text())['seen'] == [
            hashlib.sha256(t.encode()).hexdigest()[:16] for t in titles
        ]
        shutil.rmtree(out)


def test_a_writer_goes_with_its_run(run, tmp_path):
    "Where it answers something; its record and configuration name the base model as others get it"
    path = shutil.copytree(open_run(run).path, tmp_path / 'run')
    settings = dict(base_model=open_run(run).record['settings']['base_model'])
    writer, about = path / 'writer' / 'adapter', dict(kind='writer', settings=settings)
    writer.mkdir(parents=True)
    (writer / 'adapter_model.safetensors').write_bytes(b'weights')
    save_json(writer / 'adapter_config.json', dict(base_model_name_or_path=str(tmp_path)))
    save_json(writer / 'legal_llm.json', about)
    assert not (export(path, tmp_path / 'none', 'owner/model', base='owner/tiny') / 'writer').exists()
    save_json(writer / 'legal_llm.json', dict(about, chosen=['Renewal Term']))
    out = export(path, tmp_path / 'out', 'owner/model', base='owner/tiny') / 'writer'
    assert (out / 'adapter_model.safetensors').read_bytes() == b'weights'
    assert json.loads((out / 'adapter_config.json').read_text())['base_model_name_or_path'] == 'owner/tiny'
    assert json.loads((out / 'legal_llm.json').read_text())['settings']['base_model'] == 'owner/tiny'
    assert chosen_writer(out.parent) == out
    save_json(writer / 'legal_llm.json', dict(about, chosen=['Renewal Term'], settings=dict(base_model='smollm2')))
    other = export(path, tmp_path / 'other', 'owner/model', base='owner/tiny') / 'writer'
    assert 'SmolLM2' in json.loads((other / 'adapter_config.json').read_text())['base_model_name_or_path']


def is_private(asked):
    "What a client asked for when it made a repository: those before 1.0 say it in another word"
    return asked['visibility'] == 'private' if 'visibility' in asked else asked['private']


@pytest.mark.skipif(
    older('huggingface_hub', '1'),
    reason='clients before 1.0 keep copies of the addresses that this process was started with',
)
@pytest.mark.slow
def test_there_and_back(hub, run, merged, tiny, tmp_path, monkeypatch, capsys):
    """Sent with the hub's client, fetched by name, and used: by this library, and by peft and transformers alone, with
    the card's own code
    """
    hub.repos['owner/tiny'] = {p.name: p.read_bytes() for p in tiny.iterdir()}
    command = ['share', 'push', '--run', str(run.path), '--repo', 'owner/adapter', '--base-model', 'owner/tiny']
    assert main([*command, '--dry-run']) == 0 and 'not sent' in capsys.readouterr().out and hub.created == {}
    assert main(command) == 0, capsys.readouterr().err
    assert 'adapter_model.safetensors' in capsys.readouterr().out
    assert is_private(hub.created['owner/adapter']) and 'seal.json' not in hub.repos['owner/adapter']
    sent = push(export(merged.path, tmp_path / 'whole', 'owner/whole', 'owner/tiny'), 'owner/whole', private=False)
    assert sent.sent.startswith(hub.url) and not is_private(hub.created['owner/whole'])

    want = Extractor.load(run, **OPTIONS).extract(TEXT)
    monkeypatch.chdir(tmp_path)
    for repo in ('owner/adapter', 'owner/whole'):
        got = Extractor.load(repo, **OPTIONS).extract(TEXT)
        assert [(f.category, f.start, f.quote) for f in got.extractions] == [
            (f.category, f.start, f.quote) for f in want.extractions
        ]
        (tmp_path / 'contract.txt').write_text(' '.join(TEXT.split()[:60]))
        blocks = re.findall(r'```python\n(.*?)```', hub.repos[repo]['README.md'].decode(), re.S)
        assert len(blocks) == 2 and 'from legal_llm' not in blocks[1]
        blocked = "import sys\nsys.modules['legal_llm'] = None\n"
        for code in (blocks[0], blocked + blocks[1]):
            done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=tmp_path)
            assert done.returncode == 0, done.stderr[-2000:]


def test_the_hub_says_no(hub, run, tmp_path, monkeypatch):
    out = export(run, tmp_path / 'out', 'owner/model', base='owner/tiny')
    monkeypatch.setenv('HF_TOKEN', 'hf_wrong')
    with pytest.raises(LegalLLMError, match='nobody is logged in'):
        push(out, 'owner/model')
    with pytest.raises(LegalLLMError, match='searched: .*the hub .*404'):
        Extractor.load('owner/nowhere')
    hub.close()
    hub.server.server_close()
    with pytest.raises(LegalLLMError, match='the hub cannot be reached: 127.0.0.1 refuses'):
        push(out, 'owner/model')
    with pytest.raises(LegalLLMError, match='not a folder to share'):
        push(tmp_path, 'owner/model')


@pytest.mark.skipif(older('gradio', '6.24'), reason='the demo needs gradio 6.24')
def test_the_space_runs_by_itself(run, merged, tmp_path):
    "Its own copy of the package, its own model, nothing of this repository; the answers are those of the run"
    from gradio_client import Client

    bundle = space(merged.path, tmp_path / 'space', repo='owner/model', base='owner/tiny')
    assert (
        re.findall('^torch==[0-9.]+$', (bundle / 'requirements.txt').read_text(), re.M)
        and 'bitsandbytes' not in (bundle / 'requirements.txt').read_text()
    )
    env = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'} | dict(
        GRADIO_SERVER_PORT='7999', LEGAL_LLM_CACHE=str(tmp_path / 'cache')
    )
    said = tmp_path / 'said.txt'
    with open(said, 'w') as f:
        process = subprocess.Popen(
            [sys.executable, bundle / 'app.py'], stdout=f, stderr=subprocess.STDOUT, env=env, cwd=tmp_path
        )
    try:
        deadline = time.time() + 90
        while 'http://' not in said.read_text() and process.poll() is None and time.time() < deadline:
            time.sleep(0.2)
        assert process.poll() is None, said.read_text()[-3000:]
        got = Client('http://127.0.0.1:7999', verbose=False).predict(TEXT, 'a contract', api_name='/review')
    finally:
        process.terminate()
        process.wait()
    want = Extractor.load(merged.path).extract(TEXT).to_dict()
    assert [c['status'] for c in got['clauses']] == [c['status'] for c in want['clauses']] and got['model'].startswith(
        'space · '
    )


@pytest.mark.slow
def test_on_zerogpu_the_call_gets_a_gpu(run, merged, tmp_path):
    """With the package `spaces`, the model is called in a function of its own, whose arguments and result can be sent
    to another process
    """
    bundle = space(merged.path, tmp_path / 'space', repo='owner/model', base='owner/tiny')
    (tmp_path / 'spaces.py').write_text(
        'import pickle\ncalls = []\n'
        'def GPU(duration):\n'
        '    def wrap(f):\n'
        '        def call(*args): calls.append((duration, pickle.dumps(args))); return '
        'pickle.loads(pickle.dumps(f(*args)))\n'
        '        return call\n'
        '    return wrap\n'
    )
    code = """
import app, legal_llm, spaces
from legal_llm.pipeline.extract import Extractor
extract = app.on_gpu(Extractor.load('model').extract)
review = extract('The laws of Ohio govern this Agreement.', 'a title', print)
assert review.title == 'a title' and len(spaces.calls) == 1
print(legal_llm.__file__)
"""
    done = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        cwd=bundle,
        env={**os.environ, 'PYTHONPATH': f'{bundle}{os.pathsep}{tmp_path}'},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1].startswith(str(bundle))


@pytest.mark.parametrize(
    'code', ['', pytest.param('EntryNotFound', marks=pytest.mark.slow)], ids=['a bare 404', 'a 404 of the hub']
)
def test_a_repository_without_further_chat_templates_is_loaded(hub, tiny, monkeypatch, code):
    "Challenge 13.3: the hub answers 404 for `additional_chat_templates`, and the tokenizer is loaded all the same"
    hub.repos['owner/tiny'] = {p.name: p.read_bytes() for p in tiny.iterdir()}
    answer, refused = hub.answer, []

    def without_templates(command, path, *rest):
        if 'additional_chat_templates' in path:
            refused.append(path)
            return 404, {'X-Error-Code': code} if code else {}, dict(error='additional_chat_templates does not exist')
        return answer(command, path, *rest)

    monkeypatch.setattr(hub, 'answer', without_templates)
    # in a process of its own: huggingface_hub and transformers look at the environment once
    program = 'from legal_llm.pipeline.models import load_tokenizer; print(len(load_tokenizer("owner/tiny")))'
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.returncode == 0 and int(done.stdout.split()[-1]) == 49152, done.stderr[-2000:]
    assert refused or older('transformers', '4.52'), 'what is asked for has changed: this test shows nothing'


def test_one_file_holds_what_the_folder_holds(run, tmp_path, capsys):
    import zipfile

    folder = export(run, tmp_path / 'model', 'owner/model', base='owner/tiny')
    command = [
        'share',
        'export',
        '--run',
        str(run.path),
        '--repo',
        'owner/model',
        '--base-model',
        'owner/tiny',
        '--out',
    ]
    assert main([*command, str(tmp_path / 'model.zip')]) == 0 and 'model.zip' in capsys.readouterr().out
    with zipfile.ZipFile(tmp_path / 'model.zip') as z:
        packed = {n: z.read(n) for n in z.namelist() if not n.endswith('/')}
    assert {n: len(v) for n, v in packed.items()} == {
        f'model/{p.name}': p.stat().st_size for p in folder.iterdir()
    } and packed['model/README.md'] == (folder / 'README.md').read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ['model', 'model.zip']
    with pytest.raises(LegalLLMError, match='is there already'):
        export(run, tmp_path / 'model.zip', 'owner/model', base='owner/tiny')
