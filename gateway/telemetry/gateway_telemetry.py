"""What is told of each finished request: access log, metrics and traces, in that order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from gateway.config import GatewayConfig
from gateway.finished import Finished
from gateway.question import Arrival
from gateway.refusal import Code
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.gpu_metrics import GpuMetrics
from gateway.telemetry.metrics import Gauges, Metrics
from gateway.telemetry.stranger_cap import StrangerCap
from gateway.telemetry.tracing import Tracing
from gateway.upstream import Upstream
from monitoring.request_log import LogFullError, RequestLog

NOT_LOGGED = Code.UNAVAILABLE
"""The code of a request that may not be answered because it could not be logged."""


class GatewayTelemetry:
    """`gateway.finished.Telemetry`, for one event loop."""

    def __init__(
        self, log: RequestLog, config: GatewayConfig, upstream: Upstream, *, fsync: bool
    ) -> None:
        """Tell that log, and where the settings say; `fsync` if each write waits for the disk.

        Raises `SettingsError` if traces cannot be sent as the settings say.
        """
        self._tracing = Tracing(config.otlp_endpoint, share=config.trace_share)
        self._log = AccessLog(
            log, strangers=StrangerCap(config.stranger_records_per_s), fsync=fsync
        )
        self.metrics = Metrics(upstream.models, lambda: log.dropped)
        gpus = GpuMetrics.find()
        if gpus is not None:
            self.metrics.watch(gpus)

    def watch(self, gauges: Gauges) -> None:
        """Show these readings among the metrics."""
        self.metrics.watch(gauges)

    def begin(self, arrival: Arrival) -> None:
        """Set `arrival.trace`; call it once, before anything is sent on."""
        self._tracing.begin(arrival)

    async def finished(self, requests: Sequence[Finished]) -> None:
        """Log, count and trace requests; they may be answered when this returns.

        Raises `LogFullError` if they could not be logged and may not be answered then: they are
        counted as `NOT_LOGGED`, which is what they are to be answered with.
        """
        for request in requests:
            if request.arrival.trace is None and request.arrival.traceparent:
                self._tracing.begin(request.arrival)  # it failed before anybody else could
        try:
            await self._log.write(requests)
        except LogFullError as error:
            requests = [replace(r, code=NOT_LOGGED, message=str(error)) for r in requests]
            raise
        finally:  # of a caller who went away while the disk was waited for there is a record, too
            for request in requests:
                self.metrics.count(request)
                self._tracing.end(request)

    async def close(self) -> None:
        """Write and send what is left; the request log itself is its owner's to close."""
        await self._log.close()
        await asyncio.to_thread(self._tracing.close)
