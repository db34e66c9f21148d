"""The REST skin on a real socket, before a data plane that answers what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import orjson
import uvloop

from gateway.config import GatewayConfig
from gateway.http_front.server import HttpFront
from gateway.outcome import Outcome
from gateway.plane.statistics import Statistics
from gateway.principal import Permission, Principal
from gateway.question import Arrival, Question
from gateway.refusal import Code, Refusal
from gateway.upstream import ServedVersion, Upstream
from tests.gateway.openinference.samples import served_version
from torchkeep.schema import Disclose, ItemStatus, Operation, Verdict

GOOD = "tk_good"
KEYS = {
    GOOD: frozenset({Permission.PREDICT, Permission.EXPLAIN, Permission.OBSERVE}),
    "tk_predict": frozenset({Permission.PREDICT}),
    "tk_explain": frozenset({Permission.EXPLAIN}),
    "tk_observe": frozenset({Permission.OBSERVE}),
    "tk_admin": frozenset({Permission.ADMIN}),
}
MODELS = (served_version(), served_version(version="2.0"), served_version(name="other"))


class Keys:
    """A few keys, each named after what it may."""

    def authenticate(self, token: str | None) -> Principal:
        if token not in KEYS:
            raise Refusal(Code.UNAUTHENTICATED, "send a key as Authorization: Bearer KEY")
        return Principal(name=token, client=f"client-{token}", permissions=KEYS[token])


def answer_to(question: Question) -> Outcome:
    """Every item is a "one"; an explanation points at every pixel alike."""
    count = len(question)
    explain = question.operation is Operation.EXPLAIN
    return Outcome(
        request_id=question.arrival.request_id,
        model=question.model,
        version=question.version or "1.0",
        statuses=[ItemStatus.OK] * count,
        labels=["one"] * count,
        class_index=[1] * count,
        probability=[0.75] * count,
        probabilities=np.tile(np.array([0.125, 0.75, 0.125], dtype=np.float32), (count, 1)),
        disclose=Disclose.VERDICT,
        verdicts=[Verdict.CLEAN] * count,
        attribution_method="integrated_gradients" if explain else "",
        attributions={
            item: np.full((2, 3, 4), item, dtype=np.float32)
            for item in (range(count) if explain else ())
        },
    )


@dataclass(slots=True)
class Record:
    arrival: Arrival
    code: Code


@dataclass
class Plane:
    """What the skin asks of a data plane. It keeps the questions and the records."""

    answer: Callable[[Question], Any] = answer_to
    models: tuple[ServedVersion, ...] = MODELS
    is_ready: bool = True
    questions: list[Question] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    full: bool = False  # no record can be written

    def __post_init__(self) -> None:
        self.upstream = Upstream(
            http_address="127.0.0.1:1", token_file="", envelope_key="", models=self.models
        )

    def find(self, model: str, version: str = "") -> ServedVersion:
        for served in self.versions(model):
            if version in ("", served.version):
                return served
        raise Refusal(Code.NOT_FOUND, f"model {model!r} has no version {version!r}")

    def versions(self, model: str) -> list[ServedVersion]:
        if found := [served for served in self.models if served.name == model]:
            return found
        raise Refusal(Code.NOT_FOUND, f"no model {model[:64]!r} is served here")

    def ready(self) -> bool:
        return self.is_ready

    def version_ready(self, served: ServedVersion) -> bool:
        return self.is_ready and served.version == "1.0"

    def statistics(self, served: ServedVersion) -> Statistics:
        return Statistics(request_count=3, success_count=3)

    async def infer(self, question: Question) -> Outcome:
        self.questions.append(question)
        self.find(question.model, question.version)
        try:
            outcome = self.answer(question)
            if isinstance(outcome, Awaitable):
                outcome = await outcome
        except asyncio.CancelledError:
            self.records.append(Record(question.arrival, Code.CANCELLED))
            raise
        except Refusal as refusal:
            self.records.append(Record(question.arrival, refusal.code))
            raise
        self.records.append(Record(question.arrival, outcome.code))
        return cast(Outcome, outcome)

    async def refuse(self, arrival: Arrival, refusal: Refusal) -> Refusal:
        self.records.append(Record(arrival, refusal.code))
        return refusal

    async def done(self, arrival: Arrival) -> None:
        if self.full:
            raise Refusal(Code.UNAVAILABLE, "the request cannot be logged", retry_after_s=0.2)
        self.records.append(Record(arrival, Code.OK))

    @property
    def codes(self) -> list[Code]:
        return [record.code for record in self.records]


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def error(self) -> str:
        error = self.json["error"]
        assert isinstance(error, str)
        assert error
        assert "\n" not in error
        return error


@dataclass
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self, *, head_only: bool = False) -> Reply:
        async with asyncio.timeout(10):
            head = await self.reader.readuntil(b"\r\n\r\n")
            status_line, *lines = head.decode("latin-1").strip().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines)
            size = 0 if head_only else int(headers.get("content-length", 0))
            return Reply(int(status_line.split()[1]), headers, await self.reader.readexactly(size))

    async def closed(self, seconds: float = 10) -> bytes:
        """Return what still comes before the server closes the connection."""
        async with asyncio.timeout(seconds):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    def close(self) -> None:
        self.writer.close()


@dataclass
class Site:
    plane: Plane
    front: HttpFront
    port: int
    _open: list[Connection] = field(default_factory=list)

    async def connect(self, **options: Any) -> Connection:
        connection = Connection(*await asyncio.open_connection("127.0.0.1", self.port, **options))
        self._open.append(connection)
        return connection

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        key: str | None = GOOD,
    ) -> Reply:
        connection = await self.connect()
        await connection.send(request(method, path, body, headers, key))
        reply = await connection.reply(head_only=method == "HEAD")
        connection.close()
        return reply

    async def settle(self, condition: Callable[[], bool], seconds: float = 5) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.005)

    async def close(self) -> None:
        await self.front.drain(0.2)
        for connection in self._open:
            connection.close()


def request(
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    key: str | None = GOOD,
) -> bytes:
    """Return a whole request; a header given as "" is left out."""
    told = {"host": "x", "content-length": str(len(body))}
    if key is not None:
        told["authorization"] = f"Bearer {key}"
    told |= headers or {}
    lines = [f"{name}: {value}" for name, value in told.items() if value != ""]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode("latin-1") + body


@asynccontextmanager
async def site(plane: Plane | None = None, **settings: Any) -> AsyncIterator[Site]:
    plane = plane or Plane()
    config = GatewayConfig(**({"http_port": 0} | settings))
    front = HttpFront(cast(Any, plane), cast(Any, Keys()), config)
    opened = Site(plane, front, await front.start())
    try:
        yield opened
    finally:
        await opened.close()


def run(test: Coroutine[Any, Any, Any]) -> Any:
    """Run a test on the loop that the gateway runs on."""
    return uvloop.run(test)


def infer_body(count: int = 1, **changes: Any) -> bytes:
    tensor = {
        "name": "image",
        "datatype": "UINT8",
        "shape": [count, 2, 3, 4],
        "data": list(range(24)) * count,
    }
    return orjson.dumps({"inputs": [tensor], **changes})
