"""What a scan for poison found, for people: lines on a terminal and an HTML page."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from robustness.poisoning.findings import Finding, ScanResult
    from torchkeep.data import Dataset
    from torchkeep.render.page import Section, Table

SHOWN_LINES = 10
SHOWN_ROWS = 1000
SHOWN_IMAGES = 48
SMALLEST_SIDE = 84


def lines(dataset: Dataset, result: ScanResult) -> Iterator[str]:
    """Yield what to print: the total, the surest findings, and what was not tested."""
    yield f"{dataset.name}: {result.images:,} training images, digest {dataset.digest[:12]}"
    if not result.findings:
        yield "nothing found"
    else:
        counts = ", ".join(f"{reason} {count:,}" for reason, count in result.counts.items())
        share = len(result.findings) / result.images
        yield f"flagged {len(result.findings):,} ({share:.2%}): {counts}"
    for finding in surest(result)[:SHOWN_LINES]:
        yield (
            f"  image {finding.place}: labelled {finding.label!r}, shows {finding.shows!r}, "
            f"confidence {finding.confidence:.3f} ({', '.join(finding.reasons)})"
        )
    if len(result.findings) > SHOWN_LINES:
        yield f"  and {len(result.findings) - SHOWN_LINES:,} more: --json or --report has them all"
    if result.exact_duplicates or result.near_duplicates:
        yield (
            f"copies: {result.exact_duplicates:,} exact, {result.near_duplicates:,} near; "
            "only those with contradicting labels are flagged"
        )
    for what, why in result.not_tested.items():
        yield f"not tested: {what} ({why})"


def surest(result: ScanResult) -> list[Finding]:
    """Return the findings, the surest first."""
    return sorted(result.findings, key=lambda finding: (-finding.confidence, finding.place))


def scan_page(dataset: Dataset, result: ScanResult) -> str:
    """Return the report as one self-contained HTML page."""
    from torchkeep.render.page import Section, Table, page

    told = "\n\n".join(line for line in lines(dataset, result) if not line.startswith("  "))
    found = surest(result)
    sections = [Section("Result", text=told)]
    if found:
        sections.append(_pictures(dataset, found))
        sections.append(
            Section(
                "Flagged samples",
                text=f"The surest first, at most {SHOWN_ROWS:,} of them.",
                table=_findings(found[:SHOWN_ROWS]),
            )
        )
    if result.groups:
        sections.append(Section("Suspected groups", text=GROUPS_TEXT, table=_groups(result)))
    silhouettes = [[label, value] for label, value in result.silhouettes.items()]
    sections.append(
        Section("Activation clustering", table=Table(["class", "silhouette"], silhouettes))
    )
    settings = [[key, str(value)] for key, value in result.settings.items()]
    sections.append(Section("Settings", table=Table(["setting", "value"], settings)))
    return page(f"Scan for poison: {dataset.name}", sections)


GROUPS_TEXT = (
    "A detector suspects a group; a network trained without all suspects judges it. A member is "
    "explained away if its label is taught by nothing but the other suspects. A group is "
    "confirmed if the lower confidence bound of their share is high enough."
)


def _pictures(dataset: Dataset, found: Sequence[Finding]) -> Section:
    from torchkeep.render.page import Section

    shown = [
        (
            png(dataset.train.images[finding.place]),
            f"{finding.place}: labelled {finding.label}, shows {finding.shows} "
            f"({finding.confidence:.2f})",
        )
        for finding in found[:SHOWN_IMAGES]
    ]
    return Section("The surest findings", images=shown)


def _findings(found: Sequence[Finding]) -> Table:
    from torchkeep.render.page import Table

    rows = [[f.place, f.label, f.shows, ", ".join(f.reasons), f.confidence] for f in found]
    return Table(["image", "label", "shows", "why", "confidence"], rows)


def _groups(result: ScanResult) -> Table:
    from torchkeep.render.page import Table

    columns = ["class", "detector", "members", "statistic", "explained away", "bound", "confirmed"]
    rows = [
        [
            group.label,
            group.detector,
            group.members,
            group.statistic,
            f"{group.explained_away:,} of {group.judged:,}",
            group.lower_bound,
            "yes" if group.confirmed else "no",
        ]
        for group in result.groups
    ]
    return Table(columns, rows)


def png(image: NDArray[np.uint8]) -> bytes:
    """Return an image (C H W) as PNG, enlarged by whole pixels so that small ones can be seen."""
    from PIL import Image

    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    times = -(-SMALLEST_SIDE // min(pixels.shape[:2]))
    enlarged = pixels.repeat(times, axis=0).repeat(times, axis=1)
    buffer = io.BytesIO()
    Image.fromarray(enlarged).save(buffer, format="PNG")
    return buffer.getvalue()
