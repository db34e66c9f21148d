"""Which addresses may be attacked without saying that they are one's own: loopback, and no other.

The address is read by the client's own parser, so what is checked is what will be connected to.
"""

from __future__ import annotations

import ipaddress
import socket

from torchkeep.client.endpoint import Endpoint
from torchkeep.errors import SettingsError


def require_loopback(url: str, *, own: bool = False) -> Endpoint:
    """Return the parsed address; raise `SettingsError` if it may lead off this machine.

    `own` says that the user vouches for it. Of names only `localhost` passes, and only if all it
    resolves to is loopback: any other name may resolve elsewhere a moment later.
    """
    endpoint = Endpoint.parse(url)
    if not own and not is_loopback(endpoint.host):
        raise SettingsError(
            f"{endpoint.authority} is not an address of this machine alone",
            remedy="Attack only what is yours; if it is, add --i-own-this-endpoint.",
        )
    return endpoint


def is_loopback(host: str) -> bool:
    """Whether a host is written as a loopback address, or is `localhost` and resolves to some.

    Numbers that only some resolvers take for an address (2130706433, 0x7f.1, 127.1) are not, nor
    are IPv4 addresses mapped into IPv6 and those with a zone.
    """
    if host.lower() == "localhost":
        return _resolves_to_loopback(host)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        return address == ipaddress.IPv6Address("::1") and "%" not in host
    return address.is_loopback


def _resolves_to_loopback(name: str) -> bool:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return bool(found) and all(ipaddress.ip_address(one[4][0]).is_loopback for one in found)
