"""A report as one HTML page: no script, nothing from outside."""

from __future__ import annotations

from robustness.evaluation.report import RobustnessReport
from robustness.report.content import sections, title
from torchkeep.render.page import page


def html(report: RobustnessReport) -> str:
    """Return the page. Raises `DataError` if an example is no PNG in base64."""
    return page(title(report), list(sections(report)), contents=True)
