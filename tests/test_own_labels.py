"Labels of one's own through all four weeks: what is asked, trained, scored and shown are the categories of the table."

import json

import pytest

from legal_llm.contracts.synthetic import write_contracts
from legal_llm.data import prepare_data
from legal_llm.eval import evaluate
from legal_llm.evaluation.report import by_category
from legal_llm.faces.page import table_html, table_rows
from legal_llm.pipeline.extract import Extractor
from legal_llm.train import train
from legal_llm.training.dataset import DataSettings
from legal_llm.training.runs import open_run
from legal_llm.training.settings import TrainSettings

NAMES = ['Parties', 'Applicable law']


def test_own_categories_from_the_table_to_the_page(tmp_path, tiny):
    contracts = write_contracts(10, seed=9, words=400)
    rows = [
        dict(contract=c.text, title=c.title, category=own, quote=' '.join(x.text.split()))
        for own, theirs in (('Applicable law', 'Governing Law'), ('Parties', 'Parties'))
        for c in contracts
        for x in c.spans(theirs)
    ]
    (tmp_path / 'labels.jsonl').write_text('\n'.join(json.dumps(r) for r in rows))
    data = prepare_data(DataSettings(source=str(tmp_path / 'labels.jsonl')), tmp_path / 'data', progress=False)
    train(
        TrainSettings(data=str(data.path), base_model=str(tiny), max_packs=2, lora_dropout=0.0, dtype='float32'),
        tmp_path / 'run',
        progress=False,
    )
    assert [c.name for c in open_run(tmp_path / 'run').categories] == NAMES
    with pytest.warns(UserWarning, match='too few to calibrate on'):
        result = evaluate(tmp_path / 'run', 'test', limit=1, base=False, progress=False)
    assert {k.rpartition('__')[2] for k in result.gold} == set(NAMES) and [
        r['category'] for r in by_category(result)
    ] == NAMES
    review = Extractor.load(tmp_path / 'run').extract(contracts[0].text)
    assert list(review.categories) == NAMES == [r['category'] for r in review.to_dict()['clauses']]
    assert 'Applicable law' in table_html(table_rows(review))
