"""A second look moves only what was suspicious already, and only upwards."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustness.fusion import Fusion
from robustness.preprocessing import parse
from robustness.second_look import SecondLook, learn_second_look, standard_squeezers
from torchkeep.errors import SettingsError


def network(seed: int, classes: int = 4) -> nn.Module:
    """Return a small smooth network on images 2 x 6 x 6."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        linear = nn.Linear(72, 16), nn.Linear(16, classes)
    return nn.Sequential(nn.Flatten(), linear[0], nn.Tanh(), linear[1]).requires_grad_(False)


def pictures(count: int, seed: int) -> Tensor:
    return torch.rand(count, 2, 6, 6, generator=torch.Generator().manual_seed(seed))


def small_look(seed: int, cutoff: float = 1.0) -> SecondLook:
    distances = torch.rand(20, generator=torch.Generator().manual_seed(seed)) / 2
    return SecondLook(network(seed), standard_squeezers(), cutoff=cutoff, distances=distances)


FIRST = st.lists(st.floats(0, 20, width=32), min_size=1, max_size=6)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(first=FIRST, seed=st.integers(0, 999), cutoff=st.floats(-1, 20, width=32))
def test_only_what_is_above_the_cutoff_moves_and_only_up(
    first: list[float], seed: int, cutoff: float
) -> None:
    look, images, scores = small_look(seed, cutoff), pictures(len(first), seed), torch.tensor(first)
    logits = look.classifier(images)
    p_value, final = look(images, logits, scores)
    looked_at = scores > cutoff
    assert torch.equal(final[~looked_at], scores[~looked_at])
    assert (p_value[~looked_at] == 1).all()
    distance = look.score(images, logits)
    known = look.fusion.calibration[0]
    expected = (1 + (known[None] >= distance[:, None]).sum(1)) / (1 + len(known))
    assert torch.allclose(p_value[looked_at], expected[looked_at], atol=0.05)  # one rank off
    gain = final - scores
    assert (gain >= 0).all()
    inside = looked_at & (distance <= known[-1])
    assert torch.allclose(gain[inside], -p_value[inside].log(), atol=1e-5)
    assert (gain >= -p_value.log() - 1e-5).all()


@settings(deadline=None, max_examples=40, derandomize=True)
@given(one=st.floats(0, 20, width=32), more=st.floats(0, 9, width=32), seed=st.integers(0, 999))
def test_the_final_score_is_monotone_in_the_first(one: float, more: float, seed: int) -> None:
    look, images = small_look(seed), pictures(1, seed).expand(2, -1, -1, -1)
    final = look(images, look.classifier(images), torch.tensor([one, one + more]))[1]
    assert final[0] <= final[1] + 1e-5


@settings(deadline=None, max_examples=40, derandomize=True)
@given(first=FIRST, seed=st.integers(0, 999), data=st.data())
def test_an_item_is_looked_at_alike_alone_and_in_company(
    first: list[float], seed: int, data: st.DataObject
) -> None:
    look, images, scores = small_look(seed), pictures(len(first), seed), torch.tensor(first)
    place = data.draw(st.integers(0, len(first) - 1))
    logits = look.classifier(images)
    # The largest known distances make the gain a smooth function, without the steps of ranks.
    look.fusion = Fusion(torch.linspace(0, 1e-4, 20)[None])
    together = look(images, logits, scores)
    part = slice(place, place + 1)
    alone = look(images[part], logits[part], scores[part])
    for whole, single in zip(together, alone, strict=True):
        assert torch.allclose(whole[part], single, atol=1e-3)


def test_the_second_pass_runs_on_the_suspicious_alone() -> None:
    look, images, seen = small_look(0, cutoff=5.0), pictures(6, 0), []
    logits = look.classifier(images)
    look.classifier.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    look(images, logits, torch.tensor([0.0, 6, 5, 7, 1, float("nan")]))
    assert seen == [4]  # two images, each squeezed in two ways
    calm = torch.tensor([0.0, 1, 2, 3, 4, 5])
    p_value, final = look(images, logits, calm)
    assert seen == [4]
    assert torch.equal(final, calm)
    assert (p_value == 1).all()


def test_an_attacker_gets_a_gradient() -> None:
    smooth = network(1).double()
    images, distances = pictures(3, 0).double().requires_grad_(), torch.ones(1)
    median = SecondLook(smooth, [parse("median:2")], cutoff=0.0, distances=distances)
    assert torch.autograd.gradcheck(lambda x: median.score(x, smooth(x)), images)
    bits = SecondLook(smooth, [parse("bits:1")], cutoff=0.0, distances=distances)
    fixed = smooth(images).detach()
    (through,) = torch.autograd.grad(bits.score(images, fixed).sum(), images)
    rounded = images.detach().round().requires_grad_()
    apart = (smooth(rounded).softmax(1) - fixed.softmax(1)).abs().sum()
    (expected,) = torch.autograd.grad(apart, rounded)
    assert torch.allclose(through, expected)
    assert expected.abs().max() > 0


@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    ranks=st.lists(st.integers(0, 30), min_size=60, max_size=120),
    share=st.floats(0.2, 0.5),
    seed=st.integers(0, 999),
)
def test_what_is_looked_at_and_compared_with_is_the_share_of_split_a(
    ranks: list[int], share: float, seed: int
) -> None:
    first, images, small = torch.tensor(ranks) / 4, pictures(len(ranks), seed), network(seed)
    p_values = torch.tensor([(1 + (first >= x).sum().item()) / (1 + len(first)) for x in first])
    try:
        look = learn_second_look(small, standard_squeezers(), images, first, share)
    except SettingsError:
        assert (p_values <= share).sum() < 10
        return
    assert torch.equal(first > look.cutoff, p_values <= share)
    chosen = images[p_values <= share]
    expected = look.score(chosen, small(chosen)).sort().values
    assert torch.allclose(look.fusion.calibration[0], expected, atol=1e-6)


def test_images_that_all_score_alike_are_an_error() -> None:
    images, first = pictures(100, 0), torch.ones(100)
    with pytest.raises(SettingsError, match="only 0 calibration images"):
        learn_second_look(network(0), standard_squeezers(), images, first, 0.2)
