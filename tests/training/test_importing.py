"""A network trained elsewhere becomes an artifact like any other, or is refused in one line."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from monitoring.reference_file import load_reference
from robustness.detection_metrics import auroc
from robustness.fitting import DetectorConfig, fit_detectors, to_unit
from robustness.screened_model import load_classifier, load_screened_model
from tests.architectures import networks
from tests.conftest import quiet
from tests.training.elsewhere import MEAN, STD, save_elsewhere, train_elsewhere
from torchkeep.architectures.foreign import trusting
from torchkeep.artifact import ModelArtifact
from torchkeep.data import Dataset, ImageSet, Splits, SplitSpec, split
from torchkeep.errors import ArtifactError, SettingsError, UserError
from torchkeep.image_shape import ImageShape
from torchkeep.schema import TrainRecord, fields_of
from torchkeep.threat_model import Epsilon, Norm, ThreatModel
from training.evaluation import recorded_attack
from training.foreign_network import wrapped_network
from training.foreign_outputs import Output
from training.foreign_weights import load_weights, read_weights
from training.import_config import ImportConfig
from training.importing import Imported, import_network

CPU = torch.device("cpu")
NETWORKS = "tests.architectures.networks"
LOG_SOFTMAX = f"{NETWORKS}:LogSoftmax"
DETECTORS = DetectorConfig()
SHAPE = ImageShape(channels=3, height=8, width=8)


def config(model: str = LOG_SOFTMAX, **changes: object) -> ImportConfig:
    few = {"evaluation_images": 50, "evaluation_restarts": 1}
    values = {
        "model": model,
        "name": "digits",
        "threat_model": ThreatModel(norm=Norm.LINF, eps=Epsilon(0.2)),
        "mean": (MEAN,),
        "std": (STD,),
    }
    return ImportConfig(**(values | few | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def network(digits: Splits) -> nn.Module:
    return train_elsewhere(digits.train)


@pytest.fixture(scope="module")
def weights(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_elsewhere(network, tmp_path_factory.mktemp("elsewhere") / "net.safetensors")


def run(weights: Path, dataset: Dataset, splits: Splits, path: Path, **changes: object) -> Imported:
    return import_network(
        weights,
        dataset,
        splits,
        config(**changes),  # type: ignore[arg-type]
        DETECTORS,
        path,
        version="1.0",
        device=CPU,
        progress=quiet,
    )


@pytest.fixture(scope="module")
def imported(
    weights: Path, digits_dataset: Dataset, digits: Splits, tmp_path_factory: pytest.TempPathFactory
) -> Imported:
    path = tmp_path_factory.mktemp("artifacts") / "digits-1.0"
    return run(weights, digits_dataset, digits, path)


def test_the_artifact_says_what_the_network_says(
    imported: Imported, network: nn.Module, digits: Splits
) -> None:
    artifact = ModelArtifact.load(imported.artifact.path)
    assert artifact == imported.artifact
    images = to_unit(digits.test)
    with torch.no_grad(), trusting(LOG_SOFTMAX):
        logits = load_classifier(artifact)(images)
        said = network((images - MEAN) / STD)
    assert imported.output is Output.LOG_PROBABILITIES
    assert torch.allclose(logits.log_softmax(1), said, atol=1e-4)
    right = (said.argmax(1).numpy() == digits.test.labels).mean()
    assert right > 0.9
    assert artifact.manifest.metrics["clean_accuracy"] == pytest.approx(right)
    assert 0 <= artifact.manifest.metrics["pgd_accuracy"] < right


def test_the_record_has_every_field_and_claims_no_training(
    imported: Imported, weights: Path, digits_dataset: Dataset, digits: Splits
) -> None:
    record = imported.artifact.manifest.train_record
    assert set(record) == {field.name for field in fields_of(TrainRecord)}
    assert (record["recipe"], record["epochs"], record["steps"]) == ("imported", [], 0)
    assert record["parent_version"] is None
    assert record["dataset"]["digest"] == digits_dataset.digest
    assert record["dataset"]["splits"]["counts"]["train"] == record["rows"] == len(digits.train)
    assert record["config"]["model"] == LOG_SOFTMAX
    digest = subprocess.run(["sha256sum", weights], capture_output=True, text=True, check=True)
    assert record["config"]["weights_sha256"] == digest.stdout.split()[0]
    attack, count = recorded_attack(imported.artifact.manifest)
    assert (attack.threat.eps, attack.steps, count) == (0.2, 40, 50)


def test_its_detectors_are_fitted_and_calibrated(imported: Imported, digits: Splits) -> None:
    with trusting(LOG_SOFTMAX):
        model = load_screened_model(imported.artifact, CPU)
        attack, _ = recorded_attack(imported.artifact.manifest)
        images, labels = to_unit(digits.test), torch.from_numpy(digits.test.labels)
        attacked = attack(model.classifier, images, labels)
    clean = model.screen(digits.test.images)
    assert clean.suspicious.mean() == pytest.approx(imported.false_alarms)
    assert imported.false_alarms_at_least <= imported.false_alarms <= 0.05
    caught = model.screen(attacked.images.numpy())
    assert auroc(clean.score, caught.score) > 0.98
    assert caught.suspicious.mean() > 0.7
    manifest = imported.artifact.manifest
    assert manifest.options["taps"] == ["conv1", "conv2"]
    assert model.classifier.activations(images[:1])[0].shape[1] == 2 * (8 + 16) + 32


def test_it_has_a_reference_for_monitoring(imported: Imported, digits: Splits) -> None:
    reference = load_reference(imported.artifact.path)
    assert reference.artifact_digest == imported.artifact.digest
    assert reference.images == len(digits.calibration_b)
    assert (reference.predicted == reference.labels).mean() > 0.9


def test_it_is_refused_where_its_class_is_not_trusted(imported: Imported) -> None:
    for load in (load_classifier, lambda artifact: load_screened_model(artifact, CPU)):
        with pytest.raises(SettingsError, match="is not trusted"):
            load(imported.artifact)


def test_its_detectors_can_be_fitted_anew(
    imported: Imported, digits: Splits, tmp_path: Path
) -> None:
    manifest = imported.artifact.manifest
    files = {name: imported.artifact.tensors(name) for name in imported.artifact.hashes}
    copy = ModelArtifact.write(tmp_path / "copy", manifest, files)
    with trusting(LOG_SOFTMAX):
        again = fit_detectors(copy, digits, replace(DETECTORS, target_fpr=0.05), CPU, quiet)
    assert again.manifest.screening["calibration"]["target_fpr"] == 0.05
    assert again.digest != imported.artifact.digest


def test_the_same_import_gives_the_same_artifact(
    imported: Imported, weights: Path, digits_dataset: Dataset, digits: Splits, tmp_path: Path
) -> None:
    again = run(weights, digits_dataset, digits, tmp_path / "again")
    assert again.artifact.hashes == imported.artifact.hashes
    assert again.artifact.manifest.options == imported.artifact.manifest.options


def test_normalisation_that_is_forgotten_shows_in_the_accuracy(
    imported: Imported, weights: Path, digits_dataset: Dataset, digits: Splits, tmp_path: Path
) -> None:
    other = run(weights, digits_dataset, digits, tmp_path / "a", mean=(), std=(), taps=())
    metrics = other.artifact.manifest.metrics
    assert metrics["clean_accuracy"] < imported.artifact.manifest.metrics["clean_accuracy"]
    assert other.artifact.manifest.options["taps"] == []


def colour(network: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.contiguous().clone() for key, value in network.state_dict().items()}


def prepared(maker: Callable[[], nn.Module], folder: Path) -> Path:
    torch.manual_seed(0)
    save_file(colour(maker()), folder / "w.safetensors")
    return folder / "w.safetensors"


@pytest.mark.parametrize(
    "maker", [networks.FeaturesAndHead, networks.Residual, networks.Probabilities, networks.Patches]
)
def test_networks_of_all_kinds_are_wrapped(maker: type[nn.Module], tmp_path: Path) -> None:
    path = prepared(maker, tmp_path)
    name = f"{NETWORKS}:{maker.__name__}"
    with trusting(name):
        wrapped = wrapped_network(path, config(name, mean=(), std=()), SHAPE, 5)
    expected = Output.PROBABILITIES if maker is networks.Probabilities else Output.LOGITS
    assert wrapped.output is expected


@pytest.mark.parametrize(
    ("maker", "told"),
    [
        (networks.Scaled, "does not come straight from its last nn.Linear. Give a class whose"),
        (networks.NoLinear, "calls no nn.Linear exactly once. Give a class whose forward pass"),
        (networks.Chance, "another output for the same images"),
        (networks.Neighbours, "an image another output than in a batch"),
        (networks.Squeezed, "an image another output than in a batch"),
        (networks.Pair, "the network gives tuple. Give a class whose forward pass"),
        (networks.Broken, "fails on 4x3x8x8 images: RuntimeError: no such thing"),
        (networks.NotFinite, "values that are not finite"),
        (networks.NoGradient, "gives no gradient"),
        (networks.Forgetful, "constructed a second time"),
    ],
)
def test_a_network_that_is_no_classifier_is_one_line(
    maker: type[nn.Module], told: str, tmp_path: Path
) -> None:
    path = prepared(maker, tmp_path)
    name = f"{NETWORKS}:{maker.__name__}"
    with trusting(name), pytest.raises(SettingsError) as caught:
        wrapped_network(path, config(name, mean=(), std=()), SHAPE, 5)
    assert told in str(caught.value)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_layers_without_a_size_are_refused(tmp_path: Path) -> None:
    name = f"{NETWORKS}:Lazy"
    save_file(
        {"1.weight": torch.zeros(5, 192), "1.bias": torch.zeros(5)}, tmp_path / "w.safetensors"
    )
    with (
        trusting(name),
        pytest.raises(SettingsError, match=r"nn\.Linear in place of nn\.LazyLinear"),
    ):
        wrapped_network(tmp_path / "w.safetensors", config(name), SHAPE, 5)


def test_a_state_of_more_than_tensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"more than tensors \(_extra_state\)"):
        load_weights(networks.ExtraState(), {}, tmp_path / "w")


def test_one_tensor_under_two_names_may_come_once_and_goes_out_twice(
    tmp_path: Path, digits_dataset: Dataset
) -> None:
    from safetensors.torch import save_model

    torch.manual_seed(0)
    save_model(networks.Tied(), tmp_path / "w.safetensors")
    assert len(load_file(tmp_path / "w.safetensors")) == 3
    pixels = torch.randint(0, 256, (1500, 3, 8, 8), dtype=torch.uint8).numpy()
    images = ImageSet(pixels, torch.arange(1500).remainder(5).numpy())
    classes = tuple("abcde")
    dataset = replace(digits_dataset, classes=classes, train=images, test=images.subset(range(40)))
    name = f"{NETWORKS}:Tied"
    splits = split(dataset, SplitSpec())
    made = run(
        tmp_path / "w.safetensors", dataset, splits, tmp_path / "a", model=name, mean=(), std=()
    )
    assert made.artifact.manifest.options["taps"] == []
    with trusting(name):
        load_screened_model(made.artifact, CPU).screen(pixels[:3])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"mean": (0.1, 0.2), "std": (1.0, 1.0)}, "2 numbers for 1 channels"),
        ({"taps": ("conv9",)}, "'conv9' cannot be tapped"),
        ({"arguments": {"classes": 7}}, "2 of another shape (fc2.bias (10, not 7)"),
        ({"arguments": {"hidden": 31}}, "of another shape (fc1.bias (32, not 31)"),
        ({"model": f"{NETWORKS}:Residual"}, "9 missing (fc.bias"),
        ({"model": f"{NETWORKS}:Nothing"}, "has no 'Nothing'"),
        ({"name": "../up"}, "is no model name"),
    ],
)
def test_what_does_not_fit_leaves_nothing(
    weights: Path,
    digits_dataset: Dataset,
    digits: Splits,
    tmp_path: Path,
    changes: dict[str, object],
    told: str,
) -> None:
    with pytest.raises(UserError) as caught:
        run(weights, digits_dataset, digits, tmp_path / "a", **changes)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_another_number_of_classes_is_told(
    weights: Path, digits_dataset: Dataset, digits: Splits, tmp_path: Path
) -> None:
    fewer = replace(digits_dataset, classes=digits_dataset.classes[:9])
    with pytest.raises(SettingsError, match="tells 10 classes apart, the data have 9"):
        run(weights, fewer, digits, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_too_few_calibration_images_are_told_before_anything_else(
    digits_dataset: Dataset, digits: Splits, tmp_path: Path
) -> None:
    few = replace(digits, calibration_b=digits.calibration_b.subset(range(100)))
    with pytest.raises(SettingsError, match="100 calibration images cannot show"):
        run(tmp_path / "none.safetensors", digits_dataset, few, tmp_path / "a")


@pytest.mark.parametrize(
    "wrong",
    [
        {"mean": (0.5,), "std": ()},
        {"mean": (0.5,), "std": (0.0,)},
        {"mean": (0.5,), "std": (float("nan"),)},
        {"seed": -1},
        {"evaluation_images": 0},
    ],
)
def test_numbers_that_make_no_import_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        config(**wrong)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt"])
def test_a_pickle_is_refused_with_the_line_that_converts_it(
    suffix: str, network: nn.Module, tmp_path: Path
) -> None:
    old = tmp_path / f"net{suffix}"
    pickling = "import sys, torch; from safetensors.torch import load_file; " + (
        "torch.save({'state_dict': load_file(sys.argv[1])}, sys.argv[2])"
    )
    saved = save_elsewhere(network, tmp_path / "saved.safetensors")
    subprocess.run([sys.executable, "-c", pickling, saved, old], check=True, timeout=60)
    with pytest.raises(ArtifactError, match="is a pickle") as caught:
        read_weights(old)
    words = shlex.split(re.search(r"python -c .*", caught.value.remedy)[0])
    subprocess.run([sys.executable, *words[1:]], check=True, timeout=60)
    again = read_weights(tmp_path / "net.safetensors")
    assert all(torch.equal(again[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:100],
        lambda content: content[:-1],
        lambda content: b"\x80\x02" + content,
        lambda content: content[:8] + b"x" + content[9:],
    ],
)
def test_a_damaged_file_is_one_line(
    damage: Callable[[bytes], bytes], weights: Path, tmp_path: Path
) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(damage(weights.read_bytes()))
    with pytest.raises(ArtifactError, match="is no whole safetensors file"):
        read_weights(path)
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_weights(tmp_path / "none.safetensors")


def test_keys_that_do_not_fit_are_named_and_shortened(tmp_path: Path) -> None:
    state = networks.LogSoftmax().state_dict()
    given = {key: value for key, value in state.items() if "conv" not in key}
    given |= {"more": torch.zeros(1), "fc1.weight": torch.zeros(2, 3)}
    with pytest.raises(ArtifactError) as caught:
        load_weights(networks.LogSoftmax(), given, tmp_path / "w")
    assert str(caught.value) == (
        f"{tmp_path / 'w'} does not fit LogSoftmax: 4 missing (conv1.bias, conv1.weight, "
        "conv2.bias, …), 1 unexpected (more), 1 of another shape (fc1.weight (2x3, not 32x256)). "
        "Give the weights of this very class, and its arguments with --option key=value."
    )


def test_a_prefix_before_every_key_is_told(tmp_path: Path) -> None:
    state = {f"module.{key}": value for key, value in networks.LogSoftmax().state_dict().items()}
    with pytest.raises(ArtifactError, match=r"Every key begins with 'module\.'"):
        load_weights(networks.LogSoftmax(), state, tmp_path / "w")
