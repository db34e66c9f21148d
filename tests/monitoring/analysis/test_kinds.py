"""The weighing: what speaks for which kind, given what was observed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from monitoring.analysis import results
from monitoring.analysis.config import DriftConfig
from monitoring.analysis.deployment import Marker
from monitoring.analysis.groups import Group
from monitoring.analysis.kinds import weigh
from monitoring.analysis.observations import Observations
from monitoring.drift_report import Kind, Served, TestName, TestResult, TrainingChange

NOTHING = Observations(
    tests=(),
    drifted_image_features=(),
    drifted_model_features=(),
    same_within_classes=None,
    outside=None,
    groups=(),
    change=None,
    markers=(),
    marker_at_change=None,
    reference_version="1.0",
    served=(Served(version="1.0", code_version="0.1.0", rows=100),),
    training=None,
)


def _result(name: TestName, *, rejected: bool = True) -> TestResult:
    return results.tested(
        DriftConfig(),
        name,
        statistic=1.0,
        p_value=1e-9 if rejected else 0.5,
        effect=1.0,
        rows=100,
        says="it did",
    )


def _group(column: str, value: str, *, drifted: bool, rest: bool, rows: int = 40) -> Group:
    return Group(
        column=column,
        value=value,
        rows=rows,
        rest_rows=100 - rows,
        drifted=drifted,
        rest_drifted=rest,
    )


def _training(p_value: float) -> TrainingChange:
    return TrainingChange(
        before="0.9",
        after="1.0",
        same_data=False,
        class_shift=0.2,
        class_p_value=p_value,
        brightness_change=0.0,
        contrast_change=0.0,
        histogram_shift=0.0,
        says="version 1.0 was trained on other data",
    )


def _weights(**observed: Any) -> dict[Kind, float]:
    return {each.kind: each.weight for each in weigh(replace(NOTHING, **observed))}


def test_nothing_observed_weighs_nothing() -> None:
    kinds = weigh(NOTHING)
    assert {each.kind for each in kinds} == set(Kind)
    assert all(each.weight == each.share == 0 for each in kinds)


def test_shares_are_of_what_speaks_for_a_kind() -> None:
    kinds = weigh(
        replace(
            NOTHING,
            tests=(_result(TestName.PHOTOMETRIC),),
            marker_at_change=Marker(1, "version 1.1"),
        )
    )
    assert [(each.kind, each.weight, each.share) for each in kinds[:2]] == [
        (Kind.SOFTWARE, 2.0, 0.5),
        (Kind.DATA_CHANGE, 2.0, 0.5),
    ]
    assert sum(each.share for each in kinds) == pytest.approx(1)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("client", Kind.SELECTION_BIAS),
        ("session", Kind.SELECTION_BIAS),
        ("version", Kind.SOFTWARE),
        ("code_version", Kind.SOFTWARE),
        ("input_format", Kind.SOFTWARE),
    ],
)
def test_a_drift_of_one_group_alone_speaks_for_its_column(column: str, kind: Kind) -> None:
    alone = _group(column, "x", drifted=True, rest=False)
    assert _weights(groups=(alone,))[kind] == 3.0
    most = _group(column, "x", drifted=True, rest=False, rows=70)  # of few, little is seen
    assert _weights(groups=(most,))[kind] == 2.0
    every = tuple(_group(column, value, drifted=True, rest=True) for value in "xy")
    assert _weights(groups=every)[kind] == -1.0


def test_two_groups_that_are_each_alone_settle_nothing() -> None:
    both = tuple(_group("client", value, drifted=True, rest=False) for value in "xy")
    quiet = (_group("client", "x", drifted=False, rest=False),)
    assert _weights(groups=quiet)[Kind.SELECTION_BIAS] == 0
    assert _weights(groups=both)[Kind.SELECTION_BIAS] <= 0


def test_another_version_and_a_marker_elsewhere_are_hints_at_the_software() -> None:
    served = (Served(version="1.1", code_version="0.1.0", rows=100),)
    assert _weights(served=served)[Kind.SOFTWARE] == 1.0
    assert _weights(markers=(Marker(1, "calibration c2"),))[Kind.SOFTWARE] == 0.5


def test_train_records_hint_at_what_was_moving() -> None:
    moved = _weights(training=_training(1e-4))
    assert moved[Kind.SAMPLING] == moved[Kind.CONCEPT] == 0.5
    assert _weights(training=_training(0.4))[Kind.SAMPLING] == 0.0


def test_errors_weigh_less_where_the_images_changed_as_well() -> None:
    fell = _result(TestName.ACCURACY)
    assert _weights(tests=(fell,))[Kind.CONCEPT] == 3.0
    assert _weights(tests=(fell, _result(TestName.EMBEDDING)))[Kind.CONCEPT] == 1.0
    assert _weights(tests=(_result(TestName.ACCURACY, rejected=False),))[Kind.CONCEPT] == -2.0
