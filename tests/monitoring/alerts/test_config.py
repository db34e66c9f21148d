from __future__ import annotations

from pathlib import Path

import pytest

from monitoring.alerts.config import AlertsConfig, Rule, Severity
from monitoring.alerts.measures import Measure
from torchkeep.errors import SettingsError
from torchkeep.settings import Settings


def load(tmp_path: Path, text: str, **environ: str) -> AlertsConfig:
    file = tmp_path / "torchkeep.toml"
    file.write_text(text)
    return Settings.load(file, environ).section("alerts", AlertsConfig)


def test_rules_are_tables_of_the_section(tmp_path: Path) -> None:
    text = """
        [alerts]
        webhook_url = "https://example.org/hook"
        attempts = 1

        [[alerts.rules]]
        name = "slow"
        measure = "p99_ms"
        above = 250
        for_evaluations = 3
        severity = "page"

        [[alerts.rules]]
        name = "wrong"
        measure = "accuracy_high"
        below = 0.95
    """
    assert load(tmp_path, text) == AlertsConfig(
        rules=(
            Rule(
                name="slow",
                measure=Measure.P99_MS,
                above=250.0,
                for_evaluations=3,
                severity=Severity.PAGE,
            ),
            Rule(name="wrong", measure=Measure.ACCURACY_HIGH, below=0.95),
        ),
        webhook_url="https://example.org/hook",
        attempts=1,
    )


def test_an_address_may_come_from_the_environment_and_is_shown_nowhere(tmp_path: Path) -> None:
    address = "https://example.org/hook/T0K3N"
    config = load(tmp_path, "", TORCHKEEP_ALERTS_WEBHOOK_URL=address)
    assert config.webhook_url == address
    assert "T0K3N" not in repr(config)


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ('name = "a"', "number 1, in .* lacks 'measure'"),
        ('name = "a"\nmeasure = "p98_ms"\nabove = 1', "is 'p98_ms'. Choose from"),
        ('name = "a"\nmeasure = "p99_ms"\nabov = 1', "Did you mean 'above'"),
        ('name = "a"\nmeasure = "p99_ms"', "needs a limit"),
        ('name = "a"\nmeasure = "p99_ms"\nabove = 1\nbelow = 2', "needs a limit"),
        ('name = "a"\nmeasure = "p99_ms"\nabove = nan', "the limit is nan"),
        ('name = "a"\nmeasure = "p99_ms"\nabove = true', "Give a number"),
        ('name = "a b"\nmeasure = "p99_ms"\nabove = 1', "not a name"),
        ('name = "a"\nmeasure = "p99_ms"\nabove = 1\nfor_evaluations = 0', "for_evaluations is 0"),
        ('name = "a"\nmeasure = "p99_ms"\nabove = 1\nfor_s = -1', "for_s is -1"),
        ('name = "a"\nmeasure = "p99_ms"\nabove = 1\nseverity = "loud"', "Choose from: page"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(tmp_path: Path, rule: str, fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        load(tmp_path, f"[[alerts.rules]]\n{rule}\n")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("rules = 3", "Give a list"),
        ("rules = [3]", "number 1, in .* is 3"),
        ("timeout_s = 0", "timeout_s is 0"),
        ("attempts = 0", "attempts is 0"),
        ("deadline_s = inf", "deadline_s is inf"),
        ('alertmanager_url = "ftp://host"', "alertmanager_url is no address"),
        ('alertmanager_url = "http://[::1"', "alertmanager_url is no address"),
        ('webhook_key = "k"', "no webhook_url"),
    ],
)
def test_a_section_that_cannot_be_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        load(tmp_path, f"[alerts]\n{text}\n")


def test_a_wrong_address_is_not_repeated_for_it_may_hold_a_secret(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, '[alerts]\nwebhook_url = "htps://host/T0K3N"\n')
    assert "T0K3N" not in str(caught.value)


def test_rules_have_names_of_their_own() -> None:
    rule = Rule(name="a", measure=Measure.DRIFT, above=0.5)
    with pytest.raises(SettingsError, match="two alert rules are named 'a'"):
        AlertsConfig(rules=(rule, rule))
