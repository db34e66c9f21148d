"""Several processes on this machine, started and watched by torchrun's own launcher."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
from collections.abc import Mapping, Sequence

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from torchkeep.errors import SettingsError, TrainingError, TrainingPausedError, UserError


def launch(processes: int, restarts: int, arguments: Sequence[str]) -> None:
    """Run `python -m training` with `arguments` in several processes and wait for their end.

    After a process died all are started again, up to `restarts` times, and go on at the last
    checkpoint. Exits with 2 or 4 if that is how they ended. Raises `TrainingError` if one died,
    `SettingsError` if the numbers make no sense.
    """
    if processes < 1 or restarts < 0:
        raise SettingsError(
            f"{processes} processes, {restarts} restarts", remedy="Give 1 or more, and 0 or more."
        )
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=secrets.token_hex(8),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=restarts,
        monitor_interval=0.1,
    )
    # What it logs of an end is told below, in one line, or was told by the process itself.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    words = [word for number, word in enumerate(arguments) if number or word != "train"]
    try:
        elastic_launch(config, sys.executable)("-m", "training", *words)
    except ChildFailedError as error:
        _end(error.failures)
    except SignalException as error:
        sys.exit(128 + int(error.sigval))


def _end(failures: Mapping[int, ProcessFailure]) -> None:
    """End as the processes did: in silence where they have said why."""
    codes = {failure.exitcode for failure in failures.values()}
    for code in (UserError.exit_code, TrainingPausedError.exit_code, TrainingError.exit_code):
        if code in codes and not any(code < 0 for code in codes):
            sys.exit(code)
    rank = min(failures, key=lambda rank: failures[rank].exitcode)  # a signal's is below 0
    raise TrainingError(
        f"process {rank} of this training died ({_how(failures[rank].exitcode)})",
        remedy="Run the same command again: it goes on where the last checkpoint was.",
    )


def _how(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
