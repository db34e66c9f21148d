"""Corruptions do what is published, image by image, whatever the block."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from robustness.corruptions import CORRUPTIONS, corrupt, kinds_for
from robustness.corruptions.blur import disk_kernel
from robustness.corruptions.light import plasma
from torchkeep.errors import SettingsError

SEVERITIES = (1, 2, 3, 4, 5)
NEEDS_NO_CHANCE = ("brightness", "contrast", "saturate", "pixelate", "jpeg_compression")
BLURS = ("gaussian_blur", "defocus_blur", "motion_blur", "zoom_blur", "glass_blur")


def picture(count: int = 2, channels: int = 3, height: int = 32, width: int = 32) -> NDArray:
    """Smooth shapes with an edge in them, different in each image."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width] / max(height, width)
    phase = random.uniform(0, 6, size=(count, channels, 1, 1))
    waves = 0.5 + 0.4 * np.sin(6 * rows + phase) * np.cos(5 * columns + phase)
    waves[..., height // 3 : height // 2, :] *= 0.3
    return np.rint(waves * 255).astype(np.uint8)


def flat(level: int, channels: int = 1, side: int = 64, count: int = 6) -> NDArray:
    return np.full((count, channels, side, side), level, np.uint8)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    kind=st.sampled_from(sorted(CORRUPTIONS)),
    severity=st.sampled_from(SEVERITIES),
    colour=st.booleans(),
    height=st.integers(8, 40),
    width=st.integers(8, 40),
    seed=st.integers(0, 2**32),
    cut=st.integers(0, 3),
)
def test_an_image_is_corrupted_alike_in_any_block(
    kind: str, severity: int, colour: bool, height: int, width: int, seed: int, cut: int
) -> None:
    images = picture(3, 3 if colour or kind == "saturate" else 1, height, width)
    before = images.copy()
    whole = corrupt(images, kind, severity, seed=seed, first=5)
    assert (whole.dtype, whole.shape) == (np.uint8, images.shape)
    parts = [
        corrupt(images[:cut], kind, severity, seed=seed, first=5),
        corrupt(images[cut:], kind, severity, seed=seed, first=5 + cut),
    ]
    assert np.array_equal(np.concatenate(parts), whole)
    assert np.array_equal(images, before)


@pytest.mark.parametrize("kind", sorted(set(CORRUPTIONS) - set(NEEDS_NO_CHANCE) - set(BLURS)))
def test_seed_and_index_change_what_is_random(kind: str) -> None:
    images = np.repeat(picture(1), 2, axis=0)
    one = corrupt(images, kind, 3, seed=0)
    assert not np.array_equal(one[0], one[1])
    assert not np.array_equal(one, corrupt(images, kind, 3, seed=1))


@pytest.mark.parametrize("kind", sorted(CORRUPTIONS))
def test_the_worst_severity_is_worse_than_the_mildest(kind: str) -> None:
    images = picture(6)
    moved = [
        np.abs(corrupt(images, kind, level, seed=0).astype(int) - images).mean() for level in (1, 5)
    ]
    if kind == "elastic_transform":  # published: the affine part weakens as the local part grows
        assert min(moved) > 0
    else:
        assert moved[1] > moved[0]


def residual(kind: str, level: int, severity: int, seed: int = 1) -> NDArray:
    return corrupt(flat(level), kind, severity, seed=seed).astype(float) / 255 - level / 255


@pytest.mark.parametrize("severity", SEVERITIES)
def test_noise_has_the_published_moments(severity: int) -> None:
    grey = 128 / 255
    rounding = 1 / 255**2 / 12
    sigma = (0.04, 0.06, 0.08, 0.09, 0.10)[severity - 1]
    photons = (500, 250, 100, 75, 50)[severity - 1]
    speckle = (0.06, 0.10, 0.12, 0.16, 0.20)[severity - 1]
    variances = {
        "gaussian_noise": sigma**2,
        "shot_noise": grey / photons,
        "speckle_noise": (grey * speckle) ** 2,
    }
    for kind, variance in variances.items():
        found = residual(kind, 128, severity)  # 24,576 values: 1 % relative error of the deviation
        assert found.std() == pytest.approx(math.sqrt(variance + rounding), rel=0.03)
        assert abs(found.mean()) < 4 * math.sqrt(variance / found.size) + 1e-4


@pytest.mark.parametrize("severity", SEVERITIES)
def test_impulses_strike_the_published_share_as_salt_and_pepper(severity: int) -> None:
    share = (0.01, 0.02, 0.03, 0.05, 0.07)[severity - 1]
    found = corrupt(flat(100), "impulse_noise", severity, seed=0)
    slack = 4 * math.sqrt(share / found.size)
    assert (found != 100).mean() == pytest.approx(share, abs=slack)
    assert (found == 255).mean() == pytest.approx(share / 2, abs=slack)
    assert set(np.unique(found)) == {0, 100, 255}


@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_and_saturation_are_those_of_hsv(severity: int) -> None:
    more = (0.05, 0.10, 0.15, 0.20, 0.30)[severity - 1]
    factor, plus = ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))[severity - 1]
    images = np.random.default_rng(severity).integers(0, 256, (1, 3, 12, 12), np.uint8)
    images[0, :, 0, :4] = [[0, 255, 90, 7]] * 3  # black, white, grey
    bright = corrupt(images, "brightness", severity, seed=0)
    vivid = corrupt(images, "saturate", severity, seed=0)
    for row in range(12):
        for column in range(12):
            hue, saturation, value = colorsys.rgb_to_hsv(*images[0, :, row, column] / 255)
            expected = colorsys.hsv_to_rgb(hue, saturation, min(1, value + more))
            assert np.abs(bright[0, :, row, column] - 255 * np.array(expected)).max() < 0.51
            changed = min(1, max(0, saturation * factor + plus))
            expected = colorsys.hsv_to_rgb(hue, changed, value)
            assert np.abs(vivid[0, :, row, column] - 255 * np.array(expected)).max() < 0.51


@pytest.mark.parametrize("severity", SEVERITIES)
def test_contrast_shrinks_towards_the_mean_of_the_channel(severity: int) -> None:
    share = (0.75, 0.50, 0.40, 0.30, 0.15)[severity - 1]
    images = picture()
    mean = images.mean((2, 3), keepdims=True)
    found = corrupt(images, "contrast", severity, seed=0)
    assert np.abs(found - (mean + share * (images - mean))).max() < 0.51


@pytest.mark.parametrize("kind", BLURS)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_blur_keeps_flat_images_and_smooths_others(kind: str, severity: int) -> None:
    level = flat(93, channels=3, side=20, count=1)
    assert np.array_equal(corrupt(level, kind, severity, seed=0), level)
    if kind == "glass_blur" and severity not in (3, 5):
        return  # its own blur is too slight to show in bytes
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 32, 32), np.uint8)
    assert corrupt(images, kind, severity, seed=0).std() < 0.99 * images.std()


@pytest.mark.parametrize("severity", SEVERITIES)
def test_the_point_spread_of_gaussian_and_defocus_blur(severity: int) -> None:
    point = np.zeros((1, 1, 33, 33), np.uint8)
    point[0, 0, 16, 16] = 255
    sigma = (0.4, 0.6, 0.7, 0.8, 1.0)[severity - 1]
    offsets = np.arange(-16, 17)
    line = np.exp(-(offsets**2) / 2 / sigma**2)
    line[np.abs(offsets) > int(4 * sigma + 0.5)] = 0
    expected = 255 * np.outer(line, line) / line.sum() ** 2
    found = corrupt(point, "gaussian_blur", severity, seed=0)[0, 0]
    assert np.abs(found - expected).max() < 0.51
    kernel = disk_kernel(*CORRUPTIONS["defocus_blur"].parameters[severity - 1])
    assert kernel.sum() == pytest.approx(1)
    found = corrupt(point, "defocus_blur", severity, seed=0)[0, 0]
    assert np.abs(found[8:25, 8:25] - 255 * kernel).max() < 0.51


def test_a_disk_of_radius_one_is_a_plus() -> None:
    plus = disk_kernel(1.0, 0.01)[7:10, 7:10]
    assert np.allclose(plus, np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]]) / 5)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_motion_smears_a_point_one_way_by_half_a_gaussian(severity: int) -> None:
    radius, sigma = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))[severity - 1]
    point = np.zeros((1, 1, 65, 65), np.uint8)
    point[0, 0, 32, 32] = 255
    found = corrupt(point, "motion_blur", severity, seed=3)[0, 0]
    tail = np.exp(-(np.arange(2 * radius + 1) ** 2) / 2 / sigma**2)
    assert np.abs(np.sort(found[found > 0])[::-1][:3] - 255 * (tail / tail.sum())[:3]).max() < 0.51
    rows, columns = np.nonzero(found)
    assert columns.max() == 32  # it comes from one side only
    assert np.abs(rows - 32).max() <= 32 - columns.min() + 1  # within 45 degrees


def test_glass_swaps_colours_whole_and_only_inside() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, 3, 16, 16), np.uint8)
    found = corrupt(images, "glass_blur", 1, seed=0)  # a blur of sigma 0.05 changes nothing
    before, after = (sorted(map(tuple, x[0].reshape(3, -1).T.tolist())) for x in (images, found))
    assert before == after
    assert (images != found).any(1).mean() > 0.5
    assert np.array_equal(images[0, :, 0], found[0, :, 0])


def test_zoom_leaves_the_middle_and_averages_the_rest() -> None:
    images = np.zeros((1, 1, 32, 32), np.uint8)
    images[..., 12:20, 12:20] = 240
    found = corrupt(images, "zoom_blur", 5, seed=0)[0, 0]
    assert (found[14:18, 14:18] == 240).all()
    assert 0 < found[11, 16] < 240
    assert found[4, 4] == 0


@pytest.mark.parametrize("severity", SEVERITIES)
def test_fog_is_the_published_blend(severity: int) -> None:
    amount = (0.2, 0.5, 0.75, 1.0, 1.5)[severity - 1]
    found = corrupt(flat(200, side=32), "fog", severity, seed=0) / 255
    brightest = 200 / 255
    lowest, highest = (brightest * (brightest + amount * x) / (brightest + amount) for x in (0, 1))
    assert found.min() == pytest.approx(lowest, abs=0.003)
    assert found.max() == pytest.approx(min(1, highest), abs=0.003)


@pytest.mark.parametrize("side", [32, 64])
def test_plasma_spans_the_unit_interval_and_decays(side: int) -> None:
    rough, smooth = (plasma(side, decay, np.random.default_rng(0)) for decay in (1.75, 3.0))
    for found in (rough, smooth):
        assert (found.shape, found.min(), found.max()) == ((side, side), 0, 1)
    steps = [np.abs(np.diff(found, axis=0)).mean() for found in (rough, smooth)]
    assert steps[1] < steps[0]


@pytest.mark.parametrize("severity", SEVERITIES)
def test_pixelation_leaves_as_many_levels_as_pixels(severity: int) -> None:
    share = (0.95, 0.9, 0.85, 0.75, 0.65)[severity - 1]
    ramp = np.tile(np.arange(32, dtype=np.uint8) * 8, (1, 1, 32, 1))
    found = corrupt(ramp, "pixelate", severity, seed=0)
    assert len(np.unique(found)) <= 32
    assert (found[0, 0] == found[0, 0, 0]).all()  # nothing mixes across rows of one colour
    assert (np.diff(found[0, 0, 0].astype(int)) == 0).sum() >= 32 - int(32 * share) - 2
    assert found.mean() == pytest.approx(ramp.mean(), abs=2)


def test_elastic_distortion_moves_pixels_and_invents_none() -> None:
    images = picture(4)
    for severity in SEVERITIES:
        found = corrupt(images, "elastic_transform", severity, seed=0)
        assert found.max() <= images.max()
        assert found.min() >= images.min()
        assert np.abs(found.mean((2, 3)) - images.mean((2, 3))).max() < 25


def test_saturation_is_for_colour_and_odd_shapes_have_no_kinds() -> None:
    assert set(kinds_for((3, 32, 32))) == set(CORRUPTIONS)
    assert set(CORRUPTIONS) - set(kinds_for((1, 28, 28))) == {"saturate"}
    assert kinds_for((4, 32, 32)) == kinds_for((1, 7, 32)) == ()


@pytest.mark.parametrize(
    ("images", "kind", "severity", "message"),
    [
        (picture(), "frost", 1, "no corruption 'frost'.*There are: gaussian_noise"),
        (picture(channels=1), "saturate", 1, "no corruption 'saturate' of 1 x 32 x 32"),
        (picture(), "fog", 0, "severity 0"),
        (picture(), "fog", 6, "severity 6"),
        (picture() / 255, "fog", 1, "not uint8 N C H W"),
        (picture()[0], "fog", 1, "not uint8 N C H W"),
    ],
)
def test_what_cannot_be_corrupted_is_refused(
    images: NDArray, kind: str, severity: int, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        corrupt(images, kind, severity, seed=0)
