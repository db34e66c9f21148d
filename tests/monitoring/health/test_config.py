"""Settings of monitoring agree with the methods that they set."""

from __future__ import annotations

from monitoring.config import MonitoringConfig
from monitoring.drift_analysis import DriftConfig
from monitoring.sequential import SequentialConfig


def test_what_is_used_by_default_is_what_was_measured() -> None:
    config = MonitoringConfig()
    assert config.false_alarm_rate == DriftConfig().false_alarm_rate
    assert config.average_run_length == SequentialConfig().average_run_length
