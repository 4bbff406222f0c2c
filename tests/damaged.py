"Damaged files of each kind, made from those beside the tests, and how reading one ends."

import copy
import csv
import io
import json
import os
import random
import shutil
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import psutil
from docx.oxml import parse_xml
from lxml import etree

from legal_llm.machine.files import LegalLLMError

HERE = Path(__file__).parent
DOCUMENTS, LABELS = HERE / 'documents', HERE / 'labels'


def damaged_pdfs(count):
    "PDFs with bytes changed, doubled or cut out, more in some than in others"
    rng = random.Random(7)
    seeds = [p.read_bytes() for p in sorted(DOCUMENTS.glob('pdf_*/*.pdf'))]
    for i in range(count):
        raw = bytearray(seeds[i % len(seeds)])
        for _ in range(rng.choice((1, 1, 2, 3, 5, 10, 30))):
            place = rng.randrange(len(raw))
            kind = rng.randrange(4)
            if kind == 0:
                raw[place] = rng.randrange(256)
            elif kind == 1:
                raw[place : place + rng.randrange(1, 9)] = b''
            elif kind == 2:
                raw[place:place] = raw[place : place + rng.randrange(1, 40)]
            else:
                raw[place : place + 4] = str(rng.randrange(10000)).encode()
        yield bytes(raw)


def cut_up(rng, raw):
    "Bytes or text with a few stretches deleted, doubled, moved or overwritten."
    for _ in range(rng.randrange(1, 4)):
        a = rng.randrange(len(raw))
        b = min(len(raw), a + rng.choice((1, 3, 20, 200)))
        c = rng.randrange(len(raw))
        kind = rng.randrange(4)
        if kind == 0:
            raw = raw[:a] + raw[b:]
        elif kind == 1:
            raw = raw[:b] + raw[a:b] * rng.choice((1, 5)) + raw[b:]
        elif kind == 2:
            raw = raw[:a] + raw[c : c + b - a] + raw[b:]
        else:
            raw = raw[:c] + raw[a:b] + raw[c:]
        raw = raw or ('x' if isinstance(raw, str) else b'x')
    return raw


def shaken_xml(rng, raw):
    "A part with a few of its elements deleted, doubled, moved or given other values."
    root = parse_xml(raw)
    for _ in range(rng.randrange(1, 6)):
        elements = [e for e in root.iter('*') if e is not root]
        if not elements:
            break
        e, other = rng.choice(elements), rng.choice(elements)
        kind = rng.randrange(4)
        if kind == 0 and len(elements) > 5:
            e.getparent().remove(e)
        elif kind == 1:
            e.addnext(copy.deepcopy(e))
        elif kind == 2 and e not in list(other.iter()) and other not in list(e.iter()):
            other.append(e)
        elif e.attrib:
            e.set(rng.choice(list(e.attrib)), rng.choice(('', '-1', '99999999999', 'x', 'rId1', '\u202e')))
    return etree.tostring(root)


def shaken_word(rng, raw):
    with zipfile.ZipFile(io.BytesIO(raw)) as z:
        parts = {n: z.read(n) for n in z.namelist()}
    names = [n for n in parts if n.endswith(('.xml', '.rels')) and n.startswith('word/')]
    for name in rng.sample(names, 2) + ['word/document.xml']:
        parts[name] = shaken_xml(rng, parts[name])
    if rng.random() < 0.3:
        parts.pop(rng.choice([n for n in parts if n != 'word/document.xml']))
    for name in parts:
        if name.startswith('word/afchunk') and rng.random() < 0.5:
            parts[name] = cut_up(rng, parts[name])
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w') as z:
        for name, content in parts.items():
            z.writestr(name, content)
    raw = out.getvalue()
    return cut_up(rng, raw) if rng.random() < 0.1 else raw


def damaged_word(count):
    sources = [p.read_bytes() for p in sorted(DOCUMENTS.glob('docx_*/*.docx'))]
    for i in range(count):
        yield shaken_word(random.Random(i), sources[i % len(sources)])


def damaged_pages(count):
    "HTML and Markdown: ending and bytes"
    paths = sorted(DOCUMENTS.glob('html_*/*.html')) + sorted(DOCUMENTS.glob('md_*/*.md'))
    sources = [(p.suffix, p.read_text(encoding='utf-8')) for p in paths]
    for i in range(count):
        ending, source = sources[i % len(sources)]
        yield ending, cut_up(random.Random(i), source).encode('utf-8', 'replace')


def shaken_json(rng, value):
    "A value with one of its parts replaced, deleted or doubled."
    places = []

    def walk(v):
        if isinstance(v, (dict, list)) and v:
            places.append(v)
            for part in v.values() if isinstance(v, dict) else v:
                walk(part)

    value = copy.deepcopy(value)
    walk(value)
    for _ in range(rng.randrange(1, 4)):
        holder = rng.choice(places)
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            continue
        key = rng.choice(keys)
        kind = rng.randrange(3)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        else:
            holder[key] = rng.choice(
                (None, '', 'x', -1, 10**9, 1.5, True, [], {}, [[]], 'x.txt', float('nan'), '\ud800')
            )
    return value


def damaged_labels(count, folder):
    """Label files of several forms, written below a folder. Half of them are changed as values, so that the file is
    sound and what it says is not
    """
    forms = [LABELS / 'label_forms' / n for n in ('langextract.jsonl', 'sagemaker.jsonl', 'spacy_v2.json')]
    forms += [LABELS / n for n in ('ls_per_region/export.json', 'ls_url/export.json', 'own_labels/good.csv')]
    forms += [LABELS / 'brat_folder' / 'c0.ann']
    sources = [(p, p.read_text(encoding='utf-8')) for p in forms]
    rows = csv.DictReader(io.StringIO(sources[5][1]))
    sources.append((Path('rows.jsonl'), '\n'.join(map(json.dumps, rows))))
    for i in range(count):
        rng = random.Random(i)
        path, source = sources[i % len(sources)]
        here = folder / str(i)
        here.mkdir()
        if path.parent.name == 'ls_url':
            shutil.copytree(LABELS / 'ls_url' / 'files', here / 'files')
        if path.suffix == '.ann':
            shutil.copy(LABELS / 'brat_folder' / 'c0.txt', here)
        if rng.random() < 0.5 or path.suffix in ('.csv', '.ann'):
            source = cut_up(rng, source)
        elif path.suffix == '.json':
            source = json.dumps(shaken_json(rng, json.loads(source)))
        else:
            lines = filter(None, source.split('\n'))

            def shake(line):
                return json.dumps(shaken_json(rng, json.loads(line))) if rng.random() < 0.2 else line

            source = '\n'.join(map(shake, lines))
        (here / path.name).write_text(source, encoding='utf-8', errors='replace', newline='')
        yield here / path.name


@dataclass
class Ended:
    "How reading a file ended."

    how: str  # opened, refused, error (of a parser, of which the child process makes a sentence), or died
    seconds: float  # of computing
    megabytes: float  # that it took at most, beyond what the process held before


HOW = 'opened', 'refused', 'error'


def read_in_fork(read, limit_s=20) -> Ended:
    "Call `read` in a process that is forked, which is quick; what it gives is true where there is something to read"
    import resource

    before = psutil.Process().memory_info().rss  # which the new process shares
    pid = os.fork()
    if not pid:
        code = 2
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + limit_s) + 1, resource.RLIM_INFINITY))
            code = 0 if read() else 1
        except LegalLLMError as e:
            code = 1 if '\n' not in str(e) and 20 < len(str(e)) < 700 and 'Traceback' not in str(e) else 3
        finally:
            os._exit(code)
    _, status, used = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    how = HOW[code] if code in range(3) else 'no sentence' if code == 3 else 'died'
    return Ended(how, used.ru_utime + used.ru_stime, max(0.0, used.ru_maxrss * 1024 - before) / 1e6)
