"""The whole analysis: shifts are found and named, what is clean stays quiet, bad input is told."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from monitoring.analysis import results
from monitoring.drift_analysis import Deployment, DriftConfig, analyse
from monitoring.drift_report import DriftReport, Kind, Note, Outcome, TestName
from monitoring.reference import Reference
from monitoring.window import Window
from tests.monitoring.analysis import world
from torchkeep.errors import SettingsError

FLAT = np.full(4, 0.25)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return world.reference()


def _random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng([3, seed])


def _darker(count: int, seed: int = 0, **columns: object) -> Window:
    random = _random(seed)
    shown = world.images(world.labels(count, random), random, brightness=0.7)
    return world.window(shown, **columns)


def _weight(report: DriftReport, kind: Kind) -> float:
    return next(each.weight for each in report.kinds if each.kind is kind)


def _said(report: DriftReport, kind: Kind) -> str:
    evidence = next(each.evidence for each in report.kinds if each.kind is kind)
    return "; ".join(each.says for each in evidence)


def test_clean_windows_stay_quiet(reference: Reference) -> None:
    config = DriftConfig(max_embedding_rows=150)
    reports = [analyse(reference, world.clean(100, seed), config=config) for seed in range(30)]
    assert sum(report.outcome is Outcome.DRIFT for report in reports) <= 4
    assert all(report.kinds == () for report in reports if report.outcome is Outcome.QUIET)


def test_darker_images_are_a_change_of_the_data(reference: Reference) -> None:
    report = analyse(reference, _darker(100))
    assert report.outcome is Outcome.DRIFT
    assert report.kinds[0].kind is Kind.DATA_CHANGE
    photometric = report.test(TestName.PHOTOMETRIC)
    assert photometric is not None
    assert photometric.rejected
    mean = next(row for row in report.features if row.name == "mean_0")
    assert mean.drifted
    assert mean.window_mean is not None
    assert mean.reference_mean is not None
    assert mean.window_mean < 0.8 * mean.reference_mean
    assert "× 0.7" in photometric.says


def test_other_proportions_of_the_classes_are_a_matter_of_sampling(reference: Reference) -> None:
    random = _random()
    shares = [0.55, 0.15, 0.15, 0.15]
    shown = world.images(world.labels(200, random, shares), random)
    report = analyse(reference, world.window(shown))
    assert report.kinds[0].kind is Kind.SAMPLING
    assert "within each class the images look as they did" in _said(report, Kind.SAMPLING)
    share = report.class_shares[0]
    assert share.low is not None
    assert share.high is not None
    assert share.low <= 0.55 <= share.high
    assert share.reference == pytest.approx(0.25, abs=0.03)


def test_the_drift_of_one_client_is_selection_bias(reference: Reference) -> None:
    random = _random()
    truth = world.labels(300, random)
    odd = np.arange(300) % 5 == 0
    shown = world.images(truth, random)
    shown[odd] = world.images(truth[odd], random, brightness=0.6)
    report = analyse(reference, world.window(shown, client=np.where(odd, "odd", "usual")))
    assert report.kinds[0].kind is Kind.SELECTION_BIAS
    assert "client odd, with 20% of the items" in _said(report, Kind.SELECTION_BIAS)


def test_a_drift_that_begins_with_a_deployment_is_of_the_software(reference: Reference) -> None:
    random = _random()
    truth = world.labels(200, random)
    late = np.arange(200) >= 120
    shown = world.images(truth, random)
    shown[late] = world.images(truth[late], random, brightness=0.6)
    code = np.where(late, "0.2.0", "0.1.0")
    history = [
        Deployment(since_ns=0, version="1.0", code_version="0.1.0"),
        Deployment(since_ns=120 * world.SECOND, version="1.0", code_version="0.2.0"),
    ]
    report = analyse(reference, world.window(shown, code_version=code), history=history)
    assert report.kinds[0].kind is Kind.SOFTWARE
    said = _said(report, Kind.SOFTWARE)
    assert "code version 0.2.0" in said
    assert "the change began when code 0.2.0 came up" in said
    assert report.change is not None
    assert abs(report.change.rows_before - 120) <= 5
    assert [each.code_version for each in report.served] == ["0.1.0", "0.2.0"]


def test_a_change_without_a_deployment_speaks_against_the_software(reference: Reference) -> None:
    random = _random()
    truth = world.labels(200, random)
    late = np.arange(200) >= 120
    shown = world.images(truth, random)
    shown[late] = world.images(truth[late], random, brightness=0.6)
    report = analyse(reference, world.window(shown))
    assert report.kinds[0].kind is Kind.DATA_CHANGE
    assert _weight(report, Kind.SOFTWARE) < 0


def test_other_answers_to_the_same_images_are_of_the_software(reference: Reference) -> None:
    window = world.clean(150, 0)
    dull = (0.5 * window.probabilities + 0.5 * FLAT).astype(np.float32)
    report = analyse(reference, replace(window, probabilities=dull))
    assert report.kinds[0].kind is Kind.SOFTWARE
    assert "the model answers otherwise" in _said(report, Kind.SOFTWARE)


def test_errors_on_images_that_look_as_they_did_are_a_change_of_the_concept(
    reference: Reference,
) -> None:
    window = world.clean(150, 0)
    truth = window.predicted.copy()
    truth[::4] = (truth[::4] + 1) % 4
    report = analyse(reference, window, labels=truth)
    assert report.outcome is Outcome.DRIFT
    assert report.kinds[0].kind is Kind.CONCEPT
    assert report.concept.labelled == 150
    assert report.concept.accuracy == pytest.approx(112 / 150)
    assert report.concept.expected == pytest.approx(0.95, abs=0.02)


def test_labels_that_agree_speak_against_a_change_of_the_concept(reference: Reference) -> None:
    window = _darker(150)
    report = analyse(reference, window, labels=window.predicted)
    assert report.kinds[0].kind is Kind.DATA_CHANGE
    assert _weight(report, Kind.CONCEPT) == -2.0


def test_frames_of_a_session_count_once(reference: Reference) -> None:
    one = _darker(1)
    frames = one.take(np.zeros(200, np.int64))
    frames = replace(
        frames,
        timestamp_ns=np.arange(200, dtype=np.int64),
        session=np.full(200, "film"),
    )
    report = analyse(reference, frames, labels=np.zeros(200, np.int64))
    assert report.outcome is Outcome.TOO_FEW_ROWS
    assert (report.rows, report.effective_rows) == (200, 1)
    assert "199 items are further frames of a session and do not count" in report.notes


def test_labels_stay_with_their_items_when_frames_are_thinned(reference: Reference) -> None:
    window = world.clean(200, 5, session=np.repeat(np.arange(100).astype(str), 2))
    truth = window.predicted.copy()
    truth[1::2] = -1  # the second frame of each session does not count
    report = analyse(reference, window, labels=truth)
    assert report.effective_rows == 100
    assert report.concept.labelled == report.concept.correct == 100


def test_no_reference_is_an_outcome() -> None:
    report = analyse(None, world.clean(50, 0))
    assert report.outcome is Outcome.NO_REFERENCE
    assert "fit-detectors" in report.says
    assert report.rows == 50


@pytest.mark.parametrize("count", [0, 1, 29])
def test_too_few_items_are_an_outcome(reference: Reference, count: int) -> None:
    report = analyse(reference, world.clean(count, 0))
    assert report.outcome is Outcome.TOO_FEW_ROWS
    assert report.tests == ()
    assert (report.start_ns is None) is (count == 0)


def test_what_the_log_lacks_is_noted_and_the_rest_tested(reference: Reference) -> None:
    bare = _darker(100)
    lacking = replace(
        bare,
        embedding=np.full_like(bare.embedding, np.nan),
        probabilities=np.full_like(bare.probabilities, np.nan),
        predicted=np.full(100, -1),
        verdict=np.full(100, ""),
        score=np.full(100, np.nan),
    )
    report = analyse(reference, lacking)
    assert report.outcome is Outcome.DRIFT
    notes = {test.name: test.note for test in report.tests}
    assert notes[TestName.OUTPUTS] is Note.ABSENT
    assert notes[TestName.EMBEDDING] is Note.ABSENT
    assert notes[TestName.CLASSES] is Note.ABSENT
    assert notes[TestName.SCREENING] is Note.ABSENT
    assert notes[TestName.PHOTOMETRIC] is Note.OK
    assert report.class_note is Note.ABSENT
    assert all(share.estimated is None for share in report.class_shares)
    assert "100 items have no prediction" in report.notes


def test_images_that_were_never_decoded_have_no_features(reference: Reference) -> None:
    window = world.clean(100, 0)
    report = analyse(reference, replace(window, features=np.full_like(window.features, np.nan)))
    assert report.outcome is Outcome.QUIET
    assert all(row.note is Note.ALL_NAN and row.rows == 0 for row in report.features)
    features, photometric = (
        report.test(name) for name in (TestName.FEATURES, TestName.PHOTOMETRIC)
    )
    assert features is not None
    assert photometric is not None
    assert (features.note, photometric.note) == (Note.ABSENT, Note.ABSENT)


def test_a_constant_feature_that_moves_is_found(reference: Reference) -> None:
    at = reference.feature_names.index("min_0")
    features, quantiles = reference.features.copy(), reference.quantiles.copy()
    features[:, at], quantiles[at] = 0.0, 0.0
    constant = replace(reference, features=features, quantiles=quantiles)
    window = world.clean(100, 0)
    there = window.features.copy()
    there[:, at] = 0.0
    still = analyse(constant, replace(window, features=there))
    assert still.outcome is Outcome.QUIET
    there = there.copy()
    there[:, at] = 0.2
    report = analyse(constant, replace(window, features=there))
    moved = next(row for row in report.features if row.name == "min_0")
    assert moved.note is Note.CONSTANT
    assert moved.drifted
    json.dumps(report.to_json(), allow_nan=False)  # its effect has no scale


def test_other_classes_are_noted(reference: Reference) -> None:
    strange = replace(reference, classes=("a", "b", "c", "d"))
    report = analyse(strange, world.clean(100, 0))
    result = report.test(TestName.CLASSES)
    assert result is not None
    assert result.note is Note.UNKNOWN_CLASSES
    assert report.class_note is Note.UNKNOWN_CLASSES


def test_features_that_the_window_lacks_are_absent(reference: Reference) -> None:
    window = world.clean(100, 0)
    names = (*window.feature_names[:-1], "stranger")
    report = analyse(reference, replace(window, feature_names=names))
    lost = next(row for row in report.features if row.name == "score")
    assert lost.note is Note.ABSENT
    assert all(row.name != "stranger" for row in report.features)


def test_a_report_is_json_and_always_the_same(reference: Reference) -> None:
    window = _darker(60)
    first, second = analyse(reference, window), analyse(reference, window)
    assert first == second
    read = json.loads(json.dumps(first.to_json(), allow_nan=False))
    assert read["outcome"] == "drift"
    assert read["kinds"][0]["kind"] == "data_change"


def test_strange_versions_are_counted(reference: Reference) -> None:
    version = np.where(np.arange(100) < 30, "0.9", "1.0")
    report = analyse(reference, world.clean(100, 0, version=version))
    assert "30 items were answered by other versions than the reference's" in report.notes
    assert [(each.version, each.rows) for each in report.served] == [("0.9", 30), ("1.0", 70)]


def test_labels_of_another_length_are_a_fault_of_the_caller(reference: Reference) -> None:
    with pytest.raises(ValueError, match="3 labels for 50 items"):
        analyse(reference, world.clean(50, 0), labels=np.zeros(3, np.int64))


def test_a_difference_of_rounding_is_none(reference: Reference) -> None:
    at = reference.feature_names.index("min_0")
    features, quantiles = reference.features.copy(), reference.quantiles.copy()
    features[:, at], quantiles[at] = 0.0, 0.0
    constant = replace(reference, features=features, quantiles=quantiles)
    window = world.clean(100, 0)
    there = window.features.copy()
    there[:, at] = 1e-7
    assert analyse(constant, replace(window, features=there)).outcome is Outcome.QUIET


@pytest.mark.parametrize(
    ("p_value", "effect", "rejected"),
    [(1e-9, 0.2, True), (1e-9, 0.05, False), (0.5, 0.2, False), (np.nan, np.inf, False)],
)
def test_what_is_significant_must_also_be_large_enough_to_mind(
    p_value: float, effect: float, rejected: bool
) -> None:
    result = results.tested(
        DriftConfig(),
        TestName.FEATURES,
        statistic=0.1,
        p_value=p_value,
        effect=effect,
        rows=10_000,
        says="",
    )
    assert result.rejected is rejected


@pytest.mark.parametrize(
    "wrong",
    [
        {"false_alarm_rate": 0.0},
        {"false_alarm_rate": 0.9},
        {"min_rows": 1},
        {"bootstraps": True},
        {"max_embedding_rows": 10**6},
        {"seed": -1},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        DriftConfig(**wrong)  # type: ignore[arg-type]
