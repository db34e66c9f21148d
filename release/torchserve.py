"""TorchServe as a child of the supervisor: its start, its tokens, and why it ended."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress

from release.child import end_gently, how_it_ended
from release.first_answer import FirstAnswer
from release.process import ProcessId, kill_torchserve, running, workers_of
from release.pulse import Pulse
from release.run_folder import RunFolder
from release.state import Launch
from release.tokens import read_keys, renew
from release.ts_log import archive_fault, java_fault, python_fault, size_of
from torchkeep.errors import ServerError

GRACE_S = 15.0
"""How long TorchServe may take to end by itself before it is killed."""
FAULT_WRITTEN_S = 5.0
"""How long after a worker's end its last words, or TorchServe's own end, may take."""
GIVEN_UP = "IllegalStateException: Stream was terminated by error"
"""How TorchServe 0.12 loses a worker that did nothing wrong: to an answer that nobody waits for any
more, at the moment it is sent. It starts another one by itself."""
RENEW_AT = 0.2
"""Share of a token's lifetime that is left when it is renewed."""
RENEW_RETRY_S = 5.0


class TorchServe:
    """TorchServe with one model, as a `Launch` says."""

    def __init__(self, run: RunFolder, launch: Launch) -> None:
        self.identity: ProcessId | None = None
        self._run = run
        self._launch = launch
        self._frontend: subprocess.Popen[bytes] | None = None
        self._first: FirstAnswer | None = None  # until it has served
        self._seen: set[int] = set()
        self._words_by: float | None = None  # when a worker that ended has said why
        self._log_began = self._console_began = 0
        self._next_renewal_try = 0.0
        self._pulse = self._new_pulse()

    def start(self) -> None:
        """Run it, and ask it until it answers. Raises `OSError`."""
        self._log_began, self._console_began = size_of(self._run.log), size_of(self._run.console)
        with self._run.console.open("ab") as console:
            self._frontend = subprocess.Popen(  # noqa: S603
                self._launch.command,
                cwd=self._run.path,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        self.identity = ProcessId.of(self._frontend.pid)
        self._seen, self._words_by = set(), None
        self._first = FirstAnswer(self._run, self._launch)
        self._first.start()
        self._pulse = self._new_pulse()

    def look(self) -> bool:
        """Return whether it has answered a prediction. Raises `ServerError` once it never will."""
        self._check_frontend()
        self._renew_tokens()
        if self._first is None:
            self._pulse.feel()
            return True
        self._check_workers()
        if fault := archive_fault(self._run.log, self._log_began):
            raise ServerError(f"TorchServe did not load the archive: {fault}")
        if self._words_by is not None or self._first.is_alive():
            return False
        if problem := self._first.problem:
            fault = python_fault(self._run.log, self._log_began)
            raise ServerError(f"{problem} ({fault})" if fault else problem)
        self._first = None
        return True

    def abandon(self) -> None:
        """Kill what may be left of it, and remove its keys and sockets."""
        self._give_up()
        if self._frontend is not None:
            self._frontend.kill()
            self._frontend.wait()
        kill_torchserve(self._run)
        self._run.sweep()

    def end(self) -> None:
        """Ask it to end, and wait until it has."""
        self._give_up()
        if self._frontend is not None:
            end_gently(self._frontend, GRACE_S)

    def _new_pulse(self) -> Pulse:
        return Pulse("TorchServe", self._launch.ports.rest_port, "/ping")

    def _give_up(self) -> None:
        if self._first is not None:
            self._first.give_up()

    def _check_frontend(self) -> None:
        code = None if self._frontend is None else self._frontend.poll()
        if code is None:
            return
        fault = java_fault(self._run.console, self._console_began) if code >= 0 else None
        raise ServerError(f"TorchServe {how_it_ended(code)}" + (f": {fault}" if fault else ""))

    def _check_workers(self) -> None:
        """Raise `ServerError` if a worker ended before all served, once it is known why."""
        now = {worker.pid for worker in workers_of(running(self.identity))}
        if self._seen - now and self._words_by is None:
            self._words_by = time.monotonic() + FAULT_WRITTEN_S
        self._seen |= now
        if self._words_by is None:
            return
        fault = python_fault(self._run.log, self._log_began)
        java = java_fault(self._run.log, self._log_began)
        if fault is None and java is not None and java.startswith(GIVEN_UP):
            self._log_began, self._words_by = size_of(self._run.log), None
            self._seen = now
            return
        if fault is None and time.monotonic() < self._words_by:
            return
        fault = fault or java
        fault = fault or "it ended without a word (out of memory?)"
        raise ServerError(f"a worker did not load the model: {fault}")

    def _renew_tokens(self) -> None:
        if time.monotonic() < self._next_renewal_try:
            return
        keys = read_keys(self._run.keys)
        lifetime_s = 60 * self._launch.token_minutes
        if keys is None or keys.seconds_left > RENEW_AT * lifetime_s:
            return
        try:
            renew(keys, self._launch.ports.management_port)
        except OSError as error:
            self._next_renewal_try = time.monotonic() + min(RENEW_RETRY_S, RENEW_AT * lifetime_s)
            with suppress(OSError):  # the disk may be full
                sys.stderr.write(f"the tokens were not renewed: {error}\n")
