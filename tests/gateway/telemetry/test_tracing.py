from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.config import GatewayConfig
from gateway.refusal import Code
from gateway.telemetry.tracing import Tracing, traces_url
from gateway.trace_context import TraceContext
from tests.gateway.telemetry.endings import answered, arrival, refused
from tests.gateway.telemetry.otlp_receiver import Receiver, attributes, receiver
from torchkeep.errors import SettingsError
from torchkeep.ids import trace_id_of

ROOT = Path(__file__).parents[3]
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
NOT_SAMPLED = f"00-{TRACE}-{SPAN}-00"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The collector is on this machine, whatever the environment says of proxies."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def collector() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


# traceparent


@pytest.mark.parametrize(
    ("header", "read"),
    [
        (SAMPLED, TraceContext(TRACE, SPAN, True)),
        (NOT_SAMPLED, TraceContext(TRACE, SPAN, False)),
        (f"00-{TRACE}-{SPAN}-ff", TraceContext(TRACE, SPAN, True)),
        (f"00-{TRACE}-{SPAN}-02", TraceContext(TRACE, SPAN, False)),
        (f"cc-{TRACE}-{SPAN}-01", TraceContext(TRACE, SPAN, True)),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-brings", TraceContext(TRACE, SPAN, True)),
        (f"01-{TRACE}-{SPAN}-01-", TraceContext(TRACE, SPAN, True)),
    ],
)
def test_a_valid_header_is_read(header: str, read: TraceContext) -> None:
    assert TraceContext.parse(header) == read


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        SAMPLED.upper(),
        SAMPLED + " ",
        " " + SAMPLED,
        SAMPLED + "\n",
        SAMPLED + "-x",
        SAMPLED + "-",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}0-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-0g",
        f"00_{TRACE}_{SPAN}_01",
        f"00-{TRACE}-{SPAN}",
        f"cc-{TRACE}-{SPAN}-01.x",
        f"cc-{TRACE}-{SPAN}-011",
        SAMPLED.replace("0", "٠"),
        f"{SAMPLED},{SAMPLED}",
    ],
)
def test_anything_else_is_left_aside(header: str) -> None:
    assert TraceContext.parse(header) is None


contexts = st.builds(
    TraceContext,
    st.integers(1, 2**128 - 1).map(lambda number: f"{number:032x}"),
    st.integers(1, 2**64 - 1).map(lambda number: f"{number:016x}"),
    st.booleans(),
)


@settings(deadline=None, max_examples=300, derandomize=True)
@given(contexts)
def test_what_is_written_is_read_again(context: TraceContext) -> None:
    assert TraceContext.parse(context.header()) == context
    child = context.child()
    assert (child.trace_id, child.sampled) == (context.trace_id, context.sampled)
    assert child.span_id != context.span_id
    assert TraceContext.parse(child.header()) == child


def by_the_book(header: str) -> bool:
    """Section 3.2.2 and 4.3 read literally."""
    parts = header.split("-")
    if [len(part) for part in parts[:4]] != [2, 32, 16, 2]:
        return False
    if any(letter not in "0123456789abcdef" for part in parts[:4] for letter in part):
        return False
    version, trace_id, span_id, _ = parts[:4]
    if version == "ff" or not trace_id.strip("0") or not span_id.strip("0"):
        return False
    return len(parts) == 4 or version != "00"


hexes = st.sampled_from("0123456789abcdef")


@st.composite
def nearly(draw: st.DrawFn) -> str:
    """A header, or one with some letters replaced, left out or put in."""
    header = draw(contexts).header()
    version = draw(st.sampled_from(["00", "00", "01", "cc", "fe", "ff"]))
    header = version + header[2:-2] + draw(hexes) + draw(hexes)
    header += draw(st.sampled_from(["", "", "-", "-x", "-0-0", "x", "0"]))
    start = draw(st.integers(0, len(header)))
    length = draw(st.integers(0, 2))
    return header[:start] + draw(st.text("09afAg- ", max_size=2)) + header[start + length :]


@settings(deadline=None, max_examples=500, derandomize=True)
@given(nearly() | contexts.map(TraceContext.header) | st.text("0af-", max_size=60))
@example(SAMPLED)
@example(f"00-{TRACE}-{SPAN}-01-x")
@example(f"01-{TRACE}-{SPAN}-01-x")
def test_exactly_what_the_specification_allows_is_read(header: str) -> None:
    read = TraceContext.parse(header)
    assert (read is not None) is by_the_book(header)
    assert trace_id_of(header) == (read.trace_id if read else None)  # the handler agrees


def test_new_traces_and_spans_differ() -> None:
    found = [TraceContext.new(sampled=True) for _ in range(1_000)]
    assert len({context.trace_id for context in found}) == 1_000
    assert len({context.span_id for context in found}) == 1_000
    assert all(by_the_book(context.header()) for context in found)


# what is handed on


def test_without_a_collector_the_callers_place_is_handed_on() -> None:
    tracing = Tracing()
    for header, expected in ((SAMPLED, TraceContext(TRACE, SPAN, True)), ("x", None), ("", None)):
        request = arrival(traceparent=header)
        tracing.begin(request)
        assert request.trace == expected
        tracing.end(answered(request))
    tracing.close()


def test_without_a_collector_the_sdk_is_not_loaded() -> None:
    script = (
        "import sys\n"
        "from gateway.telemetry.gateway_telemetry import GatewayTelemetry\n"
        "from gateway.telemetry.tracing import Tracing\n"
        "from tests.gateway.telemetry.endings import answered, arrival\n"
        f"request = arrival(traceparent={SAMPLED!r})\n"
        "tracing = Tracing()\n"
        "tracing.begin(request); tracing.end(answered(request)); tracing.close()\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'requests'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_a_missing_sdk_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gateway.telemetry.spans", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SettingsError, match=r"otlp_endpoint needs a package.*pip install"):
        Tracing("http://127.0.0.1:4318")


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http://collector:4318/", "http://collector:4318/v1/traces"),
        ("https://x.example/otlp/v1/traces", "https://x.example/otlp/v1/traces"),
    ],
)
def test_an_endpoint_without_a_path_gets_the_one_of_otlp(endpoint: str, url: str) -> None:
    assert traces_url(endpoint) == url


@pytest.mark.parametrize("endpoint", ["127.0.0.1:4318", "grpc://x:4317", "http://", "/v1", "x"])
def test_an_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(SettingsError, match="otlp_endpoint is"):
        Tracing(endpoint)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_from_0_to_1(share: float) -> None:
    with pytest.raises(SettingsError, match="trace_share"):
        GatewayConfig(trace_share=share)


# spans


def test_a_traced_request_gives_its_span_and_that_of_its_call(collector: Receiver) -> None:
    tracing = Tracing(collector.url)
    request = arrival(traceparent=SAMPLED)
    tracing.begin(request)
    handed_on = request.trace
    assert handed_on is not None
    before = time.time_ns()
    tracing.end(answered(request, verdict="suspicious", attempt=2))
    tracing.close()
    server, call = sorted(collector.wait_for(2), key=lambda span: span.kind)
    assert collector.paths == ["/v1/traces"]
    assert collector.services == {"torchkeep-gateway"}

    assert (server.name, server.kind) == ("/v2/models/{model}/infer", server.SPAN_KIND_SERVER)
    assert server.trace_id.hex() == TRACE == handed_on.trace_id
    assert server.span_id.hex() == handed_on.span_id
    assert server.parent_span_id.hex() == SPAN
    assert server.end_time_unix_nano - server.start_time_unix_nano == 6_500_000
    assert before <= server.end_time_unix_nano <= time.time_ns()
    assert server.status.code == server.status.STATUS_CODE_UNSET
    assert attributes(server) == {
        "torchkeep.request_id": "r1",
        "torchkeep.protocol": "rest",
        "torchkeep.model": "digits",
        "torchkeep.version": "1.0",
        "torchkeep.operation": "predict",
        "torchkeep.items": 2,
        "torchkeep.items_ok": 2,
        "torchkeep.verdict": "suspicious",
        "torchkeep.code": "OK",
        "http.response.status_code": 200,
    }

    assert (call.name, call.kind) == ("torchserve", call.SPAN_KIND_CLIENT)
    assert call.trace_id == server.trace_id
    assert call.parent_span_id == server.span_id
    assert call.start_time_unix_nano - server.start_time_unix_nano == 1_000_000
    assert call.end_time_unix_nano - call.start_time_unix_nano == 4_000_000
    assert attributes(call) == {"torchkeep.batch_size": 8, "torchkeep.attempt": 2}


def test_a_request_without_a_trace_begins_one(collector: Receiver) -> None:
    tracing = Tracing(collector.url)
    request = arrival(traceparent="not a traceparent")
    tracing.begin(request)
    tracing.end(refused(Code.UNAVAILABLE, request, message="no worker answers"))
    tracing.close()
    [span] = collector.wait_for(1)
    assert request.trace is not None
    assert span.trace_id.hex() == request.trace.trace_id
    assert span.parent_span_id == b""
    assert span.status.code == span.status.STATUS_CODE_ERROR
    assert span.status.message == "no worker answers"


@pytest.mark.parametrize("code", [Code.INVALID, Code.BUSY, Code.CANCELLED])
def test_a_callers_fault_is_no_error_of_the_server(collector: Receiver, code: Code) -> None:
    tracing = Tracing(collector.url)
    request = arrival(traceparent=SAMPLED)
    tracing.begin(request)
    tracing.end(refused(code, request))
    tracing.close()
    [span] = collector.wait_for(1)
    assert span.status.code == span.status.STATUS_CODE_UNSET
    assert attributes(span)["torchkeep.code"] == code.grpc.name


def test_the_caller_decides_and_the_share_does_for_the_others(collector: Receiver) -> None:
    tracing = Tracing(collector.url, share=0.0)
    for header in (SAMPLED, NOT_SAMPLED, ""):
        request = arrival(header or "none", traceparent=header)
        tracing.begin(request)
        tracing.end(refused(Code.BUSY, request))
        if header:
            assert request.trace is not None
            assert request.trace.trace_id == TRACE
            assert request.trace.sampled is (header == SAMPLED)
        else:
            assert request.trace is None
    tracing.close()
    assert [attributes(span)["torchkeep.request_id"] for span in collector.spans] == [SAMPLED]


def test_a_share_is_about_that_share(collector: Receiver) -> None:
    tracing = Tracing(collector.url, share=0.25)
    begun = [arrival() for _ in range(2_000)]
    for request in begun:
        tracing.begin(request)
    tracing.close()
    assert 350 < sum(request.trace is not None for request in begun) < 650


def test_what_utf8_cannot_hold_costs_no_other_span(collector: Receiver) -> None:
    tracing = Tracing(collector.url)
    for number, text in enumerate(("\ud800", "x" * 100_000, "plain")):
        request = arrival(f"r{number}", model=text, traceparent=SAMPLED)
        tracing.begin(request)
        tracing.end(refused(Code.INTERNAL, request, message=text))
    tracing.close()
    models = [attributes(span)["torchkeep.model"] for span in collector.wait_for(3)]
    assert models == ["\\ud800", "x" * 256, "plain"]


def test_a_collector_that_is_down_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    tracing = Tracing(f"http://127.0.0.1:{port}")
    monkeypatch.setattr("gateway.telemetry.spans._LAST_SEND_S", 1.0)
    threads = threading.active_count()
    started = time.monotonic()
    for number in range(3_000):  # more than may wait
        request = arrival(f"r{number}")
        tracing.begin(request)
        tracing.end(refused(Code.BUSY, request))
    assert time.monotonic() - started < 5
    tracing.close()
    assert time.monotonic() - started < 10
    assert threading.active_count() < threads  # the one that sends has ended
    lines = [record.levelno for record in caplog.records if "exporter" in record.name]
    assert all(level >= logging.ERROR for level in lines)  # and none for each new try
