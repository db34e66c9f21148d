"""The drift of a window: tests, kinds, features, classes, concept."""

from __future__ import annotations

from collections.abc import Iterator

from monitoring.drift_report import ClassShare, DriftReport, FeatureDrift, Outcome
from monitoring.health import Health, Missing
from monitoring.page.text import missing_section, share
from torchkeep.render.page import Heat, Section, Table, Tone

_LISTED = 40


def drift_sections(health: Health) -> Iterator[Section]:
    """Yield the sections on drift."""
    report = health.drift
    if isinstance(report, Missing):
        yield missing_section("Drift", report)
        return
    yield _tests(report)
    if report.kinds:
        yield _kinds(report)
    if report.features:
        yield _features(report)
    if report.class_shares:
        yield _classes(report)
    yield _concept(report)


def _tests(report: DriftReport) -> Section:
    rate = f"All tests together find drift where there is none in {report.false_alarm_rate:.1%}"
    text = [report.says, f"{rate} of looks. {_rows(report)}", *report.notes]
    rows = [
        (test.name, "differs" if test.rejected else test.note, test.p_value, test.level, test.says)
        for test in report.tests
    ]
    return Section(
        title="Drift",
        text="\n\n".join(text),
        table=Table(("test", "outcome", "p-value", "level", "says"), rows) if rows else None,
        tone=Tone.BAD if report.outcome is Outcome.DRIFT else Tone.PLAIN,
    )


def _rows(report: DriftReport) -> str:
    thinned = ""
    if report.effective_rows != report.rows:
        thinned = f" ({report.effective_rows:,} after thinning the frames of sessions)"
    return f"{report.rows:,} items{thinned} against {report.reference_rows:,} held-out images."


def _kinds(report: DriftReport) -> Section:
    rows = [
        (Heat(kind.share, f"{kind.share:.0%}"), kind.kind, f"{one.weight:+.1f}", one.says)
        for kind in report.kinds
        for one in kind.evidence
    ]
    return Section(
        title="What kind of change?",
        text="Each observation speaks for a kind of change, or against it, by its weight.",
        table=Table(("share", "kind", "weight", "evidence"), rows) if rows else None,
    )


def _features(report: DriftReport) -> Section:
    columns = ("feature", "drifted", "effect", "reference", "now", "W1", "KL", "JS", "PSI", "KS")
    rows = [_feature(one) for one in report.features[:_LISTED]]
    text = (
        "Effect: Wasserstein-1 over the reference's standard deviation. Adjusted p: two-sample "
        "Kolmogorov–Smirnov, Benjamini–Hochberg over all features."
    )
    if len(report.features) > _LISTED:
        text += f" The {_LISTED} most drifted of {len(report.features)}."
    return Section(title="Features", text=text, table=Table((*columns, "adjusted p"), rows))


def _feature(one: FeatureDrift) -> tuple[object, ...]:
    effect = None if one.effect is None else Heat(min(1.0, one.effect), f"{one.effect:.3g}")
    return (
        one.name,
        "drifted" if one.drifted else str(one.note),
        effect,
        one.reference_mean,
        one.window_mean,
        one.wasserstein,
        one.kl,
        one.jensen_shannon,
        one.psi,
        one.ks,
        one.adjusted_p,
    )


def _classes(report: DriftReport) -> Section:
    columns = ("class", "reference", "predicted", "estimated", "interval")
    return Section(
        title="Shares of the classes",
        text=(
            "Estimated: from the predictions and how the model confuses classes (black-box shift "
            f"estimation), with a bootstrap interval. Note: {report.class_note}."
        ),
        table=Table(columns, [_class(one) for one in report.class_shares]),
    )


def _class(one: ClassShare) -> tuple[object, ...]:
    interval = None
    if one.low is not None and one.high is not None:
        interval = f"{one.low:.1%} to {one.high:.1%}"
    return one.label, share(one.reference), share(one.predicted), share(one.estimated), interval


def _concept(report: DriftReport) -> Section:
    concept, training = report.concept, report.training
    if concept.accuracy is None:
        text = f"Accuracy against labels: not known ({concept.note})."
    else:
        interval = ""
        if concept.low is not None and concept.high is not None:
            interval = f" [{concept.low:.1%}, {concept.high:.1%}]"
        text = f"Accuracy {concept.accuracy:.1%}{interval} of {concept.labelled:,} labelled items"
        if concept.expected is not None:
            text += f", {concept.expected:.1%} expected from the reference"
        text += "." if concept.p_value is None else f" (p {concept.p_value:.2g})."
    if training is not None:
        text += f"\n\n{training.before} → {training.after}: {training.says}"
    return Section(title="Do the images still mean the same?", text=text)
