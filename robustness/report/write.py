"""Write a report in every form, each file whole or not at all."""

from __future__ import annotations

from pathlib import Path

from robustness.evaluation.report import RobustnessReport
from robustness.report.html import html
from robustness.report.markdown import markdown
from robustness.report.model_card import model_card
from torchkeep.artifact import Manifest
from torchkeep.atomic_file import write_atomic


def write_report(folder: Path, report: RobustnessReport, manifest: Manifest) -> dict[str, Path]:
    """Write report.json, report.html, report.md and model-card.md; return where they are.

    All are made before the first is written. Raises `OSError` and `DataError`.
    """
    contents = {
        "report.json": report.to_json(),
        "report.html": html(report).encode(),
        "report.md": markdown(report).encode(),
        "model-card.md": model_card(report, manifest).encode(),
    }
    keys = ("json", "html", "markdown", "card")
    paths = {key: folder / name for key, name in zip(keys, contents, strict=True)}
    for path in paths.values():
        write_atomic(path, contents[path.name])
    return paths
