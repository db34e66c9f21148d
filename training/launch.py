"""Several processes on this machine, started and watched by torchrun's own launcher."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from torchkeep.command_line import complain
from torchkeep.errors import SettingsError, TrainingError, TrainingPausedError, UserError
from training.first_word import VARIABLE


def launch(processes: int, restarts: int, arguments: Sequence[str]) -> None:
    """Run `python -m training` with `arguments` in several processes and wait for their end.

    After a process died all are started again, up to `restarts` times, and go on at the last
    checkpoint. Exits with 2, 3 or 4 if that is how they ended, each having been told. Raises
    `TrainingError` if one died, `SettingsError` if the numbers make no sense.
    """
    if processes < 1 or restarts < 0:
        raise SettingsError(
            f"{processes} processes, {restarts} restarts", remedy="Give 1 or more, and 0 or more."
        )
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // processes)))
    # What it logs of an end is told below, in one line, or was told by the process itself.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    words = [word for number, word in enumerate(arguments) if number or word != "train"]
    for attempt in range(restarts + 1):
        failures = _run(processes, words)
        if not failures:
            return
        if not _died(failures):
            sys.exit(_code(failures))
        if attempt < restarts:
            complain(f"{_told(failures)}; starting all again, time {attempt + 1} of {restarts}")
        words = [word for word in words if word != "--fresh"]
    raise TrainingError(
        _told(failures),
        remedy="Run the same command again: it goes on where the last checkpoint was.",
    )


def _run(processes: int, words: Sequence[str]) -> Mapping[int, ProcessFailure]:
    """Start the processes once and wait; return those that failed, by rank."""
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=secrets.token_hex(8),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,  # it would restart a pause and a wrong setting as well
        monitor_interval=0.1,
    )
    with tempfile.TemporaryDirectory(prefix="torchkeep-training-") as folder:
        os.environ[VARIABLE] = folder
        try:
            elastic_launch(config, sys.executable)("-m", "training", *words)
        except ChildFailedError as error:
            return error.failures
        except SignalException as error:
            sys.exit(128 + int(error.sigval))
        finally:
            del os.environ[VARIABLE]
    return {}


def _died(failures: Mapping[int, ProcessFailure]) -> bool:
    """Say whether a process died, by a signal or an error nobody foresaw, and did not end."""
    known = (UserError.exit_code, TrainingError.exit_code, TrainingPausedError.exit_code)
    return any(failure.exitcode not in known for failure in failures.values())


def _code(failures: Mapping[int, ProcessFailure]) -> int:
    """Return how they ended: what the user can mend comes before its consequences."""
    codes = {failure.exitcode for failure in failures.values()}
    by_weight = (UserError.exit_code, TrainingPausedError.exit_code, TrainingError.exit_code)
    return next(code for code in by_weight if code in codes)


def _told(failures: Mapping[int, ProcessFailure]) -> str:
    rank = min(failures, key=lambda rank: failures[rank].exitcode)  # a signal's is below 0
    return f"process {rank} of this training died ({_how(failures[rank].exitcode)})"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _how(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
