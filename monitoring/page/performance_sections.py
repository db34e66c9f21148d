"""How well the model predicts: realised, estimated, over time, a class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from monitoring.health import Health, Missing
from monitoring.page.text import missing_section, share, time_axis
from monitoring.performance_report import PerformanceReport, Period
from monitoring.proportion import Proportion
from torchkeep.render.chart import line_chart
from torchkeep.render.page import Section, Table
from torchkeep.render.series import Series


def performance_sections(health: Health) -> Iterator[Section]:
    """Yield the sections on accuracy."""
    report = health.performance
    if isinstance(report, Missing):
        yield missing_section("Accuracy", report)
        return
    yield Section(
        title="Accuracy",
        text="\n\n".join([*_sentences(report), *report.notes]),
        table=_versions(report),
        svg=_chart(report.periods),
    )
    if report.realised is not None:
        yield _classes(report)


def _sentences(report: PerformanceReport) -> Iterator[str]:
    yield f"{report.items:,} items, {report.predicted:,} with a prediction."
    if report.realised is not None:
        delay = report.realised.median_delay_s
        late = "" if delay is None else f"; a label came {delay / 3600:.1f} h later (median)"
        yield f"By labels: {_told(report.realised.accuracy)}{late}."
    if report.labels is not None:
        counts = report.labels
        yield (
            f"Labels: {counts.labels:,}, used {counts.used:,}, elsewhere {counts.elsewhere:,}, "
            f"of unknown requests {counts.unknown_request:,}, ambiguous {counts.ambiguous:,}, "
            f"of unknown classes {counts.unknown_class:,}, conflicting {counts.conflicting:,}."
        )
    estimated = report.estimated
    if estimated is not None:
        yield (
            f"Estimated without labels: {estimated.accuracy:.1%} [{estimated.low:.1%}, "
            f"{estimated.high:.1%}] by calibrated confidence, {estimated.atc:.1%} by average "
            f"thresholded confidence; {estimated.reference_accuracy:.1%} on the reference. The "
            "interval is that of chance; a shift adds an error of its own."
        )
        if estimated.error is not None:
            error = estimated.error
            yield (
                f"On the {error.items:,} labelled items the estimates were off by "
                f"{error.calibrated:+.1%} and {error.atc:+.1%}."
            )


def _told(of: Proportion) -> str:
    if of.value is None or of.low is None or of.high is None:
        return "nothing to count"
    return f"{of.value:.1%} [{of.low:.1%}, {of.high:.1%}], {of.successes:,} of {of.trials:,}"


def _versions(report: PerformanceReport) -> Table | None:
    realised = {} if report.realised is None else report.realised.by_version
    estimated = {} if report.estimated is None else report.estimated.by_version
    names = sorted({*realised, *estimated})
    rows = [
        (
            name,
            _told(realised[name]) if name in realised else None,
            share(estimated.get(name)),
        )
        for name in names
    ]
    return Table(("version", "by labels", "estimated"), rows) if rows else None


def _chart(periods: Sequence[Period]) -> str:
    if not periods:
        return ""
    times = time_axis([(period.start_ns + period.end_ns) // 2 for period in periods])
    nan = float("nan")
    series = []
    if any(period.estimated is not None for period in periods):
        values = [nan if period.estimated is None else period.estimated for period in periods]
        series.append(Series("estimated", times.values, values, marker=True))
    if any(period.accuracy.value is not None for period in periods):
        shares = [period.accuracy for period in periods]
        values, low, high = (
            [nan if value is None else value for value in column]
            for column in (
                [of.value for of in shares],
                [of.low for of in shares],
                [of.high for of in shares],
            )
        )
        series.append(Series("by labels", times.values, values, low=low, high=high, marker=True))
    if not series:
        return ""
    return line_chart("Accuracy over time", times.label, "share", series)


def _classes(report: PerformanceReport) -> Section:
    realised = report.realised
    rows = [
        (one.name, _told(one.recall), _told(one.precision))
        for one in (realised.by_class if realised else ())
    ]
    return Section(
        title="Accuracy of each class",
        table=Table(("class", "recall", "precision"), rows),
    )
