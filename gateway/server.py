"""The gateway as one process: both protocols, telemetry and health on one event loop.

SIGTERM or SIGINT: not ready at once, no new work, everything under way is answered on both
protocols within `drain_s`, then the end.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from gateway.config import GatewayConfig
from gateway.grpc_front.server import GrpcFront
from gateway.http_front.server import HttpFront
from gateway.identity.api_keys import ApiKeys
from gateway.identity.tls import load_tls
from gateway.plane.backend import Backend
from gateway.plane.data_plane import DataPlane
from gateway.telemetry.gateway_telemetry import GatewayTelemetry
from gateway.telemetry.metrics import Gauges
from gateway.telemetry.observe_server import ObserveServer
from gateway.upstream import Upstream
from monitoring.request_log import RequestLog, RequestLogConfig
from torchkeep.paths import Home
from torchkeep.settings import Settings

LAST_S = 1.0
NOTICE_S = 0.5
"""How long not ready is shown before the doors close: a load balancer looks elsewhere meanwhile."""


async def serve(description: Path, settings: Settings, config: GatewayConfig) -> None:
    """Serve until a signal comes.

    Raises `UserError` in one line if a key, a certificate, the log or a port cannot be used.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    upstream = Upstream.read(description)
    async with AsyncExitStack() as rooms:
        telemetry = await rooms.enter_async_context(_telemetry(settings, config, upstream))
        plane = await rooms.enter_async_context(_plane(upstream, config, telemetry))
        observe = ObserveServer(plane, telemetry, config)
        rooms.push_async_callback(observe.stop)
        await _fronts(plane, config, observe, stop)


async def _fronts(
    plane: DataPlane, config: GatewayConfig, observe: ObserveServer, stop: asyncio.Event
) -> None:
    """Open the doors, wait to be told to stop, and close them once everyone is answered."""
    keys, tls = ApiKeys.of(Home.default()), load_tls(config)
    http, rpc = HttpFront(plane, keys, config), GrpcFront(plane, keys, config)
    try:
        ports = (
            await http.start(tls.context if tls else None),
            await rpc.start(tls.credentials if tls else None),
            await observe.start(),
        )
        _calm_collector()
        sys.stdout.write(f"ready {' '.join(map(str, ports))}\n")
        sys.stdout.flush()
        await stop.wait()
        plane.draining = True
        await asyncio.sleep(NOTICE_S)
    finally:
        last_s = config.drain_s + LAST_S  # what the plane refuses at its end is told, too
        await asyncio.gather(plane.drain(config.drain_s), http.drain(last_s), rpc.drain(last_s))


def _calm_collector() -> None:
    """Look for cycles less often: requests leave next to none, and each look costs them time.

    Measured: a tenth to a fifth of the data plane's time for single images.
    """
    gc.collect()
    gc.freeze()  # what the libraries hold lives on
    gc.set_threshold(50_000, 20, 100)


@asynccontextmanager
async def _telemetry(
    settings: Settings, config: GatewayConfig, upstream: Upstream
) -> AsyncIterator[GatewayTelemetry]:
    log_config = settings.section("request_log", RequestLogConfig)
    with RequestLog(log_config) as log:
        telemetry = GatewayTelemetry(log, config, upstream, fsync=log_config.fsync)
        try:
            yield telemetry
        finally:
            await telemetry.close()


@asynccontextmanager
async def _plane(
    upstream: Upstream, config: GatewayConfig, telemetry: GatewayTelemetry
) -> AsyncIterator[DataPlane]:
    backend = Backend(upstream)
    plane = DataPlane(upstream, config, backend, telemetry)
    telemetry.watch(
        Gauges(
            queued_items=lambda: plane.waiting,
            queued_bytes=lambda: plane.admission.bytes,
            calls=lambda: plane.calls,
            items_under_way=lambda: plane.items_under_way,
            ready=plane.ready,
        )
    )
    plane.start()
    try:
        yield plane
    finally:
        await plane.stop()
        await backend.close()
