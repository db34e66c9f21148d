"""How programs on this machine ask the server that runs here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.identity.local_key import local_key
from release.status import ServerStatus
from release.tokens import current_token
from torchkeep.paths import Home


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Addresses of a server, and what returns the token to show there now."""

    rest: str
    grpc: str
    token: Callable[[], str]


def front_door(home: Home, server: ServerStatus) -> Door:
    """Return the gateway's addresses, with the local API key."""
    return Door(rest=server.rest, grpc=server.grpc, token=lambda: local_key(home))


def back_door(home: Home, server: ServerStatus) -> Door:
    """Return TorchServe's own addresses, which only this machine reaches, with its token."""
    return Door(
        rest=server.torchserve_rest,
        grpc=server.torchserve_grpc,
        token=lambda: current_token(home),
    )


def local_door(home: Home, server: ServerStatus) -> Door:
    """Return the way in for the command line of this machine: the gateway, unless it speaks TLS.

    Its certificate is for the names others call it by, and it may ask callers for theirs.
    """
    speaks_tls = server.rest.startswith("https")
    return back_door(home, server) if speaks_tls else front_door(home, server)


def door_at(home: Home, server: ServerStatus, url: str) -> Door | None:
    """Return the way in that an address belongs to; None if it is another server's."""
    doors = (front_door(home, server), back_door(home, server))
    return next((door for door in doors if url.rstrip("/") in (door.rest, door.grpc)), None)
