"""The stream: the way of the sequential alarm, and the most novel requests."""

from __future__ import annotations

from collections.abc import Iterator

from monitoring.health import Health, Missing
from monitoring.moment import moment
from monitoring.novelty import NovelRequest, NoveltyReport
from monitoring.page.text import missing_section, share
from monitoring.sequential_report import SequentialReport
from torchkeep.render.chart import line_chart
from torchkeep.render.page import Section, Table, Tone
from torchkeep.render.series import Series

_TITLE = "The alarm over the stream"
_FLOOR = 1e-3
"""Smaller statistics are drawn there: the axis is logarithmic."""


def stream_sections(health: Health) -> Iterator[Section]:
    """Yield the sections on the stream and on novelty."""
    report, novel = health.sequential, health.novelty
    yield missing_section(_TITLE, report) if isinstance(report, Missing) else _alarm(report)
    if isinstance(novel, Missing):
        yield missing_section("Novel requests", novel)
    else:
        yield _novel(novel)


def _alarm(report: SequentialReport) -> Section:
    length, judged = report.average_run_length, report.counts.judged
    text = (
        f"An alarm rises where the statistic reaches {length:,}; without a change that takes "
        f"{length:,} items on average, or more. {judged:,} items judged, "
        f"{report.counts.lacking:,} lacking, {report.counts.late:,} late, "
        f"{report.counts.dependent:,} left out as of one session, "
        f"{report.counts.ahead:,} dated after now, "
        f"{report.skipped:,} skipped because there were too many at once; "
        f"alarms in this span: {len(report.alarms):,}. Scores: {', '.join(report.scores)}."
    )
    if report.left_out:
        out = ", ".join(f"{name} ({why})" for name, why in report.left_out.items())
        text += f" Left out: {out}."
    rows = [
        (
            moment(alarm.timestamp_ns),
            alarm.witness,
            "rose" if alarm.rising else "fell",
            moment(alarm.change_timestamp_ns),
            alarm.delay,
            alarm.request_id,
        )
        for alarm in report.alarms
    ]
    columns = ("alarm (UTC)", "witness", "way", "change began", "items later", "request")
    return Section(
        title=_TITLE,
        text=text,
        table=Table(columns, rows) if rows else None,
        svg=_chart(report),
        tone=Tone.BAD if report.alarms else Tone.PLAIN,
    )


def _chart(report: SequentialReport) -> str:
    if not report.path:
        return ""
    items = [float(point.items) for point in report.path]
    return line_chart(
        "The statistic of a detector that saw this span alone",
        f"items since {moment(report.path[0].timestamp_ns)} UTC",
        "statistic",
        [
            Series("statistic", items, [max(_FLOOR, point.statistic) for point in report.path]),
            Series("alarm", [items[0], items[-1]], [float(report.average_run_length)] * 2),
        ],
        log_y=True,
    )


def _novel(report: NoveltyReport) -> Section:
    if report.note or not report.judged:
        note = report.note or "no item could be judged"
        return missing_section("Novel requests", Missing(note))
    text = (
        f"{report.novel:,} of {report.judged:,} items are novel: {share(report.share)} "
        f"[{share(report.share_low)}, {share(report.share_high)}]; {share(report.level)} would be "
        f"usual. {report.lacking:,} items could not be judged. The most novel:"
    )
    columns = ("request", "item", "time (UTC)", "predicted", "p-value", "what stands out")
    return Section(
        title="Novel requests",
        text=text,
        table=Table(columns, [_request(one) for one in report.most_novel]),
        tone=Tone.WARN if report.share_low > report.level else Tone.PLAIN,
    )


def _request(one: NovelRequest) -> tuple[object, ...]:
    apart = ", ".join(
        f"{out.feature} {out.value:.3g} (usually {out.usual:.3g})" for out in one.standing_out[:3]
    )
    return one.request_id, one.item, moment(one.timestamp_ns), one.predicted, one.p_value, apart
