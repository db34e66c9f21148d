"""The supervisor: a small process that owns TorchServe from its start to its end.

    python -m release.supervisor RUN_FOLDER

It is started by `release.server.start`, which leaves the launch in the folder's state and holds
the other end of the socket on file descriptor 0. Until the server serves, the end of that caller
is the end of the server; then the supervisor stays alone, renews the tokens, notices TorchServe's
death, and on SIGTERM leaves no process, socket or key behind.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from release.first_answer import FirstAnswer
from release.process import ProcessId, kill_all, workers_of
from release.run_folder import RunFolder
from release.state import Phase, ServerState
from release.tokens import read_keys, renew
from release.ts_log import archive_fault, java_fault, python_fault
from torchkeep.errors import ServerError

TICK_S = 0.5
STARTING_TICK_S = 0.1
GRACE_S = 15.0
"""How long TorchServe may take to end by itself before it is killed."""
FAULT_WRITTEN_S = 5.0
"""How long after a worker's end its last words, or TorchServe's own end, may take."""
RENEW_AT = 0.2
"""Share of a token's lifetime that is left when it is renewed."""
RENEW_RETRY_S = 5.0


class Orders:
    """What the outside asks: a signal to stop or, until the server serves, the caller's end."""

    def __init__(self, caller: socket.socket) -> None:
        self.stop = False
        self._caller = caller
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._watched = [self._woken, caller]
        signal.set_wakeup_fd(self._waker.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _on_signal(self, *_: object) -> None:
        self.stop = True

    def wait(self, seconds: float) -> None:
        """Wait for an order, for at most `seconds`."""
        readable, _, _ = select.select(self._watched, [], [], 0 if self.stop else seconds)
        if self._caller in readable:  # it never sends, so this is its end
            self.stop = True

    def dismiss_caller(self) -> None:
        """Tell the caller that the server serves, and outlive it from now on."""
        self._watched.remove(self._caller)
        try:
            self._caller.sendall(Phase.SERVING.encode())
        except OSError:
            self.stop = True
        self._caller.close()


class Supervisor:
    """One run of TorchServe."""

    def __init__(self, run: RunFolder, state: ServerState, orders: Orders) -> None:
        self._run = run
        self._orders = orders
        self._state = state
        self._next_renewal_try = 0.0
        with run.console.open("ab") as console:
            self._frontend = subprocess.Popen(  # noqa: S603
                state.launch.command,
                cwd=run.path,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        self._id = ProcessId.of(self._frontend.pid)

    def supervise(self) -> None:
        """Run until TorchServe ends or an order comes; then leave nothing but logs and a reason."""
        fault = ""
        try:
            self._record(Phase.STARTING)
            self._await_service()
            if not self._orders.stop:
                self._record(Phase.SERVING)
                self._orders.dismiss_caller()
            self._watch()
        except ServerError as error:
            fault = error.message
        finally:
            self._end()
        if fault:
            served = self._state.phase is Phase.SERVING
            self._record(Phase.DIED if served else Phase.FAILED, fault)
        else:
            self._run.state.unlink(missing_ok=True)

    def _record(self, phase: Phase, reason: str = "") -> None:
        self._state = replace(
            self._state,
            phase=phase,
            reason=reason,
            supervisor=ProcessId.of(os.getpid()),
            frontend=self._id,
        )
        self._state.write(self._run)

    def _await_service(self) -> None:
        """Return once a prediction was answered or an order came. Raises `ServerError`."""
        first = FirstAnswer(self._run, self._state.launch)
        first.start()
        seen: set[int] = set()
        while first.is_alive() and not self._orders.stop:
            self._orders.wait(STARTING_TICK_S)
            self._look_after()
            now = {worker.pid for worker in workers_of(self._id.process())}
            if seen - now:
                raise ServerError(self._worker_fault())
            seen |= now
            if fault := archive_fault(self._run.log):
                raise ServerError(f"TorchServe did not load the archive: {fault}")
        if first.problem and not self._orders.stop:
            fault = python_fault(self._run.log)
            raise ServerError(f"{first.problem} ({fault})" if fault else first.problem)

    def _watch(self) -> None:
        while not self._orders.stop:
            self._orders.wait(TICK_S)
            self._look_after()

    def _look_after(self) -> None:
        self._check_frontend()
        self._renew_tokens()

    def _check_frontend(self) -> None:
        code = self._frontend.poll()
        if code is None or self._orders.stop:
            return
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        fault = java_fault(self._run.console)
        raise ServerError(f"TorchServe {how}" + (f": {fault}" if fault and code >= 0 else ""))

    def _worker_fault(self) -> str:
        deadline = time.monotonic() + FAULT_WRITTEN_S
        while (fault := python_fault(self._run.log)) is None and time.monotonic() < deadline:
            time.sleep(STARTING_TICK_S)
            self._check_frontend()
        fault = fault or java_fault(self._run.log) or "it ended without a word (out of memory?)"
        return f"a worker did not load the model: {fault}"

    def _renew_tokens(self) -> None:
        if time.monotonic() < self._next_renewal_try:
            return
        keys = read_keys(self._run.keys)
        lifetime_s = 60 * self._state.launch.token_minutes
        if keys is None or keys.seconds_left > RENEW_AT * lifetime_s:
            return
        try:
            renew(keys, self._state.launch.ports.management_port)
        except OSError as error:
            self._next_renewal_try = time.monotonic() + min(RENEW_RETRY_S, RENEW_AT * lifetime_s)
            sys.stderr.write(f"the tokens were not renewed: {error}\n")

    def _end(self) -> None:
        self._frontend.terminate()
        try:
            self._frontend.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._frontend.kill()
            self._frontend.wait()
        kill_all(self._run.scratch)
        self._run.clear()


def _take_stdin() -> socket.socket:
    """Return the socket on file descriptor 0, and put nothing in its place."""
    caller = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return caller


def main() -> None:
    """Detach from the caller's session and supervise."""
    if os.fork():
        os._exit(0)
    os.setsid()
    orders = Orders(_take_stdin())
    run = RunFolder(Path(sys.argv[1]))
    state = ServerState.read(run)
    if state is None:
        raise ServerError(f"{run.state} holds no launch")
    Supervisor(run, state, orders).supervise()


if __name__ == "__main__":
    main()
