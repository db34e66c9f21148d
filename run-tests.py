#!/usr/bin/env python3
"""The test harness: run pytest with the given arguments, and see what it leaves behind.

Beyond pytest's own verdict a run fails if a process that it started still runs afterwards, or if
files appear in or vanish from the working tree; those processes are ended. With `CI=true` a test
may be skipped only for want of CUDA or of a container engine (see `tests/skip_policy.py`).
pytest's closing line is the last thing printed, unless something was left behind.
"""

from __future__ import annotations

import ctypes
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent
PR_SET_CHILD_SUBREAPER = 36  # from <linux/prctl.h>
GRACE_SECONDS = 5.0


def main(arguments: list[str]) -> int:
    """Run the tests; return pytest's exit code, or 1 if all passed but something was left."""
    adopt_orphans()
    before = working_tree()
    signal.signal(signal.SIGINT, lambda *_: None)  # pytest hears it too, and tidies up
    command = [sys.executable, "-m", "pytest", "-p", "tests.skip_policy", *arguments]
    code = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode
    faults = [f"still running: {line}" for line in end_leftovers()]
    faults += [f"working tree: {line}" for line in sorted(working_tree() ^ before)]
    for fault in faults:
        sys.stderr.write(f"left behind by the tests, {fault}\n")
    return code or bool(faults)


def adopt_orphans() -> None:
    """Make this process the parent of every orphan below it, so that a daemon cannot hide.

    Linux only; elsewhere a process that outlives its parent is not seen.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_leftovers() -> list[str]:
    """End the processes below this one; return a line on each that had not ended by itself."""
    _, alive = psutil.wait_procs(psutil.Process().children(recursive=True), timeout=GRACE_SECONDS)
    lines = []
    for process in alive:
        try:
            lines.append(f"{process.pid} {' '.join(process.cmdline())[:200]}")
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=GRACE_SECONDS)
    return lines


def working_tree() -> frozenset[str]:
    """Return git's lines on changed and unknown files; none where git is not or refuses."""
    if shutil.which("git") is None:
        return frozenset()
    command = ["git", "status", "--porcelain", "--untracked-files=all"]
    status = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return frozenset(status.stdout.splitlines())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
