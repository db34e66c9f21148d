"""The access log: one record for each request, on disk before it is answered."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from gateway.finished import Finished
from gateway.refusal import Code
from gateway.telemetry.stranger_cap import StrangerCap
from monitoring.request_log import RequestLog
from torchkeep import __version__
from torchkeep.schema import SCHEMA_VERSION, AccessRecord

LONGEST_NAME = 256
LONGEST_MESSAGE = 1_024
"""Characters that are kept of what a caller may have chosen."""

_MS = 1_000.0
_DIGITS = 3  # of a ms
_CODE = {code: (code.grpc.name, code.http) for code in Code}


def access_record(request: Finished, timestamp_ns: int, gateway: int) -> AccessRecord:
    """Return the record of a finished request, `gateway` being the process that served it."""
    arrival = request.arrival
    code, http_status = _CODE[request.code]
    record: AccessRecord = {
        "schema": SCHEMA_VERSION,
        "kind": "access",
        "timestamp_ns": timestamp_ns,
        "request_id": arrival.request_id,
        "correlation_id": arrival.correlation_id,
        "protocol": arrival.protocol,
        "route": arrival.route,
        "operation": arrival.operation,
        "model": arrival.model[:LONGEST_NAME],
        "model_version": (request.version or arrival.version)[:LONGEST_NAME],
        "client": arrival.principal.client if arrival.principal else None,
        "code": code,
        "http_status": http_status,
        "message": request.message[:LONGEST_MESSAGE],
        "items": arrival.items,
        "items_ok": request.items_ok,
        "bytes_in": arrival.bytes_in,
        "verdict": request.verdict,
        "queue_ms": round(request.queue_s * _MS, _DIGITS),
        "backend_ms": round(request.backend_s * _MS, _DIGITS),
        "total_ms": round(request.total_s * _MS, _DIGITS),
        "batch_size": request.batch_size,
        "attempt": request.attempt,
        "gateway": gateway,
        "code_version": __version__,
    }
    if arrival.trace is not None:
        record["trace_id"] = arrival.trace.trace_id
    return record


class AccessLog:
    """Writes access records from one event loop, without ever holding it up for a disk's flush.

    A write into the page cache takes microseconds and is done at once. A log with `fsync` waits for
    the disk, in a thread; what finishes meanwhile shares the next flush (group commit). Of callers
    without a valid key it writes what `strangers` admits.
    """

    def __init__(self, log: RequestLog, *, strangers: StrangerCap, fsync: bool) -> None:
        self._log = log
        self._strangers = strangers
        self._gateway = os.getpid()
        self._thread = ThreadPoolExecutor(1, "access-log") if fsync else None
        self._waiting: list[AccessRecord] = []
        self._flush: asyncio.Task[None] | None = None  # the one that takes all that wait now
        self._last: asyncio.Task[None] | None = None

    async def write(self, requests: Sequence[Finished]) -> None:
        """Write the records of some requests, by one write and in their order.

        Returns when they are on disk. Raises `LogFullError` if they could not be written and the
        setting says that they must not be answered; otherwise the log counts them as dropped. Who
        is cancelled while waiting leaves a record all the same.
        """
        now = time.time_ns()
        records = [
            access_record(request, now, self._gateway)
            for request in requests
            if request.arrival.principal is not None or self._strangers.admits()
        ]
        if not records:
            return
        if self._strangers.withheld:
            records[0]["withheld_before"] = self._strangers.told()
        if self._thread is None:
            self._log.write(records)
            return
        self._waiting += records
        if self._flush is None:
            self._flush = asyncio.create_task(self._flush_after(self._last, self._thread))
            self._flush.add_done_callback(_look_at)
        await asyncio.shield(self._flush)

    async def _flush_after(
        self, previous: asyncio.Task[None] | None, thread: ThreadPoolExecutor
    ) -> None:
        if previous is not None:
            await asyncio.wait([previous])
        records, self._waiting = self._waiting, []
        self._last, self._flush = self._flush, None
        await asyncio.get_running_loop().run_in_executor(thread, self._log.write, records)

    async def close(self) -> None:
        """Wait for what is being written; the request log itself is its owner's to close."""
        pending = [task for task in (self._last, self._flush) if task is not None]
        if pending:
            await asyncio.wait(pending)
        if self._thread is not None:
            self._thread.shutdown()


def _look_at(flush: asyncio.Task[None]) -> None:
    """Take note of a failure, even if all who waited for it have gone away."""
    if not flush.cancelled():
        flush.exception()
