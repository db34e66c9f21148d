"""TorchServe without its Java: the real handler's service behind the same gRPC method.

It answers one call at a time, as a worker does, and can be told to fail, to wait, or to end.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import orjson
from grpc import aio

from gateway.plane.backend import METHOD
from gateway.upstream import ServedVersion, Upstream
from handlers.request import Request
from handlers.service import Service
from tests.handlers.conftest import KEY
from torchkeep import envelope
from torchkeep.client.stubs import inference_pb2 as pb
from torchkeep.schema import Operation

TOKEN = "token-of-the-server"  # noqa: S105


@dataclass
class HandlerServer:
    """Serves `service`; `failures` holds the next calls' gRPC codes, None for one that succeeds."""

    service: Service
    folder: Path
    failures: list[grpc.StatusCode | None] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[int] = field(default_factory=list)  # items of each call, probes left out
    token: str = TOKEN
    port: int = 0

    def __post_init__(self) -> None:
        self.gate.set()
        self._one_at_a_time = asyncio.Lock()
        self._server: Any = None

    async def start(self) -> None:
        self._server = aio.server()
        service, method = METHOD[1:].split("/")
        handler = grpc.unary_unary_rpc_method_handler(
            self._predict,
            request_deserializer=pb.PredictionsRequest.FromString,
            response_serializer=pb.PredictionResponse.SerializeToString,
        )
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {method: handler}),)
        )
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self.tell_token()
        await self._server.start()

    def tell_token(self) -> None:
        content = {"inference": {"key": self.token}}
        (self.folder / "key_file.json").write_bytes(orjson.dumps(content))

    async def stop(self) -> None:
        """End at once: what is under way fails, as when the process is killed."""
        await self._server.stop(None)

    async def _predict(self, request: Any, context: Any) -> Any:
        metadata = dict(context.invocation_metadata())
        if metadata.get("authorization") != f"Bearer {self.token}":
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "Token Authentication failed")
        body = request.input["data"]
        asked = envelope.decode_request(body, KEY, max_items=10_000)
        probe = asked.operation is Operation.PROBE
        if not probe:
            self.calls.append(len(asked.item_index))
        async with self._one_at_a_time:
            await self.gate.wait()
            failure = self.failures.pop(0) if self.failures and not probe else None
            if failure is not None:
                await context.abort(failure, "Worker died.")
            sent = Request(body=body, protocol="grpc", content_type=envelope.CONTENT_TYPE)
            answered = await asyncio.to_thread(self.service.answer, [sent])
        return pb.PredictionResponse(prediction=answered[0].body)

    def upstream(self, served: ServedVersion) -> Upstream:
        """Return the description of this server, its key beside it."""
        keys = self.folder / "keys"
        keys.mkdir(mode=0o700, exist_ok=True)
        key = keys / "envelope.key"
        key.write_bytes(KEY)
        key.chmod(0o600)
        return Upstream(
            grpc_address=f"127.0.0.1:{self.port}",
            token_file=str(self.folder / "key_file.json"),
            envelope_key=str(key),
            models=(served,),
        )
