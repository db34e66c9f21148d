"""Which requests are traced, and as what: W3C Trace Context in, OpenTelemetry spans out.

The SDK is imported only if the settings name a place to send spans to. A span is made when its
request has ended, with the id that it was given when it began: until then it costs nothing.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.finished import Finished
from gateway.question import Arrival
from gateway.trace_context import TraceContext
from torchkeep.errors import SettingsError

if TYPE_CHECKING:
    from gateway.telemetry.spans import Spans

_TRACES_PATH = "/v1/traces"


class Tracing:
    """Gives each request its place in its trace, and tells of it when it has ended.

    Without an endpoint nothing is told, and the caller's own place is handed on.
    """

    def __init__(self, endpoint: str = "", *, share: float = 1.0) -> None:
        """Trace what callers trace and that share of the others; "" traces nothing.

        Raises `SettingsError` if the endpoint is no HTTP address.
        """
        self._share = share
        self._spans = _spans_to(traces_url(endpoint)) if endpoint else None

    def begin(self, arrival: Arrival) -> None:
        """Set the arrival's `trace`: who receives it from us comes after that span."""
        caller = TraceContext.parse(arrival.traceparent)
        if self._spans is None:
            arrival.trace = caller
        elif caller is not None:
            arrival.trace = caller.child()
        elif random.random() < self._share:  # noqa: S311 - a sample, not a secret
            arrival.trace = TraceContext.new(sampled=True)

    def end(self, request: Finished) -> None:
        """Make the spans of a request that has just ended, if it is traced."""
        trace = request.arrival.trace
        if self._spans is not None and trace is not None and trace.sampled:
            caller = TraceContext.parse(request.arrival.traceparent)
            self._spans.add(request, trace, caller, time.time_ns())

    def close(self) -> None:
        """Send what has not been sent yet; blocks, some seconds at most if nobody listens."""
        if self._spans is not None:
            self._spans.close()


def traces_url(endpoint: str) -> str:
    """Where spans are posted: an endpoint without a path gets the one that OTLP has for them.

    Raises `SettingsError` if it is no HTTP address.
    """
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(
            f"[gateway] otlp_endpoint is {endpoint!r}",
            remedy="Give an address such as http://127.0.0.1:4318.",
        )
    return parts._replace(path=_TRACES_PATH).geturl() if parts.path in ("", "/") else endpoint


def _spans_to(url: str) -> Spans:
    try:
        from gateway.telemetry.spans import Spans
    except ImportError as error:
        raise SettingsError(
            f"[gateway] otlp_endpoint needs a package that is not here: {error.name}",
            remedy="Run `pip install 'torchkeep[gateway]'`.",
        ) from error
    return Spans(url)
