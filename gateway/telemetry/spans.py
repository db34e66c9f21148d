"""Spans of finished requests, sent by OTLP over HTTP.

Imports the OpenTelemetry SDK: `gateway.telemetry.tracing` imports this only if spans are sent.
"""

from __future__ import annotations

import logging
import threading

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from gateway.finished import Finished
from gateway.trace_context import TraceContext
from torchkeep import __version__

_NS = 1_000_000_000
_LONGEST = 256
_LAST_SEND_S = 1.5  # twice: what the supervisor grants the gateway's end has room for it
_EXPORTER_LOGGER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_FAULT = 500  # HTTP statuses from here on are faults of the server
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_UNSET = Status(StatusCode.UNSET)


class Spans:
    """Makes a span of each finished request that is traced, and one of its call.

    They are built whole rather than started and ended with a `Tracer`, which takes a hundred times
    as long. A background thread encodes and sends them; 2,048 may wait for it (the SDK's
    `OTEL_BSP_MAX_QUEUE_SIZE`), what is more is dropped.
    """

    def __init__(self, url: str) -> None:
        """Send spans to that address; while it is down, each lost batch is a line on stderr."""
        logging.getLogger(_EXPORTER_LOGGER).setLevel(logging.ERROR)  # not one for each new try
        self._exporter = OTLPSpanExporter(endpoint=url)
        self._processor = BatchSpanProcessor(self._exporter)
        self._scope = InstrumentationScope("torchkeep.gateway", __version__)
        self._resource = Resource.create(
            {"service.name": "torchkeep-gateway", "service.version": __version__}
        )

    def add(
        self, request: Finished, trace: TraceContext, caller: TraceContext | None, end_ns: int
    ) -> None:
        """Make the spans of a request that ended at `end_ns` (UTC, ns since 1970)."""
        start_ns = end_ns - int(request.total_s * _NS)
        own = _context(trace)
        self._send(
            ReadableSpan(
                name=request.arrival.route,
                context=own,
                parent=_context(caller, is_remote=True) if caller else None,
                resource=self._resource,
                attributes=_attributes(request),
                kind=SpanKind.SERVER,
                status=_status(request),
                start_time=start_ns,
                end_time=end_ns,
                instrumentation_scope=self._scope,
            )
        )
        if request.batch_size:  # the call begins where the wait for it ended
            call_ns = start_ns + int(request.queue_s * _NS)
            self._send(
                ReadableSpan(
                    name="torchserve",
                    context=_context(trace.child()),
                    parent=own,
                    resource=self._resource,
                    attributes={
                        "torchkeep.batch_size": request.batch_size,
                        "torchkeep.attempt": request.attempt,
                    },
                    kind=SpanKind.CLIENT,
                    start_time=call_ns,
                    end_time=call_ns + int(request.backend_s * _NS),
                    instrumentation_scope=self._scope,
                )
            )

    def _send(self, span: ReadableSpan) -> None:
        self._processor.on_end(span)

    def close(self) -> None:
        """Send what is left; blocks, but for a few seconds only if nobody takes it."""
        # the SDK's own shutdown waits for half a minute, and the exporter's ends its new tries
        thread = threading.Thread(target=self._processor.shutdown, daemon=True)
        thread.start()
        thread.join(_LAST_SEND_S)
        if thread.is_alive():
            self._exporter.shutdown()  # type: ignore[no-untyped-call]
            thread.join(_LAST_SEND_S)


def _context(trace: TraceContext, *, is_remote: bool = False) -> SpanContext:
    return SpanContext(int(trace.trace_id, 16), int(trace.span_id, 16), is_remote, _SAMPLED)


def _status(request: Finished) -> Status:
    if request.code.http < _FAULT:
        return _UNSET  # the caller's fault is no error of a server's span (OTel, HTTP spans)
    return Status(StatusCode.ERROR, _text(request.message))


def _attributes(request: Finished) -> dict[str, str | int]:
    arrival = request.arrival
    return {
        "torchkeep.request_id": arrival.request_id,
        "torchkeep.protocol": arrival.protocol,
        "torchkeep.model": _text(arrival.model),
        "torchkeep.version": _text(request.version or arrival.version),
        "torchkeep.operation": str(arrival.operation or ""),
        "torchkeep.items": arrival.items,
        "torchkeep.items_ok": request.items_ok,
        "torchkeep.verdict": request.verdict,
        "torchkeep.code": request.code.grpc.name,
        "http.response.status_code": request.code.http,
    }


def _text(text: str) -> str:
    """What callers chose, bounded and as UTF-8 can hold it: one bad text would cost all spans."""
    return text[:_LONGEST].encode("utf-8", "backslashreplace").decode()
