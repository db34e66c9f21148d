"""`torchkeep scan-poison` as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.in_process import run_here
from torchkeep.data import CleanedIndex, Dataset


def scan_poison(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "torchkeep.cli", "scan-poison", *words],
        cwd=folder,
        env=os.environ | {"COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def third_party(
    tmp_path_factory: pytest.TempPathFactory, digits_dataset: Dataset
) -> tuple[Path, list[int]]:
    """A project with somebody's digits, some of them mislabelled; and which."""
    folder = tmp_path_factory.mktemp("project")
    train, test = digits_dataset.train, digits_dataset.test
    labels = train.labels.copy()
    random = np.random.default_rng(0)
    wrong = random.choice(len(labels), 90, replace=False)
    labels[wrong] = (labels[wrong] + random.integers(1, 10, 90)) % 10
    np.savez(
        folder / "theirs.npz",
        x_train=train.images,
        y_train=labels,
        x_test=test.images,
        y_test=test.labels,
    )
    return folder, sorted(wrong.tolist())


def test_a_scan_reports_writes_the_index_and_opens_the_way_to_training(
    third_party: tuple[Path, list[int]],
) -> None:
    folder, wrong = third_party
    few = ("--recipe", "digits-quick", "--epochs", "1")
    refused = subprocess.run(
        [sys.executable, "-m", "torchkeep.cli", "train", *few, "--data", "theirs.npz"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert refused.returncode == 2
    assert "scan-poison" in refused.stderr.splitlines()[-1]

    done = scan_poison(
        folder,
        *("theirs.npz", "--recipe", "digits-natural", "--json"),
        *("--drop", "cleaned.json", "--report", "report.html"),
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    places = [finding["place"] for finding in told["findings"]]
    assert len(set(places) & set(wrong)) > 0.6 * len(wrong)
    assert len(set(places) - set(wrong)) < 15
    assert told["counts"]["label_disagreement"] > 0.6 * len(wrong)
    index = CleanedIndex.read(folder / "cleaned.json")
    assert list(index.dropped) == places
    assert index.dataset_digest == told["digest"]

    page = (folder / "report.html").read_text()
    assert "Flagged samples" in page
    assert "label_disagreement" in page
    assert "data:image/png;base64," in page
    assert "<script" not in page

    scans = {path.stem for path in (folder / ".torchkeep" / "scans").iterdir()}
    assert scans == {told["digest"], told["cleaned_digest"]}
    trained = subprocess.run(
        [sys.executable, "-m", "torchkeep.cli", "train", *few, "--data", "theirs.npz"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert trained.returncode == 0, trained.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "no data to scan"),
        (("nowhere",), "is no known data set and no path"),
        (("digits", "--silhouette", "3"), "silhouette"),
        (("digits", "--sure", "0"), "between 0 and 1"),
        (("digits", "--seed", "-1"), "seed -1"),
        (("digits", "--recipe", "digit-natural"), "Did you mean 'digits-natural'?"),
        (("digits", "--drop", "no/such/folder/x.json"), "cannot be written"),
        (("digits", "--device", "cuda:9x"), "no device"),
        (("--demo", "--drop", "x.json"), "not with --demo"),
    ],
)
def test_one_line_and_exit_code_2(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    done = run_here(tmp_path, "scan-poison", *words)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert told in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_demonstration_prints_the_table(tmp_path: Path) -> None:
    done = scan_poison(tmp_path, "--demo", "--images", "2000", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    backdoors = [row for row in told["trials"] if row["attack"] == "backdoor"]
    assert len(backdoors) == 9
    assert {row["trigger"] for row in backdoors} == {"pixel", "pattern", "image"}
    assert {row["share"] for row in backdoors} == {0.01, 0.05, 0.1}
    assert all(row["success_before"] is not None for row in backdoors)
    assert {row["attack"] for row in told["trials"]} == {
        "backdoor",
        "label flips",
        "clean-label",
        "none",
    }
