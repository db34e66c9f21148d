"""The checker of the fault tests finds what it is there to find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitoring.request_log import RequestLog, RequestLogConfig
from release.status import ServerStatus
from tests.gateway.faults import ledger as checker
from tests.gateway.faults.ledger import LEFT, Ledger, Sent, codes
from tests.gateway.served import Images, Served
from tests.monitoring.records import a_record, an_access_record
from torchkeep.artifact import ModelArtifact
from torchkeep.paths import Home


@pytest.fixture
def books(
    digits_artifact: ModelArtifact,
    images: Images,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Ledger:
    """A ledger of no server, whose log is written by hand."""
    monkeypatch.setattr(checker, "PATIENCE_S", 0.0)
    home = Home(tmp_path)
    running = ServerStatus(request_log=str(home.request_log))
    return Ledger(Served(home, digits_artifact, running, ""), images)


def answered(books: Ledger, protocol: str = "rest") -> Sent:
    """A request about two images, with the answer that the model gives."""
    sent = books.open(protocol, 3, 2)
    sent.status = 200 if protocol == "rest" else "OK"
    sent.items = ["ok", "ok"]
    sent.probabilities = books.expected[3:5]
    sent.labels = [str(index) for index in sent.probabilities.argmax(1)]
    return sent


def access(sent: Sent, **changes: Any) -> Any:
    return an_access_record(
        sent.request_id, **{"protocol": sent.protocol, "items": 2, "items_ok": 2, **changes}
    )


def items(sent: Sent, count: int = 2, **changes: Any) -> list[Any]:
    return [
        a_record(sent.request_id, item, **{"prediction": [sent.labels[item]], **changes})
        for item in range(count)
    ]


def write(books: Ledger, *records: Any) -> None:
    with RequestLog(RequestLogConfig(), directory=books.served.log) as log:
        log.write(records)


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_what_is_in_order_is_found_in_order(books: Ledger, protocol: str) -> None:
    sent = answered(books, protocol)
    gone = books.open("grpc", 0, 1)
    gone.status = LEFT
    books.strike(books.open("rest", 0, 1))
    write(books, access(sent), *items(sent))
    assert codes(books.settle()) == {"OK"}


def test_a_request_without_a_record_is_found(books: Ledger) -> None:
    sent = answered(books)
    write(books, *items(sent))
    with pytest.raises(AssertionError):
        books.settle()
    books.settle(unlogged=1)


def test_a_caller_who_left_over_http_has_a_record(books: Ledger) -> None:
    books.open("rest", 0, 1).status = LEFT
    with pytest.raises(AssertionError):
        books.settle()


def test_two_records_of_a_request_are_found(books: Ledger) -> None:
    sent = answered(books)
    write(books, access(sent), access(sent), *items(sent))
    with pytest.raises(AssertionError):
        books.settle()


@pytest.mark.parametrize(
    "changes", [{"http_status": 503}, {"items_ok": 1}, {"protocol": "grpc"}, {"total_ms": -1.0}]
)
def test_a_record_of_another_end_is_found(books: Ledger, changes: dict[str, Any]) -> None:
    sent = answered(books)
    write(books, access(sent, **changes), *items(sent))
    with pytest.raises(AssertionError):
        books.settle()


def test_a_wrong_answer_is_found(books: Ledger) -> None:
    sent = answered(books)
    write(books, access(sent), *items(sent))
    sent.probabilities = sent.probabilities + np.float32(1e-3)
    with pytest.raises(AssertionError):
        books.settle()


@pytest.mark.parametrize(
    ("count", "changes"),
    [(1, {}), (0, {}), (2, {"status": "error"}), (2, {"prediction": ["x"]}), (2, {"attempt": 2})],
)
def test_an_answered_item_that_was_not_logged_so_is_found(
    books: Ledger, count: int, changes: dict[str, Any]
) -> None:
    sent = answered(books)
    write(books, access(sent), *items(sent, count, **changes))
    with pytest.raises(AssertionError):
        books.settle()


def test_a_request_that_was_never_taken_has_no_record(books: Ledger) -> None:
    sent = answered(books)
    books.strike(sent)
    write(books, access(sent))
    with pytest.raises(AssertionError):
        books.settle()
