"""A worker of an evaluation: `python -m robustness.evaluation.worker FOLDER ARTIFACT [SOURCE]`.

Reads lines of JSON, {"task": key, "block": number}, from stdin, and answers each with a line on
stdout: {"seconds": s} when the result is on disk, or {"error": text, "exit_code": code}. Ends at
once when its input ends, so it does not outlive who started it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import msgspec

THREADS = 1
"""Of torch, in each worker: results then do not depend on how many workers there are."""


def main(words: list[str]) -> None:
    """Serve tasks until the input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    from torchkeep.command_line import OUR_SURROUNDINGS
    from torchkeep.errors import TorchkeepError, UserError

    def answer(value: dict[str, object]) -> None:
        answers.write(msgspec.json.encode(value) + b"\n")

    try:
        _serve(words, answer)
    except TorchkeepError as error:
        answer({"error": str(error), "exit_code": error.exit_code})
    except OSError as error:
        if error.errno not in OUR_SURROUNDINGS:
            raise
        told = f"{error.strerror}: {error.filename or 'while writing a result'}"
        answer({"error": f"{told}. What is finished is kept.", "exit_code": UserError.exit_code})


def _serve(words: list[str], answer: Callable[[dict[str, object]], None]) -> None:
    import torch

    from robustness.art_library import prepare
    from robustness.evaluation.bench import Bench
    from robustness.evaluation.store import Store
    from torchkeep.artifact import ModelArtifact

    prepare()
    torch.set_num_threads(THREADS)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    folder, *artifacts = (Path(word) for word in words)
    store = Store.open(folder)
    bench = Bench(store, *(ModelArtifact.load(path) for path in artifacts))
    for order in _orders():
        task = store.plan.by_key[order.task]
        start = time.perf_counter()
        columns = bench.run(task, order.block)
        seconds = time.perf_counter() - start
        store.write(task, order.block, columns, seconds)
        answer({"seconds": seconds})


class Order(msgspec.Struct, frozen=True):
    """One task on one block."""

    task: str
    block: int


def _orders() -> Iterator[Order]:
    """Yield the orders as they come; the process ends with its input, even amid a block."""
    queue: SimpleQueue[Order] = SimpleQueue()

    def read() -> None:
        for line in sys.stdin.buffer:
            queue.put(msgspec.json.decode(line, type=Order))
        os._exit(0)

    Thread(target=read, daemon=True).start()
    while True:
        yield queue.get()


if __name__ == "__main__":
    main(sys.argv[1:])
