from __future__ import annotations

import fcntl
import os
import socket
import stat
from pathlib import Path

import pytest

from monitoring.request_log import RequestLog, RequestLogConfig
from monitoring.segment import Owner, Segment, closed_name, seal_abandoned, segments_in
from tests.monitoring.records import a_record

NAME = "host-1-1700000000000000000-000000.jsonl"


def abandon(directory: Path, content: bytes, name: str = NAME) -> Path:
    """Leave an open segment behind that nobody holds."""
    path = directory / f"{name}.open"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("torn", [b"{", b'{"a": 1}', b"x" * 200_000, b"\0" * 10])
@pytest.mark.parametrize("whole", [b'{"n": 1}\n', b'{"n": 1}\n' * 20_000])
def test_a_torn_last_line_is_set_aside(tmp_path: Path, whole: bytes, torn: bytes) -> None:
    abandon(tmp_path, whole + torn)
    [sealed] = seal_abandoned(tmp_path)
    assert sealed == tmp_path / NAME
    assert sealed.read_bytes() == whole
    aside = tmp_path / f"{NAME}.torn"
    assert aside.read_bytes() == torn
    assert stat.S_IMODE(aside.stat().st_mode) == 0o600
    assert segments_in(tmp_path) == [sealed]


def test_a_segment_without_a_whole_line_is_removed(tmp_path: Path) -> None:
    abandon(tmp_path, b"")
    abandon(tmp_path, b'{"torn', "host-2-1-000000.jsonl")
    assert seal_abandoned(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["host-2-1-000000.jsonl.torn"]


def test_a_locked_segment_is_not_abandoned(tmp_path: Path) -> None:
    path = abandon(tmp_path, b"{}\n")
    with path.open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        assert seal_abandoned(tmp_path) == []
    assert seal_abandoned(tmp_path) == [tmp_path / NAME]


def test_sealing_twice_changes_nothing(tmp_path: Path) -> None:
    abandon(tmp_path, b"{}\n{")
    assert len(seal_abandoned(tmp_path)) == 1
    assert seal_abandoned(tmp_path) == []


def test_a_log_that_is_being_written_is_not_sealed(tmp_path: Path) -> None:
    with RequestLog(RequestLogConfig(), directory=tmp_path) as log:
        log.write([a_record()])
        assert seal_abandoned(tmp_path) == []


def test_a_segment_removed_before_its_writer_locked_it_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock
    removed: list[Path] = []

    def after_someone_tidied_up(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        removed.extend(segments_in(tmp_path))
        seal_abandoned(tmp_path)
        lock(descriptor, operation)

    with RequestLog(RequestLogConfig(), directory=tmp_path) as log:
        monkeypatch.setattr(fcntl, "flock", after_someone_tidied_up)
        log.write([a_record()])
        [segment] = segments_in(tmp_path)
        assert removed
        assert segment not in removed
        assert segment.stat().st_size > 0


def test_a_segment_someone_is_looking_at_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock
    sealers: list[int] = []

    def after_someone_locked_it(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        sealers.append(os.open(segments_in(tmp_path)[0], os.O_RDWR))
        lock(sealers[0], fcntl.LOCK_EX)
        lock(descriptor, operation)

    with RequestLog(RequestLogConfig(), directory=tmp_path) as log:
        monkeypatch.setattr(fcntl, "flock", after_someone_locked_it)
        log.write([a_record()])
        assert log.dropped == 0
        assert [path.stat().st_size > 0 for path in segments_in(tmp_path)] == [False, True]
    os.close(sealers[0])


def test_a_closed_segment_is_never_written_again(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"{}\n")
    with pytest.raises(FileExistsError):
        Segment(tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == b"{}\n"


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"keep\n")
    (tmp_path / f"{NAME}.open").symlink_to(target)
    with pytest.raises(FileExistsError):
        Segment(tmp_path / NAME)
    assert segments_in(tmp_path) == []
    assert seal_abandoned(tmp_path) == []
    assert target.read_bytes() == b"keep\n"


def test_only_segments_are_listed_and_in_the_order_they_were_begun(tmp_path: Path) -> None:
    names = [
        "b-9-5-000000.jsonl",
        "a-b-1-7-000000.jsonl.open",
        "a-b-1-7-000001.jsonl",
        "a-1-10-000000.jsonl",
    ]
    for other in (*names, "notes.txt", "a-1-7-0.jsonl.torn", "a-1.jsonl", f".{NAME}.tmp"):
        (tmp_path / other).write_bytes(b"{}\n")
    os.mkfifo(tmp_path / "pipe-1-1-000000.jsonl")
    (tmp_path / "folder-1-1-000000.jsonl").mkdir()
    assert [path.name for path in segments_in(tmp_path)] == names
    assert segments_in(tmp_path / "missing") == []


def test_a_name_tells_host_process_and_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "my host/é")
    owner = Owner.this_process()
    path = owner.segment(Path("/log"), 3)
    assert path.name == f"my_host__-{os.getpid()}-{owner.start_ns}-000003.jsonl"
    assert closed_name(path) == closed_name(path.with_name(f"{path.name}.open")) == path.name
