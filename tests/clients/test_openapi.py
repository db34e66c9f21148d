"""The served OpenAPI document, by a fuzzer that believes it: schemathesis, beside the peers.

It makes requests that fit the document and requests that do not, of every operation, and holds each
answer against what the document says of it: status, content type, body and headers.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from monitoring.log_reader import Kind, read_records
from tests.clients.environment import peer_python
from tests.gateway.served import Served

pytestmark = [pytest.mark.clients, pytest.mark.torchserve, pytest.mark.timeout(1500)]

CONFIG = Path(__file__).with_name("schemathesis.toml")
PER_OPERATION = 30
LEAST_CASES = 1_500
MAY_GROW = 128 * 1024 * 1024
UNCHECKED = (
    "ignored_auth",  # tests of the keys do that; a header given by hand is not seen as one
    "negative_data_rejection",  # what the document leaves open is not always refused
    "positive_data_acceptance",  # and a shape that fits a schema need not be the model's
)


def fuzz(served: Served, folder: Path, *options: str, config: Path = CONFIG) -> dict[str, Any]:
    """Run the fuzzer; return its report."""
    report = folder / "report.json"
    done = subprocess.run(
        [
            *(peer_python().with_name("st"), f"--config-file={config}", "run"),
            f"{served.running.rest}/openapi.json",
            f"--header=Authorization: Bearer {served.key}",
            "--phases=examples,coverage,fuzzing",
            f"--exclude-checks={','.join(UNCHECKED)}",
            f"--max-examples={PER_OPERATION}",
            "--seed=1",
            "--continue-on-failure",
            "--no-color",
            "--report=json",
            f"--report-json-path={report}",
            *options,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert report.exists(), done.stdout + done.stderr
    found: dict[str, Any] = json.loads(report.read_bytes())
    assert found["failures"] == [], done.stdout
    assert done.returncode == 0, done.stdout
    return found


def test_every_operation_does_as_its_description_says(served: Served, tmp_path: Path) -> None:
    before = served.now
    size = psutil.Process(before.pids.gateway).memory_info().rss
    found = fuzz(served, tmp_path)
    assert found["operations"]["tested"] == found["operations"]["total"] > 40
    assert found["test_cases"]["generated"] > LEAST_CASES
    assert served.now.pids == before.pids
    assert psutil.Process(before.pids.gateway).memory_info().rss - size < MAY_GROW


def test_what_asks_the_model_is_tried_with_a_model_that_is_there(
    served: Served, tmp_path: Path
) -> None:
    config = tmp_path / "named.toml"
    named = '[parameters]\n"path.model" = "digits"\n"path.version" = "1.0"\n'
    config.write_text(named + CONFIG.read_text(encoding="utf-8"), encoding="utf-8")
    asking = "--include-path-regex=/(infer|explain|predictions|explanations)"
    fuzz(served, tmp_path, asking, config=config)
    codes = Counter(record["code"] for record in read_records(served.log, kind=Kind.ACCESS))
    assert codes["INVALID_ARGUMENT"] > 100
    assert codes["INTERNAL"] == codes["UNAVAILABLE"] == 0
