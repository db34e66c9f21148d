"""`torchkeep scan-poison --demo`: known data poisoned on purpose, and how much of it is found."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from torchkeep.output import print_json
from torchkeep.progress import Report, progress

if TYPE_CHECKING:
    from robustness.poisoning.config import ScanConfig
    from robustness.poisoning.evidence import Learn
    from robustness.poisoning.trials import Trial
    from torchkeep.architectures import Classifier
    from torchkeep.data import ImageSet
    from torchkeep.render.page import Table as PageTable

TRAININGS = 5
"""Networks that a trial trains at most, but for a clean-label attacker's own."""
COLUMNS = (
    "attack",
    "trigger",
    "seed",
    "share",
    "found",
    "of clean",
    "success",
    "after",
    "accuracy",
    "after",
)
LEGEND = (
    "found: poisoned samples that were flagged; of clean: clean ones that were; success: test "
    "images of other classes that the trigger turns, before and after the drop and retraining; "
    "accuracy: on clean test images, before and after."
)


def demonstrate(
    name: str,
    recipe: str | None,
    config: ScanConfig,
    device: str,
    images: int,
    report: Path | None,
    *,
    full: bool,
    as_json: bool,
) -> None:
    """Run the trials on `images` training images drawn at random, and print the table."""
    from robustness.art_library import prepare
    from torchkeep.atomic_file import write_atomic
    from torchkeep.cli.scan_poison import load

    prepare()

    dataset = load(name)
    drawn = np.random.default_rng(config.seed).permutation(len(dataset.train))[:images]
    data = dataset.train.subset(drawn)
    with progress() as watcher:
        trials = _run(data, dataset.test, dataset.classes, recipe, config, device, watcher, full)
    told = (
        f"{dataset.name}, {len(data):,} training images, {len(dataset.test):,} test images, "
        f"seed {config.seed}"
    )
    if report is not None:
        write_atomic(report, _page(told, trials).encode())
    if as_json:
        rows = [_values(trial) for trial in trials]
        print_json({"data": dataset.name, "images": len(data), "seed": config.seed, "trials": rows})
    else:
        _tell(told, trials)


def _run(
    data: ImageSet,
    test: ImageSet,
    classes: tuple[str, ...],
    recipe: str | None,
    config: ScanConfig,
    device: str,
    report: Report,
    full: bool,
) -> list[Trial]:
    from robustness.poisoning.trials import plans, try_out
    from torchkeep.cli.poison_learner import learner, scan_recipe
    from torchkeep.cli.preparation import torch_device

    chosen = plans(every_share=full)
    training, target = scan_recipe(recipe, data.shape[0]), torch_device(device)
    trials = []
    for number, plan in enumerate(chosen):
        counted = _Counted(
            learner(training, len(classes), target, _silent),
            report,
            TRAININGS * number,
            TRAININGS * len(chosen),
        )
        trials.append(try_out(plan, data, test, classes, config, counted, _silent))
    report("trials", TRAININGS * len(chosen), TRAININGS * len(chosen))
    return trials


class _Counted:
    """A learner that reports how many trainings of all trials are done."""

    def __init__(self, learn: Learn, report: Report, done: int, total: int) -> None:
        self.learn = learn
        self.report = report
        self.done = done
        self.total = total

    def __call__(self, images: ImageSet, *, seed: int, step: str) -> Classifier:
        self.report("trials", min(self.done, self.total), self.total)
        self.done += 1
        return self.learn(images, seed=seed, step=step)


def _silent(step: str, done: int, total: int) -> None:
    """Report nothing: a trial is one step."""


def _values(trial: Trial) -> dict[str, object]:
    rates = {"found_rate": trial.found_rate, "clean_rate": trial.clean_rate}
    return asdict(trial) | rates


def _tell(told: str, trials: list[Trial]) -> None:
    console = Console()
    console.print(told, highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    for column in COLUMNS:
        table.add_column(column, no_wrap=True)
    for trial in trials:
        table.add_row(*_cells(trial))
    console.print(table)
    console.print(LEGEND, highlight=False)


def _cells(trial: Trial) -> list[str]:
    return [
        trial.attack,
        trial.trigger or "",
        str(trial.seed),
        f"{trial.share:.0%}",
        _percent(trial.found_rate),
        _percent(trial.clean_rate),
        _percent(trial.success_before),
        _percent(trial.success_after),
        _percent(trial.accuracy_before),
        _percent(trial.accuracy_after),
    ]


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.2%}"


def _page(told: str, trials: list[Trial]) -> str:
    from torchkeep.render.page import Section, page

    return page(
        "Scan for poison: trials",
        [Section("Trials", text=f"{told}\n\n{LEGEND}", table=_page_table(trials))],
    )


def _page_table(trials: list[Trial]) -> PageTable:
    from torchkeep.render.page import Table as PageTable

    return PageTable(COLUMNS, [_cells(trial) for trial in trials])
