"""kill -9 loses nothing: a training killed twenty times, in the middle of saves too, ends bit for bit as one that was
left alone.
"""

import json
import os
import subprocess
import sys

import pytest


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='forks')
@pytest.mark.slow
def test_killed_training_equals_uninterrupted(root, tmp_path):
    done = subprocess.run(
        [sys.executable, root / 'tests' / 'killed.py', tmp_path], capture_output=True, text=True, cwd=root
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    print(f"{report['kills']} kills, {report['in_saves']} of them in a save; {report['seconds']} s")
    assert report['kills'] == 20 and report['in_saves'] >= 5 and report['resumed'] >= 10, report
    assert report['passed_over'] == 0, report  # what has a checkpoint's name is whole
    assert report['steps'] and report['log'], report  # each step logged once, with the same losses
    assert report['adapter'] and report['checkpoint'], report  # so are optimiser, schedule and random generators
