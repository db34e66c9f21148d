"""Endpoints that tell of the server and its models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson

from gateway.http_front.body import read_body
from gateway.http_front.request import Request
from gateway.http_front.response import Response, json_response
from gateway.openinference.metadata import (
    model_config,
    model_metadata,
    model_statistics,
    repository_index,
    server_metadata,
)
from gateway.refusal import Code, Refusal
from gateway.upstream import ServedVersion

if TYPE_CHECKING:
    from gateway.http_front.app import RestApp

MAX_INDEX_BYTES = 64 * 1024


async def live(front: RestApp, request: Request) -> Response:
    """`GET /v2/health/live`: this process answers."""
    return json_response({"live": True})


async def ready(front: RestApp, request: Request) -> Response:
    """`GET /v2/health/ready`: the default version of every model answers."""
    is_ready = front.plane.ready()
    return json_response({"ready": is_ready}, 200 if is_ready else 503)


async def ping(front: RestApp, request: Request) -> Response:
    """`GET /ping`: health in TorchServe's words."""
    is_ready = front.plane.ready()
    status = "Healthy" if is_ready else "Unhealthy"
    return json_response({"status": status}, 200 if is_ready else 500)


async def server(front: RestApp, request: Request) -> Response:
    """`GET /v2`."""
    return json_response(server_metadata())


async def metadata(front: RestApp, request: Request) -> Response:
    """`GET /v2/models/{model}[/versions/{version}]`."""
    served = _served(front, request)
    return json_response(model_metadata(served, front.plane.versions(served.name)))


async def model_ready(front: RestApp, request: Request) -> Response:
    """`GET /v2/models/{model}[/versions/{version}]/ready`."""
    served = _served(front, request)
    is_ready = front.plane.version_ready(served)
    return json_response({"name": served.name, "ready": is_ready}, 200 if is_ready else 503)


async def config(front: RestApp, request: Request) -> Response:
    """`GET /v2/models/{model}[/versions/{version}]/config`."""
    return json_response(model_config(_served(front, request)))


async def statistics(front: RestApp, request: Request) -> Response:
    """`GET /v2/models/{model}[/versions/{version}]/stats`: of one version, or of all."""
    if request.params.get("version"):
        return _statistics(front, [_served(front, request)])
    versions = front.plane.versions(request.params["model"])
    request.arrival.model = request.params["model"]
    return _statistics(front, versions)


async def all_statistics(front: RestApp, request: Request) -> Response:
    """`GET /v2/models/stats`."""
    return _statistics(front, front.plane.upstream.models)


async def index(front: RestApp, request: Request) -> Response:
    """`POST /v2/repository/index`: `{"ready": true}` leaves out what is not ready."""
    body = await read_body(request, front.budget, MAX_INDEX_BYTES)
    plane = front.plane
    only_ready = _only_ready(body) if body else False
    return json_response(
        repository_index(plane.upstream.models, plane.version_ready, only_ready=only_ready)
    )


def _served(front: RestApp, request: Request) -> ServedVersion:
    served = front.plane.find(request.params["model"], request.params.get("version", ""))
    request.arrival.model, request.arrival.version = served.name, served.version
    return served


def _statistics(front: RestApp, versions: Sequence[ServedVersion]) -> Response:
    told: list[dict[str, Any]] = [
        model_statistics(served, front.plane.statistics(served)) for served in versions
    ]
    return json_response({"model_stats": told})


def _only_ready(body: bytes) -> bool:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    ready = document.get("ready", False) if isinstance(document, dict) else None
    if not isinstance(ready, bool):
        raise Refusal(Code.INVALID, 'the body is no JSON object such as {"ready": true}')
    return ready
