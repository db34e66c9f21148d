"""What can share a batch is taken apart, and the handler sees the same images as without that."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gateway.question import BodyPayload
from gateway.refusal import Code, Refusal
from gateway.torchserve_api.body import payload_of_body
from gateway.upstream import ServedVersion
from handlers.bodies import Body, TensorBody
from handlers.config import LimitsConfig
from handlers.decode import open_body
from handlers.pixels import Expected
from tests.handlers.samples import npy
from torchkeep.errors import ItemError

RAW = "application/octet-stream"


def served(*sides: int, items: int = 4) -> ServedVersion:
    channels, height, width = sides or (1, 4, 4)
    return ServedVersion(
        name="m",
        version="1.0",
        digest="0" * 64,
        input=(channels, height, width),
        classes=("a", "b"),
        device="cpu",
        workers=1,
        screened=True,
        max_items=items,
        max_explain_items=2,
        max_forward_batch=256,
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("declared", ["", "image/png", "application/json", RAW])
def test_an_image_is_known_by_its_first_bytes(kind: str, declared: str) -> None:
    stream = io.BytesIO()
    Image.new("L", (4, 4)).save(stream, kind)
    assert payload_of_body(stream.getvalue(), declared, served()) == [stream.getvalue()]


@pytest.mark.parametrize("dtype", ["u1", "<f4", ">f4", "<f8"])
@pytest.mark.parametrize("shape", [(1, 4, 4), (4, 4), (1, 1, 4, 4)])
def test_an_npy_of_one_image_is_an_item(dtype: str, shape: tuple[int, ...]) -> None:
    body = npy(np.zeros(shape, dtype=dtype))
    assert payload_of_body(body, "application/x-npy", served()) == [body]


OTHER_NPY = {
    "several": npy(np.zeros((2, 1, 4, 4), np.uint8)),
    "other shape": npy(np.zeros((1, 4, 5), np.uint8)),
    "other dtype": npy(np.zeros((1, 4, 4), np.int64)),
    "column major": npy(np.asfortranarray(np.zeros((4, 4), np.uint8))),
    "cut off": npy(np.zeros((1, 4, 4), np.uint8))[:-1],
    "one too many": npy(np.zeros((1, 4, 4), np.uint8)) + b"\0",
    "head only": npy(np.zeros((1, 4, 4), np.uint8))[:40],
    "no numbers": npy(np.zeros((1, 4, 4), np.uint8)).replace(b"(1, 4, 4)", b"(1 4, 4 )"),
}


@pytest.mark.parametrize("body", OTHER_NPY.values(), ids=OTHER_NPY)
def test_any_other_npy_is_for_the_handler(body: bytes) -> None:
    assert payload_of_body(body, "application/x-npy", served()) == BodyPayload(
        "application/x-npy", body
    )


@pytest.mark.parametrize("declared", [RAW, "Application/Octet-Stream; x=y"])
def test_raw_pixels_are_cut_into_images(declared: str) -> None:
    pixels = np.arange(32, dtype=np.uint8)
    payload = payload_of_body(pixels.tobytes(), declared, served())
    assert isinstance(payload, np.ndarray)
    assert (payload.dtype, payload.shape) == (np.uint8, (2, 1, 4, 4))
    np.testing.assert_array_equal(payload.ravel(), pixels)


def test_raw_pixels_of_too_many_images_are_refused() -> None:
    with pytest.raises(Refusal, match="the request has 5 items; at most 4 are taken") as refused:
        payload_of_body(bytes(5 * 16), RAW, served())
    assert refused.value.code is Code.TOO_LARGE


@pytest.mark.parametrize(
    ("body", "declared"),
    [(bytes(17), RAW), (bytes(16), ""), (b'{"instances": []}', "application/json"), (b"x", "a/b")],
)
def test_the_rest_is_for_the_handler(body: bytes, declared: str) -> None:
    assert payload_of_body(body, declared, served()) == BodyPayload(declared, body)


def test_an_empty_body_is_refused() -> None:
    with pytest.raises(Refusal, match="the body is empty") as refused:
        payload_of_body(b"", RAW, served())
    assert refused.value.code is Code.INVALID


def opened(body: bytes) -> Body | None:
    """What the handler makes of a body that came directly, None if it refuses it as a whole."""
    try:
        return open_body(body, RAW, Expected((1, 4, 4), LimitsConfig(max_items=4)))[0]
    except ItemError:
        return None


NPY_BODIES = st.builds(
    lambda shape, dtype, seed: npy(np.random.default_rng(seed).integers(0, 2, shape).astype(dtype)),
    st.sampled_from([(1, 4, 4), (4, 4), (1, 1, 4, 4), (2, 1, 4, 4), (16,), (4, 1, 4), ()]),
    st.sampled_from(["u1", "<f4", ">f4", "<f8", "<i2"]),
    st.integers(0, 3),
)
BODIES = st.one_of(
    NPY_BODIES,
    st.binary(max_size=64),
    st.integers(1, 4).flatmap(lambda n: st.binary(min_size=16 * n, max_size=16 * n)),
    st.tuples(NPY_BODIES, st.integers(0, 200), st.integers(0, 255)).map(
        lambda t: t[0][: t[1]] + bytes([t[2]]) + t[0][t[1] + 1 :]
    ),
)


@settings(deadline=None, max_examples=400, derandomize=True)
@given(body=BODIES)
def test_what_is_taken_apart_is_what_the_handler_would_have_seen(body: bytes) -> None:
    direct = opened(body)
    if direct is None:
        with contextlib.suppress(Refusal):
            assert isinstance(payload_of_body(body, RAW, served()), BodyPayload)
        return
    payload = payload_of_body(body, RAW, served())
    if isinstance(payload, np.ndarray):
        assert isinstance(direct, TensorBody)
        np.testing.assert_array_equal(payload, direct.images)
    elif isinstance(payload, BodyPayload):
        assert payload.data == body
    else:
        assert len(direct) == 1
        assert payload == [body]
