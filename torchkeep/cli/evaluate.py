"""`torchkeep evaluate`: a robustness report of an artifact, under attack in every way we know."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from torchkeep.output import AsJson, print_json
from torchkeep.progress import progress

if TYPE_CHECKING:
    from robustness.evaluation.report import RobustnessReport


def evaluate(
    artifact: Annotated[Path, typer.Argument(help="Folder of the artifact.")],
    quick: Annotated[
        bool, typer.Option("--quick", help="Weaker attacks on 100 images, in minutes.")
    ] = False,
    images: Annotated[
        int | None, typer.Option("-n", "--images", min=1, help="Test images.  [default: 1000]")
    ] = None,
    first: Annotated[int, typer.Option(min=0, help="Index of the first test image.")] = 0,
    attack: Annotated[
        list[str] | None,
        typer.Option(
            help="Run only this attack, or auto-attack for its standard four; may be repeated."
        ),
    ] = None,
    threat: Annotated[
        list[str] | None,
        typer.Option(
            help="Threat such as linf:0.3; by default what it was trained against, l2, "
            "l1 and patch. May be repeated; the first counts as trained against."
        ),
    ] = None,
    transfer_from: Annotated[
        Path | None, typer.Option(help="Second artifact, to transfer attacks from.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="The data it was trained on; by default as recorded.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Workers.  [default: one a core; on a GPU one]")
    ] = None,
    block: Annotated[int, typer.Option(min=1, help="Images that are attacked at a time.")] = 100,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    time_limit: Annotated[
        float | None, typer.Option(min=0, help="Minutes, after which to stop with exit code 4.")
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(help="Required figure such as robust>=0.85 (exit code 5); may be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report.  [default: the evaluation's own]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Attack an artifact in every way we know and write a report: HTML, JSON, Markdown, card.

    Standard AutoAttack and more in several norms, attacks that know the detectors, natural
    corruptions, preprocessing defences, certificates. Robust accuracies are told only if checks for
    masked gradients pass. What is finished is kept: after any end the same command goes on.

    Examples:
        torchkeep evaluate .torchkeep/artifacts/mnist-1.0 --quick

        torchkeep evaluate .torchkeep/artifacts/mnist-1.0 --fail-under 'robust>=0.85'

        torchkeep evaluate .torchkeep/artifacts/mnist-1.0 --attack pgd --threat linf:0.2 -n 200

    """
    from robustness.report.gate import failures, parse_requirement
    from torchkeep.cli.evaluation import Order, run
    from torchkeep.errors import RequirementError

    requirements = tuple(parse_requirement(text) for text in fail_under or ())
    order = Order(
        artifact=artifact,
        quick=quick,
        images=images,
        first=first,
        attacks=tuple(attack or ()),
        threats=tuple(threat or ()),
        transfer_from=transfer_from,
        data=data,
        seed=seed,
        processes=processes,
        block=block,
        device=device,
        time_limit=time_limit,
        out=out,
    )
    with progress() as watch:
        report, paths = run(order, watch)
    if as_json:
        print_json({"report": report.to_plain(), "files": {k: str(v) for k, v in paths.items()}})
    else:
        _tell(report, paths)
    unmet = failures(report, requirements)
    if unmet:
        raise RequirementError("; ".join(str(failure) for failure in unmet))


def _tell(report: RobustnessReport, paths: dict[str, Path]) -> None:
    from robustness.evaluation.summary import summary_lines

    console = Console(soft_wrap=True)
    for line in summary_lines(report):
        console.print(line, highlight=False, markup=False)
    for name, path in paths.items():
        console.print(f"{name:12} {path}", highlight=False, markup=False)
