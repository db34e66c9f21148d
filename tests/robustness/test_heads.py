"""Detector heads: parity with ART where ART answers, an answer where ART crashes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robustness.art_library import prepare
from robustness.heads import ActivationHead, SubsetScanHead, build_head
from torchkeep.architectures import build
from torchkeep.errors import ArtifactError
from torchkeep.image_shape import ImageShape

SHAPE = ImageShape(channels=1, height=8, width=8)


def scan(background: torch.Tensor, *, two_sided: bool) -> SubsetScanHead:
    head = SubsetScanHead(background.shape[1], len(background), two_sided=two_sided)
    head.learn_background(background)
    return head


def test_right_tail_scan_equals_arts_subset_scanning() -> None:
    prepare()
    from art.defences.detector.evasion import SubsetScanningDetector

    from robustness.detectors import LAYER, art_classifier

    torch.manual_seed(0)
    classifier = build("small_cnn", SHAPE, 10, {}).eval()
    wrapped = art_classifier(classifier, SHAPE.chw, torch.device("cpu"))
    generator = np.random.default_rng(0)
    background = generator.random((300, 1, 8, 8), dtype=np.float32)
    others = np.clip(generator.normal(0.5, 0.5, (100, 1, 8, 8)), 0, 1).astype(np.float32)
    with torch.no_grad():
        reference = SubsetScanningDetector(wrapped, background, LAYER, verbose=False)
        expected = reference.detect(others)[0]["scores"]
        head = scan(classifier.activations(torch.from_numpy(background))[0], two_sided=False)
        activations, logits = classifier.activations(torch.from_numpy(others))
    assert np.allclose(head.score(activations, logits).numpy(), expected, rtol=1e-5, atol=1e-5)


def test_art_crashes_where_no_p_value_is_small_and_we_answer_zero() -> None:
    background = torch.rand(50, 4, generator=torch.Generator().manual_seed(0))
    below_all = torch.full((1, 4), -1.0)
    head = scan(background, two_sided=False)
    assert (head.surprises(below_all) == 0).all()
    assert head.score(below_all, torch.zeros(1, 2)).item() == 0


def test_two_sided_scan_sees_values_that_are_unusually_small() -> None:
    background = torch.randn(200, 20, generator=torch.Generator().manual_seed(0))
    low = torch.full((1, 20), -10.0)
    logits = torch.zeros(1, 2)
    assert scan(background, two_sided=True).score(low, logits) > 50
    assert scan(background, two_sided=False).score(low, logits) == 0


@settings(deadline=None, max_examples=60, derandomize=True)
@given(arrays(np.float32, (3, 5), elements=st.floats(width=32)), st.booleans())
def test_no_activation_crashes_a_head(values: np.ndarray, two_sided: bool) -> None:
    background = torch.randn(30, 5, generator=torch.Generator().manual_seed(1))
    logits = torch.zeros(3, 2)
    score = scan(background, two_sided=two_sided).score(torch.from_numpy(values), logits)
    assert score.shape == (3,)
    assert ActivationHead(5).score(torch.from_numpy(values), logits).shape == (3,)


def surprise(p_values: torch.Tensor) -> torch.Tensor:
    return torch.where(p_values <= SubsetScanHead.ALPHA_MAX, -p_values.log(), 0)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(seed=st.integers(0, 1000), ties=st.booleans())
def test_surprises_count_the_background_as_defined(seed: int, ties: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    background = torch.randn(40, 3, generator=generator)
    values = torch.randn(6, 3, generator=generator)
    if ties:
        background, values = background.round(), values.round()
    right = (1 + (background[None] >= values[:, None]).sum(1)) / 41
    left = (1 + (background[None] <= values[:, None]).sum(1)) / 41
    assert torch.allclose(scan(background, two_sided=False).surprises(values).T, surprise(right))
    both = (2 * torch.minimum(left, right)).clamp_max(1)
    assert torch.allclose(scan(background, two_sided=True).surprises(values).T, surprise(both))


def test_one_huge_activation_does_not_drown_the_others() -> None:
    head = ActivationHead(3)
    head.standardise_by(torch.randn(100, 3, generator=torch.Generator().manual_seed(0)))
    huge = torch.tensor([[0.0, 0.0, 1e30]])
    clipped = head.mean + head.std * torch.tensor([0.0, 0.0, head.CLIP])
    standard = head.mean + 0 * head.std
    huge[0, :2] = standard[:2]
    assert torch.allclose(head.two_class_logits(huge), head.two_class_logits(clipped[None]))


@pytest.mark.parametrize("head", [ActivationHead(5, hidden=3), SubsetScanHead(5, 7)])
def test_a_head_is_built_again_from_its_options_and_state(head: torch.nn.Module) -> None:
    again = build_head(head.kind, head.options())  # type: ignore[arg-type, operator]
    again.load_state_dict(head.state_dict())
    values = torch.randn(4, 5)
    logits = torch.zeros(4, 2)
    assert torch.equal(head(values, logits), again(values, logits))


@pytest.mark.parametrize(("kind", "options"), [("none", {}), ("activation", {"width": 1})])
def test_an_unknown_head_is_refused(kind: str, options: dict[str, int]) -> None:
    with pytest.raises(ArtifactError):
        build_head(kind, options)


@pytest.mark.parametrize(
    "options",
    [
        {"activations": -1},
        {"activations": 0},
        {"activations": 10**12},
        {"activations": 2**20, "hidden": 2**20},
        {"activations": "many"},
        {"activations": 2.5},
        {"activations": None},
    ],
)
def test_a_head_of_impossible_size_is_refused_before_it_is_built(options: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match="no detector head 'activation'"):
        build_head("activation", options)
    with pytest.raises(ArtifactError, match="no detector head 'subset_scan'"):
        build_head("subset_scan", {"background": 100, **options, "activations": -1})


@pytest.mark.parametrize("two_sided", [True, False])
def test_values_at_the_ends_of_the_line_are_counted_as_defined(two_sided: bool) -> None:
    background = torch.tensor([0.0, -0.0, 0.0, 1e-45, 2.0, 2.0])[:, None]
    values = torch.tensor([-torch.inf, -1e-45, -0.0, 0.0, 1e-45, 3e-45, 2.0, torch.inf])[:, None]
    p_values = (1 + (background[None] >= values[:, None]).sum(1)) / 7
    if two_sided:
        left = (1 + (background[None] <= values[:, None]).sum(1)) / 7
        p_values = (2 * torch.minimum(left, p_values)).clamp_max(1)
    found = scan(background, two_sided=two_sided).surprises(values).T
    assert torch.allclose(found, surprise(p_values))
