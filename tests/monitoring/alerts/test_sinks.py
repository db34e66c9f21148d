from __future__ import annotations

import hashlib
import hmac
import logging
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from monitoring.alerts.config import AlertsConfig, Rule
from monitoring.alerts.engine import Alerts, Sent
from monitoring.alerts.measures import Measure
from tests.monitoring.alerts.receiver import Receiver, receiving
from torchkeep.errors import UserError
from torchkeep.keys import KeyFileError

NOW_NS = 1_800_000_000 * 10**9


def tell(path: Path, p99_ms: float = 300.0, **settings: Any) -> Sent:
    rule = Rule(name="slow", measure=Measure.P99_MS, above=250.0)
    config = AlertsConfig(rules=(rule,), log=False, **settings)
    report = Alerts(config, path).evaluate(
        {"p99_ms": p99_ms}, labels={"model": "pets"}, now_ns=NOW_NS
    )
    return report.sent[0]


def key_file(tmp_path: Path, content: str, mode: int = 0o600) -> Path:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    path = folder / "webhook.key"
    path.write_text(content)
    path.chmod(mode)
    return path


def test_a_webhook_gets_the_event_as_json(tmp_path: Path) -> None:
    with receiving() as receiver:
        assert tell(tmp_path / "s", webhook_url=f"{receiver.url}/a/b?c=d").delivered == 1
    assert receiver.paths == ["/a/b?c=d"]
    (body,) = receiver.received
    (alert,) = body["alerts"]
    assert alert["id"] == f"{alert['fingerprint']}-{NOW_NS}-firing"
    assert (alert["status"], alert["value"], alert["endsAt"]) == ("firing", 300.0, None)
    assert alert["startsAt"] == "2027-01-15T08:00:00.000Z"
    assert "x-torchkeep-signature" not in receiver.headers[0]


def test_with_a_key_the_body_is_signed(tmp_path: Path) -> None:
    key = key_file(tmp_path, "0123456789abcdef0123\n")
    with receiving() as receiver:
        tell(tmp_path / "s", webhook_url=receiver.url, webhook_key=key)
    stamp, digest = receiver.headers[0]["x-torchkeep-signature"].split(",")
    signed = f"{stamp.removeprefix('t=')}.".encode() + receiver.bodies[0]
    expected = hmac.new(b"0123456789abcdef0123", signed, hashlib.sha256).hexdigest()
    assert stamp == "t=1800000000"
    assert digest == f"v1={expected}"


@pytest.mark.parametrize(("content", "mode"), [("0123456789abcdef", 0o644), ("short", 0o600)])
def test_a_key_that_may_not_be_used_is_refused(tmp_path: Path, content: str, mode: int) -> None:
    key = key_file(tmp_path, content, mode)
    with pytest.raises(KeyFileError):
        tell(tmp_path / "s", webhook_url="http://127.0.0.1:9", webhook_key=key)


@pytest.mark.parametrize("passing", [500, 503, 429])
def test_what_may_pass_is_tried_again_at_once(tmp_path: Path, passing: int) -> None:
    with receiving() as receiver:
        receiver.answers = [passing]
        assert tell(tmp_path / "s", webhook_url=receiver.url, attempts=2).delivered == 1
    assert len(receiver.paths) == 2


@pytest.mark.parametrize("refusal", [400, 404, 302])
def test_a_refusal_is_not_tried_again_before_the_next_evaluation(
    tmp_path: Path, refusal: int
) -> None:
    with receiving() as receiver:
        receiver.answers = [refusal]
        sent = tell(tmp_path / "s", webhook_url=receiver.url)
        assert (sent.waiting, sent.fault) == (1, f"answered {refusal}")
        assert len(receiver.paths) == 1
        assert tell(tmp_path / "s", webhook_url=receiver.url).delivered == 1


def test_a_sink_that_does_not_answer_holds_nobody_up(tmp_path: Path) -> None:
    with receiving() as receiver:
        receiver.hang = threading.Event()
        begin = time.monotonic()
        sent = tell(tmp_path / "s", webhook_url=receiver.url, deadline_s=0.3)
        assert time.monotonic() - begin < 20  # its own timeouts would add up to more than this
    assert (sent.waiting, sent.fault) == (1, "not done within 0.3 s")


def test_a_name_server_that_does_not_answer_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers.wait() and [])
    try:
        sent = tell(tmp_path / "s", webhook_url="http://example.org/alerts", deadline_s=0.3)
    finally:
        answers.set()
    assert (sent.fault, sent.waiting) == ("not done within 0.3 s", 1)


def test_no_log_line_holds_the_address(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), receiving() as receiver:
        tell(tmp_path / "s", webhook_url=f"{receiver.url}/T0K3N")
    assert "T0K3N" not in caplog.text
    assert b"T0K3N" not in (tmp_path / "s").read_bytes()


def alertmanager(receiver: Receiver, path: Path, p99_ms: float) -> Sent:
    return tell(path, p99_ms, alertmanager_url=f"{receiver.url}/am/", attempts=1, stale_s=600.0)


def test_alertmanager_hears_of_a_firing_alert_at_each_evaluation(tmp_path: Path) -> None:
    with receiving() as receiver:
        sent = [alertmanager(receiver, tmp_path / "s", value) for value in (300, 400, 100, 100)]
    assert [each.delivered for each in sent] == [1, 1, 1, 0]
    assert set(receiver.paths) == {"/am/api/v2/alerts"}
    first, second, over = (body[0] for body in receiver.received)
    labels = {"alertname": "slow", "model": "pets", "severity": "ticket"}
    assert first["labels"] == second["labels"] == over["labels"] == labels
    assert second["annotations"]["value"] == "400"
    assert first["startsAt"] == second["startsAt"] == over["startsAt"]
    assert first["endsAt"] == "2027-01-15T08:10:00.000Z"
    assert over["endsAt"] == "2027-01-15T08:00:00.000Z"


def test_alertmanager_gets_the_last_word_on_an_alert_it_missed(tmp_path: Path) -> None:
    with receiving() as receiver:
        receiver.answers = [503, 503]
        sent = [alertmanager(receiver, tmp_path / "s", value) for value in (300, 100, 100)]
    assert [each.waiting for each in sent] == [1, 2, 0]
    assert [len(body) for body in receiver.received] == [1]
    assert receiver.received[0][0]["endsAt"] == "2027-01-15T08:00:00.000Z"


def test_a_state_without_room_tells_nobody(tmp_path: Path) -> None:
    """What is not kept is not told: it would be told anew at each evaluation."""
    with receiving() as receiver:
        (tmp_path / "s").mkdir()
        with pytest.raises(UserError, match="cannot be read"):
            tell(tmp_path / "s", webhook_url=receiver.url)
    assert receiver.paths == []
