"""The ports of one server: those asked for, or free ones."""

from __future__ import annotations

import errno
import ipaddress
import secrets
import socket
from collections.abc import Container, Iterator
from dataclasses import asdict, dataclass, fields
from typing import NamedTuple

from gateway.config import GatewayConfig
from release.server_config import PORTS, ServerConfig
from torchkeep.errors import ServerError

LOOPBACK = "127.0.0.1"
FREE_RANGE = range(20_000, 32_000)
"""Below the range from which Linux takes ports for outgoing connections: fewer races."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayPorts:
    """Where the gateway listens."""

    http_port: int
    grpc_port: int
    observe_port: int


GATEWAY_PORTS = tuple(field.name for field in fields(GatewayPorts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where the services of one server listen: TorchServe, on loopback, and the gateway."""

    rest_port: int
    grpc_port: int
    management_port: int
    metrics_port: int
    grpc_management_port: int
    gateway: GatewayPorts

    @classmethod
    def reserve(
        cls, server: ServerConfig, gateway: GatewayConfig, *, ours: Container[int] = ()
    ) -> Ports:
        """Check that the ports asked for are free, or `ours` to free, and choose the others.

        Raises `ServerError` that names the port in use and its setting.
        """
        settings = list(_settings(server, gateway))
        taken: dict[int, _Setting] = {}
        for setting in settings:
            if setting.port:
                _check(setting, ours, taken)
                taken[setting.port] = setting
        chosen: dict[str, dict[str, int]] = {"server": {}, "gateway": {}}
        for setting in settings:
            port = setting.port or _free_port(taken, setting.host)
            taken[port] = setting
            chosen[setting.section][setting.name] = port
        return cls(**chosen["server"], gateway=GatewayPorts(**chosen["gateway"]))

    def numbers(self) -> frozenset[int]:
        """Return all ports."""
        values = asdict(self)
        return frozenset([*values.pop("gateway").values(), *values.values()])


class _Setting(NamedTuple):
    section: str
    name: str
    host: str
    port: int


def _settings(server: ServerConfig, gateway: GatewayConfig) -> Iterator[_Setting]:
    for name in PORTS:
        yield _Setting("server", name, LOOPBACK, getattr(server, name))
    for name in GATEWAY_PORTS:
        host = gateway.observe_host if name == "observe_port" else gateway.host
        yield _Setting("gateway", name, host, getattr(gateway, name))


def _check(setting: _Setting, ours: Container[int], taken: dict[int, _Setting]) -> None:
    section, name, host, port = setting
    if other := taken.get(port):
        raise ServerError(
            f"port {port} is both [{other.section}] {other.name} and [{section}] {name}",
            remedy="Give each its own port, or 0.",
        )
    if port not in ours and not is_free(port, host):
        raise ServerError(
            f"port {port} is in use",
            remedy=f"Stop what listens there, or set {name} in [{section}] (0: any free one).",
        )


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Return whether a server could listen on the port; connections just closed do not count.

    Raises `ServerError` if it is for root alone, or `host` is no address of this machine.
    """
    family, address = _address(host, port)
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except PermissionError:
            raise ServerError(f"port {port} needs root", remedy="Choose one above 1023.") from None
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise _elsewhere(host) from None
            return False
    return True


def reachable(host: str) -> str:
    """Return the host by which this machine reaches what listens on `host`, as in a URL."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return LOOPBACK if address.version == 4 else "[::1]"
    return host if address.version == 4 else f"[{host}]"


def _address(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        raise _elsewhere(host) from None
    return found[0][0], (str(found[0][4][0]), port)


def _elsewhere(host: str) -> ServerError:
    return ServerError(
        f"{host} is no address of this machine",
        remedy="Set host or observe_host in [gateway]; 0.0.0.0 stands for all it has.",
    )


def _free_port(taken: Container[int], host: str) -> int:
    for _ in range(1000):
        port = secrets.choice(FREE_RANGE)
        if port not in taken and is_free(port, host):
            return port
    raise ServerError(f"no free port from {FREE_RANGE.start} to {FREE_RANGE.stop}")
