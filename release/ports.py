"""The ports of one server: those asked for, or free ones, all on the loopback interface."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Container
from dataclasses import dataclass

from release.server_config import PORTS, ServerConfig
from torchkeep.errors import ServerError

LOOPBACK = "127.0.0.1"
FREE_RANGE = range(20_000, 32_000)
"""Below the range from which Linux takes ports for outgoing connections: fewer races."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where the services of one server listen."""

    rest_port: int
    grpc_port: int
    management_port: int
    metrics_port: int
    grpc_management_port: int

    @classmethod
    def reserve(cls, config: ServerConfig, *, ours: Container[int] = ()) -> Ports:
        """Check that the ports asked for are free, or `ours` to free, and choose the others.

        Raises `ServerError` that names the port in use and its setting.
        """
        wanted = {name: getattr(config, name) for name in PORTS}
        for name, port in wanted.items():
            if port and port not in ours and not is_free(port):
                raise ServerError(
                    f"port {port} is in use",
                    remedy=f"Stop what listens there, or set {name} in [server] (0: any free one).",
                )
        taken = set(wanted.values())
        for name, port in wanted.items():
            if not port:
                wanted[name] = _free_port(taken)
                taken.add(wanted[name])
        return cls(**wanted)


def is_free(port: int) -> bool:
    """Return whether a server could listen on the port; connections just closed do not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except PermissionError:
            raise ServerError(
                f"port {port} needs root", remedy="Choose ports above 1023 in [server]."
            ) from None
        except OSError:
            return False
    return True


def _free_port(taken: set[int]) -> int:
    for _ in range(1000):
        port = secrets.choice(FREE_RANGE)
        if port not in taken and is_free(port):
            return port
    raise ServerError(f"no free port from {FREE_RANGE.start} to {FREE_RANGE.stop}")
