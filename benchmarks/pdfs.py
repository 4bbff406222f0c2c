"Reading PDF: what of CUAD's quotes is found in its real PDFs, and what a page takes, beside pdfium's own text."

import gzip
import json
import os
import re
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
    import pypdfium2 as pdfium

    pages = []
    with pdfium.PdfDocument(raw) as document:
        for page in document:
            text = page.get_textpage()
            pages.append(text.get_text_range())
            text.close()
            page.close()
    return pages


def read_all(method: str, folder: str, source: str, most: int = 0) -> dict:
    "Read every PDF by `ours`, `pdfium` or `pypdf` (its plain text): quotes found, seconds of computing, memory."
    import gc

    from legal_llm.files import LegalLLMError
    from legal_llm.pdf import read_pdf

    if method == 'pypdf':
        import io

        from pypdf import PdfReader
    gc.disable()  # as in the process that reads documents
    with (gzip.open if source.endswith('.gz') else open)(source, 'rt', encoding='utf-8') as f:
        contracts = {c['title']: c['paragraphs'][0]['qas'] for c in json.load(f)['data']}
    row = dict(method=method, pdfs=0, refused=0, pages=0, quotes=0, verbatim=0, verbatim_plain=0, seconds=0.0)
    worst, stages = 0.0, {}
    with Stage('all', stages):
        for path in sorted(Path(folder).glob('*.pdf'))[: most or None]:
            raw = path.read_bytes()
            start = time.process_time()
            try:
                if method == 'ours':
                    times = []
                    text, _ = read_pdf(raw, path.name, lambda page, pages: times.append(time.process_time()))
                    steps = [b - a for a, b in zip(times, times[1:])]
                    worst = max(worst, *steps, 0.0) if steps else worst
                    pages = text.split('\f')
                elif method == 'pdfium':
                    pages = own_pages(raw)
                else:
                    pages = [page.extract_text() for page in PdfReader(io.BytesIO(raw)).pages]
            except LegalLLMError:
                row['refused'] += 1
                continue
            row['seconds'] += time.process_time() - start
            row['pdfs'] += 1
            row['pages'] += len(pages)
            text = ''.join(pages)
            quotes = {a['text'] for qa in contracts.get(path.stem, ()) for a in qa['answers']}
            row['quotes'] += len(quotes)
            for key, plain in (('verbatim', False), ('verbatim_plain', True)):
                found = squash(text, plain)
                row[key] += sum(squash(q, plain) in found for q in quotes)
    row['milliseconds_per_page'] = round(1000 * row['seconds'] / max(row['pages'], 1), 2)
    row['seconds'] = round(row['seconds'], 2)
    if worst:
        row['worst_page_milliseconds'] = round(1000 * worst, 1)
    return dict(row, megabytes=stages['all']['megabytes'])


def main(most: int = 0) -> None:
    "Measure each way of reading, and keep the results."
    from tests.development import find_dev_cuad

    folder, source = find_pdfs(), find_dev_cuad()
    if not folder or not source:
        print("CUAD's PDFs are not on this machine: name their folder in LEGAL_LLM_PDFS, and CUAD in LEGAL_LLM_CUAD")
        return
    rows = []
    for method in ('pdfium', 'ours', 'pypdf'):
        rows.append(alone(read_all, method=method, folder=str(folder), source=str(source), most=most))
        print({k: v for k, v in rows[-1].items()}, flush=True)
    times_own = round(rows[1]['milliseconds_per_page'] / rows[0]['milliseconds_per_page'], 2)
    keep('pdfs', dict(rows=rows, times_own=times_own))
