"""The gRPC server of the gateway: `grpc.aio`, which carries what `Desk` attends to.

Messages come as bytes and are parsed by the routes, so that bytes that are no message are refused
like any other bad input.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import grpc
import grpc.aio

from gateway.config import MIB, GatewayConfig
from gateway.grpc_front.desk import Desk
from gateway.grpc_front.not_offered import UNKNOWN, UNKNOWN_METHOD
from gateway.grpc_front.refusals import Trailers, message_of, retry_trailers
from gateway.grpc_front.routes import routes_of
from gateway.grpc_front.visit import REQUEST_ID, Read, Route, StreamRoute, Visit
from gateway.identity.api_keys import ApiKeys
from gateway.plane.data_plane import DataPlane
from gateway.refusal import Code, Refusal
from torchkeep.errors import ServerError

MOST_STREAMS: Final = 128
"""Calls that may be open on one connection."""
LONGEST_METADATA: Final = 16_384
LONGEST_CONNECTION_S: Final = 600.0
"""After which a caller is told to connect anew. `grpc.aio` cannot end a single call whose answer is
not taken; such calls end with their connection."""
AGAIN_S: Final = 0.2
"""Before another attempt to listen on a port that was ours."""

_logger = logging.getLogger(__name__)
_EOF: Any = vars(grpc.aio)["EOF"]  # which the stubs of grpc lack

Context = Any  # grpc.aio.ServicerContext of bytes


class GrpcFront:
    """The gRPC skin of a data plane."""

    def __init__(self, plane: DataPlane, keys: ApiKeys, config: GatewayConfig) -> None:
        self._config = config
        desk = Desk(plane, keys)
        self._handlers = _Handlers(desk, routes_of(plane, desk))
        self._server: grpc.aio.Server | None = None
        self._watch: asyncio.Task[None] | None = None
        self._leaving = False

    async def start(self, credentials: grpc.ServerCredentials | None = None) -> int:
        """Listen, with TLS if there are credentials; return the port. Raises `ServerError`."""
        port = await self._listen(self._config.grpc_port, credentials)
        self._watch = asyncio.create_task(self._listen_again(port, credentials))
        return port

    async def drain(self, grace_s: float) -> None:
        """Take no new calls, wait for those under way, and end; cut them off after `grace_s`."""
        self._leaving = True
        if self._server is not None:
            await self._server.stop(grace_s)
            self._server = None
        if self._watch is not None:
            await self._watch
            self._watch = None

    async def _listen(self, port: int, credentials: grpc.ServerCredentials | None) -> int:
        server = grpc.aio.server(options=_options(self._config))
        server.add_generic_rpc_handlers((self._handlers,))
        address = _address(self._config.host, port)
        try:
            if credentials is None:
                bound = server.add_insecure_port(address)
            else:
                bound = server.add_secure_port(address, credentials)
        except RuntimeError:
            raise ServerError(
                f"[gateway] grpc_port {self._config.grpc_port} on {self._config.host} "
                "cannot be used",
                remedy="Stop what uses it, or set another one (0 picks a free one).",
            ) from None
        await server.start()
        self._server = server
        return bound

    async def _listen_again(self, port: int, credentials: grpc.ServerCredentials | None) -> None:
        """Put another server in the place of one that has ended by itself, until there is a drain.

        `grpc.aio` ends for good at a path that is no UTF-8, which anybody may send.
        """
        while self._server is not None:
            try:
                await self._server.wait_for_termination()
            except Exception as error:
                _logger.error("the gRPC server ended and is started again: %s", error)
            if self._leaving:
                return
            try:
                await self._listen(port, credentials)
            except ServerError as error:
                _logger.error("%s", error)
                await asyncio.sleep(AGAIN_S)
            if self._leaving:
                await self._server.stop(0)


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Finds the handler of a method; one that nobody knows gets a handler that says so."""

    def __init__(self, desk: Desk, routes: dict[str, Route | StreamRoute]) -> None:
        self._desk = desk
        self._handlers = {path: self._handler(route) for path, route in routes.items()}
        self._unknown = grpc.stream_stream_rpc_method_handler(self._refuse)

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        return self._handlers.get(details.method, self._unknown)

    def _handler(self, route: Route | StreamRoute) -> Any:
        # All take a stream: the caller is known before its message is read.
        if isinstance(route, StreamRoute):
            return grpc.stream_stream_rpc_method_handler(self._streaming(route))
        return grpc.stream_unary_rpc_method_handler(self._answering(route))

    def _answering(self, route: Route) -> Any:
        async def handle(_: Any, context: Context) -> bytes:
            visit = _visit(context, route.method)
            try:
                answer = await self._desk.attend(route, visit, _only_message(context))
            except Refusal as refusal:
                await _abort(context, visit, refusal.bare())
            context.set_trailing_metadata(_trailers(visit))
            return answer

        return handle

    def _streaming(self, route: StreamRoute) -> Any:
        async def handle(_: Any, context: Context) -> None:
            visit = _visit(context, route.method)
            try:
                await self._desk.attend_stream(route, visit, _reader(context), context.write)
            except Refusal as refusal:
                await _abort(context, visit, refusal.bare())
            context.set_trailing_metadata(_trailers(visit))

        return handle

    async def _refuse(self, _: Any, context: Context) -> None:
        visit = _visit(context, UNKNOWN)
        refusal = Refusal(Code.UNIMPLEMENTED, UNKNOWN_METHOD)
        await _abort(context, visit, await self._desk.refused(visit, refusal))


def _visit(context: Context, method: str) -> Visit:
    return Visit.begin(method, dict(context.invocation_metadata()), context.time_remaining())


def _only_message(context: Context) -> Read:
    """Return what reads a message once; one that comes too late is lost, and so is its call."""

    async def read(timeout_s: float | None) -> bytes | None:
        async with asyncio.timeout(timeout_s):
            message = await context.read()
        return None if message is _EOF else message

    return read


def _reader(context: Context) -> Read:
    """Return what reads the caller's messages; a read that came too late is gone on with."""
    reading: asyncio.Task[Any] | None = None

    async def read(timeout_s: float | None) -> bytes | None:
        nonlocal reading
        if reading is None:
            reading = asyncio.ensure_future(context.read())
        try:
            done, _ = await asyncio.wait({reading}, timeout=timeout_s)
        except asyncio.CancelledError:
            reading.cancel()
            raise
        if not done:
            raise TimeoutError
        message, reading = reading.result(), None
        return None if message is _EOF else message

    return read


def _trailers(visit: Visit) -> Trailers:
    return ((REQUEST_ID, visit.arrival.request_id),)


async def _abort(context: Context, visit: Visit, refusal: Refusal) -> None:
    trailers = (*_trailers(visit), *retry_trailers(refusal))
    await context.abort(refusal.code.grpc, message_of(refusal), trailers)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def _options(config: GatewayConfig) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", config.max_body_mib * MIB),
        ("grpc.max_send_message_length", -1),  # as long as what may be asked for makes it
        ("grpc.max_metadata_size", LONGEST_METADATA),
        ("grpc.max_concurrent_streams", MOST_STREAMS),
        # On, it resets calls that a caller made before it had learnt the limit, or while calls end.
        ("grpc.http.overload_protection", 0),
        ("grpc.max_allowed_incoming_connections", config.max_connections),
        ("grpc.so_reuseport", 0),  # a second server on the port is an error, not a partner
        ("grpc.server_handshake_timeout_ms", int(config.header_timeout_s * 1_000)),
        ("grpc.keepalive_time_ms", int(config.keep_alive_s * 1_000)),
        ("grpc.keepalive_timeout_ms", int(config.send_timeout_s * 1_000)),
        ("grpc.max_connection_age_ms", int(LONGEST_CONNECTION_S * 1_000)),
        ("grpc.max_connection_age_grace_ms", int(_longest_call_s(config) * 1_000)),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 2),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


def _longest_call_s(config: GatewayConfig) -> float:
    return config.body_timeout_s + config.request_timeout_s + config.send_timeout_s
