from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from release.ts_log import archive_fault, java_fault, last_line, python_fault, size_of

START = "2026-11-23T22:07:10,548 "


def log(tmp_path: Path, *messages: str, prefix: str = "INFO  MODEL_LOG - ") -> Path:
    path = tmp_path / "server.log"
    path.write_text("".join(f"{START}{prefix}{message}\n" for message in messages))
    return path


TRACEBACK = (
    "Traceback (most recent call last):",
    '  File "entry.py", line 9, in handle',
    "    x()",
)


def test_the_last_line_of_a_traceback_is_the_fault(tmp_path: Path) -> None:
    path = log(tmp_path, "loading", *TRACEBACK, "RuntimeError: weights do not fit", "more words")
    assert python_fault(path) == "RuntimeError: weights do not fit"


def test_our_own_errors_speak_for_themselves(tmp_path: Path) -> None:
    path = log(tmp_path, *TRACEBACK, "torchkeep.errors.SettingsError: max_items is 0. Give more.")
    assert python_fault(path) == "max_items is 0. Give more."


def test_the_outermost_of_chained_exceptions_counts(tmp_path: Path) -> None:
    chain = (
        *TRACEBACK,
        "ValueError: invalid literal",
        "",
        "The above exception was the direct cause of the following exception:",
        "",
        *TRACEBACK,
        "package.errors.ConfigError: no number",
    )
    assert python_fault(log(tmp_path, *chain)) == "ConfigError: no number"


@pytest.mark.parametrize(
    "wrapped",
    [
        "RuntimeError: 500 - Unknown exception",
        "ModuleNotFoundError: No module named 'ts.torch_handler.entry:handle'",
    ],
)
def test_what_torchserve_wraps_around_a_fault_is_left_out(tmp_path: Path, wrapped: str) -> None:
    path = log(tmp_path, *TRACEBACK, "ImportError: no captum", *TRACEBACK, wrapped)
    assert python_fault(path) == "ImportError: no captum"
    assert python_fault(log(tmp_path, *TRACEBACK, wrapped)) == wrapped


def test_a_log_without_faults_or_without_a_file_gives_none(tmp_path: Path) -> None:
    path = log(tmp_path, "all is well", "Traceback is a word")
    for read in (python_fault, java_fault, archive_fault):
        assert read(path) is None
        assert read(tmp_path / "none.log") is None


def test_an_archive_torchserve_refuses_is_explained(tmp_path: Path) -> None:
    path = log(tmp_path, "Failed to load model: toy.mar", prefix="WARN  ModelServer - ")
    assert archive_fault(path) == "Failed to load model: toy.mar"
    with path.open("a") as file:
        file.write("org.pytorch.serve.archive.model.InvalidModelException: no name\n\tat x.y\n")
    assert archive_fault(path) == "InvalidModelException: no name"


def test_the_first_java_error_is_found(tmp_path: Path) -> None:
    console = tmp_path / "console.log"
    console.write_text(
        "WARNING: something\njava.io.IOException: Failed to bind to address: x\n\tat a.b(C.java)\n"
        "Caused by: java.net.BindException: in use\n"
    )
    assert java_fault(console) == "IOException: Failed to bind to address: x"
    console.write_text("Invalid configuration: Invalid port number: y\n")
    assert java_fault(console) == "Invalid configuration: Invalid port number: y"


@settings(
    deadline=None,
    max_examples=150,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    lines=st.lists(
        st.one_of(
            st.sampled_from([f"{START}INFO  MODEL_LOG - {line}" for line in (*TRACEBACK, "E: x")]),
            st.text(max_size=60),
        ),
        max_size=12,
    ),
    tail=st.binary(max_size=20),
)
def test_no_log_is_too_strange_and_a_fault_is_one_line(
    tmp_path: Path, lines: list[str], tail: bytes
) -> None:
    path = tmp_path / "server.log"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass") + tail)
    for read in (python_fault, java_fault, archive_fault):
        fault = read(path)
        assert fault is None or (fault.strip() and len(fault.splitlines()) == 1)


def test_what_a_log_said_before_does_not_count(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    assert size_of(log) == 0
    assert last_line(log) == ""
    line = "2026-01-01 INFO  MODEL_LOG - {}\n"
    old = ["Traceback (most recent call last):", "  a frame", "ValueError: old"]
    log.write_text("".join(line.format(text) for text in old))
    began = size_of(log)
    assert python_fault(log) == "ValueError: old"
    assert python_fault(log, began) is None
    with log.open("a") as file:
        file.write("error: new\n\n")
    assert last_line(log, began) == "error: new"
    assert python_fault(log, began + 10_000) == "ValueError: old", "the log has begun anew"
