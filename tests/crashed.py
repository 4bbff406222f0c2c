"""Stop a process before each call into the system that a save makes, one after the other, and look at what is left.

python tests/crashed.py FOLDER     the last line of output is a JSON object
"""

import json
import os
import sys
from pathlib import Path

from legal_llm.training.checkpoints import latest_valid, problem, saving

os.fsync = lambda handle: None  # slow, and it changes nothing where only a process stops


def save(folder: Path, step: int) -> None:
    "A save of two files, one of them in a folder of its own"
    with saving(folder, step) as staged:
        (staged / 'deep').mkdir()
        (staged / 'adapter.bin').write_bytes(step.to_bytes(1000, 'big'))
        (staged / 'deep' / 'state.json').write_text(json.dumps(dict(step=step)))


def stop(work, calls: int) -> bool:
    """Do the work in a process of its own, which ends after so many calls into the system; False where the work needs
    fewer
    """
    pid = os.fork()
    if not pid:
        left = calls

        def count(frame, event, call):
            nonlocal left
            if event == 'c_call' and {
                getattr(call, '__module__', ''),
                type(getattr(call, '__self__', '')).__module__,
            } & {'posix', '_io'}:
                left -= 1
                if left < 0:
                    os._exit(9)

        sys.setprofile(count)
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code not in (0, 9):
        sys.exit(f'the save itself failed, with {code}')
    return code == 9


def look(folder: Path, calls: int, taken: bool) -> tuple[bool, str]:
    "Whether the save of step 3 was stopped, and the newest checkpoint then"
    for step in (1, 2):
        save(folder, step)
    if taken:  # by a damaged checkpoint
        save(folder, 3)
        (folder / 'checkpoint-3' / 'adapter.bin').write_bytes(b'')
    stopped = stop(lambda: save(folder, 3), calls)
    newest = latest_valid(folder, say=lambda _: None).name
    wrong = {p.name: problem(p) for p in folder.glob('checkpoint-*')}
    assert newest in ('checkpoint-2', 'checkpoint-3'), (calls, newest)
    assert wrong.pop('checkpoint-3', None) in (None, 'adapter.bin is damaged' if taken else None), (calls, wrong)
    assert not any(wrong.values()), (calls, wrong)
    save(folder, 4)  # life goes on, and nothing is left over
    assert {p.name for p in folder.iterdir()} == {newest, 'checkpoint-4'}, (calls, list(folder.iterdir()))
    return stopped, newest


def main():
    root, moments, newest = Path(sys.argv[1]), [], set()
    for taken in (False, True):
        calls, stopped = 0, True
        while stopped:
            stopped, name = look(root / f'{taken}-{calls}', calls, taken)
            newest.add(name)
            calls += 1
        moments.append(calls - 1)
    print(json.dumps(dict(moments=moments, newest=sorted(newest))))


if __name__ == '__main__':
    main()
