"""AugMix: operations are those of Pillow, mixtures stay images, answers are compared as told."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from scipy.spatial.distance import jensenshannon
from scipy.stats import chisquare, entropy
from torch import Tensor

from torchkeep.architectures import Classifier, build
from torchkeep.image_shape import ImageShape
from torchkeep.threat_model import Epsilon, Norm, ThreatModel
from training.objectives import AugMix, Moment
from training.objectives.augmix import jensen_shannon, mixed_chains
from training.objectives.image_operations import OPERATIONS, _move, _tone, random_operation

THREAT = ThreatModel(norm=Norm.LINF, eps=Epsilon(0.1))
ROUNDING = 1e-6
ROTATE, SHEAR_X, SHEAR_Y, TRANSLATE_X, TRANSLATE_Y = range(5)
AUTOCONTRAST, POSTERIZE, SOLARIZE = range(3)


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network() -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build("small_cnn", ImageShape(channels=1, height=9, width=9), 10, {})


def byte_images(count: int, side: int = 16) -> Tensor:
    """Grey images of 256 levels that use only some of them: B 1 side side."""
    levels = torch.randint(40, 201, (count, 1, side, side), generator=rng(0))
    return levels.float() / 255


@settings(deadline=None, max_examples=80, derandomize=True)
@given(
    severity=st.floats(0.05, 10),
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 11),
    width=st.integers(1, 11),
    count=st.integers(1, 4),
    seed=st.integers(0, 2**16),
    flat=st.booleans(),
)
def test_a_mixture_is_an_image(
    severity: float, channels: int, height: int, width: int, count: int, seed: int, flat: bool
) -> None:
    images = torch.rand(count, channels, height, width, generator=rng(seed))
    if flat:
        images = images.round()
    mixed = mixed_chains(images, severity, rng(seed + 1))
    assert mixed.shape == images.shape
    assert mixed.dtype == images.dtype
    assert torch.isfinite(mixed).all()
    assert mixed.min() >= -ROUNDING
    assert mixed.max() <= 1 + ROUNDING


def test_the_twins_of_equal_images_all_differ() -> None:
    images = torch.rand(1, 1, 9, 9, generator=rng(0)).repeat(20, 1, 1, 1)
    labels = torch.zeros(20).long()
    model = network()
    moment = Moment(done=1.0, generator=rng(1))
    clean, *twins = AugMix().prepare(model, images, labels, THREAT, moment)
    assert torch.equal(clean, images)
    assert len(twins) == 2
    assert len({twin.numpy().tobytes() for twin in torch.cat(twins)}) == 40


def test_a_mixture_changes_more_with_severity_and_keeps_some_of_the_image() -> None:
    images = torch.rand(400, 1, 16, 16, generator=rng(0))
    means = []
    for severity in (0.5, 3.0, 10.0):
        mixed = mixed_chains(images, severity, rng(1))
        means.append((mixed - images).abs().mean().item())
        # Beta(1, 1): the image's own share is uniform, so twins correlate with their images
        pairs = torch.stack([mixed.flatten(1), images.flatten(1)], 1)
        correlations = torch.stack([torch.corrcoef(pair)[0, 1] for pair in pairs])
        assert correlations.mean() > 0.5
    assert means[0] < means[1] < means[2]


def test_each_image_keeps_a_share_of_its_own() -> None:
    images = torch.rand(1, 1, 9, 9, generator=rng(0)).repeat(200, 1, 1, 1)
    changes = [(mixed_chains(images, 5.0, rng(k)) - images).abs().mean() for k in range(10)]
    spread = torch.stack(changes)  # one share for a whole batch would spread its change by half
    assert spread.std() < 0.15 * spread.mean()


def test_autocast_does_not_coarsen_the_operations() -> None:
    images = torch.rand(50, 3, 32, 32, generator=rng(0))
    with torch.autocast("cpu", torch.bfloat16):
        coarse = mixed_chains(images, 3.0, rng(1))
    assert torch.equal(coarse, mixed_chains(images, 3.0, rng(1)))


def test_every_operation_is_as_likely_as_any_other_in_both_directions() -> None:
    spot = torch.zeros(8000, 1, 15, 15)
    spot[:, :, 7, 7] = 1.0
    changed = random_operation(spot, 10.0, rng(0))
    kinds = torch.randint(OPERATIONS, (8000,), generator=rng(0))
    assert chisquare(torch.bincount(kinds, minlength=OPERATIONS).numpy()).pvalue > 0.01
    columns = (changed[kinds == TRANSLATE_X] * torch.arange(15)).sum((1, 2, 3))
    to_the_left = (columns < 7).float().mean().item()
    assert to_the_left == pytest.approx(0.5, abs=0.06)


def moved(image: Tensor, kind: int, strength: float) -> Tensor:
    """Apply one geometric operation to one image (C H W)."""
    return _move(image[None], torch.tensor([kind]), torch.tensor([strength]))[0]


def toned(images: Tensor, kind: int, strength: float) -> Tensor:
    """Apply one operation on values to all images (B C H W)."""
    count = len(images)
    return _tone(images, torch.full((count,), kind), torch.full((count,), strength))


def smooth(height: int, width: int) -> Tensor:
    """A blurred oval off the centre, black at the edges: C H W."""
    side = min(height, width)
    rows = (torch.arange(height)[:, None] - height / 2) / side
    columns = (torch.arange(width)[None] - width / 2) / side
    return torch.exp(-80 * (rows - 0.06) ** 2 - 50 * (columns + 0.05) ** 2)[None]


def pillow(image: Tensor) -> Image.Image:
    return Image.fromarray(image[0].numpy(), mode=None)


@pytest.mark.parametrize(("height", "width"), [(33, 33), (32, 32), (40, 24), (27, 48)])
@pytest.mark.parametrize("strength", [1.0, -0.5])
def test_a_rotation_is_pillows_whatever_the_sides(height: int, width: int, strength: float) -> None:
    image = smooth(height, width)
    angle = 30 * strength
    expected = pillow(image).rotate(angle, resample=Image.Resampling.BILINEAR)
    found = moved(image, ROTATE, strength)[0].numpy()
    opposite = pillow(image).rotate(-angle, resample=Image.Resampling.BILINEAR)
    nearer = min(np.abs(found - np.asarray(each)).max() for each in (expected, opposite))
    assert nearer < 0.01
    assert np.abs(found - image[0].numpy()).max() > 0.1


@pytest.mark.parametrize(("height", "width"), [(33, 33), (40, 24), (27, 48)])
@pytest.mark.parametrize("kind", [SHEAR_X, SHEAR_Y])
def test_a_shear_is_pillows_about_the_centre(height: int, width: int, kind: int) -> None:
    image = smooth(height, width)
    row, column = height / 2, width / 2
    data = (1, 0.3, -0.3 * row, 0, 1, 0) if kind == SHEAR_X else (1, 0, 0, 0.3, 1, -0.3 * column)
    expected = pillow(image).transform(
        (width, height), Image.Transform.AFFINE, data, resample=Image.Resampling.BILINEAR
    )
    found = moved(image, kind, 1.0)[0].numpy()
    assert np.abs(found - np.asarray(expected)).max() < 0.01


@pytest.mark.parametrize(("kind", "axis"), [(TRANSLATE_X, 2), (TRANSLATE_Y, 1)])
def test_the_longest_translation_is_a_third_of_the_side_and_lets_black_in(
    kind: int, axis: int
) -> None:
    image = torch.rand(2, 12, 21, generator=rng(0))
    side = image.shape[axis]
    expected = torch.zeros_like(image)
    expected.narrow(axis, 0, side - side // 3).copy_(
        image.narrow(axis, side // 3, side - side // 3)
    )
    assert torch.allclose(moved(image, kind, 1.0), expected, atol=1e-5)


def test_autocontrast_is_pillows() -> None:
    images = byte_images(20)
    expected = [
        np.asarray(ImageOps.autocontrast(Image.fromarray((image[0] * 255).round().byte().numpy())))
        for image in images
    ]
    found = toned(images, AUTOCONTRAST, 0.5)[:, 0].numpy() * 255
    assert np.abs(found - np.stack(expected)).max() <= 1.01


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_autocontrast_leaves_a_channel_of_one_colour_alone(value: float) -> None:
    images = torch.rand(4, 3, 5, 5, generator=rng(0))
    images[:, 1] = value
    assert (toned(images, AUTOCONTRAST, 0.5)[:, 1] == value).all()


@pytest.mark.parametrize(("strength", "bits"), [(0.1, 4), (0.3, 3), (0.6, 2), (0.99, 1)])
def test_posterization_keeps_the_bits_that_pillow_keeps(strength: float, bits: int) -> None:
    levels = torch.arange(256).view(1, 1, 16, 16).float()
    grey = Image.fromarray(levels[0, 0].byte().numpy())
    expected = np.asarray(ImageOps.posterize(grey, bits)).astype(float)
    found = toned(levels / 255, POSTERIZE, strength)[0, 0].numpy() * 256
    same = np.abs(found - expected) < 0.01
    assert same.mean() > 0.9  # at the seams x / 255 and x / 256 fall on two sides
    assert np.abs(found - expected).max() <= 2 ** (8 - bits)


def test_the_strongest_posterization_leaves_black() -> None:
    assert not toned(byte_images(3), POSTERIZE, 1.0).any()


@pytest.mark.parametrize("strength", [0.1, 0.3, 0.7, 1.0])
def test_solarization_turns_what_pillow_turns(strength: float) -> None:
    levels = torch.arange(256).view(1, 1, 16, 16).float()
    grey = Image.fromarray(levels[0, 0].byte().numpy())
    expected = np.asarray(ImageOps.solarize(grey, round(256 - 256 * strength))) / 255
    found = toned(levels / 255, SOLARIZE, strength)[0, 0].numpy()
    assert (np.abs(found - expected) > 1e-5).sum() <= 1  # one level at the threshold


def naive(logits: tuple[Tensor, ...]) -> float:
    """The mean over the batch of the mean divergence to the middle, by scipy."""
    answers = [each.double().softmax(1).numpy() for each in logits]
    middle = np.mean(answers, axis=0)
    return float(np.mean([entropy(each, middle, axis=1) for each in answers]))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    seed=st.integers(0, 2**16),
    scale=st.floats(0, 40),
    several=st.integers(2, 4),
    count=st.integers(1, 5),
)
def test_the_divergence_among_answers_is_scipys_and_bounded(
    seed: int, scale: float, several: int, count: int
) -> None:
    logits = (scale * torch.randn(several, count, 6, generator=rng(seed))).unbind()
    found = jensen_shannon(logits).item()
    assert found == pytest.approx(naive(logits), rel=1e-4, abs=1e-5)
    assert -ROUNDING <= found <= math.log(several) + ROUNDING
    assert jensen_shannon((logits[0],) * several).item() == pytest.approx(0, abs=ROUNDING)


def test_two_answers_differ_as_scipys_distance_says() -> None:
    logits = torch.randn(2, 1, 6, generator=rng(0))
    distance = jensenshannon(*logits[:, 0].softmax(1).numpy())
    assert jensen_shannon(logits.unbind()).item() == pytest.approx(distance**2, rel=1e-4)


def test_three_sure_answers_that_disagree_differ_the_most() -> None:
    logits = tuple(100 * torch.eye(3)[[k]] for k in range(3))
    assert jensen_shannon(logits).item() == pytest.approx(math.log(3), abs=1e-5)


def test_the_loss_weighs_how_the_answers_differ() -> None:
    model = network()
    images, labels = torch.rand(16, 1, 9, 9, generator=rng(0)), torch.arange(16) % 10
    with torch.no_grad():
        model.head.weight.mul_(200)  # so that answers differ
    objective = AugMix(severity=10, weight=7.0)
    moment = Moment(done=1.0, generator=rng(1))
    prepared = objective.prepare(model, images, labels, THREAT, moment)
    logits = tuple(model(each).detach() for each in prepared)
    natural = torch.nn.functional.cross_entropy(logits[0], labels).item()
    loss = objective.loss(model, prepared, labels, THREAT, 1.0).item()
    assert naive(logits) > 0.05
    assert loss == pytest.approx(natural + 7 * naive(logits), rel=1e-4)
