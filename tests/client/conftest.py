"""Fixtures: both servers, and a client of each protocol in turn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.client.protocol_servers import TOKEN, Servers, serve
from torchkeep.client import Client


@pytest.fixture
def servers() -> Iterator[Servers]:
    with serve() as running:
        yield running


@pytest.fixture(params=["rest", "grpc"])
def url(request: pytest.FixtureRequest, servers: Servers) -> str:
    """The address of one of the servers: a test that uses it runs once for each protocol."""
    address: str = getattr(servers, request.param)
    return address


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, token=TOKEN, timeout=10) as client:
        yield client
