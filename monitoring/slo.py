"""Service level objectives: how much of the error budget is spent, and how fast it burns.

The burn rate of a span is the share of bad requests over the share that the objective allows: at 1
the budget lasts exactly its period. An alarm needs a high rate over a long span, so that it
matters, and over a short one, so that it ends when the trouble does (Beyer et al., The Site
Reliability Workbook, 2018, chapter 5). Requests that fail by the caller's fault count as good for
availability.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import duckdb
import numpy as np

from torchkeep.errors import SettingsError

HOUR_S = 3600
DAY_S = 24 * HOUR_S


class ObjectiveKind(StrEnum):
    """What makes a request good."""

    AVAILABILITY = "availability"  # no fault of the server, and not refused for want of room
    LATENCY = "latency"  # answered within a time; over the requests that were answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """`target` is the share of requests that shall be good over `period_days`."""

    name: str
    kind: ObjectiveKind
    target: float
    within_ms: float | None = None  # latency only
    period_days: int = 30

    def __post_init__(self) -> None:
        where = f"objective {self.name!r}"
        if not 0 < self.target < 1:
            raise SettingsError(
                f"{where}: target is {self.target}", remedy="Give a share such as 0.999."
            )
        if (self.kind is ObjectiveKind.LATENCY) != (self.within_ms is not None):
            raise SettingsError(
                f"{where}: within_ms and kind = {self.kind.value!r} do not fit",
                remedy="A latency objective has within_ms, another has not.",
            )
        if self.within_ms is not None and not self.within_ms > 0:
            raise SettingsError(f"{where}: within_ms is {self.within_ms}")
        if not 1 <= self.period_days <= 366:
            raise SettingsError(f"{where}: period_days is {self.period_days}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SloConfig:
    """Section `[slo]`, with one `[[slo.objectives]]` for each objective."""

    objectives: tuple[Objective, ...] = ()
    least_requests: int = 20
    """A span with fewer requests has no burn rate: one bad request would be an alarm."""

    def __post_init__(self) -> None:
        names = [objective.name for objective in self.objectives]
        if len(set(names)) < len(names):
            raise SettingsError("two objectives in [slo] have the same name")
        if self.least_requests < 1:
            raise SettingsError(f"[slo] least_requests is {self.least_requests}")


@dataclass(frozen=True, slots=True)
class BurnWindow:
    """A pair of spans; both must burn faster than `rate` for an alarm."""

    name: str
    long_s: int
    short_s: int
    rate: float
    severity: str


BURN_WINDOWS = (
    BurnWindow("1h", HOUR_S, 5 * 60, 14.4, "page"),
    BurnWindow("6h", 6 * HOUR_S, 30 * 60, 6.0, "page"),
    BurnWindow("1d", DAY_S, 2 * HOUR_S, 3.0, "ticket"),
    BurnWindow("3d", 3 * DAY_S, 6 * HOUR_S, 1.0, "ticket"),
)
"""Table 5-8 of the workbook, for a period of 30 days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Burn:
    """How fast an objective's budget burns over one pair of spans; None: too few requests."""

    window: BurnWindow
    long_requests: int
    short_requests: int
    long_rate: float | None
    short_rate: float | None

    @property
    def rate(self) -> float | None:
        """The smaller of both rates: the one that is compared with the window's."""
        if self.long_rate is None or self.short_rate is None:
            return None
        return min(self.long_rate, self.short_rate)

    @property
    def alarming(self) -> bool:
        """Whether both spans burn faster than the window allows."""
        return self.rate is not None and self.rate > self.window.rate


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveState:
    """How an objective stands at one time; shares are None without requests."""

    objective: Objective
    requests: int
    """In its period, up to now."""
    bad: int
    good_share: float | None
    budget_left: float | None
    """Share of the budget that is left; below 0 if it is overspent."""
    burns: tuple[Burn, ...]


def slo_states(
    connection: duckdb.DuckDBPyConnection,
    objectives: Sequence[Objective],
    *,
    model: str,
    now_ns: int,
    least_requests: int = 20,
) -> tuple[ObjectiveState, ...]:
    """Return how each objective stands at `now_ns`; reads the view `access`."""
    states = []
    for objective in objectives:
        counts = _counts(connection, objective, model, now_ns)
        requests, bad = counts[objective.period_days * DAY_S]
        states.append(
            ObjectiveState(
                objective=objective,
                requests=requests,
                bad=bad,
                good_share=1 - bad / requests if requests else None,
                budget_left=1 - _burn_rate(objective, requests, bad) if requests else None,
                burns=tuple(
                    _burn(objective, window, counts, least_requests) for window in BURN_WINDOWS
                ),
            )
        )
    return tuple(states)


def burn_measures(states: Sequence[ObjectiveState]) -> Mapping[str, float | None]:
    """Return, for alert rules, the worst burn rate of each window and the least budget left.

    The names are `burn_rate_1h` ... `burn_rate_3d` and `budget_left`; None: no objective has enough
    requests to tell.
    """
    found: dict[str, float | None] = {}
    for number, window in enumerate(BURN_WINDOWS):
        rates = [state.burns[number].rate for state in states]
        found[f"burn_rate_{window.name}"] = max(
            (rate for rate in rates if rate is not None), default=None
        )
    left = [state.budget_left for state in states if state.budget_left is not None]
    return {**found, "budget_left": min(left, default=None)}


_NS = 1_000_000_000
_MINUTE_S = 60
_SPANS = frozenset(span for window in BURN_WINDOWS for span in (window.long_s, window.short_s))

_AVAILABILITY = """
    SELECT
        ($now - timestamp_ns) // 60000000000 AS minutes_ago, count(*),
        count(*) FILTER (http_status >= 500 OR http_status = 429)
    FROM access WHERE model = $model AND timestamp_ns > $start AND timestamp_ns <= $now
    GROUP BY minutes_ago
"""
_LATENCY = """
    SELECT
        ($now - timestamp_ns) // 60000000000 AS minutes_ago, count(*),
        count(*) FILTER (total_ms > $within)
    FROM access WHERE model = $model AND timestamp_ns > $start AND timestamp_ns <= $now
        AND http_status < 400
    GROUP BY minutes_ago
"""


def _counts(
    connection: duckdb.DuckDBPyConnection, objective: Objective, model: str, now_ns: int
) -> dict[int, tuple[int, int]]:
    """Requests of each span of seconds before now, and the bad ones among them; one scan."""
    period_s = objective.period_days * DAY_S
    spans = _SPANS | {period_s}
    asked: dict[str, object] = {"model": model, "start": now_ns - max(spans) * _NS, "now": now_ns}
    if objective.kind is ObjectiveKind.AVAILABILITY:
        query = _AVAILABILITY
    else:
        query, asked = _LATENCY, {**asked, "within": objective.within_ms}
    rows = np.array(connection.execute(query, asked).fetchall(), dtype=np.int64).reshape(-1, 3)
    found = {}
    for span in spans:
        inside = rows[rows[:, 0] < span // _MINUTE_S]
        found[span] = (int(inside[:, 1].sum()), int(inside[:, 2].sum()))
    return found


def _burn_rate(objective: Objective, requests: int, bad: int) -> float:
    return bad / requests / (1 - objective.target)


def _burn(
    objective: Objective,
    window: BurnWindow,
    counts: Mapping[int, tuple[int, int]],
    least_requests: int,
) -> Burn:
    def rate(span_s: int) -> float | None:
        requests, bad = counts[span_s]
        return _burn_rate(objective, requests, bad) if requests >= least_requests else None

    return Burn(
        window=window,
        long_requests=counts[window.long_s][0],
        short_requests=counts[window.short_s][0],
        long_rate=rate(window.long_s),
        short_rate=rate(window.short_s),
    )
