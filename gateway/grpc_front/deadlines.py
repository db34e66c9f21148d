"""Until when a request is worth answering.

The gateway's own limit, the deadline of the RPC and the parameter `timeout` all bound it.
"""

from __future__ import annotations

from typing import Final

from gateway.grpc_front.visit import Visit
from gateway.refusal import Code, Refusal

TIMEOUT: Final = "timeout"
LEAD_S: Final = 0.002
"""How long before the RPC's own deadline a request expires, so that it is told and recorded so."""

_MICROSECONDS: Final = 1_000_000


def deadline_of(visit: Visit, limit_s: float, timeout: object = None) -> float:
    """Return a deadline on the clock of `arrival.received`; `timeout` is in microseconds.

    A timeout of 0 asks for none, as in Triton. Raises `Refusal` if it is no whole number.
    """
    received = visit.arrival.received
    deadline = received + limit_s
    if visit.expires is not None:
        deadline = min(deadline, visit.expires - LEAD_S)
    if timeout is None:
        return deadline
    if isinstance(timeout, str) and timeout.isascii() and timeout.isdigit() and len(timeout) < 20:
        timeout = int(timeout)
    if not isinstance(timeout, int) or isinstance(timeout, bool) or timeout < 0:
        raise Refusal(
            Code.INVALID,
            f"the parameter {TIMEOUT!r} is {str(timeout)[:40]!r}; expected whole microseconds",
        )
    return min(deadline, received + timeout / _MICROSECONDS) if timeout else deadline
