"""Against Prometheus' own Alertmanager: what we post is what it shows."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitoring.alerts.config import AlertsConfig, Rule, Severity
from monitoring.alerts.engine import Alerts
from monitoring.alerts.measures import Measure

PATIENCE_S = 30.0
PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(PROGRAM is None, reason="needs Debian's prometheus-alertmanager"),
]


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "config.yml").write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(PROGRAM),
        f"--config.file={tmp_path / 'config.yml'}",
        f"--storage.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(lambda: is_ready(url), process)
            yield url
        finally:
            process.terminate()


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready").status_code == 200
    except httpx.TransportError:
        return False


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes] | None = None) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert process is None or process.poll() is None, "Alertmanager has ended"
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def shown(url: str) -> list[dict[str, Any]]:
    return list(httpx.get(f"{url}/api/v2/alerts").json())


def test_it_shows_a_firing_alert_until_it_is_over(address: str, tmp_path: Path) -> None:
    rule = Rule(name="slow", measure=Measure.P99_MS, above=250.0, severity=Severity.PAGE)
    config = AlertsConfig(rules=(rule,), log=False, alertmanager_url=address)
    alerts = Alerts(config, tmp_path / "state.json")

    assert alerts.evaluate({"p99_ms": 300.0}, labels={"model": "pets"}).sent[0].fault == ""
    wait_for(lambda: len(shown(address)) == 1)
    (alert,) = shown(address)
    assert alert["labels"] == {"alertname": "slow", "model": "pets", "severity": "page"}
    assert alert["annotations"]["condition"] == "p99_ms above 250"
    assert alert["status"]["state"] in ("active", "unprocessed")

    alerts.evaluate({"p99_ms": 400.0}, labels={"model": "pets"})
    wait_for(lambda: shown(address)[0]["annotations"]["value"] == "400")

    alerts.evaluate({"p99_ms": 100.0}, labels={"model": "pets"})
    wait_for(lambda: shown(address) == [])
