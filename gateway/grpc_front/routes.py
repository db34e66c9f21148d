"""Every method of the gateway's services, by its path."""

from __future__ import annotations

from typing import Final

from grpc_health.v1 import health_pb2

from gateway.config import MIB
from gateway.grpc_front.description import Description
from gateway.grpc_front.desk import Desk
from gateway.grpc_front.health import LONGEST_QUESTION, Health
from gateway.grpc_front.inference import Inference
from gateway.grpc_front.not_offered import INSTEAD
from gateway.grpc_front.reflection import METHOD as REFLECTION
from gateway.grpc_front.reflection import Reflection
from gateway.grpc_front.torchserve import TorchServeApi
from gateway.grpc_front.visit import Route, StreamRoute, Visit
from gateway.plane.data_plane import DataPlane
from gateway.refusal import Code, Refusal
from torchkeep.client.stubs import inference_pb2, open_inference_pb2

OPEN_INFERENCE: Final = open_inference_pb2.DESCRIPTOR.services_by_name[
    "GRPCInferenceService"
].full_name
TORCHSERVE: Final = inference_pb2.DESCRIPTOR.services_by_name["InferenceAPIsService"].full_name
HEALTH: Final = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


def routes_of(plane: DataPlane, desk: Desk) -> dict[str, Route | StreamRoute]:
    """Return the routes, each under its path as a request names it."""
    description, torchserve = Description(plane, desk), TorchServeApi(plane)
    health = Health(plane, desk.open_reads, (OPEN_INFERENCE, TORCHSERVE))
    reflection = Reflection(plane, (OPEN_INFERENCE, TORCHSERVE, HEALTH))
    longest = plane.config.max_body_mib * MIB
    offered = {
        f"{OPEN_INFERENCE}/ServerMetadata": description.server_metadata,
        f"{OPEN_INFERENCE}/ModelReady": description.model_ready,
        f"{OPEN_INFERENCE}/ModelMetadata": description.model_metadata,
        f"{OPEN_INFERENCE}/ModelConfig": description.model_config,
        f"{OPEN_INFERENCE}/ModelStatistics": description.statistics,
        f"{OPEN_INFERENCE}/RepositoryIndex": description.index,
    }
    questions = {
        f"{OPEN_INFERENCE}/ModelInfer": Inference(plane).answer,
        f"{TORCHSERVE}/Predictions": torchserve.predictions,
    }
    unread = {  # their messages are empty
        f"{OPEN_INFERENCE}/ServerLive": description.live,
        f"{OPEN_INFERENCE}/ServerReady": description.ready,
        f"{TORCHSERVE}/Ping": torchserve.ping,
    }
    routes: list[Route | StreamRoute] = [
        *(Route(method=name, answer=answer) for name, answer in offered.items()),
        *(Route(method=name, answer=each, most=longest) for name, each in questions.items()),
        *(Route(method=name, answer=each, open=True, most=0) for name, each in unread.items()),
        Route(method=f"{HEALTH}/Check", answer=health.check, open=True, most=LONGEST_QUESTION),
        *(_refusing(name, instead) for name, instead in INSTEAD.items()),
        StreamRoute(method=f"{HEALTH}/Watch", run=health.watch, open=True),
        StreamRoute(method=REFLECTION, run=reflection.run),
    ]
    return {f"/{route.method}": route for route in routes}


def _refusing(method: str, instead: str) -> Route:
    async def refuse(_: Visit, __: bytes) -> bytes:
        raise Refusal(Code.UNIMPLEMENTED, instead)

    return Route(method=method, answer=refuse)
