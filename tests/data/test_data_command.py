"""`torchkeep data`: what it prints, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data.commands import NO_NETWORK, run_data
from tests.data.files import image_bytes, some_images, write_mnist_like


def test_json_is_all_there_is_on_stdout(tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = run_data(home, "digits", "--json", extra=NO_NETWORK)
    assert done.returncode == 0
    assert done.stderr == "reading digits\n"
    facts = json.loads(done.stdout)
    assert facts["name"] == "digits"
    assert facts["path"] == str(home / "data" / "digits")
    assert facts["shape"] == [1, 8, 8]
    assert facts["classes"] == list("0123456789")
    assert facts["images"] == {"train": 1528, "test": 269}
    assert facts["splits"]["spec"]["seed"] == 0, "the seed every other verb uses"
    assert facts["splits"]["dataset"] == facts["digest"]
    assert sum(facts["splits"]["counts"].values()) == 1797


def test_people_read_a_line_a_fact(tmp_path: Path) -> None:
    lines = run_data(tmp_path / "home", "digits").stdout.splitlines()
    facts = dict(line.split(maxsplit=1) for line in lines if not line.startswith("data set"))
    assert lines[0].split() == ["data", "set", "digits"]
    assert facts["images"] == "train 1,528, test 269"
    assert facts["shape"] == "1 x 8 x 8 (channels, height, width)"
    assert facts["classes"] == "10: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert len(facts["digest"]) == 64


def test_own_data_are_read_where_they_lie(tmp_path: Path) -> None:
    write_mnist_like(tmp_path)
    facts = json.loads(run_data(tmp_path / "home", ".", "--json").stdout)
    assert facts["path"] == facts["source"] == str(tmp_path)
    assert facts["images"] == {"train": 40, "test": 10}
    assert not (tmp_path / "home").exists()


def test_no_other_splits_are_promised_than_training_uses(tmp_path: Path) -> None:
    done = run_data(tmp_path / "home", "digits", "--seed", "3", extra=NO_NETWORK)
    assert done.returncode == 2
    assert "No such option: --seed" in done.stderr


def test_size_previews_what_the_setting_gives_for_good(tmp_path: Path) -> None:
    for label in "ab":
        folder = tmp_path / "flowers" / label
        folder.mkdir(parents=True)
        for side in range(4, 14):
            content = image_bytes(some_images(1, (side, side))[0])
            (folder / f"{side}.png").write_bytes(content)
    done = run_data(tmp_path / "home", "flowers", "--size", "8", "--json")
    assert json.loads(done.stdout)["shape"] == [1, 8, 8]
    assert "to train at this size, set TORCHKEEP_DATA_RESIZE=8" in done.stderr
    setting = {"TORCHKEEP_DATA_RESIZE": "8"}
    assert run_data(tmp_path / "home", "flowers", "--json", extra=setting).stdout == done.stdout
    refused = run_data(tmp_path / "home", "flowers")
    assert refused.returncode == 2
    assert "Set resize" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["minst"], "Did you mean 'mnist'?"),
        (["./nothing"], "is no known data set and no path"),
        (["x" * 5000], "cannot be read: File name too long"),
        (["digits", "--from", "http://["], "cannot be fetched (http://[/optdigits.tes: "),
        (["digits", "--size", "8"], "--size does not fit 'digits'"),
        (["digits", "--from", "/nowhere"], "/nowhere: is not a folder"),
    ],
)
def test_a_fault_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    done = run_data(tmp_path / "home", *arguments, extra=NO_NETWORK)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].startswith("error: ")
