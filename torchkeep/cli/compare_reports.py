"""`torchkeep compare-reports`: what is different in a second robustness report, beyond noise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from torchkeep.output import AsJson, print_json

if TYPE_CHECKING:
    from robustness.evaluation.report import RobustnessReport


def compare_reports(
    first: Annotated[Path, typer.Argument(metavar="A", help="report.json, or its folder.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The report to hold against A.")],
    html: Annotated[Path | None, typer.Option(help="Write the comparison as a page.")] = None,
    fail_if_worse: Annotated[
        bool,
        typer.Option(
            "--fail-if-worse",
            help="Exit code 5 if a figure of B is worse beyond noise, or no longer told.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare two robustness reports: what is not the same test, then figures and their noise.

    Counts are compared by Fisher's exact test, corrected for the number of figures.

    Examples:
        torchkeep compare-reports old/report.json new/report.json

        torchkeep compare-reports old new --html difference.html --fail-if-worse

    """
    from robustness.report.comparison import compare
    from robustness.report.comparison_page import comparison_html, comparison_lines
    from torchkeep.atomic_file import write_atomic
    from torchkeep.errors import RequirementError

    comparison = compare(read(first), read(second))
    if html is not None:
        write_atomic(html, comparison_html(comparison).encode())
    if as_json:
        print_json(comparison.to_plain())
    else:
        console = Console(soft_wrap=True)
        for line in comparison_lines(comparison):
            console.print(line, highlight=False, markup=False)
    if fail_if_worse and comparison.setbacks:
        told = "; ".join(f"{one.figure}: {one.outcome}" for one in comparison.setbacks)
        raise RequirementError(f"{second} is worse than {first}: {told}")


def read(path: Path) -> RobustnessReport:
    """Read a report of `torchkeep evaluate`, or the one in a folder.

    Raises `SettingsError` if there is none, `DataError` if the file is something else.
    """
    from robustness.evaluation.report import RobustnessReport
    from torchkeep.errors import SettingsError

    file = path / "report.json" if path.is_dir() else path
    try:
        content = file.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{file}: {error.strerror}", remedy="Make a report: torchkeep evaluate ARTIFACT."
        ) from error
    return RobustnessReport.from_json(content, file)
