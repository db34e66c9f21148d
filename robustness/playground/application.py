"""The playground's web application: three files, and three questions to the lab."""

from __future__ import annotations

from dataclasses import asdict
from importlib.resources import files

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from robustness.playground.gate import Gate, refused
from robustness.playground.lab import BusyError, Lab
from robustness.playground.target import SlowError
from robustness.playground.trial import MAX_UPLOAD_CHARS, parse_trial
from torchkeep.errors import RequestError, ServerError, UserError

MAX_BODY = MAX_UPLOAD_CHARS + 4096
PAGES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}


def application(lab: Lab) -> ASGIApp:
    """Return the application around a lab, behind the gate: even a fault passes it."""

    async def about(request: Request) -> Response:
        return JSONResponse(lab.about())

    async def picture(request: Request) -> Response:
        index = int(request.path_params["index"])
        return Response(lab.picture(index), media_type="image/png")

    async def trial(request: Request) -> Response:
        wanted = parse_trial(await _body(request))
        outcome = await run_in_threadpool(lab.try_out, wanted)
        return JSONResponse(asdict(outcome))

    inner = Starlette(
        routes=[
            *(_page(path, *page) for path, page in PAGES.items()),
            Route("/api/about", about),
            Route("/api/images/{index:int}", picture),
            Route("/api/trial", trial, methods=["POST"]),
        ],
        exception_handlers={UserError: _failed, HTTPException: _failed, Exception: _failed},
    )
    return Gate(inner)


def _page(path: str, name: str, media_type: str) -> Route:
    content = files("robustness.playground").joinpath(name).read_bytes()

    async def page(request: Request) -> Response:
        return Response(content, media_type=media_type)

    return Route(path, page)


async def _body(request: Request) -> bytes:
    """Return the body, read no further than the largest there may be."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise HTTPException(413, "the upload is too large")
    return bytes(body)


async def _failed(request: Request, error: Exception) -> Response:
    """Answer any error as JSON; what is no fault of the user's is told in the terminal alone."""
    if isinstance(error, UserError):
        return refused(_status(error), error.message, error.remedy)
    if isinstance(error, HTTPException):
        remedy = "Give a file of at most 4 MiB." if error.status_code == 413 else ""
        return refused(error.status_code, error.detail, remedy)
    return refused(500, "a fault of the playground", "Its terminal says more.")


def _status(error: UserError) -> int:
    if isinstance(error, BusyError | SlowError):
        return 503
    return 502 if isinstance(error, ServerError | RequestError) else 400
