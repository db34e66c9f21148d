"""Who may talk to the playground: its own page, opened at an address of this machine.

A page of another site could make a browser send requests here (CSRF), or point a name of its own at
this machine and read the answers (DNS rebinding). The first shows in `Origin` and `Sec-Fetch-Site`,
the second in a `Host` that is a name.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
}
OPEN_BY_ADDRESS = "Open the page at the address that `torchkeep playground` prints."


class Gate:
    """ASGI middleware that refuses strangers and gives each answer its headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        fault = refusal(scope["method"], Headers(scope=scope))
        app = refused(403, fault, OPEN_BY_ADDRESS) if fault else self._app
        await app(scope, receive, send_with_headers)


def refusal(method: str, headers: Headers) -> str:
    """Return why a request is refused, or '' if it is not."""
    host = headers.get("host", "")
    if not _is_address(host):
        return "this host name is not an address of the playground"
    if method in ("GET", "HEAD"):
        return ""
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return "the request comes from another site"
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return "the request comes from another site"
    if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return "the request is not JSON"
    return ""


def refused(status: int, error: str, remedy: str) -> JSONResponse:
    """Return a refusal as every error of the playground looks."""
    return JSONResponse({"error": error, "remedy": remedy}, status_code=status)


def _is_address(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name != "localhost":
            ip_address(name)
    except ValueError:
        return False
    return True
