"""A folder of synthetic contracts, a third PDF, a third Word, a third text: documents a minute through the plain loop,
through Ray with one worker and with two, and whether all write the same.
"""

import json
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Stage, alone, keep

DOCUMENTS = 2000
READ = 60  # documents that the reader reads, too, which takes longer
WORDS = 500
LINES = 60  # on a page


def write_room(room: Path, n: int) -> Path:
    "`n` contracts in three formats."
    import textwrap

    import docx

    from legal_llm.contracts.synthetic import write_contracts
    from tests.test_documents import write_pdf

    for i, c in enumerate(write_contracts(n, seed=21, words=WORDS)):
        path = room / f'{i % 40:02}' / f'{i:05}'
        path.parent.mkdir(parents=True, exist_ok=True)
        if i % 3 == 0:
            lines = [x for p in c.text.split('\n') for x in (textwrap.wrap(p, 100) or [''])]
            pages = ['\n'.join(lines[k : k + LINES]) for k in range(0, len(lines), LINES)]
            write_pdf(path.with_suffix('.pdf'), pages, footer='Page {page} of {pages}')
        elif i % 3 == 1:
            word = docx.Document()
            for p in c.text.split('\n'):
                word.add_paragraph(p)
            word.save(path.with_suffix('.docx'))
        else:
            path.with_suffix('.txt').write_text(c.text, encoding='utf-8')
    return room


def review(room: str, out: str, workers: int | None, fast: bool, limit: int | None = None) -> dict:
    "Review the documents of a folder as `legal-llm extract` does."
    from itertools import islice

    from legal_llm.documents.documents import READERS, read_document
    from legal_llm.pipeline.extract import Extractor, run_key
    from legal_llm.serving.folder import find_documents, review_documents

    stages, begun = {}, time.perf_counter()
    with Stage('review', stages):
        report = review_documents(
            islice(find_documents(room, READERS), limit),
            out,
            lambda: Extractor.load(None, fast),
            read_document,
            run_key(None, fast),
            workers,
            progress=False,
        )
    took = time.perf_counter() - begun
    return dict(
        workers=workers or 0,
        fast=fast,
        documents=len(report.done),
        failed=len(report.failed),
        rows=report.rows,
        seconds=round(took, 1),
        documents_per_minute=round(60 * len(report.done) / took, 1),
        megabytes=stages['review']['megabytes'],
    )


def memory(room: str, out: str, n: int) -> list[int]:
    "MB that one process holds after every tenth of the documents."
    import psutil

    from legal_llm.documents.documents import READERS, read_document
    from legal_llm.pipeline.extract import Extractor
    from legal_llm.serving.folder import find_documents, review_documents

    seen, me = [], psutil.Process()

    def counted():
        for i, document in enumerate(find_documents(room, READERS)):
            if i and i % (n // 10) == 0:
                seen.append(round(me.memory_info().rss / 1e6))
            yield document

    review_documents(counted(), out, lambda: Extractor.load(None, True), read_document, progress=False)
    return seen


def said(out: Path) -> dict:
    "What was written, but for seconds."
    found = {}
    for path in sorted(out.rglob('*.json')):
        if path.name != 'manifest.json':
            result = json.loads(path.read_text(encoding='utf-8'))
            result.pop('seconds', None)
            found[path.relative_to(out).as_posix()] = result
    return dict(found, csv=(out / 'clauses.csv').read_bytes())


def main(n: int = DOCUMENTS, read: int = READ) -> None:
    "Measure, and keep the results."
    import shutil

    with tempfile.TemporaryDirectory() as folder:
        folder, rows, same = Path(folder), [], {}
        room = write_room(folder / 'room', n)
        for fast, limit in ((True, None), (False, read)):
            outs = []
            for workers in (None, 1, 2):
                out = folder / f'out-{fast}-{workers}'
                rows.append(alone(review, room=str(room), out=str(out), workers=workers, fast=fast, limit=limit))
                print(rows[-1], flush=True)
                outs.append(said(out))
            same['screen' if fast else 'screen and reader'] = [o == outs[0] for o in outs[1:]]
            again = alone(review, room=str(room), out=str(out), workers=None, fast=fast, limit=limit)
            rows.append(dict(again, again=True))
            keep('folder', dict(rows=rows, same=same, words=WORDS))
        shutil.rmtree(folder / 'out-True-None')
        held = alone(memory, room=str(room), out=str(folder / 'out-True-None'), n=n)
        print(held, flush=True)
        keep('folder', dict(rows=rows, same=same, words=WORDS, memory=held))
