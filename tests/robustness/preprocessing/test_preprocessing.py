"""Served preprocessing is ART's, and attacks pass it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustness.art_library import prepare
from robustness.attacks.pgd import PGD
from robustness.fitting import to_unit
from robustness.preprocessing import Defended, build_preprocessing, parse
from robustness.preprocessing.total_variation import TotalVariation
from robustness.screened_model import load_classifier
from torchkeep.artifact import ModelArtifact
from torchkeep.data import Splits
from torchkeep.errors import ArtifactError, SettingsError, TorchkeepError
from torchkeep.threat_model import Epsilon, Norm, ThreatModel

LINF = ThreatModel(norm=Norm.LINF, eps=Epsilon(0.1))
ALL = ("jpeg:75", "bits:4", "median:3", "median:2", "tv:0.1")


def images(channels: int = 3, side: int = 16, count: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, channels, side, side, generator=generator)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("written", "name", "options"),
    [
        ("jpeg:75", "JpegCompression", {"quality": 75, "channels_first": True}),
        ("jpeg:10", "JpegCompression", {"quality": 10, "channels_first": True}),
        ("bits:1", "FeatureSqueezing", {"bit_depth": 1}),
        ("bits:4", "FeatureSqueezing", {"bit_depth": 4}),
        ("median:2", "SpatialSmoothing", {"window_size": 2, "channels_first": True}),
        ("median:3", "SpatialSmoothing", {"window_size": 3, "channels_first": True}),
        ("median:8", "SpatialSmoothing", {"window_size": 8, "channels_first": True}),
    ],
)
def test_it_gives_exactly_what_art_gives(
    written: str, name: str, options: dict[str, Any], channels: int
) -> None:
    prepare()
    from art.defences import preprocessor

    clean = images(channels)
    expected, _ = getattr(preprocessor, name)(clip_values=(0, 1), **options)(clean.numpy())
    assert np.array_equal(parse(written)(clean).numpy(), expected.astype(np.float32))


@pytest.mark.parametrize("weight", [0.03, 0.1, 0.5])
def test_total_variation_gets_at_least_as_low_as_art(weight: float) -> None:
    """ART stops after ten iterations of L-BFGS-B and draws its mask itself: objectives compare."""
    prepare()
    from art.defences.preprocessor import TotalVarMin

    ours = TotalVariation(weight)
    clean = images(1, side=12)
    kept = ours.masks(clean, 0)
    art = TotalVarMin(norm=2, lamb=weight, solver="L-BFGS-B", max_iter=10)
    theirs = torch.from_numpy(
        np.stack(
            [
                art._minimize(x[0, :, :, None].double().numpy(), mask[0, :, :, None].numpy())
                for x, mask in zip(clean, kept, strict=True)
            ]
        )
    ).permute(0, 3, 1, 2)
    loss = art._loss_func(
        theirs[0].flatten().numpy(), clean[0, 0].numpy(), kept[0, 0].numpy(), 2, weight
    )
    assert ours.objective(theirs, clean, kept)[0, 0].item() == pytest.approx(loss, rel=1e-5)
    reached = ours.objective(ours.minimise(clean, kept), clean, kept)
    assert (reached <= 1.02 * ours.objective(theirs, clean, kept)).all()


def test_the_gradient_of_total_variation_is_that_of_its_objective() -> None:
    ours, clean = TotalVariation(0.3), images(2, side=6)
    kept = ours.masks(clean, 0)
    z = images(2, side=6, seed=1).requires_grad_()
    (expected,) = torch.autograd.grad(ours.objective(z, clean, kept).sum(), z)
    assert torch.allclose(ours._gradient(z.detach(), clean, kept), expected, atol=1e-5)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    written=st.sampled_from(ALL),
    channels=st.sampled_from([1, 2, 3]),
    side=st.integers(3, 20),
    seed=st.integers(0, 999),
)
def test_images_stay_images_and_do_not_see_each_other(
    written: str, channels: int, side: int, seed: int
) -> None:
    defence, clean = parse(written), images(channels, side, 3, seed)
    changed = defence(clean)
    assert changed.dtype == torch.float32
    assert changed.shape == clean.shape
    assert ((changed >= 0) & (changed <= 1)).all()
    assert torch.allclose(changed[1:2], defence(clean[1:2]), atol=1e-5)
    assert torch.equal(changed, build_preprocessing(defence.kind, defence.options())(clean))
    assert defence(clean[:0]).shape == clean[:0].shape


@pytest.mark.parametrize("written", ALL)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_stays_so(written: str, value: float) -> None:
    clean = images(1)
    clean[1, 0, 2, 2] = value
    finite = torch.isfinite(parse(written)(clean)).flatten(1)
    assert finite.all(1).tolist() == [True, False, True, True]
    assert not finite[1].any()


@pytest.mark.parametrize("written", ["jpeg:75", "bits:4", "tv:0.1"])
def test_a_masked_gradient_is_refused_and_the_stand_in_is_the_identity(written: str) -> None:
    defence, clean = parse(written), images().requires_grad_()
    with pytest.raises(TorchkeepError, match="masks the gradient: attack `Defended`"):
        PGD(threat=LINF, steps=1, step_size=0.1)(
            nn.Sequential(defence, nn.Flatten(), nn.Linear(768, 3)), images(), torch.zeros(4).long()
        )
    passed = defence.stand_in(clean)
    assert torch.equal(passed, defence(clean.detach()))
    weights = images(seed=1)
    (gradient,) = torch.autograd.grad((passed * weights).sum(), clean)
    assert torch.equal(gradient, weights)


def test_the_median_has_its_true_gradient() -> None:
    clean = images(1, side=5, count=1).double().requires_grad_()
    assert torch.autograd.gradcheck(parse("median:3").stand_in, clean)


def test_draws_of_a_random_defence_differ_and_repeat() -> None:
    defence, clean = parse("tv:0.1"), images()
    assert torch.equal(defence(clean, 1), defence(clean, 1))
    assert not torch.equal(defence(clean, 0), defence(clean, 1))


@pytest.mark.parametrize(
    "written",
    ["jpeg", "jpeg:0", "jpeg:101", "jpeg:7.5", "bits:9", "median:1", "median:99", "tv:0", "tv:nan",
     "tv:inf", "blur:3", "", ":"],
)  # fmt: skip
def test_what_is_no_preprocessing_is_refused(written: str) -> None:
    with pytest.raises(SettingsError):
        parse(written)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("oracle", {}),
        ("jpeg", {}),
        ("jpeg", {"quality": 75, "path": "x"}),
        ("jpeg", {"quality": True}),
        ("jpeg", {"quality": "75"}),
        ("median", {"window": 10**6}),
        ("tv", {"weight": float("nan")}),
        ("tv", {"weight": 0.1, "seed": -1}),
        (["jpeg"], {"quality": 75}),
        ("bits", 7),
    ],
)
def test_files_that_name_no_preprocessing_are_refused(kind: Any, options: Any) -> None:
    with pytest.raises(ArtifactError, match="no preprocessing"):
        build_preprocessing(kind, options)


class Rounded(nn.Module):
    """The same defence as the naive attacker meets it: rounding has the gradient 0."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier((x * 3).round() / 3)
        return logits


def test_passing_the_gradient_through_beats_the_naive_attack(
    digits_artifact: ModelArtifact, digits: Splits
) -> None:
    classifier = load_classifier(digits_artifact)
    clean, labels = to_unit(digits.test)[:200], torch.from_numpy(digits.test.labels)[:200]
    threat = digits_artifact.manifest.threat_model
    assert threat is not None
    attack = PGD(threat=threat, steps=10, step_size=threat.eps / 4)
    defended = Defended(parse("bits:2"), classifier)
    naive = attack(Rounded(classifier), clean, labels).images
    through = attack(defended, clean, labels)
    with torch.no_grad():
        fooled_naively = (defended(naive).argmax(1) != labels).float().mean()
    assert through.successful.float().mean() > fooled_naively + 0.05
