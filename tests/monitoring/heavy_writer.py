"""Writes batches as fast as it can, and says on stdout which ones the log has acknowledged.

heavy_writer.py DIRECTORY BATCHES ITEMS PADDING SEGMENT_BYTES
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from monitoring.request_log import RequestLog, RequestLogConfig
from tests.monitoring.records import a_record


def main(directory: str, batches: int, items: int, padding: int, segment_bytes: int) -> None:
    log = RequestLog(RequestLogConfig(segment_bytes=segment_bytes), directory=Path(directory))
    text = "x" * padding
    for number in range(batches):
        name = f"{os.getpid()}.{number}"
        log.write([a_record(name, item, worker=os.getpid(), client=text) for item in range(items)])
        os.write(sys.stdout.fileno(), f"{name}\n".encode())
    log.close()


if __name__ == "__main__":
    main(sys.argv[1], *(int(argument) for argument in sys.argv[2:]))
