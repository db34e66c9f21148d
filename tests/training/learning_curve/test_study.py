"""A study trains on subsets that are shown fairly, and never does a finished training again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from torchkeep.data import Dataset, Splits
from torchkeep.errors import SettingsError
from training.learning_curve.curve import Curve, Point
from training.learning_curve.store import PointStore
from training.learning_curve.study import Metric, Study, Trial, images_shown, measure
from training.recipes import recipe

CPU = torch.device("cpu")
SIZES = (50, 80, 130, 210, 340)


def study(metric: Metric = Metric.CLEAN, *, seed: int = 0) -> Study:
    config = replace(
        recipe("digits-natural"),
        epochs=2,
        seed=seed,
        evaluation_images=20,
        evaluation_steps=2,
        evaluation_restarts=1,
    )
    return Study(config=config, sizes=SIZES, repeats=2, metric=metric)


class Watched:
    """Notes what is reported, and breaks off when `last` is reached."""

    def __init__(self, last: int | None = None) -> None:
        self.told: list[tuple[int, int]] = []
        self.last = last

    def __call__(self, step: str, done: int, total: int) -> None:
        self.told.append((done, total))
        if self.last is not None and done >= self.last:
            raise KeyboardInterrupt


def run(
    what: Study, dataset: Dataset, splits: Splits, folder: Path, progress: Watched | None = None
) -> Curve:
    store = PointStore(folder)
    return measure(what, dataset, splits, device=CPU, store=store, progress=progress or Watched())


def test_a_broken_off_study_goes_on_and_gives_the_same_curve(
    digits_dataset: Dataset, digits: Splits, tmp_path: Path
) -> None:
    whole = Watched()
    expected = run(study(), digits_dataset, digits, tmp_path / "whole", whole)
    assert whole.told[-1][0] == whole.told[-1][1]
    half = whole.told[-1][1] // 2
    with pytest.raises(KeyboardInterrupt):
        run(study(), digits_dataset, digits, tmp_path / "broken", Watched(half))
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "broken").iterdir()}
    assert 0 < len(kept) < len(SIZES) * 2
    resumed = run(study(), digits_dataset, digits, tmp_path / "broken")
    assert resumed.errors.tolist() == expected.errors.tolist()
    assert all(file.stat().st_mtime_ns == when for file, when in kept.items())
    again = Watched()
    assert run(study(), digits_dataset, digits, tmp_path / "whole", again).errors.tolist() == (
        expected.errors.tolist()
    )
    assert len(again.told) == len(SIZES) * 2


def test_accuracy_rises_with_labels_and_repeats_differ(
    digits_dataset: Dataset, digits: Splits, tmp_path: Path
) -> None:
    what = replace(study(), config=replace(study().config, epochs=6))
    curve = run(what, digits_dataset, digits, tmp_path)
    assert curve.mean[-1] < curve.mean[0] - 0.03
    assert curve.images == len(digits.test)
    assert (curve.errors[:, 0] != curve.errors[:, 1]).any()


def test_under_attack_fewer_are_right_and_fewer_images_are_used(
    digits_dataset: Dataset, digits: Splits, tmp_path: Path
) -> None:
    attacked = run(study(Metric.PGD), digits_dataset, digits, tmp_path)
    clean = run(study(), digits_dataset, digits, tmp_path)
    assert attacked.images == 20
    assert attacked.mean[-1] > clean.mean[-1]


def test_each_image_of_a_subset_is_shown_as_often_as_any_other(digits: Splits) -> None:
    trial = Trial(config=study().config, size=50, repeat=0, shown=170, steps=1)
    images = trial.images(digits.train)
    assert len(images) == 170
    _, counts = np.unique(images.images.reshape(170, -1), axis=0, return_counts=True)
    assert len(counts) == 50
    assert set(counts) == {3, 4}
    assert len(np.unique(images.labels)) == 10


@pytest.mark.parametrize(
    ("size", "total", "shown"),
    [(51_000, 51_000, 51_000), (796, 51_000, 6371), (100, 51_000, 5000), (100, 842, 842)],
)
def test_small_subsets_are_shown_more_often(size: int, total: int, shown: int) -> None:
    assert images_shown(size, total) == shown


def test_a_larger_subset_of_a_repeat_holds_the_smaller_and_other_repeats_are_others(
    digits: Splits,
) -> None:
    def pixels(size: int, seed: int) -> set[bytes]:
        config = replace(study().config, seed=seed)
        trial = Trial(config=config, size=size, repeat=0, shown=size, steps=1)
        return {image.tobytes() for image in trial.images(digits.train).images}

    assert pixels(50, 0) < pixels(80, 0)
    assert pixels(50, 0) != pixels(50, 1)


@pytest.mark.parametrize("change", ["seed", "metric", "data", "epochs"])
def test_what_an_accuracy_depends_on_names_its_file(
    digits_dataset: Dataset, digits: Splits, change: str
) -> None:
    config = study().config
    trial = Trial(config=config, size=50, repeat=0, shown=170, steps=1)
    before = trial.made_of(study(), digits_dataset, digits, CPU)
    changed = {
        "seed": lambda: replace(trial, config=replace(config, seed=1)),
        "epochs": lambda: replace(trial, config=replace(config, epochs=3)),
    }.get(change, lambda: trial)()
    data = replace(digits_dataset, digest="other") if change == "data" else digits_dataset
    metric = Metric.PGD if change == "metric" else Metric.CLEAN
    store = PointStore(Path("nowhere"))
    after = changed.made_of(study(metric), data, digits, CPU)
    assert store._path(before) != store._path(after)


def test_a_broken_file_is_as_good_as_none(tmp_path: Path) -> None:
    store, point = PointStore(tmp_path), Point(size=1, repeat=0, accuracy=0.5, images=2)
    store.put({"a": 1}, point)
    assert store.get({"a": 1}) == point
    assert store.get({"a": 2}) is None
    (file,) = tmp_path.iterdir()
    for content in (b"", b"[]", b"{}", b'{"point": {"size": 1}}', b"\xff"):
        file.write_bytes(content)
        assert store.get({"a": 1}) is None


def test_a_single_training_a_size_is_refused() -> None:
    with pytest.raises(SettingsError, match="how much trainings differ"):
        replace(study(), repeats=1)


def test_sizes_are_checked_before_anything_is_trained(
    digits_dataset: Dataset, digits: Splits, tmp_path: Path
) -> None:
    watched = Watched()
    with pytest.raises(SettingsError, match="training images"):
        run(replace(study(), sizes=(*SIZES, 10**6)), digits_dataset, digits, tmp_path, watched)
    assert watched.told == []
