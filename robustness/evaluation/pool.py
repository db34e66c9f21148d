"""Workers that share the blocks of an evaluation; what is finished stays finished.

Each worker is a process of its own with one torch thread, and a block is the same work whoever
does it: two workers find what one finds.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Condition, Thread
from types import TracebackType
from typing import Self

import msgspec

from robustness.evaluation.plan import Task
from robustness.evaluation.store import Store
from torchkeep.errors import EvaluationPausedError, TorchkeepError, UserError
from torchkeep.progress import Report

GRACE_SECONDS = 5.0


def carry_out(
    store: Store,
    artifacts: Sequence[Path],
    processes: int,
    report: Report,
    deadline: float | None = None,
) -> None:
    """Run all tasks of the plan that are not finished, on `processes` workers.

    Raises `EvaluationPausedError` once `time.monotonic()` has passed `deadline` and work is left,
    and what a worker raised. In each case what was finished is kept.
    """
    work = _Work(store, report, deadline)
    if not work.left:
        return
    words = [str(store.folder), *map(str, artifacts)]
    with ExitStack() as stack:
        count = min(processes, work.left)
        workers = [stack.enter_context(_Worker(words)) for _ in range(count)]
        threads = [Thread(target=work.share, args=(worker,), daemon=True) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(timeout=0.2)  # a join without an end would not hear a signal
    work.end()


class _Work:
    """What is left to do, handed out under one lock."""

    def __init__(self, store: Store, report: Report, deadline: float | None) -> None:
        plan = store.plan
        self.store = store
        self.report = report
        self.deadline = deadline
        self.changed = Condition()
        self.pending = [
            (task, block)
            for task in plan.tasks
            for block in plan.blocks
            if not store.done(task, block)
        ]
        self.running = 0
        self.fault: BaseException | None = None
        self.paused = False

    @property
    def left(self) -> int:
        """How many blocks of tasks are not begun."""
        return len(self.pending)

    def share(self, worker: _Worker) -> None:
        """Have a worker do blocks until none is left for it."""
        try:
            while (piece := self._take()) is not None:
                worker.do(*piece)
                self._finish(piece[0])
        except BaseException as error:
            with self.changed:
                self.fault = self.fault or error
                self.changed.notify_all()

    def end(self) -> None:
        """Raise what ended the work early, if anything did."""
        if self.fault is not None:
            raise self.fault
        if self.paused and self.pending:
            raise EvaluationPausedError(
                f"the time is up with {len(self.pending)} blocks of work left",
                remedy="Run the same command again: it goes on where it was.",
            )

    def _take(self) -> tuple[Task, int] | None:
        with self.changed:
            while self.pending and self.fault is None:
                if self.deadline is not None and time.monotonic() >= self.deadline:
                    self.paused = True
                    return None
                for place, (task, block) in enumerate(self.pending):
                    if self._ready(task, block):
                        self.running += 1
                        return self.pending.pop(place)
                self.changed.wait(timeout=1.0)
            return None

    def _ready(self, task: Task, block: int) -> bool:
        by_key = self.store.plan.by_key
        return all(self.store.done(by_key[key], block) for key in task.needs)

    def _finish(self, task: Task) -> None:
        with self.changed:
            self.running -= 1
            blocks = self.store.plan.blocks
            done = sum(self.store.done(task, block) for block in blocks)
            label = f"{task.title} ({task.threat})" if task.threat else task.title
            self.report(label, done, len(blocks))
            self.changed.notify_all()


class _Worker:
    """One worker process; entered and left as a context."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "robustness.evaluation.worker", *self.words]
        self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is ours to handle
        )
        return self

    def do(self, task: Task, block: int) -> float:
        """Have a task done on a block; return the seconds it took."""
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise TorchkeepError("a worker without pipes")
        try:
            stdin.write(msgspec.json.encode({"task": task.key, "block": block}) + b"\n")
            stdin.flush()
            line = stdout.readline()
        except (BrokenPipeError, ValueError):
            line = b""
        if not line:
            raise UserError(
                f"a worker ended in {task.title}, block {block} ({_ending(self.process)})",
                remedy="Run the same command again: it goes on where it was.",
            )
        answer = msgspec.json.decode(line)
        if "error" in answer:
            error = TorchkeepError(answer["error"])
            error.exit_code = answer["exit_code"]
            raise error
        return float(answer["seconds"])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the process: it ends with its input."""
        if self.process.stdin is not None:
            with suppress(BrokenPipeError):
                self.process.stdin.close()
        try:
            self.process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def _ending(process: subprocess.Popen[bytes]) -> str:
    try:
        code = process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        return "it no longer answers"
    return f"signal {-code}" if code < 0 else f"exit code {code}"
