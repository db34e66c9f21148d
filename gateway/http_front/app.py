"""One request: route, key, answer or refusal, and its one record.

It is an ASGI 3.0 application but for its answers, which go out in one write (`response.give`). No
framework stands between: at thousands of requests a second it would cost more than all else here.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from gateway.config import GatewayConfig
from gateway.http_front.body import BodyBudget
from gateway.http_front.marks import CYCLE, GONE
from gateway.http_front.request import Receive, Request, arrival_of, bearer
from gateway.http_front.response import (
    CLOSE,
    Response,
    compressed,
    give,
    refusal_response,
    written,
)
from gateway.http_front.routes import Route, RouteTable
from gateway.http_front.table import routes
from gateway.identity.api_keys import ApiKeys
from gateway.plane.data_plane import DataPlane
from gateway.principal import Permission
from gateway.refusal import Code, Refusal

Send = Callable[[Any], Awaitable[None]]

UNKNOWN: Final = "unknown"
"""The route of what has none, so that paths that somebody made up make no labels."""
UNPARSED: Final = "unparsed"
"""The route of what never became a request: no HTTP, too slow a head, one connection too many."""

_NEVER = re.compile(rb"\s*q\s*=\s*0(\.0*)?\s*")
_logger = logging.getLogger(__name__)


class RestApp:
    """The application that uvicorn's protocol calls for each request."""

    def __init__(self, plane: DataPlane, keys: ApiKeys, config: GatewayConfig) -> None:
        self.plane = plane
        self.keys = keys
        self.config = config
        self.budget = BodyBudget(config)
        self._routes = RouteTable(routes())

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        cycle = scope["state"].pop(CYCLE)
        headers = dict(scope["headers"])
        found, params = self._routes.find(scope["raw_path"])
        route = found.get("GET" if scope["method"] == "HEAD" else scope["method"])
        request = Request(
            arrival_of(headers, _template(route, found)),
            headers,
            params,
            scope["query_string"],
            receive,
            scope["state"],
        )
        try:
            response = await self._answer(route, found, request)
        finally:
            self.budget.release(request)
        if response is None:
            return
        if _takes_gzip(headers):
            response = compressed(response)
        await give(cycle, response, request.arrival.request_id)

    async def refuse_unparsed(self, refusal: Refusal) -> bytes:
        """Record and word the refusal of what is no request: whole, with its head."""
        arrival = arrival_of({}, UNPARSED)
        refusal = await self.plane.refuse(arrival, refusal)
        return written(refusal_response(refusal), arrival.request_id, [CLOSE], head=False)

    async def _answer(
        self, route: Route | None, found: dict[str, Route], request: Request
    ) -> Response | None:
        """Return the answer, None if there is nobody left to read it."""
        try:
            return await self._ask(route, found, request)
        except Refusal as raised:
            refusal = raised.bare()
        except asyncio.CancelledError:  # the data plane has recorded it
            if GONE in request.state:
                return None
            refusal = Refusal(Code.UNAVAILABLE, "the gateway is shutting down; try again")
        except Exception:
            _logger.exception("a request to %s failed", request.arrival.route)
            refusal = Refusal(Code.INTERNAL, "the gateway failed at this request; its log says how")
        if not request.recorded:
            refusal = await self.plane.refuse(request.arrival, refusal)
        as_torchserve = route is not None and route.as_torchserve
        allowed = _allow(found) if route is None and found else ()
        return refusal_response(refusal, as_torchserve=as_torchserve, headers=allowed)

    async def _ask(
        self, route: Route | None, found: dict[str, Route], request: Request
    ) -> Response:
        if route is None:
            raise _no_route(found)
        if route.permissions:
            self._let_in(request, route.permissions)
        response = await route.endpoint(self, request)
        if route.recorded and not request.recorded:
            request.recorded = True
            await self.plane.done(request.arrival)
        return response

    def _let_in(self, request: Request, permissions: tuple[Permission, ...]) -> None:
        """Raise `Refusal` unless the caller shows a key with one of the permissions."""
        principal = self.keys.authenticate(bearer(request.headers))
        request.known_as(principal)
        if not any(permission in principal.permissions for permission in permissions):
            principal.require(permissions[0])


def _template(route: Route | None, found: dict[str, Route]) -> str:
    if route is None and found:
        route = next(iter(found.values()))
    return UNKNOWN if route is None else route.template


def _no_route(found: dict[str, Route]) -> Refusal:
    if not found:
        return Refusal(Code.NOT_FOUND, "there is nothing at this path; /openapi.json lists all")
    return Refusal(Code.METHOD, f"this path takes {' and '.join(sorted(found))} only")


def _allow(found: dict[str, Route]) -> tuple[tuple[bytes, bytes], ...]:
    methods = {*found, "HEAD"} if "GET" in found else set(found)
    return ((b"allow", ", ".join(sorted(methods)).encode()),)


def _takes_gzip(headers: dict[bytes, bytes]) -> bool:
    for kind in headers.get(b"accept-encoding", b"").split(b","):
        name, _, weight = kind.partition(b";")
        if name.strip().lower() == b"gzip":
            return _NEVER.fullmatch(weight) is None
    return False
