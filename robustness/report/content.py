"""The sections of a report in the order they are read; HTML and Markdown show the same."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence

from robustness.evaluation.report import Curve, Example, RobustnessReport
from robustness.evaluation.summary import share_text
from robustness.report.tables import (
    RATES,
    adaptive_table,
    attack_table,
    certification_table,
    check_table,
    circumstance_table,
    corruption_table,
    curve_table,
    detection_table,
    head_table,
    preprocessing_table,
    source_table,
    subject_table,
    threat_table,
)
from robustness.report.wording import doubts
from torchkeep.errors import DataError
from torchkeep.render.chart import line_chart, line_charts
from torchkeep.render.page import Section, Table, Tone, Triple
from torchkeep.render.plain import one_line
from torchkeep.render.series import Panel, Series

MOST_EXAMPLES = 24
LONGEST_LABEL = 40
MOST_LINES = 12
"""More curves in one chart are not told apart."""
LOWEST_FPR = 1e-4


def title(report: RobustnessReport) -> str:
    """Return the title of the report."""
    return f"Robustness of {report.subject.name} {report.subject.version}"


def sections(report: RobustnessReport, *, charts: bool = True) -> Iterator[Section]:
    """Yield the sections; parts that the report does not have are left out.

    Raises `DataError` if an example is no PNG in base64.
    """
    yield verdict(report)
    yield Section(title="What detection adds", text="\n\n".join(_added(report)))
    yield Section(title="Threat models", text=_THREATS, table=threat_table(report))
    yield from _security(report, charts)
    if report.examples:
        yield _examples(report.examples, charts)
    yield Section(title="Attacks", text=_ATTACKS, table=attack_table(report))
    adaptive = adaptive_table(report)
    if adaptive is not None:
        yield Section(title="Attacks that know the detectors", text=_ADAPTIVE, table=adaptive)
    if any(attack.detections for attack in report.attacks):
        yield Section(title="Detection", text=_DETECTION, table=detection_table(report))
    heads = head_table(report)
    if heads is not None:
        yield Section(title="Each detector alone", text=_HEADS, table=heads)
    if charts:
        yield from _scores(report)
    if report.corruptions:
        yield Section(
            title="Natural corruptions", text=_CORRUPTIONS, table=corruption_table(report)
        )
    if report.preprocessing:
        yield Section(
            title="Preprocessing defences", text=_PREPROCESSING, table=preprocessing_table(report)
        )
    yield from _certification(report, charts)
    yield Section(title="Checks", text=_CHECKS, table=check_table(report))
    yield Section(title="Where the attacks come from", text=_SOURCES, table=source_table(report))
    missing = list(report.not_run.items()) or [("nothing", "all that is known was run")]
    yield Section(title="What was not run", table=Table(("what", "why"), missing))
    yield Section(title="Subject", table=subject_table(report.subject))
    yield Section(title="Circumstances", table=circumstance_table(report.circumstances))


def verdict(report: RobustnessReport) -> Section:
    """Return what a reader in a hurry needs: what was checked, attacked, and survived."""
    told = report.circumstances
    strength = "quick attacks, weaker than the standard ones" if told.quick else "standard attacks"
    attacked = (
        f"Attacked: {told.n} test images of {report.subject.dataset}, by "
        f"{len(report.attacks)} {strength}, within {len(report.threats)} threat models."
    )
    lines = [*_checked(report), attacked]
    return Section(
        title="Verdict",
        text="\n\n".join(lines),
        table=_survived(report),
        tone=_tone(report),
    )


def _tone(report: RobustnessReport) -> Tone:
    """Return how far the checks let a reader trust the figures, whatever the figures are."""
    failed = [check for check in report.checks if not check.passed]
    if not report.checks or any(check.fatal for check in failed):
        return Tone.BAD
    return Tone.WARN if failed else Tone.GOOD


def _checked(report: RobustnessReport) -> Iterator[str]:
    failed = [check for check in report.checks if not check.passed]
    if not report.checks:
        yield "No check was made: believe no robust accuracy."
    elif failed:
        yield f"{len(failed)} of {len(report.checks)} checks FAILED."
    else:
        yield f"All checks passed ({len(report.checks)}): nothing found says to doubt the figures."
    for check in failed:
        meaning = "robust accuracies are withheld" if check.fatal else "be wary"
        yield f"FAILED: {check.name} ({meaning}): {check.seen}"


def _survived(report: RobustnessReport) -> Table:
    """Return the figures that count, detector off and on, with nothing attacked first."""
    clean = (share_text(report.clean_accuracy), share_text(report.clean_accepted_right))
    rows = [("clean", *clean)]
    for threat in report.threats:
        trained = " (trained against)" if threat.threat == report.subject.trained_against else ""
        figures = (share_text(threat.robust_accuracy), share_text(threat.with_detection))
        rows.append((f"{threat.threat}{trained}", *figures))
    return Table(("images", "right, detector off", "right and accepted, detector on"), rows)


def _added(report: RobustnessReport) -> Iterator[str]:
    if report.clean_flagged is None:
        yield "Detection: the artifact has no detectors."
        return
    yield f"Clean images flagged: {share_text(report.clean_flagged)}."
    for threat in report.threats:
        off, on = threat.robust_accuracy, threat.with_detection
        if on is None or on.share is None or off.share is None:
            continue
        if on.low > off.high:
            told = f"adds: {on.share:.1%} instead of {off.share:.1%}"
        elif on.high < off.low:
            told = f"costs: {on.share:.1%} instead of {off.share:.1%}"
        else:
            told = f"changes nothing beyond noise: {on.share:.1%}, without it {off.share:.1%}"
        yield f"Against {threat.threat} detection {told}."
    yield (
        "With detection an attack wins only if the image is wrong and accepted; attacks that know "
        "the detectors are included, and clean images that are rejected count as errors."
    )


def _security(report: RobustnessReport, charts: bool) -> Iterator[Section]:
    if report.security_curves:
        n, seed = report.circumstances.n, report.circumstances.seed
        withheld = any(threat.robust_accuracy.share is None for threat in report.threats)
        warning = f"\n\nBe wary: figures are withheld ({doubts(report)})." if withheld else ""
        left = _undrawn(report.security_curves) if charts else ""
        yield Section(
            title="Security curves",
            text=f"Accuracy over the radius; at most n = {n} images, seed {seed}.{warning}{left}",
            table=curve_table(report.security_curves),
            svg=_security_charts(report.security_curves) if charts else "",
        )


def _scores(report: RobustnessReport) -> Iterator[Section]:
    if report.roc:
        chart = _chart("ROC", "false-positive rate", "detection rate", report.roc, log_x=True)
        yield Section(
            title="Detection over false positives", text=_ROC + _undrawn(report.roc), svg=chart
        )
    if report.densities:
        chart = _chart("Fused score", "fused score", "density", report.densities)
        yield Section(
            title="Densities of the score", text=_DENSITY + _undrawn(report.densities), svg=chart
        )


def _certification(report: RobustnessReport, charts: bool) -> Iterator[Section]:
    if not report.certification:
        return
    curves = [
        Curve(name=f"{result.method}, {result.norm}: {curve.name}", points=curve.points)
        for result in report.certification
        for curve in result.certified
    ]
    chart = _chart("Certified accuracy", "radius", "share", curves) if charts else ""
    text = _CERTIFIED + (_undrawn(curves) if charts else "")
    yield Section(
        title="Certified accuracy", text=text, table=certification_table(report), svg=chart
    )


def _security_charts(curves: Sequence[Curve]) -> str:
    """Return a chart a norm, since radii of different norms do not share an axis; "" if none."""
    panels = [
        Panel(
            title=f"Security curve, {curve.name}",
            x_label="eps",
            y_label="accuracy",
            series=_series([curve], marker=True),
        )
        for curve in curves
        if curve.points
    ][:MOST_LINES]
    return line_charts(panels) if panels else ""


def _chart(name: str, x: str, y: str, curves: Sequence[Curve], *, log_x: bool = False) -> str:
    """Return the chart of the curves that have points; "" if none has."""
    series = _series(curves, log_x=log_x)[:MOST_LINES]
    return line_chart(name, x, y, series, log_x=log_x) if series else ""


def _series(curves: Sequence[Curve], *, marker: bool = False, log_x: bool = False) -> list[Series]:
    return [
        Series(
            name=curve.name,
            x=[max(point.x, LOWEST_FPR) if log_x else point.x for point in curve.points],
            y=[point.y for point in curve.points],
            marker=marker,
        )
        for curve in curves
        if curve.points
    ]


def _undrawn(curves: Sequence[Curve]) -> str:
    """Return a sentence on the curves that a chart leaves out; "" if it shows all."""
    drawn = [curve for curve in curves if curve.points]
    told = []
    if len(drawn) > MOST_LINES:
        told.append(f"the first {MOST_LINES} of {len(drawn)} curves; all are in report.json")
    empty = len(curves) - len(drawn)
    if empty:
        told.append(f"nothing of {empty} without a point")
    return f"\n\nThe chart shows {' and '.join(told)}." if told else ""


def _examples(examples: Sequence[Example], charts: bool) -> Section:
    text = "Images that an attack turned, with the perturbation magnified."
    if len(examples) > MOST_EXAMPLES:
        text += f" The first {MOST_EXAMPLES} of {len(examples)}."
    if not charts:
        columns = ("image", "label", "taken for", "attack", "threat", "flagged")
        rows = [
            (str(e.index), e.label, e.predicted, e.attack, e.threat, _flagged(e))
            for e in examples[:MOST_EXAMPLES]
        ]
        return Section(title="Worst images", text=text, table=Table(columns, rows))
    return Section(
        title="Worst images",
        text=text,
        triples=[_triple(example) for example in examples[:MOST_EXAMPLES]],
    )


def _triple(example: Example) -> Triple:
    caption = one_line(
        f"image {example.index}: {one_line(example.label, LONGEST_LABEL)} taken for "
        f"{one_line(example.predicted, LONGEST_LABEL)}; "
        f"{example.attack}, {example.threat}; {_flagged(example)}",
        300,
    )
    return Triple(_png(example.before), _png(example.after), _png(example.difference), caption)


def _flagged(example: Example) -> str:
    if example.flagged is None:
        return "no detectors"
    verdict = "flagged" if example.flagged else "NOT flagged"
    return verdict if example.score is None else f"{verdict}, score {example.score:.3g}"


def _png(text: str) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError("the report", str(error), "pictures as PNG in base64") from error
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        raise DataError("the report", "a picture is no PNG", "pictures as PNG in base64")
    return content


_THREATS = (
    "The worst case of each image over all attacks of a threat model. Intervals are two-sided "
    "95 % Clopper-Pearson; they tell the noise of the sample, not attacks nobody has tried."
)
_ATTACKS = (
    "Each attack on the images it was run on. “knows” tells what the attacker sees; those who know "
    "the network and detectors are adaptive, and their figures count where detection is promised."
)
_ADAPTIVE = (
    "The same attacked images, judged twice: with the detector off an attack wins when the image "
    "is wrong, with it on only when it is wrong and accepted. What lies between, detection adds."
)
_SOURCES = "Catalogues: NIST AI 100-2 (NISTAML) and MITRE ATLAS (AML), by what an attacker knows."
_DETECTION = (
    "How well the fused score, which is the one served, tells attacked from clean images. TPR is "
    "the detection rate at a given false-positive rate; “flagged” is the rate at the threshold."
)
_HEADS = (
    f"AUROC; then detection rates at false-positive rates of "
    f"{', '.join(f'{float(rate):.1%}' for rate in RATES)}."
)
_ROC = f"False-positive rates below {LOWEST_FPR:g} are drawn there; the axis is logarithmic."
_DENSITY = "Where clean and attacked densities overlap, no threshold tells them apart."
_CORRUPTIONS = "Accuracy by severity, 1 (mild) to 5 (severe)."
_PREPROCESSING = "Attacked with the gradient passed through the defence."
_CERTIFIED = "Accuracy that is proved, not merely survived: no attack within the radius exists."
_CHECKS = "Reasons to doubt the figures, looked for. A failed fatal check withholds them."
