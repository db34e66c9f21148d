"""`torchkeep learning-curve`: what another 1,000 labels would be worth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from torchkeep.errors import SettingsError
from torchkeep.output import AsJson, print_json
from torchkeep.progress import progress

if TYPE_CHECKING:
    from training.config import TrainConfig
    from training.learning_curve.assessment import Assessment


def learning_curve(
    data: Annotated[
        str, typer.Argument(help="mnist, fashion-mnist, cifar10, digits, or a path.")
    ] = "mnist",
    recipe: Annotated[
        str | None, typer.Option(help="Named training; by default the data's natural one.")
    ] = None,
    sizes: Annotated[
        str | None, typer.Option(metavar="N,N,…", help="Labels to train on, from few to many.")
    ] = None,
    repeats: Annotated[int, typer.Option(help="Trainings at each size.")] = 3,
    more: Annotated[int, typer.Option(help="How many more labels to ask about.")] = 1000,
    have: Annotated[
        int | None, typer.Option(help="Labels you have; by default all that are for training.")
    ] = None,
    metric: Annotated[
        Literal["clean", "pgd"], typer.Option(help="Accuracy on clean or on attacked images.")
    ] = "clean",
    epochs: Annotated[int | None, typer.Option(help="Epochs, in place of the recipe's.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with the curve (HTML).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train on growing subsets, and say what more labels would be worth.

    A curve is fitted to the accuracies and extrapolated, with an interval.
    The largest sizes are also foretold from the smaller ones and compared
    with what was measured. Where the data support no answer, that is said in
    place of a number.

    Every finished training is kept in .torchkeep/learning-curves: after
    Ctrl-C, the same command goes on.

    Examples:
        torchkeep learning-curve digits --more 200

        torchkeep learning-curve mnist --sizes 500,1000,2000,4000,8000 --have 8000

        torchkeep learning-curve mnist --recipe mnist-quick --metric pgd --report curve.html

    """
    from torchkeep.atomic_file import write_atomic
    from torchkeep.cli.preparation import load_splits, torch_device
    from torchkeep.paths import Home
    from training.learning_curve.assessment import assess, check_question
    from training.learning_curve.report import html
    from training.learning_curve.store import PointStore
    from training.learning_curve.study import Metric, Study, measure
    from training.learning_curve.subsets import default_sizes

    config = replace(_recipe(data, recipe), data=data, seed=seed)
    config = replace(config, epochs=config.epochs if epochs is None else epochs)
    given = _numbers(sizes) if sizes is not None else None
    check_question(1 if have is None else have, more)
    target = torch_device(device)
    dataset, splits = load_splits(data)
    study = Study(
        config=config,
        sizes=given or default_sizes(splits.train.labels),
        repeats=repeats,
        metric=Metric(metric),
    )
    store = PointStore(Home.default().root / "learning-curves")
    with progress() as told:
        curve = measure(study, dataset, splits, device=target, store=store, progress=told)
    found = assess(curve, len(splits.train) if have is None else have, more, seed)
    title = f"Learning curve of {config.recipe} on {dataset.name}, {metric} accuracy"
    if report is not None:
        write_atomic(report, html(found, title).encode())
    if as_json:
        about = {"recipe": config.recipe, "data": dataset.name, "metric": metric}
        print_json(about | found.to_json())
    else:
        _tell(found, title, report)


def _recipe(data: str, name: str | None) -> TrainConfig:
    """Return the recipe of that name, or natural training of known data."""
    from training.recipes import recipe
    from training.subjects import SUBJECTS

    if name is not None:
        return recipe(name)
    known = [subject.name for subject in SUBJECTS.values() if subject.data == data]
    if not known:
        raise SettingsError(
            f"no recipe belongs to {data!r}", remedy="Give one, as with --recipe mnist-natural."
        )
    return recipe(f"{known[0]}-natural")


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise SettingsError(
            f"--sizes {text!r} are no numbers", remedy="Give them as 500,1000,2000."
        ) from error


def _tell(found: Assessment, title: str, report: Path | None) -> None:
    from training.learning_curve.report import answer, backtest_lines, law_line, points

    console = Console(soft_wrap=True, highlight=False, markup=False)
    curve = found.curve
    console.print(f"{title}, on {curve.images:,} test images")
    for size, mean, deviation in zip(curve.sizes, curve.mean, curve.deviation, strict=True):
        console.print(f"{int(size):>9,} labels  {1 - mean:7.2%}  ± {points(deviation)} points")
    console.print(law_line(found))
    for line in backtest_lines(found):
        console.print(line)
    console.print(answer(found))
    if report is not None:
        console.print(f"report {report}")
