from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as text_metrics

from gateway.config import GatewayConfig
from gateway.plane.data_plane import DataPlane
from gateway.telemetry import observe_server
from gateway.telemetry.gateway_telemetry import GatewayTelemetry
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.observe_app import ObserveApp
from gateway.telemetry.observe_server import ObserveServer, why_not_ready
from gateway.upstream import ServedVersion
from tests.gateway.plane.questions import DIGITS
from tests.gateway.telemetry.endings import answered
from torchkeep.errors import ServerError

PATIENCE_S = 30.0


@dataclass
class Plane:
    """What the port asks of a data plane."""

    draining: bool = False
    answering: bool = True
    models: tuple[ServedVersion, ...] = (DIGITS,)
    metrics: Metrics = field(default_factory=lambda: Metrics([DIGITS]))

    @property
    def upstream(self) -> Plane:
        return self

    def ready(self) -> bool:
        return self.answering and not self.draining

    def version_ready(self, served: ServedVersion) -> bool:
        return self.answering


Use = Callable[[httpx.AsyncClient, Plane], Awaitable[None]]


def observed(use: Use, plane: Plane | None = None) -> None:
    """Run the server on a free port, and use it as a client does."""

    async def run(plane: Plane) -> None:
        server = ObserveServer(
            cast(DataPlane, plane), cast(GatewayTelemetry, plane), GatewayConfig(observe_port=0)
        )
        port = await server.start()
        try:
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE_S
            ) as client:
                await asyncio.wait_for(use(client, plane), PATIENCE_S)
        finally:
            await server.stop()

    asyncio.run(run(plane or Plane()))


def test_it_lives_and_is_ready() -> None:
    async def use(client: httpx.AsyncClient, plane: Plane) -> None:
        for path, text in (("/livez", "alive\n"), ("/readyz", "ready\n")):
            answer = await client.get(path)
            assert (answer.status_code, answer.text) == (200, text)
            assert answer.headers["cache-control"] == "no-store"
            assert "server" not in answer.headers

    observed(use)


def test_not_ready_says_why_and_lives_on() -> None:
    async def use(client: httpx.AsyncClient, plane: Plane) -> None:
        plane.answering = False
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert answer.text == "no worker has answered lately for digits 1.0\n"
        plane.draining = True
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "the gateway is shutting down\n")
        assert (await client.get("/livez")).status_code == 200
        plane.answering, plane.draining = True, False
        assert (await client.get("/readyz")).status_code == 200

    observed(use)


def test_every_silent_version_is_named() -> None:
    second = replace(DIGITS, version="2.0")
    plane = Plane(answering=False, models=(DIGITS, second))
    reason = why_not_ready(cast(DataPlane, plane))
    assert reason == "no worker has answered lately for digits 1.0, digits 2.0"


def test_metrics_are_text_or_open_metrics() -> None:
    async def use(client: httpx.AsyncClient, plane: Plane) -> None:
        plane.metrics.count(answered())
        answer = await client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=")
        names = {family.name for family in text_metrics(answer.text)}
        assert {"torchkeep_requests", "torchkeep_queue_seconds"} <= names
        prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.1"
        answer = await client.get("/metrics", headers={"accept": prometheus})
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        told = {family.name for family in open_metrics(answer.text)}
        assert told == {name.removesuffix("_info") for name in names}

    observed(use)


def test_a_reading_that_takes_long_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow(accept: str = "") -> tuple[bytes, str]:
        asked.set()
        assert go_on.wait(PATIENCE_S)
        return b"read\n", "text/plain"

    async def use(client: httpx.AsyncClient, plane: Plane) -> None:
        monkeypatch.setattr(plane.metrics, "exposition", slow)
        reading = asyncio.create_task(client.get("/metrics"))
        while not asked.is_set():
            await asyncio.sleep(0.001)
        assert (await client.get("/livez")).status_code == 200
        assert not reading.done()
        go_on.set()
        assert (await reading).text == "read\n"

    observed(use)


@pytest.mark.parametrize("path", ["/", "/metrics/", "/v2", "/livez/x", "//livez", "/..;/metrics"])
def test_there_is_nothing_else(path: str) -> None:
    async def use(client: httpx.AsyncClient, plane: Plane) -> None:
        answer = await client.get(path)
        assert answer.status_code == 404
        assert answer.text.count("\n") == 1

    observed(use)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_nothing_can_be_changed(method: str) -> None:
    async def use(client: httpx.AsyncClient, plane: Plane) -> None:
        for path in ("/livez", "/readyz", "/metrics"):
            answer = await client.request(method, path)
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")

    observed(use)


def test_head_has_the_headers_alone() -> None:
    async def use(client: httpx.AsyncClient, plane: Plane) -> None:
        answer = await client.head("/livez")
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-length"] == "6"
        assert (await client.get("/livez")).text == "alive\n"  # on the same connection

    observed(use)


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
def test_only_http_is_served(kind: str) -> None:
    async def never(*arguments: Any) -> Any:
        raise AssertionError("nothing is received or sent")

    app = ObserveApp(Metrics([DIGITS]), str)
    with pytest.raises(ValueError, match="only HTTP"):
        asyncio.run(app({"type": kind}, never, never))


def test_a_port_in_use_is_told_by_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = GatewayConfig(observe_port=port)
        plane = Plane()
        server = ObserveServer(cast(DataPlane, plane), cast(GatewayTelemetry, plane), config)
        with pytest.raises(ServerError, match=rf"observe_port {port} on 127.0.0.1 .*in use"):
            asyncio.run(server.start())
        asyncio.run(server.stop())


@pytest.mark.parametrize("sent", [b"", b"GET /livez HTTP/1.1\r\nhost: x\r\nx: "])
def test_who_says_nothing_is_sent_away(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(observe_server, "LIFE_S", 0.1)

    async def use(client: httpx.AsyncClient, plane: Plane) -> None:
        url = client.base_url
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(sent)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()

    observed(use)


def test_too_many_connections_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(client: httpx.AsyncClient, plane: Plane) -> None:
        url = client.base_url
        held = [await asyncio.open_connection(url.host, url.port) for _ in range(70)]
        answer = await client.get("/livez")
        assert answer.status_code == 503
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        await client.aclose()

    observed(use)
