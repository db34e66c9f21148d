"""The sequential alarm: scores, bag, bets and detector together, fed with windows.

What it was fed is remembered, so that it may be offered overlapping windows; its state is JSON.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.betting.alarm import Alarm, Counts, SequentialConfig
from monitoring.betting.bets import witnesses
from monitoring.betting.e_detector import Rise
from monitoring.betting.follower import Follower
from monitoring.betting.intake import RECALLED, Intake, Position, position
from monitoring.betting.scores import Scorer, fit_scorer
from monitoring.betting.state import (
    FORMAT,
    State,
    classes_in,
    damaged,
    marks_in,
    scores_in,
    sessions_in,
    state_of,
    to_builtins,
)
from monitoring.reference import Reference
from monitoring.sessions import MOST_SESSIONS, Thinning
from monitoring.window import Window
from torchkeep.errors import SettingsError

_SOON = 32
"""Items after a rise; a change seen to begin so soon, or within what a rise takes, is the same."""


class SequentialAlarm:
    """Follows one artifact's stream; `monitoring.sequential.followed` keeps it on disk.

    Each item is taken once, in the order of (timestamp, request id, item); of a session, one a
    minute is bet on (`monitoring.sessions`), however the windows cut it. After an alarm the
    statistic starts again; as long as it rises again from there, the same shift goes on, which is
    counted as a confirmation and no new alarm.
    """

    def __init__(self, reference: Reference, config: SequentialConfig) -> None:
        """Prefer `start`."""
        self.config = config
        self._reference = reference
        self._scorer: Scorer = fit_scorer(reference, neighbours=config.neighbours, seed=config.seed)
        self._witnesses = witnesses(self._scorer.names, reference.classes)
        self._follower = Follower(
            self._scorer.calibration,
            self._scorer.predicted,
            classes=len(reference.classes),
            config=config,
        )
        self._intake = Intake()
        self._thinning = Thinning()
        self._lacking = self._late = self._ahead = self._dependent = 0
        self._alarms = self._confirmations = 0
        self._last_rise = self._last_delay = 0

    @classmethod
    def start(cls, reference: Reference, config: SequentialConfig | None = None) -> SequentialAlarm:
        """Return a detector that has seen nothing yet.

        Raises `UserError` if the reference has too few rows or no score that varies.
        """
        return cls(reference, config or SequentialConfig())

    def update(self, window: Window, *, now_ns: int | None = None) -> list[Alarm]:
        """Take the items of a window that were not taken before; return the alarms they raise.

        What is later than `now_ns` (UTC; by default the clock) by more than a minute is left for
        another time. Raises `ValueError` if the window is of another model, or of other classes
        or features.
        """
        self._check(window)
        portion = self._intake.take(window, time.time_ns() if now_ns is None else now_ns)
        self._late += portion.late
        self._ahead = portion.ahead
        taken = window.take(portion.rows)
        new = taken.take(self._thinning.independent(taken))
        self._dependent += len(taken) - len(new)
        scores = self._scorer.of(new)
        whole = np.isfinite(scores).all(axis=1) & (new.predicted >= 0)
        self._lacking += len(new) - int(whole.sum())
        before = self._follower.judged
        judged = new.take(whole)
        rises = self._follower.take(scores[whole], judged.predicted, judged.timestamp_ns)
        alarms = [self._alarm(rise, judged, before) for rise in rises]
        return [alarm for alarm in alarms if alarm is not None]

    def _check(self, window: Window) -> None:
        ours = self._reference
        if window.model != ours.model:
            raise ValueError(f"a window of {window.model}, a reference of {ours.model}")
        if window.classes != ours.classes or window.feature_names != ours.feature_names:
            raise ValueError("the window has other classes or features than the reference")

    def _alarm(self, rise: Rise, judged: Window, before: int) -> Alarm | None:
        """Return the alarm of a rise, or None if it confirms the one before."""
        delay = rise.number - rise.change_number + 1
        since_last = rise.change_number - self._last_rise
        soon = max(_SOON, delay, self._last_delay)
        goes_on = self._last_rise > 0 and since_last <= soon
        self._last_rise, self._last_delay = rise.number, delay
        if goes_on:
            self._confirmations += 1
            return None
        self._alarms += 1
        at_ns, request_id, item = position(judged, rise.number - before - 1)
        witness, rising = self._witnesses[rise.bet]
        return Alarm(
            number=rise.number,
            timestamp_ns=at_ns,
            request_id=request_id,
            item=item,
            witness=witness,
            rising=rising,
            statistic=rise.statistic,
            threshold=float(self.config.average_run_length),
            change_number=rise.change_number,
            change_timestamp_ns=rise.change_ns,
        )

    @property
    def counts(self) -> Counts:
        """What became of the items so far."""
        return Counts(
            judged=self._follower.judged,
            lacking=self._lacking,
            late=self._late,
            ahead=self._ahead,
            dependent=self._dependent,
            alarms=self._alarms,
            confirmations=self._confirmations,
        )

    @property
    def scores(self) -> tuple[str, ...]:
        """The S scores that are bet on: those that vary in the reference."""
        return self._scorer.names

    @property
    def left_out(self) -> dict[str, str]:
        """The other scores, and why they are not bet on."""
        return dict(self._scorer.left_out)

    @property
    def watermark(self) -> Position | None:
        """Timestamp (UTC, ns), request id and item of the last item taken."""
        return self._intake.watermark

    @property
    def statistic(self) -> float:
        """The statistic now; an alarm is raised where it reaches `config.average_run_length`."""
        return self._follower.detector.statistic

    @property
    def ongoing(self) -> bool:
        """Whether the shift of the last alarm goes on, as far as one can tell by now.

        It does until a block of items, or four times what the last rise took, passed without one.
        """
        patience = max(self.config.block, 4 * self._last_delay)
        return self._last_rise > 0 and self._follower.judged - self._last_rise < patience

    def to_json(self) -> dict[str, Any]:
        """Return the whole state, without the reference, as what JSON can hold."""
        follower, detector = self._follower, self._follower.detector
        return to_builtins(
            State(
                format=FORMAT,
                model=self._reference.model,
                artifact_digest=self._reference.artifact_digest,
                config=asdict(self.config),
                scores=list(self._scorer.names),
                classes=len(self._reference.classes),
                lacking=self._lacking,
                late=self._late,
                ahead=self._ahead,
                dependent=self._dependent,
                alarms=self._alarms,
                confirmations=self._confirmations,
                judged=follower.judged,
                last_rise=self._last_rise,
                last_delay=self._last_delay,
                watermark=self._intake.watermark,
                recalled=np.array(list(self._intake.recalled), dtype="<u8").tobytes(),
                sessions=np.array(list(self._thinning.counted_ns), dtype="<u8").tobytes(),
                sessions_ns=list(self._thinning.counted_ns.values()),
                won=detector.won.tolist(),
                cusum=detector.cusum.tolist(),
                since=detector.since.tolist(),
                since_ns=detector.since_ns.tolist(),
                recent=follower.bag.recent.astype("<f4").tobytes(),
                recent_predicted=follower.bag.recent_predicted.astype("<i4").tobytes(),
                pending=follower.pending.astype("<f4").tobytes(),
                pending_predicted=follower.pending_predicted.astype("<i4").tobytes(),
                risen=follower.risen,
            )
        )

    @classmethod
    def from_json(
        cls, raw: object, reference: Reference, *, path: object = "sequential state"
    ) -> SequentialAlarm:
        """Return the detector of a state. Raises `DataError` if it is none of this reference."""
        state = state_of(raw, path)
        try:
            alarm = cls(reference, SequentialConfig(**state.config))
        except (TypeError, SettingsError) as error:
            raise damaged(path, f"its config: {error}") from error
        alarm._restore(state, path)
        return alarm

    def _restore(self, state: State, path: object) -> None:
        whose = (state.model, state.artifact_digest, tuple(state.scores), state.classes)
        ours = self._reference
        if whose != (ours.model, ours.artifact_digest, self.scores, len(ours.classes)):
            raise damaged(path, f"it is of {state.model}, artifact {state.artifact_digest[:12]}")
        self._lacking, self._late, self._ahead = state.lacking, state.late, state.ahead
        self._dependent = state.dependent
        self._alarms, self._confirmations = state.alarms, state.confirmations
        self._last_rise, self._last_delay = state.last_rise, state.last_delay
        self._intake = Intake(state.watermark, marks_in(state.recalled, path))
        self._thinning = Thinning(counted_ns=sessions_in(state, path))
        recent = self._rows(state.recent, state.recent_predicted, path)
        pending = self._rows(state.pending, state.pending_predicted, path)
        too_many = len(recent[0]) > self.config.memory or len(pending[0]) >= self.config.block
        too_many |= len(self._intake.recalled) > RECALLED
        if too_many or len(self._thinning.counted_ns) > MOST_SESSIONS:
            raise damaged(path, "it holds more items than it may")
        follower = self._follower
        follower.judged, follower.risen = state.judged, state.risen
        follower.bag.add(*recent)
        follower.pending, follower.pending_predicted = pending
        detector = follower.detector
        columns = (state.won, state.cusum, state.since, state.since_ns)
        if any(len(column) != len(detector.won) for column in columns):
            raise damaged(path, f"it has not {len(detector.won)} bets")
        detector.won, detector.cusum = np.array(state.won), np.array(state.cusum)
        detector.since, detector.since_ns = np.array(state.since), np.array(state.since_ns)

    def _rows(
        self, scores: bytes, predicted: bytes, path: object
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        found = scores_in(scores, len(self.scores), path)
        return found, classes_in(predicted, len(self._reference.classes), len(found), path)
