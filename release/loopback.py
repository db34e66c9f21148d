"""Plain HTTP on this machine, light enough for the supervisor."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass

from release.ports import LOOPBACK


@dataclass(frozen=True, slots=True)
class Reply:
    """Status and body of an HTTP answer."""

    status: int
    body: bytes


def request(
    port: int,
    path: str,
    *,
    token: str | None = None,
    host: str = LOOPBACK,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 10.0,
) -> Reply:
    """GET, or POST if there is a body. Raises `OSError` if there is no whole answer."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        method = "GET" if body is None else "POST"
        shown = {} if token is None else {"Authorization": f"Bearer {token}"}
        sent = {**shown, **(headers or {})}
        connection.request(method, path, body=body, headers=sent)
        answer = connection.getresponse()
        return Reply(answer.status, answer.read())
    except http.client.HTTPException as error:
        raise ConnectionError(f"broken answer: {error!r}") from error
    finally:
        connection.close()
