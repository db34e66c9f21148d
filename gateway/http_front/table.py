"""All routes of the REST interface, with what a caller must be allowed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, Final

from gateway.http_front import inference, models
from gateway.http_front.openapi import described
from gateway.http_front.request import Request
from gateway.http_front.response import Response
from gateway.http_front.routes import Endpoint, Route
from gateway.principal import Permission
from gateway.refusal import Code, Refusal

PREDICT: Final = (Permission.PREDICT,)
EXPLAIN: Final = (Permission.EXPLAIN,)
OBSERVE: Final = (Permission.OBSERVE,)
KNOW: Final = (Permission.OBSERVE, Permission.PREDICT, Permission.EXPLAIN)
"""Who may ask what is served: clients do so before they ask for predictions."""

NO_LOADING: Final = "models are not loaded by request; `torchkeep up` says what is served"
NO_SHARED_MEMORY: Final = "shared memory is not offered; send tensors as binary data"
NO_GENERATING: Final = "these models classify images and generate nothing; use /infer"
NO_SETTINGS: Final = "not set by request; the section [gateway] of torchkeep.toml says what is kept"

_MODEL: Final = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")


def routes() -> list[Route]:
    """Return every route there is."""
    return [*_open(), *_telling(), *_asking(), *_absent()]


async def openapi(front: Any, request: Request) -> Response:
    """`GET /openapi.json`."""
    return Response(200, described(front.plane.upstream.models))


def _open() -> Iterator[Route]:
    for path, endpoint in (
        ("/v2/health/live", models.live),
        ("/v2/health/ready", models.ready),
        ("/ping", models.ping),
    ):
        yield Route("GET", path, endpoint, recorded=False)
    yield Route("GET", "/openapi.json", openapi)


def _telling() -> Iterator[Route]:
    yield Route("GET", "/v2", models.server, KNOW)
    yield Route("GET", "/v2/models/stats", models.all_statistics, OBSERVE)
    yield Route("POST", "/v2/repository/index", models.index, OBSERVE)
    for path in _MODEL:
        yield Route("GET", path, models.metadata, KNOW)
        yield Route("GET", f"{path}/ready", models.model_ready, KNOW)
        yield Route("GET", f"{path}/config", models.config, OBSERVE)
        yield Route("GET", f"{path}/stats", models.statistics, OBSERVE)


def _asking() -> Iterator[Route]:
    for path in _MODEL:
        yield Route("POST", f"{path}/infer", inference.infer, PREDICT)
        yield Route("POST", f"{path}/explain", inference.explain, EXPLAIN)
    for end in ("{model}", "{model}/{version}"):
        yield Route(
            "POST", f"/predictions/{end}", inference.predictions, PREDICT, as_torchserve=True
        )
        yield Route(
            "POST", f"/explanations/{end}", inference.explanations, EXPLAIN, as_torchserve=True
        )


def _absent() -> Iterator[Route]:
    """Yield what Triton has and this server has not: the refusal names what there is instead."""
    no_loading, no_memory = _not_offered(NO_LOADING), _not_offered(NO_SHARED_MEMORY)
    for verb in ("load", "unload"):
        yield Route("POST", f"/v2/repository/models/{{model}}/{verb}", no_loading, KNOW)
    for kind, verb in product(("system", "cuda"), ("register", "unregister")):
        memory = f"/v2/{kind}sharedmemory"
        yield Route("POST", f"{memory}/region/{{region}}/{verb}", no_memory, KNOW)
        yield Route("POST", f"{memory}/{verb}", no_memory, KNOW)
        yield Route("GET", f"{memory}/status", no_memory, KNOW)
        yield Route("GET", f"{memory}/region/{{region}}/status", no_memory, KNOW)
    for path, verb in product(_MODEL, ("generate", "generate_stream")):
        yield Route("POST", f"{path}/{verb}", _not_offered(NO_GENERATING), KNOW)
    settings = ("/v2/models/{model}/trace/setting", "/v2/trace/setting", "/v2/logging")
    for path, method in product(settings, ("GET", "POST")):
        yield Route(method, path, _not_offered(NO_SETTINGS), KNOW)


def _not_offered(alternative: str) -> Endpoint:
    async def refuse(front: Any, request: Request) -> Response:
        raise Refusal(Code.UNIMPLEMENTED, alternative)

    return refuse
