"Reading PDF: quotes found in CUAD's real PDFs, what a page takes beside pdfium's own text, and scores from both texts."

import gzip
import json
import os
import re
import tempfile
import time
from pathlib import Path

from benchmarks.measure import ROOT, Stage, alone, keep

# the release writes plain quotation marks and hyphens where the PDFs have others
PLAIN = str.maketrans(
    {'‘': "'", '’': "'", '“': '"', '”': '"', '–': '-', '—': '-', '\u037e': ';', '\xad': None, '\u200b': None}
)


def find_pdfs() -> Path | None:
    "The folder with CUAD's PDFs, named as its contracts: LEGAL_LLM_PDFS, else `../shared/data/pdf`."
    folder = Path(os.environ.get('LEGAL_LLM_PDFS') or ROOT.parent / 'shared/data/pdf')
    return folder if folder.is_dir() else None


def squash(text: str, plain: bool = False) -> str:
    "A text without white space; with plain quotation marks and hyphens, where wanted."
    return re.sub(r'\s+', '', text.translate(PLAIN) if plain else text)


def own_pages(raw: bytes) -> list[str]:
    "pdfium's own text of each page."
    import pypdfium2

    pages = []
    document = pypdfium2.PdfDocument(raw)
    for i in range(len(document)):
        page = document[i]
        text = page.get_textpage()
        pages.append(text.get_text_range())
        text.close()
        page.close()
    document.close()
    return pages


def read_all(folder: str, source: str, methods=('pdfium', 'ours'), most: int = 0) -> dict:
    """Read every PDF in each way, one way after the other, so that all meet the same machine: quotes found, seconds of
    computing, and the memory of this process. `pdfium` is its own text.
    """
    import gc

    from legal_llm.documents.pdf import read_pdf

    def ours(raw):
        times = []
        text, _ = read_pdf(raw, 'a.pdf', lambda page, pages: times.append(time.process_time()))
        slowest.extend(b - a for a, b in zip(times, times[1:]))
        return text.split('\f')

    read = dict(pdfium=own_pages, ours=ours)
    gc.disable()  # as in the process that reads documents
    with (gzip.open if source.endswith('.gz') else open)(source, 'rt', encoding='utf-8') as f:
        contracts = {c['title']: c['paragraphs'][0]['qas'] for c in json.load(f)['data']}
    empty = dict(pdfs=0, pages=0, quotes=0, verbatim=0, verbatim_plain=0, seconds=0.0)
    rows = {method: dict(method=method, **empty) for method in methods}
    slowest, stages = [0.0], {}
    with Stage('all', stages):
        for path in sorted(Path(folder).glob('*.pdf'))[: most or None]:
            raw = path.read_bytes()
            quotes = {a['text'] for qa in contracts.get(path.stem, ()) for a in qa['answers']}
            for method, row in rows.items():
                start = time.process_time()
                pages = read[method](raw)
                row['seconds'] += time.process_time() - start
                row['pdfs'] += 1
                row['pages'] += len(pages)
                row['quotes'] += len(quotes)
                for key, plain in (('verbatim', False), ('verbatim_plain', True)):
                    found = squash(''.join(pages), plain)
                    row[key] += sum(squash(q, plain) in found for q in quotes)
    for row in rows.values():
        row['milliseconds_per_page'] = round(1000 * row['seconds'] / max(row['pages'], 1), 2)
        row['seconds'] = round(row['seconds'], 2)
    if 'ours' in rows:
        rows['ours']['slowest_page_milliseconds'] = round(1000 * max(slowest), 1)
    return dict(rows=list(rows.values()), megabytes=stages['all']['megabytes'])


SCORES = ('aupr', 'precision_at_80_recall', 'max_recall')


def score_texts(folder: str, data: str, splits=('dev', 'test')) -> dict:
    """Official scores of screen and context stage, fitted on train alone, on the texts of the release and on the same
    contracts as read from their PDFs. An answer counts by its words, so it needs no place in the text.
    """
    from legal_llm.contracts.categories import CATEGORIES
    from legal_llm.contracts.contracts import gold_answers
    from legal_llm.documents.documents import read_document
    from legal_llm.evaluation.scoring import predictions_of
    from legal_llm.pipeline.extract import Extractor
    from legal_llm.scores.bootstrap import bootstrap, paired_bootstrap
    from legal_llm.scores.official import official_statistic
    from legal_llm.training.dataset import open_data

    data = open_data(data)
    extractor = Extractor(data.screen(), context=data.context())
    scored = {}
    for split in splits:
        contracts = [c for c in data.contracts(split) if (Path(folder) / f'{c.title}.pdf').exists()]
        gold = gold_answers(contracts, CATEGORIES)
        texts = dict(
            pdf={c.title: read_document(Path(folder) / f'{c.title}.pdf').text for c in contracts},
            text={c.title: c.text for c in contracts},
        )
        statistics = {}
        for source, of in texts.items():
            reviews = {title: extractor.review(text, extractor.score(text), title) for title, text in of.items()}
            statistics[source] = official_statistic(predictions_of(reviews), gold)
        intervals = {source: bootstrap(s) for source, s in statistics.items()}
        scored[split] = dict(
            contracts=len(contracts),
            **{source: {name: row[name].to_dict() for name in SCORES} for source, row in intervals.items()},
            difference=paired_bootstrap(statistics['pdf'], statistics['text'], 'aupr').difference.to_dict(),
        )
    return scored


def main(data: str | None = None, most: int = 0) -> None:
    """Measure each way of reading, and keep the results. `data` is a folder that `legal-llm data` wrote from CUAD;
    without one, it is made for the time being.
    """
    from legal_llm.data import prepare_data
    from legal_llm.training.dataset import DataSettings
    from tests.development import find_dev_cuad

    folder, source = find_pdfs(), find_dev_cuad()
    if not folder or not source:
        print("CUAD's PDFs are not on this machine: name their folder in LEGAL_LLM_PDFS, and CUAD in LEGAL_LLM_CUAD")
        return
    places = dict(folder=str(folder), source=str(source), most=most)
    made = alone(read_all, **places)
    alone_ours = alone(read_all, methods=['ours'], **places)
    own, ours = made['rows']
    times_own = round(ours['milliseconds_per_page'] / own['milliseconds_per_page'], 2)
    print(*made['rows'], f'{times_own} times as long as pdfium alone', sep='\n')
    with tempfile.TemporaryDirectory() as temporary:
        data = data or prepare_data(DataSettings(source=str(source)), f'{temporary}/data').path
        scores = alone(score_texts, folder=str(folder), data=str(data))
    print(scores)
    keep('pdfs', dict(rows=made['rows'], times_own=times_own, megabytes=alone_ours['megabytes'], scores=scores))
