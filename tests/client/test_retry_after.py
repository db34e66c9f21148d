"""When a busy server says to come back: read strictly by both protocols, or passed over."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.client.protocol_servers import TOKEN, Servers
from torchkeep.client import Client, RequestError, ServerError, failures, retry_after, retry_info

IMAGE = b"\x89PNG\r\n\x1a\n and the rest of an image"


def details(seconds: int, nanos: int = 0) -> bytes:
    status = Status(code=8, message="slow down")
    status.details.add().Pack(ErrorInfo(reason="first another detail"))
    delay = Duration(seconds=seconds, nanos=nanos)
    status.details.add().Pack(RetryInfo(retry_delay=delay))
    return status.SerializeToString()


def refusal(url: str) -> RequestError:
    with Client(url, model="busy", token=TOKEN) as client, pytest.raises(RequestError) as caught:
        client.predict(IMAGE)
    assert caught.value.code == "RESOURCE_EXHAUSTED"
    assert failures.is_throttle(caught.value)
    return caught.value


def test_seconds_are_carried_by_both_protocols(servers: Servers, url: str) -> None:
    servers.model.retry_after = "7"
    assert refusal(url).retry_after_s == 7


def test_a_date_is_carried_by_both_protocols(servers: Servers, url: str) -> None:
    servers.model.retry_after = formatdate(time.time() + 90, usegmt=True)
    told = refusal(url).retry_after_s
    assert told is not None
    assert 80 < told <= 90


@pytest.mark.parametrize("said", [None, "soon", "-1", "1.5", ""])
def test_what_says_nothing_is_none(servers: Servers, url: str, said: str | None) -> None:
    servers.model.retry_after = said
    assert refusal(url).retry_after_s is None


def test_retry_info_beats_the_key(servers: Servers) -> None:
    servers.model.retry_after = "7"
    servers.model.status_details = details(2, 500_000_000)
    assert refusal(servers.grpc).retry_after_s == 2.5
    servers.model.status_details = b"\xff no status"
    assert refusal(servers.grpc).retry_after_s == 7


def test_a_full_queue_tells_it_too(servers: Servers) -> None:
    servers.model.retry_after = "3"
    with (
        Client(servers.rest, model="full", token=TOKEN) as client,
        pytest.raises(ServerError) as caught,
    ):
        client.predict(IMAGE)
    assert caught.value.retry_after_s == 3
    assert failures.is_throttle(caught.value)


def test_unavailable_for_a_while_is_no_dead_address() -> None:
    busy = failures.of_rpc("UNAVAILABLE", "overloaded", "x", None, 1.0)
    gone = failures.of_rpc("UNAVAILABLE", "refused", "x", None)
    assert (failures.is_throttle(busy), failures.is_throttle(gone)) == (True, False)


@pytest.mark.parametrize(
    "date",
    ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
)
def test_the_three_forms_of_a_date_are_read_and_the_past_is_now(date: str) -> None:
    assert retry_after.of_header(date) == 0


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(1, 10**9))
def test_a_date_ahead_is_read_to_the_second(ahead: int) -> None:
    told = retry_after.of_header(formatdate(int(time.time()) + ahead, usegmt=True))
    assert told is not None
    assert ahead - 2 <= told <= ahead


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, [0-9 :A-Za-z+-]{0,40}"))
def test_any_text_is_read_or_passed_over(text: str) -> None:
    told = retry_after.of_header(text)
    assert told is None or 0 <= told < float("inf")


@pytest.mark.parametrize(
    "text", ["9" * 400, "Mon, 1 Jan 99999999999999999999 00:00:00 GMT", "٣", "Sun, 06 Foo 1994"]
)
def test_what_no_clock_can_hold_is_passed_over(text: str) -> None:
    assert retry_after.of_header(text) is None


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.integers(-(10**9), 10**9), st.integers(-(10**9) + 1, 10**9 - 1))
def test_a_delay_is_never_negative(seconds: int, nanos: int) -> None:
    told = retry_info.of_metadata([(retry_info.STATUS, details(seconds, nanos))])
    assert told == pytest.approx(max(0.0, seconds + nanos / 1e9))


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.binary(max_size=60), st.integers(0, 60))
def test_any_bytes_are_read_or_passed_over(noise: bytes, at: int) -> None:
    whole = details(5)
    for status in (noise, whole[:at] + noise, noise + whole):
        told = retry_info.of_metadata([(retry_info.STATUS, status)])
        assert told is None or 0 <= told < float("inf")
