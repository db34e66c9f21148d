from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.monitoring.alerts.receiver import receiving
from torchkeep.cli.alerts import alerts
from torchkeep.errors import SettingsError, UserError

RULES = '[[alerts.rules]]\nname = "slow"\nmeasure = "p99_ms"\nabove = 250\nseverity = "page"\n'


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "torchkeep.toml"
    path.write_text(RULES)
    return path


def run(*arguments: str, **environ: str) -> Result:
    result = CliRunner().invoke(alerts, arguments, env={"COLUMNS": "120", **environ})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_rules_are_shown(settings: Path) -> None:
    lines = run("rules").stdout.splitlines()
    assert lines[1].split() == ["slow", "p99_ms", "above", "250", "1", "0", "page"]
    assert lines[-1] == "told to: log"
    found = json.loads(run("rules", "--json").stdout)
    assert (found["rules"][0]["name"], found["sinks"]) == ("slow", ["log"])


def test_wrong_rules_are_named(settings: Path) -> None:
    settings.write_text(RULES.replace("above", "abov"))
    with pytest.raises(SettingsError, match="Did you mean 'above'"):
        run("rules")


def test_without_rules_it_says_so(settings: Path) -> None:
    settings.write_text("[alerts]\nlog = false\n")
    assert run("rules").stdout.splitlines() == [
        "no rules: see [alerts] in torchkeep.toml",
        "told to: nobody",
    ]


def test_a_trial_reaches_every_sink_and_leaves_nothing(settings: Path, tmp_path: Path) -> None:
    with receiving() as hook, receiving() as manager:
        found = run(
            "try",
            "--json",
            TORCHKEEP_ALERTS_WEBHOOK_URL=hook.url,
            TORCHKEEP_ALERTS_ALERTMANAGER_URL=manager.url,
        )
    assert json.loads(found.stdout) == {
        "sinks": {"log": "told", "webhook": "told", "alertmanager": "told"}
    }
    assert hook.accepted() == [("torchkeep_trial", "firing"), ("torchkeep_trial", "resolved")]
    assert manager.received[0][0]["labels"]["alertname"] == "torchkeep_trial"
    assert sorted(tmp_path.iterdir()) == [settings]


def test_a_sink_that_does_not_take_it_is_an_error(settings: Path) -> None:
    with receiving() as hook:
        hook.status = 403
        with pytest.raises(UserError, match="webhook did not take the trial alert: answered 403"):
            run("try", TORCHKEEP_ALERTS_WEBHOOK_URL=f"{hook.url}/T0K3N")
