"""A whole gateway over gRPC, but for Java: real keys, data plane and handler behind a real port.

It runs in a thread of its own, so that tests ask it as any client does.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc

from gateway.config import GatewayConfig
from gateway.finished import Finished
from gateway.grpc_front.server import GrpcFront
from gateway.identity.api_key_file import ApiKeyFile
from gateway.identity.api_keys import ApiKeys
from gateway.identity.tls import load_tls
from gateway.plane.backend import Backend
from gateway.plane.data_plane import DataPlane
from gateway.principal import Permission
from handlers.config import LimitsConfig, ScreeningConfig
from handlers.served_model import ServedModel
from handlers.service import Service
from monitoring.request_log import RequestLog, RequestLogConfig
from robustness.screened_model import load_screened_model
from tests.gateway.plane.handler_server import HandlerServer
from tests.gateway.plane.questions import DIGITS, Told
from tests.handlers.conftest import KEY
from torchkeep.artifact import ModelArtifact
from torchkeep.client.stubs.open_inference_pb2_grpc import GRPCInferenceServiceStub
from torchkeep.paths import Home

T = TypeVar("T")
PATIENCE_S = 20.0
KEYS = {
    "admin": [Permission.ADMIN],
    "predictor": [Permission.PREDICT],
    "explainer": [Permission.EXPLAIN],
    "observer": [Permission.OBSERVE],
}


class Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    def call(self, function: Callable[[], T]) -> T:
        async def work() -> T:
            return function()

        return self.run(work())

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Front:
    """The gateway under test and everything that a test may want to look at or break."""

    def __init__(self, loop: Loop, server: HandlerServer, config: GatewayConfig, home: Home):
        file = ApiKeyFile.of(home)
        self.tokens = {name: file.add(name, may).text for name, may in KEYS.items()}
        self.loop = loop
        self.server = server
        self.told = Told()
        upstream = server.upstream(DIGITS)
        self.backend = Backend(upstream)
        self.plane = DataPlane(upstream, config, self.backend, self.told)
        self.keys = ApiKeys.of(home)
        self.front = GrpcFront(self.plane, self.keys, config)
        self.port = 0

    def channel(self, *options: tuple[str, Any]) -> grpc.Channel:
        everything = (("grpc.max_receive_message_length", -1), *options)
        return grpc.insecure_channel(f"127.0.0.1:{self.port}", everything)

    @contextmanager
    def stub(self) -> Iterator[GRPCInferenceServiceStub]:
        with self.channel() as channel:
            yield GRPCInferenceServiceStub(channel)

    def metadata(self, name: str = "admin", **others: str) -> tuple[tuple[str, str], ...]:
        """The metadata of a request by that key; `x_request_id` becomes `x-request-id`."""
        named = ((key.replace("_", "-"), value) for key, value in others.items())
        return (("authorization", f"Bearer {self.tokens[name]}"), *named)

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not self.loop.call(condition):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def records(self) -> list[Finished]:
        """Return the records so far, in their order."""
        return self.loop.call(lambda: list(self.told.requests))

    def last(self) -> Finished:
        return self.records()[-1]


@contextmanager
def front(
    artifact: ModelArtifact,
    folder: Path,
    *,
    screening: ScreeningConfig | None = None,
    **settings: Any,
) -> Iterator[Front]:
    """Serve a model; the settings are those of `[gateway]`."""
    loop = Loop()
    model = load_screened_model(artifact, "cpu")
    config = RequestLogConfig()
    log = RequestLog(config, directory=folder / "log")
    service = Service(
        model,
        ServedModel.of(artifact, model, "0.1.0"),
        log,
        limits=LimitsConfig(),
        screening=screening or ScreeningConfig(),
        log_config=config,
        envelope_key=KEY,
    )
    server = HandlerServer(service, folder)
    undo: list[Callable[[], Awaitable[Any]]] = []

    async def start() -> Front:
        await server.start()
        undo.append(server.stop)
        gateway = GatewayConfig(grpc_port=0, **settings)
        made = Front(loop, server, gateway, Home(folder / "home"))
        undo.extend((made.backend.close, made.plane.stop, lambda: made.front.drain(0.0)))
        made.plane.start()
        tls = load_tls(gateway)
        made.port = await made.front.start(tls.credentials if tls else None)
        return made

    async def stop() -> None:
        server.gate.set()
        for end in reversed(undo):
            await end()

    try:
        made = loop.run(start())
        made.until(made.plane.ready)
        yield made
    finally:
        loop.run(stop())
        loop.close()
        log.close()
