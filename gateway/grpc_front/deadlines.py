"""Until when a request is worth answering.

The gateway's own limit, the deadline of the RPC and the parameter `timeout` all bound it.
"""

from __future__ import annotations

from typing import Final

from gateway.grpc_front.visit import Visit
from gateway.refusal import Code, Refusal

TIMEOUT: Final = "timeout"
LEAST_LEAD_S: Final = 0.002
MOST_LEAD_S: Final = 0.05
LEAD: Final = 0.1
"""The share of its time by which a request expires before its RPC does, within those bounds. It is
told and recorded as expired then, and not as a caller that went away, which is all that gRPC says.
"""

_MICROSECONDS: Final = 1_000_000


def deadline_of(visit: Visit, limit_s: float, timeout: object = None) -> float:
    """Return a deadline on the clock of `arrival.received`; `timeout` is in microseconds.

    A timeout of 0 asks for none, as in Triton. Raises `Refusal` if it is no whole number.
    """
    received = visit.arrival.received
    deadline = received + limit_s
    if visit.expires is not None:
        deadline = min(deadline, visit.expires - _lead(visit.expires - received))
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


def _lead(left_s: float) -> float:
    return min(max(LEAD * left_s, LEAST_LEAD_S), MOST_LEAD_S)
