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
from handlers.pixels import Expected, to_float32
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


@pytest.mark.parametrize("dtype", ["u1", "<f2", "<f4", ">f4", "<f8"])
@pytest.mark.parametrize("shape", [(3, 1, 4, 4), (3, 4, 4)])
def test_an_npy_of_several_images_is_taken_apart(dtype: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    payload = payload_of_body(npy(values), "application/x-npy", served())
    assert isinstance(payload, np.ndarray)
    assert payload.dtype == (np.uint8 if dtype == "u1" else np.float32)
    np.testing.assert_array_equal(payload, values.reshape(3, 1, 4, 4))


def test_a_half_precision_image_becomes_what_the_handler_reads() -> None:
    payload = payload_of_body(npy(np.full((1, 4, 4), 0.5, np.float16)), "", served())
    assert isinstance(payload, np.ndarray)
    assert payload.dtype == np.float32
    assert payload.shape == (1, 1, 4, 4)
    assert (payload == 0.5).all()


def test_an_npy_of_colours_is_taken_apart_by_its_four_sides_alone() -> None:
    values = np.arange(3 * 3 * 2 * 2, dtype=np.uint8).reshape(3, 3, 2, 2)
    payload = payload_of_body(npy(values), "", served(3, 2, 2))
    assert isinstance(payload, np.ndarray)
    np.testing.assert_array_equal(payload, values)
    flat = npy(values.reshape(9, 2, 2))
    assert payload_of_body(flat, "", served(3, 2, 2)) == BodyPayload("", flat)


def test_a_number_too_large_for_single_precision_is_left_to_the_handler() -> None:
    payload = payload_of_body(npy(np.full((2, 1, 4, 4), 1e300)), "", served())
    assert isinstance(payload, np.ndarray)
    assert np.isinf(payload).all()


def test_an_npy_of_too_many_images_is_refused() -> None:
    with pytest.raises(Refusal, match="the request has 5 items; at most 4 are taken") as refused:
        payload_of_body(npy(np.zeros((5, 1, 4, 4), np.uint8)), "", served())
    assert refused.value.code is Code.TOO_LARGE


OTHER_NPY = {
    "none": npy(np.zeros((0, 1, 4, 4), np.uint8)),
    "several of another shape": npy(np.zeros((2, 1, 4, 5), np.uint8)),
    "objects": npy(np.zeros((2, 1, 4, 4), np.uint8)).replace(b"'|u1'", b"'|O' "),
    "several, cut off": npy(np.zeros((2, 1, 4, 4), np.uint8))[:-1],
    "several, another number": npy(np.zeros((2, 1, 4, 4), np.uint8)).replace(b"(2, ", b"(9, "),
    "several, column major": npy(np.asfortranarray(np.zeros((2, 1, 4, 4), np.uint8))),
    "huge": npy(np.zeros((2, 1, 4, 4), np.uint8)).replace(
        b"(2, 1, 4, 4), }   ", b"(9999, 1, 4, 4), }"
    ),
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


def test_a_content_type_is_short() -> None:
    assert payload_of_body(b"x", "a" * 256, served()) == BodyPayload("a" * 256, b"x")
    with pytest.raises(Refusal, match="257 characters; at most 256") as refused:
        payload_of_body(b"x", "a" * 257, served())
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
        as_single = direct.images if payload.dtype == np.uint8 else to_float32(direct.images)
        np.testing.assert_array_equal(payload, as_single)
    elif isinstance(payload, BodyPayload):
        assert payload.data == body
    else:
        assert len(direct) == 1
        assert payload == [body]
