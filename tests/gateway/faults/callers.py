"""Callers of both protocols, who write down what they send and get."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Any

import grpc
import httpx
import numpy as np
import orjson
from grpc import aio

from tests.gateway.faults.ledger import LEFT, Ledger, Sent
from tests.gateway.grpc_front.requests import outputs, raw
from torchkeep.client.stubs.open_inference_pb2_grpc import GRPCInferenceServiceStub

JSON_LENGTH = "inference-header-content-length"
PATIENCE_S = 60.0
OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))


def infer_body(images: Any) -> tuple[bytes, int]:
    """Return images as binary tensor data, and the length of the JSON before it."""
    tensor = {
        "name": "image",
        "datatype": "UINT8",
        "shape": list(images.shape),
        "parameters": {"binary_data_size": images.nbytes},
    }
    head = orjson.dumps({"inputs": [tensor]})
    return head + images.tobytes(), len(head)


@cache
def _trust() -> ssl.SSLContext:
    """Made once: it costs more than all that a caller asks."""
    return ssl.create_default_context()


def note_outputs(sent: Sent, tensors: Mapping[str, Any]) -> None:
    """Note what was answered about each item; probabilities are there if one was predicted."""
    sent.items, sent.labels = tensors["item_status"], tensors["label"]
    if "probabilities" in tensors:
        sent.probabilities = np.array(tensors["probabilities"]).reshape(sent.count, -1)


def note_reply(sent: Sent, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Note the answer to a request that was sent over HTTP."""
    sent.status = status
    assert headers["x-request-id"] == sent.request_id
    told = orjson.loads(body)
    if status == 200:
        tensors = {tensor["name"]: tensor for tensor in told["outputs"]}
        note_outputs(sent, {name: tensor["data"] for name, tensor in tensors.items()})
        return
    assert told["error"]
    if "retry-after" in headers:
        sent.retry_after = float(headers["retry-after"])


class RestCaller:
    """One caller with connections of its own, over HTTP."""

    protocol = "rest"

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._client = httpx.AsyncClient(
            base_url=ledger.served.running.rest, timeout=PATIENCE_S, verify=_trust()
        )
        self._headers = {"authorization": f"Bearer {ledger.served.key}"}
        self._url = f"/v2/models/{ledger.served.running.model}/infer"

    async def ask(self, sent: Sent) -> None:
        """Send a request and note its end. Raises `httpx.TransportError` if there is none."""
        body, length = infer_body(self._ledger.images_of(sent))
        headers = self._headers | {"x-request-id": sent.request_id, JSON_LENGTH: str(length)}
        try:
            reply = await self._client.post(self._url, content=body, headers=headers)
        except httpx.ConnectError:
            self._ledger.strike(sent)
            raise
        note_reply(sent, reply.status_code, reply.headers, reply.content)

    async def close(self) -> None:
        await self._client.aclose()


class GrpcCaller:
    """One caller with a connection of its own, over gRPC."""

    protocol = "grpc"

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._channel = aio.insecure_channel(ledger.served.grpc_target, options=OPTIONS)
        self._stub: Any = GRPCInferenceServiceStub(self._channel)

    async def ask(self, sent: Sent) -> None:
        """Send a request and note its end. Raises `ConnectionError` if nobody listens."""
        request = raw(self._ledger.images_of(sent))
        call = self._stub.ModelInfer(
            request,
            timeout=PATIENCE_S,
            metadata=(
                ("authorization", f"Bearer {self._ledger.served.key}"),
                ("x-request-id", sent.request_id),
            ),
        )
        try:
            answer = await call
        except aio.AioRpcError as error:
            self._refused(sent, error)
            return
        sent.status = "OK"
        note_outputs(sent, outputs(answer))

    def _refused(self, sent: Sent, error: aio.AioRpcError) -> None:
        trailers = dict(error.trailing_metadata() or ())
        if error.code() is grpc.StatusCode.UNAVAILABLE and "x-request-id" not in trailers:
            self._ledger.strike(sent)  # the library itself says so: it was not taken
            raise ConnectionError(error.details())
        sent.status = error.code().name
        if "retry-after" in trailers:
            sent.retry_after = float(str(trailers["retry-after"]))

    async def close(self) -> None:
        await self._channel.close(None)


Caller = RestCaller | GrpcCaller


def callers(ledger: Ledger, count: int, *, share_of_grpc: float = 0.5) -> list[Caller]:
    """Return so many callers, that share of them with gRPC."""
    by_grpc = int(count * share_of_grpc)
    return [GrpcCaller(ledger) for _ in range(by_grpc)] + [
        RestCaller(ledger) for _ in range(count - by_grpc)
    ]


class RawCaller:
    """A socket and the bytes of one HTTP request, whose caller has left unless it is answered."""

    def __init__(self, ledger: Ledger, place: int = 0) -> None:
        served = ledger.served
        self._port = served.rest_port
        self.sent = ledger.open("rest", place, 1)
        self.sent.status = LEFT
        self.body, length = infer_body(ledger.images_of(self.sent))
        lines = [
            f"POST /v2/models/{served.running.model}/infer HTTP/1.1",
            "host: gateway",
            f"authorization: Bearer {served.key}",
            f"x-request-id: {self.sent.request_id}",
            f"{JSON_LENGTH}: {length}",
            f"content-length: {len(self.body)}",
        ]
        self.head = ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def send(self, data: bytes) -> None:
        """Connect and send that."""
        self._reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        self.writer.write(data)
        await self.writer.drain()

    async def drip(self, data: bytes, every_s: float) -> None:
        """Send a byte now and then, until the server has had enough."""
        try:
            for place in range(len(data)):
                self.writer.write(data[place : place + 1])
                await self.writer.drain()
                await asyncio.sleep(every_s)
                if self._reader.at_eof():
                    return
        except ConnectionError:
            return

    async def reply(self) -> bytes:
        """Return what comes until the server closes the connection."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self._reader.read()
            except ConnectionError:
                return b""
            finally:
                self.writer.close()

    async def note_reply(self) -> None:
        """Note the answer, if there comes one."""
        if reply := await self.reply():
            head, _, body = reply.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines)
            note_reply(self.sent, int(first.split()[1]), headers, body)


class Crowd:
    """Callers that ask one thing after another, each at its own pace, until told to stop."""

    def __init__(self, ledger: Ledger, count: int, *, seed: int, pause_s: float = 0.0) -> None:
        self._ledger = ledger
        self._random = random.Random(seed)
        self._pause_s = pause_s
        self._callers = callers(ledger, count)
        self._stop = False
        self.turned_away = 0  # nobody listened

    async def __aenter__(self) -> Crowd:
        self._tasks = [asyncio.create_task(self._keep_asking(one)) for one in self._callers]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop = True
        try:
            await asyncio.gather(*self._tasks)
        finally:
            await asyncio.gather(*(caller.close() for caller in self._callers))

    @property
    def answered(self) -> int:
        return sum(sent.answered for sent in self._ledger.sent)

    async def until_answered(self, more: int, seconds: float = 60.0) -> None:
        """Wait until so many more requests were answered."""
        wanted = self.answered + more
        await until(lambda: self.answered >= wanted, seconds)

    async def _keep_asking(self, caller: Caller) -> None:
        while not self._stop:
            count = self._random.choice([1, 1, 1, 2, 7])
            place = self._random.randrange(len(self._ledger.images))
            sent = self._ledger.open(caller.protocol, place, count)
            try:
                await caller.ask(sent)
            except (httpx.ConnectError, ConnectionError):
                self.turned_away += 1
            await asyncio.sleep(self._pause_s if sent.answered else 0.2)


async def until(
    condition: Callable[[], bool] | Callable[[], Awaitable[bool]], seconds: float = 30.0
) -> None:
    """Wait for a condition; `TimeoutError` if it does not come true in time."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if await found if isinstance(found, Awaitable) else found:
                return
            await asyncio.sleep(0.02)
