"""What callers sent and got, held against what was logged and against the model itself.

However a fault went, at its end each request that was sent has one terminal status and one access
record, both alike; what was answered is what the model says, and every answered item was logged.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.log_reader import Kind, ReadReport, read_records
from tests.gateway.served import Images, Served, forward
from torchkeep.ids import new_id

PATIENCE_S = 10.0
EXACT = 1e-5  # batches differ in size from those of the forward pass that they are held against
LEFT = "left"
"""The status of a request whose caller went away: only the records know what became of it. A gRPC
library may drop a call before it has sent it, so then there may be no record either."""


@dataclass(slots=True)
class Sent:
    """A request as its caller sees it; `status` is an HTTP status, a gRPC code or `LEFT`."""

    protocol: str
    place: int  # of its first image
    count: int
    request_id: str = field(default_factory=new_id)
    status: int | str = ""
    items: list[str] = field(default_factory=list)  # the status of each, if it was answered at all
    labels: list[str] = field(default_factory=list)
    probabilities: NDArray[np.float32] | None = None
    retry_after: float | None = None

    @property
    def doubtful(self) -> bool:
        return self.status == LEFT and self.protocol == "grpc"

    @property
    def answered(self) -> bool:
        """Whether every item was."""
        return self.items == ["ok"] * self.count


class Ledger:
    """All requests of a test, about the images of one set."""

    def __init__(self, served: Served, images: Images) -> None:
        self.served = served
        self.images = images
        self.sent: list[Sent] = []
        self.untaken: list[Sent] = []  # nobody listened
        self.expected = forward(served.artifact, images)

    def open(self, protocol: str, place: int, count: int) -> Sent:
        """Note a request that is about to be sent."""
        sent = Sent(protocol, place % (len(self.images) - count + 1), count)
        self.sent.append(sent)
        return sent

    def strike(self, sent: Sent) -> None:
        """Note that a request never got through: nobody may have recorded it either."""
        self.sent.remove(sent)
        self.untaken.append(sent)

    def images_of(self, sent: Sent) -> Images:
        return self.images[sent.place : sent.place + sent.count]

    def statuses(self) -> Counter[int | str]:
        return Counter(sent.status for sent in self.sent)

    def settle(self, *, unlogged: int = 0, uncounted: int = 0) -> list[dict[str, Any]]:
        """Hold all that was sent against the logs; return the access records.

        `unlogged` requests may be without a record, because a disk was full: as many as the log
        says it lost. `uncounted` is the same of items.
        """
        records = self._access_records(unlogged)
        assert not [sent for sent in self.untaken if sent.request_id in records]
        lost = [sent for sent in self.sent if sent.request_id not in records and not sent.doubtful]
        assert len(lost) == unlogged, lost
        for sent in self.sent:
            if sent.request_id in records:
                self._check_status(sent, records[sent.request_id])
        self._check_answers()
        self._check_items(records, uncounted)
        return [record for each in records.values() for record in each]

    def _access_records(self, unlogged: int) -> dict[str, list[dict[str, Any]]]:
        """Return the access records of each request; who left may be recorded a little later."""
        deadline = time.monotonic() + PATIENCE_S
        ids = {sent.request_id for sent in (*self.sent, *self.untaken)}
        assert len(ids) == len(self.sent) + len(self.untaken)
        certain = sum(not sent.doubtful for sent in self.sent)
        while True:
            report = ReadReport()
            found = defaultdict(list)
            for record in read_records(self.served.log, kind=Kind.ACCESS, report=report):
                if record["request_id"] in ids:
                    found[record["request_id"]].append(record)
            there = sum(sent.request_id in found for sent in self.sent if not sent.doubtful)
            if there >= certain - unlogged or time.monotonic() > deadline:
                assert report.damaged == 0, report.examples
                return dict(found)
            time.sleep(0.1)

    def _check_status(self, sent: Sent, records: list[dict[str, Any]]) -> None:
        assert len(records) == 1, (sent, records)
        record = records[0]
        assert record["protocol"] == sent.protocol
        assert record["total_ms"] >= 0
        if sent.status == LEFT:
            return
        told = record["http_status"] if sent.protocol == "rest" else record["code"]
        assert told == sent.status, (sent, record)
        assert record["items_ok"] == sent.items.count("ok"), (sent, record)

    def _check_answers(self) -> None:
        classes = self.served.artifact.manifest.classes
        for sent in self.sent:
            if sent.answered:
                expected = self.expected[sent.place : sent.place + sent.count]
                np.testing.assert_allclose(sent.probabilities, expected, rtol=0, atol=EXACT)
                assert sent.labels == [classes[index] for index in expected.argmax(1)]

    def _check_items(self, records: dict[str, list[dict[str, Any]]], uncounted: int) -> None:
        """Each answered item has its inference record, of the attempt that was answered."""
        answered = {sent.request_id: sent for sent in self.sent if sent.answered}
        logged: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for record in read_records(self.served.log):
            name = record["request_id"]
            if name in answered and (
                name not in records or record["attempt"] == records[name][0]["attempt"]
            ):
                logged[name].append(record)
        missing = 0
        for name, sent in answered.items():
            items = sorted(record["item"] for record in logged[name])
            missing += sent.count - len(items)
            if items:
                assert items == list(range(sent.count)), (sent, items)
            for record in logged[name]:
                assert record["status"] == "ok"
                assert record["prediction"][0] == sent.labels[record["item"]]
        assert missing == uncounted


def told(records: list[dict[str, Any]]) -> Counter[tuple[str, str]]:
    """Return the codes and messages of some records."""
    return Counter((record["code"], record["message"]) for record in records)


def codes(records: list[dict[str, Any]]) -> set[str]:
    """Return the codes of some records."""
    return {record["code"] for record in records}
