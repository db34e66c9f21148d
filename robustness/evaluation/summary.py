"""A report in a few lines, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from robustness.evaluation.report import RobustnessReport, Share, ThreatResult

LEGEND = (
    "Robust accuracy: no attack turned the image. With detection: right and accepted when clean, "
    "and no attack, those that know the detectors included, is wrong and accepted. In brackets: "
    "95 % intervals (Clopper-Pearson)."
)


def summary_lines(report: RobustnessReport) -> Iterator[str]:
    """Yield what a report found, the verdict of the checks first."""
    subject, told = report.subject, report.circumstances
    strength = "quick: weaker attacks than the standard ones" if told.quick else "standard attacks"
    yield (
        f"{subject.name} {subject.version}, artifact {subject.digest[:12]}, {told.n} test images, "
        f"seed {told.seed}, {strength}"
    )
    failed = [check for check in report.checks if not check.passed]
    yield f"checks: {len(report.checks) - len(failed)} of {len(report.checks)} passed"
    for check in failed:
        meaning = "figures are withheld" if check.fatal else "be wary"
        yield f"  FAILED: {check.name} ({meaning}): {check.seen}"
    yield f"clean accuracy {share_text(report.clean_accuracy)}"
    if report.clean_flagged is not None:
        yield f"clean images flagged {share_text(report.clean_flagged)}"
    for threat in report.threats:
        yield from _threat(threat)
    yield LEGEND


def _threat(threat: ThreatResult) -> Iterator[str]:
    line = f"{threat.threat}: robust accuracy {share_text(threat.robust_accuracy)}"
    if threat.with_detection is not None:
        line += f", with detection {share_text(threat.with_detection)}"
    yield line


def share_text(share: Share | None) -> str:
    """Return a share with its 95 % interval and counts; a withheld one says so, none is a dash."""
    if share is None:
        return "–"
    if share.share is None:
        return f"withheld (n = {share.n})"
    interval = f"[{100 * share.low:.2f}, {100 * share.high:.2f}]"
    return f"{share.share:.2%} {interval}, {share.count} of {share.n}"
