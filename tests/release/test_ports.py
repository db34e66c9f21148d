from __future__ import annotations

import socket
from dataclasses import astuple

import pytest

from release.ports import FREE_RANGE, Ports
from release.server_config import PORTS, ServerConfig
from torchkeep.errors import ServerError

ALL_FREE = dict.fromkeys(PORTS, 0)


def test_free_ports_are_distinct_and_free() -> None:
    ports = astuple(Ports.reserve(ServerConfig(**ALL_FREE)))
    assert len(set(ports)) == len(PORTS)
    for port in ports:
        assert port in FREE_RANGE
        with socket.create_server(("127.0.0.1", port)):
            pass


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104
def test_a_port_in_use_is_named_with_its_setting(host: str) -> None:
    with socket.create_server((host, 0)) as other:
        port = other.getsockname()[1]
        config = ServerConfig(**{**ALL_FREE, "grpc_port": port})
        with pytest.raises(
            ServerError, match=rf"port {port} is in use.*set grpc_port in \[server\]"
        ):
            Ports.reserve(config)


def test_a_connection_just_closed_does_not_hold_its_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # the server closes first, so its side stays in TIME_WAIT
        client.close()
    assert Ports.reserve(ServerConfig(**{**ALL_FREE, "rest_port": port})).rest_port == port
