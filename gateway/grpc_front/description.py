"""What the server and its models say of themselves, and the health that needs no key."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from gateway.grpc_front.desk import Desk
from gateway.grpc_front.messages import parse
from gateway.grpc_front.visit import Visit
from gateway.openinference import metadata
from gateway.plane.data_plane import DataPlane
from gateway.principal import Permission
from gateway.upstream import ServedVersion
from torchkeep.client.stubs import open_inference_pb2 as pb


class Description:
    """Answers the methods that ask nothing of a model."""

    def __init__(self, plane: DataPlane, desk: Desk) -> None:
        self._plane = plane
        self._desk = desk

    async def live(self, _: Visit, __: bytes) -> bytes:
        """ServerLive: whoever reads the answer knows."""
        return pb.ServerLiveResponse(live=True).SerializeToString()

    async def ready(self, _: Visit, __: bytes) -> bytes:
        """ServerReady."""
        return pb.ServerReadyResponse(ready=self._plane.ready()).SerializeToString()

    async def model_ready(self, visit: Visit, message: bytes) -> bytes:
        """ModelReady."""
        served = self._asked(visit, parse(pb.ModelReadyRequest, message))
        ready = self._plane.version_ready(served)
        return await self._done(visit, pb.ModelReadyResponse(ready=ready))

    async def server_metadata(self, visit: Visit, message: bytes) -> bytes:
        """ServerMetadata."""
        parse(pb.ServerMetadataRequest, message)
        answer = ParseDict(metadata.server_metadata(), pb.ServerMetadataResponse())
        return await self._done(visit, answer)

    async def model_metadata(self, visit: Visit, message: bytes) -> bytes:
        """ModelMetadata."""
        served = self._asked(visit, parse(pb.ModelMetadataRequest, message))
        told = metadata.model_metadata(served, self._plane.versions(served.name))
        properties = {name: _property(value) for name, value in told.pop("parameters").items()}
        answer = ParseDict({**told, "properties": properties}, pb.ModelMetadataResponse())
        return await self._done(visit, answer)

    async def model_config(self, visit: Visit, message: bytes) -> bytes:
        """ModelConfig."""
        visit.require(Permission.OBSERVE)
        served = self._asked(visit, parse(pb.ModelConfigRequest, message))
        told = {"config": metadata.model_config(served)}
        return await self._done(visit, ParseDict(told, pb.ModelConfigResponse()))

    async def statistics(self, visit: Visit, message: bytes) -> bytes:
        """ModelStatistics, of one version or of all that the names leave open."""
        visit.require(Permission.OBSERVE)
        request = parse(pb.ModelStatisticsRequest, message)
        visit.arrival.model, visit.arrival.version = request.name, request.version
        stats = [
            metadata.model_statistics(served, self._plane.statistics(served))
            for served in self._named(request.name, request.version)
        ]
        answer = ParseDict({"model_stats": stats}, pb.ModelStatisticsResponse())
        return await self._done(visit, answer)

    async def index(self, visit: Visit, message: bytes) -> bytes:
        """RepositoryIndex."""
        visit.require(Permission.OBSERVE)
        request = parse(pb.RepositoryIndexRequest, message)
        models = metadata.repository_index(
            self._plane.upstream.models, self._plane.version_ready, only_ready=request.ready
        )
        return await self._done(visit, ParseDict({"models": models}, pb.RepositoryIndexResponse()))

    async def _done(self, visit: Visit, answer: Message) -> bytes:
        """Encode an answer, and only then record it: what fails before is no success."""
        encoded: bytes = answer.SerializeToString()
        await self._desk.done(visit)
        return encoded

    def _asked(self, visit: Visit, request: Any) -> ServedVersion:
        visit.arrival.model, visit.arrival.version = request.name, request.version
        return self._plane.find(request.name, request.version)

    def _named(self, name: str, version: str) -> Iterable[ServedVersion]:
        if version:
            return [self._plane.find(name, version)]
        return self._plane.versions(name) if name else self._plane.upstream.models


def _property(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
