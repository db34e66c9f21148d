"""Server reflection: which services there are, and their protos. Open to any valid key.

Source: grpc/doc/server-reflection.md; its version v1alpha, which all clients understand.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from grpc_reflection.v1alpha.reflection import SERVICE_NAME, ReflectionServicer
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from gateway.grpc_front.desk import check_length
from gateway.grpc_front.messages import parse
from gateway.grpc_front.visit import SMALL, Read, Visit, Write
from gateway.plane.data_plane import DataPlane
from gateway.refusal import Code, Refusal

METHOD: Final = f"{SERVICE_NAME}/ServerReflectionInfo"
LOOK_EVERY_S: Final = 0.2
MOST_AT_ONCE: Final = 16


class Reflection:
    """Answers one question after another, until the caller or the gateway leaves."""

    def __init__(self, plane: DataPlane, services: tuple[str, ...]) -> None:
        self._plane = plane
        self._open = 0
        servicer = ReflectionServicer((*services, SERVICE_NAME))
        self._answers: Any = servicer.ServerReflectionInfo  # its stub has it return nothing

    async def run(self, _: Visit, read: Read, write: Write) -> None:
        """ServerReflectionInfo. Raises `Refusal` on a message that is none, or among too many."""
        if self._open >= MOST_AT_ONCE:
            raise Refusal(Code.BUSY, f"{MOST_AT_ONCE} callers ask already; try again")
        self._open += 1
        try:
            await self._answer(read, write)
        finally:
            self._open -= 1

    async def _answer(self, read: Read, write: Write) -> None:
        while (message := await self._next(read)) is not None:
            check_length(message, SMALL)
            request = parse(ServerReflectionRequest, message)
            for answer in self._answers(iter([request]), None):
                await write(answer.SerializeToString())

    async def _next(self, read: Read) -> bytes | None:
        """Return the next message; an idle caller does not hold up the end of the gateway."""
        while not self._plane.draining:
            with suppress(TimeoutError):
                return await read(LOOK_EVERY_S)
        return None
