"Damaged files of each kind: each is read, or refused in one sentence, in how much time and memory."

import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

from benchmarks.measure import ROOT, keep

COUNT = 500  # of each kind
SECONDS, MEGABYTES = 20, 500  # of computing and of memory, at most


def fuzz(count: int = COUNT) -> list[dict]:
    """How reading `count` damaged files of each kind ends. An error is one of a parser, of which the process that reads
    documents makes a sentence; label files are read in the process itself, where it would be a traceback.
    """
    sys.path.insert(0, str(ROOT / 'tests'))
    from damaged import damaged_labels, damaged_pages, damaged_pdfs, damaged_word, read_in_fork

    from legal_llm.documents import documents
    from legal_llm.training.dataset import read_source

    def document(ending, raw):
        return lambda: documents._read(ending, raw, f'a{ending}')[0].strip()

    def labels(path):
        return lambda: any(c.clauses for c in read_source(str(path), quarantine=[])[0])

    warnings.simplefilter('ignore')
    import pypdfium2  # noqa: F401  once, not in each fork

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        kinds = {
            'PDF': (document('.pdf', raw) for raw in damaged_pdfs(count)),
            'Word': (document('.docx', raw) for raw in damaged_word(count)),
            'HTML and Markdown': (document(*made) for made in damaged_pages(count)),
            'labels': (labels(path) for path in damaged_labels(count, Path(folder))),
        }
        for kind, reads in kinds.items():
            ends = [read_in_fork(read, SECONDS) for read in reads]
            rows.append(
                dict(
                    kind=kind,
                    files=len(ends),
                    **Counter(e.how for e in ends),
                    seconds=round(max(e.seconds for e in ends), 2),
                    megabytes=round(max(e.megabytes for e in ends)),
                )
            )
            print(rows[-1], flush=True)
    return rows


def main(count: int = COUNT) -> None:
    "Read damaged files, and keep how that ends. Says so where processes cannot be forked."
    if sys.platform != 'linux':
        print('skipped: this forks processes and measures them, as Linux does')
        return
    keep('fuzz', dict(rows=fuzz(count), limits=dict(seconds=SECONDS, megabytes=MEGABYTES)))
