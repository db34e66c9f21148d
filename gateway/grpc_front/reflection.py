"""Server reflection: which services there are, and their protos. Open to any valid key.

Source: grpc/doc/server-reflection.md; its version v1alpha, which all clients understand.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from grpc_reflection.v1alpha.reflection import SERVICE_NAME, ReflectionServicer
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from gateway.grpc_front.messages import parse
from gateway.grpc_front.visit import Read, Visit, Write
from gateway.plane.data_plane import DataPlane

METHOD: Final = f"{SERVICE_NAME}/ServerReflectionInfo"
LOOK_EVERY_S: Final = 0.2


class Reflection:
    """Answers one question after another, until the caller or the gateway leaves."""

    def __init__(self, plane: DataPlane, services: tuple[str, ...]) -> None:
        self._plane = plane
        servicer = ReflectionServicer((*services, SERVICE_NAME))
        self._answers: Any = servicer.ServerReflectionInfo  # its stub has it return nothing

    async def run(self, _: Visit, read: Read, write: Write) -> None:
        """ServerReflectionInfo. Raises `Refusal` on a message that is none."""
        while (message := await self._next(read)) is not None:
            request = parse(ServerReflectionRequest, message)
            for answer in self._answers(iter([request]), None):
                await write(answer.SerializeToString())

    async def _next(self, read: Read) -> bytes | None:
        """Return the next message; an idle caller does not hold up the end of the gateway."""
        while not self._plane.draining:
            with suppress(TimeoutError):
                return await read(LOOK_EVERY_S)
        return None
