"""Which endpoint a method and a path lead to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from gateway.http_front.request import Request
from gateway.http_front.response import Response
from gateway.principal import Permission

Endpoint = Callable[[Any, Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint; one of `permissions` is needed, none is: everybody may ask.

    A request that is not `recorded` (health) leaves no access record.
    """

    method: str
    template: str
    endpoint: Endpoint
    permissions: tuple[Permission, ...] = ()
    recorded: bool = True
    as_torchserve: bool = False  # how a refusal is worded


@dataclass(slots=True)
class _Node:
    children: dict[str, _Node] = field(default_factory=dict)
    parameter: tuple[str, _Node] | None = None
    routes: dict[str, Route] = field(default_factory=dict)


class RouteTable:
    """Routes by the parts of their paths; a fixed part goes before a parameter such as {model}."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        for route in routes:
            node = self._root
            for part in route.template[1:].split("/"):
                node = _child(node, part)
            node.routes[route.method] = route

    def find(self, path: bytes) -> tuple[dict[str, Route], dict[str, str]]:
        """Return the routes of a path by method, none if there is no such path, and parameters."""
        node, parameters = self._root, {}
        for part in path.decode("latin-1").removesuffix("/")[1:].split("/"):
            if (child := node.children.get(part)) is not None:
                node = child
            elif node.parameter is not None and part:
                name, node = node.parameter
                parameters[name] = unquote(part) if "%" in part else part
            else:
                return {}, {}
        return node.routes, parameters


def _child(node: _Node, part: str) -> _Node:
    if not part.startswith("{"):
        return node.children.setdefault(part, _Node())
    if node.parameter is None:
        node.parameter = (part.strip("{}"), _Node())
    return node.parameter[1]
