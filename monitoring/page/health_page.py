"""One look at a model as one static HTML page: no script, no address outside."""

from __future__ import annotations

from collections.abc import Iterator

from monitoring.findings import Finding, State, findings, headline
from monitoring.health import Health, Missing
from monitoring.moment import moment
from monitoring.page.drift_sections import drift_sections
from monitoring.page.performance_sections import performance_sections
from monitoring.page.stream_sections import stream_sections
from monitoring.page.traffic_sections import traffic_sections
from torchkeep.render.page import Section, Table, Tone, page

_TONES = {State.WRONG: Tone.BAD, State.LOOK: Tone.WARN}


def health_html(health: Health) -> str:
    """Return the page."""
    title = f"How {health.model} {health.version} is doing"
    return page(title, list(_sections(health)), contents=True)


def _sections(health: Health) -> Iterator[Section]:
    yield _summary(health)
    yield from drift_sections(health)
    yield from stream_sections(health)
    yield from performance_sections(health)
    yield from traffic_sections(health)
    yield _alerts(health)
    yield _log(health)


def _summary(health: Health) -> Section:
    found = findings(health)
    worst = found[0].state if found else State.UNKNOWN
    paragraphs = [f"{headline(health)[0].upper()}{headline(health)[1:]}.", _of_what(health)]
    return Section(
        title="Is anything wrong?",
        text="\n\n".join(paragraphs),
        table=Table(("part", "state", "what was found"), [_row(one) for one in found]),
        tone=_TONES.get(worst, Tone.GOOD),
    )


def _row(one: Finding) -> tuple[str, str, str]:
    return one.part, str(one.state), one.says


def _of_what(health: Health) -> str:
    items = f"{health.log.items:,} items"
    if health.start_ns is not None and health.end_ns is not None:
        items += f" from {moment(health.start_ns)} to {moment(health.end_ns)} UTC"
    if health.log.other_versions:
        items += f", {health.log.other_versions:,} of them answered by other versions"
    look = f"looked at {moment(health.examined_at_ns)} UTC"
    return f"Artifact {health.artifact_digest[:12]}, {items}; {look}."


def _alerts(health: Health) -> Section:
    if not health.rules:
        return Section(title="Alerts", text="There are no rules: see [alerts] in torchkeep.toml.")
    said = {True: "holds", False: "does not hold", None: "not known"}
    rows = [
        (rule.name, rule.condition, rule.value, said[rule.holds], rule.severity)
        for rule in health.rules
    ]
    text = "What each rule looks at, and whether its condition holds now."
    if not isinstance(health.alerts, Missing) and health.alerts.firing:
        text += f" {len(health.alerts.firing)} fire."
    return Section(
        title="Alerts",
        text=text,
        table=Table(("rule", "condition", "value", "now", "severity"), rows),
        tone=Tone.BAD if any(rule.holds for rule in health.rules) else Tone.PLAIN,
    )


def _log(health: Health) -> Section:
    log = health.log
    rows: list[tuple[str, int]] = [("items looked at", log.items)]
    rows += [("of other versions", log.other_versions)]
    rows += [("sent by torchkeep itself, left out", log.own_traffic)]
    rows += [(f"left out: {_words(name)}", count) for name, count in log.left_out.items()]
    rows += [(f"items: {_words(name)}", count) for name, count in log.lacking.items()]
    rows += [(f"lines set aside: {fault}", count) for fault, count in log.quarantined.items()]
    return Section(title="The log", table=Table(("what", "count"), rows))


def _words(name: str) -> str:
    return name.replace("_", " ")
