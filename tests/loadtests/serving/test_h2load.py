"""What h2load prints and logs is believed only if every request was answered well."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.benchmarks.serving import h2load
from loadtests.benchmarks.serving.doors import Door, raw_rest, tensor_grpc
from loadtests.benchmarks.serving.h2load import (
    VoidRunError,
    check_summary,
    command_line,
    read_log,
    require_h2load,
)
from torchkeep.errors import UserError

IMAGE = np.zeros((1, 4, 4), np.uint8)
SUMMARY = """\
starting benchmark...
Application protocol: {protocol}

finished in {seconds}, 812.31 req/s, 1.23MB/s
requests: {total} total, {started} started, {done} done, {good} succeeded, {bad} failed, \
{errored} errored, {timeout} timeout
status codes: {ok} 2xx, {moved} 3xx, {refused} 4xx, {broken} 5xx
traffic: 1.03MB (1075000) total, 20.51KB (21000) headers (space savings 90.50%), 5.86KB ({data}) data
"""  # noqa: E501
WELL = {
    "protocol": "h2c",
    "seconds": "1.23s",
    **dict.fromkeys(("total", "started", "done", "good", "ok"), 50),
    **dict.fromkeys(("bad", "errored", "timeout", "moved", "refused", "broken"), 0),
    "data": 6000,
}


def printed(**changes: object) -> str:
    return SUMMARY.format(**{**WELL, **changes})


def test_a_run_without_a_fault_is_believed() -> None:
    check_summary(printed(), 50, 6000)
    check_summary(printed(protocol="http/1.1"), 50, None)


@pytest.mark.parametrize("count", ["total", "started", "done", "good", "ok"])
@pytest.mark.parametrize("value", [0, 49, 51])
def test_a_request_too_few_or_too_many_voids_a_run(count: str, value: int) -> None:
    with pytest.raises(VoidRunError):
        check_summary(printed(**{count: value}), 50, 6000)


@pytest.mark.parametrize("count", ["bad", "errored", "timeout", "moved", "refused", "broken"])
def test_a_fault_voids_a_run(count: str) -> None:
    with pytest.raises(VoidRunError):
        check_summary(printed(**{count: 1}), 50, 6000)


@pytest.mark.parametrize("data", [0, 5880, 5999, 6001])
def test_a_grpc_answer_without_its_message_voids_a_run(data: int) -> None:
    with pytest.raises(VoidRunError, match="bytes of messages"):
        check_summary(printed(data=data), 50, 6000)


@given(st.text(max_size=200))
@settings(deadline=None, max_examples=200, derandomize=True)
def test_whatever_else_is_printed_is_no_good_run(text: str) -> None:
    with pytest.raises(VoidRunError):
        check_summary(text, 50, None)


ROW = st.tuples(
    st.integers(min_value=0, max_value=2**52), st.integers(min_value=1, max_value=10**9)
)


@given(st.lists(ROW, min_size=1, max_size=50))
@settings(deadline=None, max_examples=200, derandomize=True)
def test_a_log_gives_the_time_from_the_first_start_to_the_last_end(
    rows: list[tuple[int, int]],
) -> None:
    load = read_log("".join(f"{begun}\t200\t{took}\n" for begun, took in rows), len(rows))
    ended = max(begun + took for begun, took in rows)
    assert load.requests == len(rows)
    assert math.isclose(load.seconds, (ended - min(begun for begun, _ in rows)) / 1e6)
    least, most = min(took for _, took in rows) / 1000, max(took for _, took in rows) / 1000
    assert least * (1 - 1e-9) <= load.p50_ms <= load.p99_ms <= most * (1 + 1e-9)
    assert math.isclose(load.rate * load.seconds, len(rows))


def test_percentiles_are_those_of_the_durations() -> None:
    rows = [f"{1000 * i}\t200\t{1000 * i}\n" for i in range(1, 102)]
    load = read_log("".join(reversed(rows)), 101)
    assert (load.p50_ms, load.p99_ms) == (51.0, 100.0)


@pytest.mark.parametrize("status", [0, 199, 300, 404, 429, 503, -1])
def test_a_status_that_is_not_2xx_voids_a_run(status: int) -> None:
    with pytest.raises(VoidRunError, match="1 of 2"):
        read_log(f"1\t200\t5\n2\t{status}\t5\n", 2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1\t200\t5\n",
        "1\t200\t5\n2\t200\t5\n3\t200\t5\n",
        "1\t200\n2\t200\n",
        "1\t200\t5\n2\t200\n",
        "1 200 5\n2 200 5\n",
        "1\t200\tfast\n2\t200\t5\n",
        "1\t200\t-5\n2\t200\t5\n",
        "1\t200\t0\n1\t200\t0\n",
        "1\t200\t5\t7\n2\t200\t5\t7\n",
    ],
)
def test_a_log_that_is_not_that_of_the_run_voids_it(text: str) -> None:
    with pytest.raises(VoidRunError):
        read_log(text, 2)


@given(st.text(max_size=100))
@settings(deadline=None, max_examples=200, derandomize=True)
def test_no_text_breaks_the_reader_of_logs(text: str) -> None:
    with pytest.raises(VoidRunError):
        read_log(text, 1000)


def line_of(door: Door) -> list[str]:
    return list(command_line(door, clients=8, requests=99, body=Path("b"), log=Path("l")))


def test_rest_is_asked_over_http_1_and_grpc_over_http_2() -> None:
    rest = line_of(raw_rest("http://127.0.0.1:1/predict", IMAGE))
    rpc = line_of(tensor_grpc("http://127.0.0.1:2", "m", IMAGE, {"authorization": "Bearer k"}))
    assert "--h1" in rest
    assert "--h1" not in rpc
    assert rest[-1] == "http://127.0.0.1:1/predict"
    assert rpc[-1] == "http://127.0.0.1:2/inference.GRPCInferenceService/ModelInfer"
    assert {"--header=te: trailers", "--header=authorization: Bearer k"} <= set(rpc)
    for line in (rest, rpc):
        assert {"--clients=8", "--requests=99", "--data=b", "--log-file=l"} <= set(line)


def test_without_h2load_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h2load, "PROGRAM", "no-such-load-client")
    with pytest.raises(UserError, match="scripts/install-debian-packages"):
        require_h2load()
