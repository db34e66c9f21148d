from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest

from monitoring.log_reader import ReadReport, read_records
from monitoring.request_log import LogFullError, OnFull, RequestLog, RequestLogConfig
from monitoring.segment import OPEN, seal_abandoned, segments_in
from tests.monitoring.records import a_record
from tests.monitoring.small_disk import BATCH, FAILING_BATCHES, IN_NAMESPACE

ROOT = Path(__file__).parents[2]
WORDS = {"file system": "No space left on device", "file size": "File too large"}


@cache
def may_mount() -> bool:
    """Whether this user may mount a file system in a namespace of their own."""
    command = [*IN_NAMESPACE, "mount", "-t", "tmpfs", "none", tempfile.gettempdir()]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def fill_disk(limit: str, on_full: str, out: Path) -> tuple[dict[str, Any], list[str]]:
    """Run the writer on a small disk; return what it tells and its lines on stderr."""
    command = [sys.executable, "-m", "tests.monitoring.small_disk", limit, on_full, str(out)]
    if limit == "file system":
        command = IN_NAMESPACE + command
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return orjson.loads(done.stdout), done.stderr.decode().splitlines()


@pytest.mark.parametrize("on_full", list(OnFull))
@pytest.mark.parametrize("limit", list(WORDS))
def test_a_full_disk_costs_whole_batches_and_says_so(
    tmp_path: Path, limit: str, on_full: OnFull
) -> None:
    if limit == "file system" and not may_mount():
        limit = "file size"
    result, complaints = fill_disk(limit, on_full, tmp_path)
    lost = BATCH * FAILING_BATCHES

    report = ReadReport()
    records = list(read_records(tmp_path, report=report))
    assert report.damaged == 0
    assert [r["request_id"] for r in records[::BATCH]] == result["acknowledged"]
    assert len(records) == BATCH * len(result["acknowledged"])
    assert result["whole_when_full"]
    assert result["dropped"] == lost
    assert [r.get("dropped_before") for r in records if "dropped_before" in r] == [lost]
    assert records[-2 * BATCH]["dropped_before"] == lost

    assert len(complaints) == 2  # at the first loss, and in sum at the end
    assert WORDS[limit] in complaints[0]
    assert f"{lost} records lost" in complaints[1]
    refused = FAILING_BATCHES if on_full is OnFull.REFUSE else 0
    assert len(result["refusals"]) == refused
    assert all(WORDS[limit] in refusal for refusal in result["refusals"])


def test_a_segment_that_cannot_be_cut_back_takes_no_more_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    log = RequestLog(RequestLogConfig(on_full=OnFull.REFUSE), directory=tmp_path)
    log.write([a_record("before")])

    def write_a_little(descriptor: int, data: bytes) -> int:
        if len(data) < 500:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return write(descriptor, data[:500])

    def refuse(descriptor: int, size: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken_disk:
        broken_disk.setattr(os, "write", write_a_little)
        broken_disk.setattr(os, "ftruncate", refuse)
        with pytest.raises(LogFullError, match="Input/output error"):
            log.write([a_record("torn")])
    log.write([a_record("after")])

    torn = segments_in(tmp_path)[0]
    assert torn.name.endswith(OPEN)
    assert not torn.read_bytes().endswith(b"\n")
    assert [r["request_id"] for r in read_records(tmp_path)] == ["before", "after"]
    [sealed] = seal_abandoned(tmp_path)
    assert sealed.read_bytes().count(b"\n") == 1
    assert len(sealed.with_suffix(".jsonl.torn").read_bytes()) == 500
    log.close()
    assert [r["request_id"] for r in read_records(tmp_path)] == ["before", "after"]


def test_an_interrupted_write_leaves_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def interrupted(descriptor: int, data: bytes) -> int:
        write(descriptor, data[:100])
        raise KeyboardInterrupt

    with RequestLog(RequestLogConfig(), directory=tmp_path) as log:
        log.write([a_record("before")])
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", interrupted)
            with pytest.raises(KeyboardInterrupt):
                log.write([a_record("interrupted")])
        log.write([a_record("after")])
    report = ReadReport()
    assert [r["request_id"] for r in read_records(tmp_path, report=report)] == ["before", "after"]
    assert report.damaged == 0
