"""The supervisor: a small process that owns TorchServe and the gateway from start to end.

    python -m release.supervisor RUN_FOLDER

It is started by `release.server.start`, which leaves the launch in the folder's state and holds
the other end of the socket on file descriptor 0. Until the server serves, the end of that caller
is the end of the server, and so is the death of a part; then the supervisor stays alone, renews
the tokens, starts again what dies, and on SIGTERM leaves no process, socket or key behind.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from release.child import Keeper
from release.gateway_process import Gateway
from release.orders import Orders
from release.process import ProcessId, kill_all
from release.run_folder import RunFolder
from release.state import Phase, Restarts, ServerState
from release.torchserve import TorchServe
from torchkeep.errors import ServerError

TICK_S = 0.5
STARTING_TICK_S = 0.1


class Supervisor:
    """One run of TorchServe and of the gateway in front of it."""

    def __init__(self, run: RunFolder, state: ServerState, orders: Orders) -> None:
        self._run = run
        self._orders = orders
        self._state = replace(state, supervisor=ProcessId.of(os.getpid()))
        self._torchserve = TorchServe(run, state.launch)
        self._gateway = Gateway(run, state.launch)

    def supervise(self) -> None:
        """Run until it fails to come up or an order comes; leave nothing but logs and a reason."""
        fault = ""
        try:
            self._bring_up()
            if not self._orders.stop:
                self._record(Phase.SERVING)
                self._orders.dismiss_caller()
            self._keep()
        except ServerError as error:
            fault = "" if self._orders.stop else error.message
        finally:
            self._end()
        if fault:
            self._record(Phase.FAILED, fault)
        else:
            self._run.state.unlink(missing_ok=True)

    def _bring_up(self) -> None:
        """Return once both serve or an order came. Raises `ServerError`.

        The gateway comes second: a question that is given up while TorchServe loads the model can
        cost it a worker (`release/torchserve.py`), and that would be the end of the start.
        """
        self._torchserve.start()
        self._record(Phase.STARTING)
        while not (self._orders.stop or self._torchserve.look()):
            self._orders.wait(STARTING_TICK_S)
        if self._orders.stop:
            return
        self._gateway.start()
        self._record(Phase.STARTING)
        limit_s = self._state.launch.startup_timeout_s
        deadline = time.monotonic() + limit_s
        while not self._orders.stop:
            listens = all([self._torchserve.look(), self._gateway.look()])
            problem = self._gateway.unready() if listens else "it does not listen"
            if not problem:
                return
            if time.monotonic() > deadline:
                raise ServerError(f"the gateway was not ready within {limit_s} s: {problem}")
            self._orders.wait(STARTING_TICK_S)

    def _keep(self) -> None:
        """Start again what ends, until an order comes."""
        torchserve = Keeper(self._torchserve)
        gateway = Keeper(self._gateway, first_delay_s=0.0)
        while not self._orders.stop:
            serving = all([torchserve.look(), gateway.look()])
            reasons = [keeper.fault for keeper in (torchserve, gateway) if keeper.fault]
            if serving and self._state.phase is not Phase.SERVING and self._gateway.unready():
                serving, reasons = False, [self._state.reason]
            self._record(
                Phase.SERVING if serving else Phase.RESTARTING,
                "; ".join(reasons),
                Restarts(torchserve=torchserve.restarts, gateway=gateway.restarts),
            )
            self._orders.wait(TICK_S if serving else STARTING_TICK_S)

    def _record(self, phase: Phase, reason: str = "", restarts: Restarts | None = None) -> None:
        """Write down how things stand, if that is news."""
        state = replace(
            self._state,
            phase=phase,
            reason=reason,
            restarts=restarts or self._state.restarts,
            frontend=self._torchserve.identity,
            gateway=self._gateway.identity,
        )
        if state == self._state:
            return
        try:
            state.write(self._run)
        except OSError as error:
            with suppress(OSError):  # the disk may be full
                sys.stderr.write(f"the state was not written: {error}\n")
        else:
            self._state = state

    def _end(self) -> None:
        self._gateway.end()
        self._torchserve.end()
        kill_all(self._run)
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
