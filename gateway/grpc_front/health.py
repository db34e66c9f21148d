"""The standard health service, `grpc.health.v1.Health`: open to all, and nothing is recorded.

It knows "" (the whole server), the service of the Open Inference Protocol, and each model by name.
Source: grpc/doc/health-checking.md.
"""

from __future__ import annotations

import asyncio
from typing import Final

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from gateway.grpc_front.desk import check_length
from gateway.grpc_front.looks import LOOK_EVERY_S, Looks
from gateway.grpc_front.messages import parse
from gateway.grpc_front.reads import OpenReads
from gateway.grpc_front.visit import Read, Visit, Write
from gateway.plane.data_plane import LEAVING, DataPlane
from gateway.refusal import Code, Refusal

LONGEST_QUESTION: Final = 4_096  # bytes
SERVING: Final[int] = HealthCheckResponse.SERVING
NOT_SERVING: Final[int] = HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN: Final[int] = HealthCheckResponse.SERVICE_UNKNOWN


class Health:
    """Says what the data plane says at that moment."""

    def __init__(self, plane: DataPlane, reads: OpenReads, services: tuple[str, ...]) -> None:
        self._plane = plane
        self._reads = reads
        self._looks = Looks(self._all)
        self._services = frozenset(("", *services))

    async def check(self, _: Visit, message: bytes) -> bytes:
        """Check. Raises `Refusal` NOT_FOUND for a service that nobody knows."""
        service = parse(HealthCheckRequest, message).service
        status = self._status(service)
        if status == SERVICE_UNKNOWN:
            known = ", ".join(repr(name) for name in sorted(self._services))
            raise Refusal(Code.NOT_FOUND, f"there is no service {service[:64]!r}; ask for {known}")
        return _encoded(status)

    async def watch(self, _: Visit, read: Read, write: Write) -> None:
        """Watch: the status now and whenever it changes, until the caller or the gateway leaves.

        Raises `Refusal` BUSY if as many watch as may.
        """
        if self._plane.draining:
            raise Refusal(Code.UNAVAILABLE, LEAVING)
        with self._looks.watching():
            message = await self._reads.first(read) or b""
            check_length(message, LONGEST_QUESTION)
            await self._tell(parse(HealthCheckRequest, message).service, write)

    async def _tell(self, service: str, write: Write) -> None:
        last: int | None = None
        while True:
            status = self._status(service)
            if status != last:
                await write(_encoded(status))
                last = status
            elif self._plane.draining:  # a turn later: some clients drop what comes with an end
                raise Refusal(Code.UNAVAILABLE, LEAVING)
            if self._plane.draining:
                await asyncio.sleep(LOOK_EVERY_S)
            else:
                await self._looks.change()

    def _all(self) -> tuple[bool, ...]:
        """Return all that a status is made of."""
        plane = self._plane
        return (plane.draining, *map(plane.version_ready, plane.upstream.models))

    def _status(self, service: str) -> int:
        if service in self._services:
            return SERVING if self._plane.ready() else NOT_SERVING
        try:
            served = self._plane.find(service)
        except Refusal:
            return SERVICE_UNKNOWN
        ready = self._plane.version_ready(served) and not self._plane.draining
        return SERVING if ready else NOT_SERVING


def _encoded(status: int) -> bytes:
    answer: bytes = HealthCheckResponse(status=status).SerializeToString()
    return answer
