"""Writes to a log until the disk is full, frees the disk, writes on, and tells what happened.

small_disk.py LIMIT ON_FULL OUT: LIMIT is "file system" (a real one of 256 KiB, mounted in a
namespace of its own) or "file size" (a resource limit); the segments are copied to OUT.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import orjson

from monitoring.request_log import LogFullError, OnFull, RequestLog, RequestLogConfig
from monitoring.segment import segments_in
from tests.monitoring.records import a_record

BATCH = 3
FAILING_BATCHES = 5
IN_NAMESPACE = ["unshare", "--map-root-user", "--mount"]


class FileSystem:
    """A mounted file system, most of it taken by one file that can be removed."""

    def __init__(self, directory: Path) -> None:
        command = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "none", str(directory)]
        subprocess.run(command, check=True)
        self.filler = directory / "filler"
        self.filler.write_bytes(bytes(200 * 1024))

    def free(self) -> None:
        self.filler.unlink()


class FileSize:
    """A limit on the size of every file this process writes."""

    def __init__(self, directory: Path) -> None:
        _, self.hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (56 * 1024, self.hard))

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.hard, self.hard))


def main(limit: str, on_full: str, out: Path) -> None:
    directory = out / "disk"
    directory.mkdir(mode=0o700)
    disk = (FileSystem if limit == "file system" else FileSize)(directory)
    log = RequestLog(RequestLogConfig(on_full=OnFull(on_full)), directory=directory)
    acknowledged: list[str] = []
    refusals: list[str] = []
    failed = 0

    def write() -> None:
        nonlocal failed
        name = f"batch {len(acknowledged) + failed}"
        lost = log.dropped
        try:
            log.write([a_record(name, item, client="x" * 700) for item in range(BATCH)])
        except LogFullError as error:
            refusals.append(str(error))
        failed += log.dropped > lost
        if log.dropped == lost:
            acknowledged.append(name)

    while failed < FAILING_BATCHES:
        write()
    [segment] = segments_in(directory)
    whole_when_full = segment.read_bytes().endswith(b"\n")
    disk.free()
    write()
    write()
    log.close()
    for segment in segments_in(directory):
        shutil.copy(segment, out)
    result = {
        "acknowledged": acknowledged,
        "dropped": log.dropped,
        "refusals": refusals,
        "whole_when_full": whole_when_full,
    }
    os.write(sys.stdout.fileno(), orjson.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
