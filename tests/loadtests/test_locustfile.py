"""Locust runs the file as a user would, for a moment, and what it says is true."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.client.protocol_servers import TOKEN, Servers, serve

LOCUSTFILE = Path(__file__).resolve().parents[2] / "loadtests" / "locustfile.py"


@pytest.fixture
def servers() -> Iterator[Servers]:
    with serve() as running:
        yield running


def locust(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run Locust in `folder` for some 60 requests."""
    environment = {name: value for name, value in os.environ.items() if "LOCUST" not in name}
    environment["TORCHKEEP_TOKEN"] = TOKEN
    command = [
        *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--json"),
        *("-u", "4", "-r", "4", "-t", "60s", "--requests", "60", "--rate", "50"),
        *options,
    ]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def rows(run: subprocess.CompletedProcess[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return Locust's statistics by protocol and row."""
    return {(row["method"], row["name"]): row for row in json.loads(run.stdout)}


def test_both_protocols_are_loaded(servers: Servers, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    run = locust(
        tmp_path,
        *("--host", servers.rest, "--grpc-host", servers.grpc, "--token-file", str(token)),
        *("--model", "digits", "--model-version", "2.0", "--items", "3", "--shape", "1x8x8"),
    )
    assert run.returncode == 0, run.stderr
    counted = rows(run)
    assert set(counted) == {("REST", "predict"), ("gRPC", "predict")}
    assert 60 <= sum(row["num_requests"] for row in counted.values()) <= 70
    for row in counted.values():
        assert row["num_requests"] >= 10
        assert row["num_failures"] == 0
    asked = servers.model.asked
    assert {(each.model, each.version, each.operation) for each in asked} == {
        ("digits", "2.0", "predict")
    }
    assert len({each.tags["request_id"] for each in asked}) == len(asked)
    assert len({each.data for each in asked}) > 10
    sent = np.lib.format.read_array(io.BytesIO(asked[0].data), allow_pickle=False)
    assert sent.shape == (3, 1, 8, 8)
    assert sent.dtype == np.uint8


def test_screened_out_is_answered_and_counted_apart(servers: Servers, tmp_path: Path) -> None:
    images = np.frombuffer(b"screenedordinary", dtype=np.uint8).reshape(2, 1, 2, 4)
    np.save(tmp_path / "images.npy", images, allow_pickle=False)
    addresses = ("--host", servers.rest, "--grpc-host", servers.grpc)
    run = locust(tmp_path, *addresses, "--images", "images.npy")
    assert run.returncode == 0, run.stderr
    counted = rows(run)
    assert len(counted) == 4
    for protocol in ("REST", "gRPC"):
        for name in ("predict", "predict (rejected)"):
            assert counted[protocol, name]["num_requests"] >= 3
            assert counted[protocol, name]["num_failures"] == 0


def test_what_is_not_answered_is_a_failure(servers: Servers, tmp_path: Path) -> None:
    addresses = ("--host", servers.rest, "--grpc-host", servers.grpc)
    run = locust(tmp_path, *addresses, "--model", "full")
    assert run.returncode == 1, run.stderr
    for row in rows(run).values():
        assert row["num_failures"] == row["num_requests"] > 0
    assert run.stderr.count("has no worker to serve inference request") >= 2


def test_one_kind_of_user_can_be_had_alone(servers: Servers, tmp_path: Path) -> None:
    run = locust(tmp_path, "--host", servers.rest, "RestUser")
    assert run.returncode == 0, run.stderr
    assert set(rows(run)) == {("REST", "predict")}


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--shape", "1x0x28", "not in 1 to 1024"),
        ("--items", "0", "not a whole number from 1"),
        ("--deadline", "0", "not a number of seconds above 0"),
        ("--token-file", "missing", "missing cannot be read"),
        ("--images", "wrong.npy", "expected uint8 N C H W"),
    ],
)
def test_a_wrong_option_is_said_at_once(tmp_path: Path, option: str, value: str, said: str) -> None:
    np.save(tmp_path / "wrong.npy", np.zeros((1, 2, 2)), allow_pickle=False)
    run = locust(tmp_path, option, value)
    assert run.returncode == 2
    assert said in run.stderr
    assert run.stdout == ""
