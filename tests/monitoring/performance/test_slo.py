from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from monitoring.slo import (
    BURN_WINDOWS,
    DAY_S,
    HOUR_S,
    Objective,
    ObjectiveKind,
    ObjectiveState,
    SloConfig,
    burn_measures,
    slo_states,
)
from tests.monitoring.performance.log import logged
from tests.monitoring.records import an_access_record
from torchkeep.errors import SettingsError
from torchkeep.settings import Settings

NS = 10**9
NOW_NS = 1_800_000_000 * NS
ANSWERED = Objective(name="answered", kind=ObjectiveKind.AVAILABILITY, target=0.99)
FAST = Objective(name="fast", kind=ObjectiveKind.LATENCY, target=0.9, within_ms=100.0)


@contextmanager
def history(*spans: tuple[int, int, int, float]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A log of spans: from so many seconds ago, so many requests, their status and total_ms.

    The requests of a span lie evenly between its begin and that of the span after it, or now.
    """
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE access"
            " (model TEXT, timestamp_ns BIGINT, http_status BIGINT, total_ms DOUBLE)"
        )
        for (ago, count, status, ms), (until, *_) in zip(spans, [*spans[1:], (0,)], strict=True):
            connection.execute(
                "INSERT INTO access SELECT 'digits', $now - CAST($ago * 1e9 AS BIGINT)"
                " + CAST((i + 0.5) * ($ago - $until) * 1e9 / $count AS BIGINT), $status, $ms"
                " FROM range($count) AS t(i)",
                {
                    "now": NOW_NS,
                    "ago": ago,
                    "until": until,
                    "count": count,
                    "status": status,
                    "ms": ms,
                },
            )
        yield connection


def state(connection: duckdb.DuckDBPyConnection, objective: Objective) -> ObjectiveState:
    (found,) = slo_states(connection, [objective], model="digits", now_ns=NOW_NS)
    return found


def rates(found: ObjectiveState) -> dict[str, float | None]:
    return {burn.window.name: burn.rate for burn in found.burns}


def test_a_budget_that_is_used_evenly_burns_at_rate_one() -> None:
    with history((30 * DAY_S, 99 * 4320, 200, 1.0)) as connection:
        connection.execute(
            "INSERT INTO access SELECT 'digits', $now - i * 600000000000 - 1, 500, 1.0"
            " FROM range(4320) AS t(i)",
            {"now": NOW_NS},
        )
        found = state(connection, ANSWERED)
    assert found.requests == 432_000
    assert found.bad == 4320
    assert found.budget_left == pytest.approx(0.0, abs=1e-9)
    assert [burn.long_rate for burn in found.burns] == pytest.approx([1.0] * 4, rel=0.01)
    assert not any(burn.alarming for burn in found.burns)


def test_an_outage_is_an_alarm_and_ends_with_the_outage() -> None:
    """Ten minutes with nothing but errors, in a day of 1 request a second."""
    with history((DAY_S, DAY_S - 600, 200, 1.0), (600, 600, 503, 1.0)) as connection:
        during = state(connection, ANSWERED)
    with history(
        (DAY_S, DAY_S - 1200, 200, 1.0), (1200, 600, 503, 1.0), (600, 600, 200, 1.0)
    ) as connection:
        after = state(connection, ANSWERED)
    assert [burn.window.name for burn in during.burns if burn.alarming] == ["1h"]
    assert during.burns[0].long_rate == pytest.approx(600 / 3600 / 0.01, rel=0.01)
    assert during.burns[0].short_rate == pytest.approx(100.0)
    assert after.burns[0].long_rate == pytest.approx(600 / 3600 / 0.01, rel=0.01)
    assert after.burns[0].short_rate == 0.0
    assert not any(burn.alarming for burn in after.burns)


def test_what_the_caller_did_wrong_spends_nothing_but_a_full_queue_does() -> None:
    with history((HOUR_S, 100, 400, 1.0)) as connection:
        assert state(connection, ANSWERED).bad == 0
    with history((HOUR_S, 100, 429, 1.0)) as connection:
        assert state(connection, ANSWERED).bad == 100


def test_latency_is_judged_over_what_was_answered() -> None:
    with history(
        (3600, 60, 200, 50.0), (2400, 30, 200, 100.5), (1200, 10, 503, 9000.0)
    ) as connection:
        found = state(connection, FAST)
    assert (found.requests, found.bad) == (90, 30)
    assert found.good_share == pytest.approx(2 / 3)
    assert found.budget_left == pytest.approx(1 - (30 / 90) / 0.1)


def test_too_few_requests_have_no_burn_rate() -> None:
    with history((240, 19, 500, 1.0)) as connection:
        found = state(connection, ANSWERED)
    assert found.bad == 19
    assert rates(found) == {"1h": None, "6h": None, "1d": None, "3d": None}
    assert not any(burn.alarming for burn in found.burns)


def test_no_requests_at_all_leave_everything_unknown(tmp_path: Path) -> None:
    with logged(tmp_path, access=[an_access_record("a", model="other")]) as connection:
        states = slo_states(connection, [ANSWERED, FAST], model="digits", now_ns=NOW_NS)
    assert [(found.requests, found.good_share, found.budget_left) for found in states] == [
        (0, None, None)
    ] * 2
    assert set(burn_measures(states).values()) == {None}
    assert set(burn_measures([]).values()) == {None}


def test_what_is_dated_after_now_does_not_count(tmp_path: Path) -> None:
    records = [an_access_record(f"r{k}", timestamp_ns=NOW_NS + k) for k in (0, 1)]
    with logged(tmp_path, access=records) as connection:
        assert state(connection, ANSWERED).requests == 1


def test_the_measures_are_those_of_the_worst_objective() -> None:
    with history((DAY_S, DAY_S - 600, 200, 200.0), (600, 600, 503, 1.0)) as connection:
        states = slo_states(connection, [ANSWERED, FAST], model="digits", now_ns=NOW_NS)
    measures = burn_measures(states)
    assert set(measures) == {f"burn_rate_{window.name}" for window in BURN_WINDOWS} | {
        "budget_left"
    }
    assert measures["burn_rate_1h"] == rates(states[0])["1h"]
    assert measures["burn_rate_1d"] == pytest.approx(10.0)  # all answers were slow
    assert states[1].budget_left == pytest.approx(-9.0)
    assert measures["budget_left"] == states[1].budget_left


def test_objectives_come_from_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "torchkeep.toml"
    file.write_text(
        "[slo]\nleast_requests = 5\n"
        '[[slo.objectives]]\nname = "fast"\nkind = "latency"\ntarget = 0.9\nwithin_ms = 100\n'
        '[[slo.objectives]]\nname = "answered"\nkind = "availability"\ntarget = 0.99\n'
    )
    config = Settings.load(file, {}).section("slo", SloConfig)
    assert config == SloConfig(objectives=(FAST, ANSWERED), least_requests=5)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('kind = "latency"\ntarget = 0.9', "within_ms"),
        ('kind = "availability"\ntarget = 0.9\nwithin_ms = 5', "within_ms"),
        ('kind = "availability"\ntarget = 1', "target is 1.0"),
        ('kind = "availability"', "lacks 'target'"),
        ('kind = "speed"\ntarget = 0.9', "Choose from: availability, latency"),
        ('kind = "latency"\ntarget = 0.9\nwithin_ms = 0', "within_ms is 0.0"),
        ('kind = "availability"\ntarget = 0.9\nperiod_days = 0', "period_days is 0"),
    ],
)
def test_an_objective_that_cannot_be_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    file = tmp_path / "torchkeep.toml"
    file.write_text(f'[[slo.objectives]]\nname = "x"\n{text}\n')
    with pytest.raises(SettingsError, match=fault):
        Settings.load(file, {}).section("slo", SloConfig)


def test_objectives_have_names_of_their_own() -> None:
    with pytest.raises(SettingsError, match="the same name"):
        SloConfig(objectives=(ANSWERED, ANSWERED))
