"""Python imports this at its start if it is on the path: then the wall clock can be moved.

The file that `WALL_CLOCK_OFFSET` names says by how many seconds. gRPC sees the true clock: it
reckons with code that asks the system. Its compiled parts ask in the name of who calls them.
"""

import os
import sys
import time

_OFFSET = os.environ["WALL_CLOCK_OFFSET"]
_GRPC = ("grpc", "gateway.grpc_front")
_true_time_ns = time.time_ns


def _offset_ns() -> int:
    with open(_OFFSET, encoding="ascii") as file:  # noqa: PTH123 - pathlib is slow to import
        return int(file.read() or 0) * 1_000_000_000


def _time_ns() -> int:
    return _true_time_ns() + _offset_ns()


def _time() -> float:
    asking = str(sys._getframe(1).f_globals.get("__name__"))
    return (_true_time_ns() if asking.startswith(_GRPC) else _time_ns()) / 1e9


time.time_ns, time.time = _time_ns, _time
