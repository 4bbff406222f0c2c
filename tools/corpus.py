"""Read a folder of test documents, such as another project's, and say what is refused and what is lost.

    python tools/corpus.py FOLDER

Beside a .docx or .html file, a file of the same name that ends in .native (pandoc's own reading of it) is the
reference: its words are to be in the text. Exit code 1 where a document ends in anything but text or a sentence.
"""

import argparse
import re
import sys
from collections import Counter
from pathlib import Path

from legal_llm.documents.documents import READERS, read_document
from legal_llm.machine.files import LegalLLMError

STR = re.compile(r'Str\s+"((?:[^"\\]|\\.)*)"')


def reference(path: Path) -> Counter:
    "The words of a .native file; what it escapes is unescaped."
    plain = re.sub(r'\\(\d+)(\\&)?', lambda m: chr(int(m[1])), ' '.join(STR.findall(path.read_text(encoding='utf-8'))))
    return Counter(re.findall(r'[^\W\d_]{2,}', plain.lower()))


def main(folder: str) -> int:
    counts, crashed = Counter(), 0
    for path in sorted(p for p in Path(folder).rglob('*') if p.is_file() and p.suffix.lower() in READERS):
        name, native = path.relative_to(folder), path.with_suffix('.native')
        try:
            document = read_document(path)
        except LegalLLMError as e:
            counts['refused'] += 1
            print(f'refused  {name}: {str(e)[:150]}')
            continue
        except Exception as e:
            crashed += 1
            print(f'CRASHED  {name}: {type(e).__name__}: {str(e)[:150]}')
            continue
        counts['read'] += 1
        if not native.exists():
            continue
        counts['compared'] += 1
        text = document.text.lower()
        # as letters: what is one word and what two differs
        if lost := [w for w, n in reference(native).items() if text.count(w) < n]:
            counts['with words lost'] += 1
            print(
                f'lost     {name}: {", ".join(lost[:12])}'
                + (f'; notes: {" ".join(document.notes)[:200]}' if document.notes else '')
            )
    print(', '.join(f'{n} {k}' for k, n in counts.items()) + f', {crashed} crashed')
    return int(crashed > 0)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', help='with test documents, of any depth')
    sys.exit(main(parser.parse_args().folder))
