from __future__ import annotations

import socket

import pytest

from gateway.config import GatewayConfig
from release.ports import FREE_RANGE, GATEWAY_PORTS, Ports, is_free, reachable
from release.server_config import PORTS, ServerConfig
from torchkeep.errors import ServerError

ALL_FREE = dict.fromkeys(PORTS, 0)
GATEWAY_FREE = dict.fromkeys(GATEWAY_PORTS, 0)


def reserve(gateway: dict[str, object] | None = None, **server: object) -> Ports:
    """Reserve ports: free ones, but for what is given."""
    front = GatewayConfig(**{**GATEWAY_FREE, **(gateway or {})})
    return Ports.reserve(ServerConfig(**{**ALL_FREE, **server}), front)


def test_free_ports_are_distinct_and_free() -> None:
    ports = reserve().numbers()
    assert len(ports) == len(PORTS) + len(GATEWAY_PORTS)
    for port in ports:
        assert port in FREE_RANGE
        with socket.create_server(("127.0.0.1", port)):
            pass


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104
def test_a_port_in_use_is_named_with_its_setting(host: str) -> None:
    with socket.create_server((host, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(
            ServerError, match=rf"port {port} is in use.*set grpc_port in \[server\]"
        ):
            reserve(grpc_port=port)
        with pytest.raises(
            ServerError, match=rf"port {port} is in use.*set http_port in \[gateway\]"
        ):
            reserve({"http_port": port})


def test_ports_of_ours_may_be_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours:
        port = ours.getsockname()[1]
        front = GatewayConfig(**{**GATEWAY_FREE, "http_port": port})
        ports = Ports.reserve(ServerConfig(**ALL_FREE), front, ours={port})
    assert ports.gateway.http_port == port


def test_a_port_that_two_want_is_named_with_both_settings() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    told = rf"port {port} is both \[server\] rest_port and \[gateway\] observe_port"
    with pytest.raises(ServerError, match=told):
        reserve({"observe_port": port}, rest_port=port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_host_that_is_not_of_this_machine_is_named(host: str) -> None:
    with pytest.raises(ServerError, match=f"{host} is no address of this machine"):
        reserve({"host": host, "plain_on_network": True})


def test_what_listens_everywhere_is_reached_on_loopback() -> None:
    assert reachable("0.0.0.0") == "127.0.0.1"  # noqa: S104
    assert reachable("::") == "[::1]"
    assert reachable("::1") == "[::1]"
    assert reachable("localhost") == "localhost"
    assert reachable("10.1.2.3") == "10.1.2.3"
    assert is_free(0, "localhost")


def test_a_connection_just_closed_does_not_hold_its_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # the server closes first, so its side stays in TIME_WAIT
        client.close()
    assert reserve(rest_port=port).rest_port == port
