"""Pages that a batch has freed are there for the next one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# counted in a process of its own: the setting is the whole process's, and for good
COUNT = """
import resource
import numpy as np
from handlers.memory import keep_freed_memory

def faults(batches):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(batches):
        blocks = [np.ones(1 << 20, dtype=np.uint8) for _ in range(8)]
        del blocks
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / batches

faults(20)
before = faults(50)
print(keep_freed_memory(), flush=True)
faults(20)
print(before, faults(50))
"""


def test_a_batch_finds_the_pages_of_the_one_before() -> None:
    done = subprocess.run(
        [sys.executable, "-c", COUNT],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    listened, counted = done.stdout.splitlines()
    before, after = map(float, counted.split())
    assert listened == "True"
    assert before > 1000  # 8 MiB are 2,048 pages
    assert after < 50
