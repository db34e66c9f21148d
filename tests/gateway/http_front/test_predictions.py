"""TorchServe's interface over REST: the body is the image."""

from __future__ import annotations

import io

import numpy as np

from gateway.refusal import Code
from tests.gateway.http_front.asking import PIXELS, asked, failed, image_of
from tests.gateway.http_front.serving import Plane
from torchkeep.envelope import BodyPayload
from torchkeep.schema import Operation


def test_predictions_take_an_image_as_their_body() -> None:
    png = b"\x89PNG\r\n\x1a\n and so on"
    reply, plane = asked(png, path="/predictions/digits")
    assert image_of(plane) == [png]
    answer = reply.json
    assert (answer["schema"], answer["model"]) == (1, "digits")
    assert answer["predictions"][0]["label"] == "one"
    assert answer["request_id"] == reply.headers["x-request-id"]


def test_predictions_take_raw_pixels_and_leave_other_bodies_to_the_handler() -> None:
    raw = {"content-type": "application/octet-stream"}
    _, plane = asked(PIXELS.tobytes(), raw, "/predictions/digits/1.0")
    np.testing.assert_array_equal(image_of(plane), PIXELS)
    body = b'{"instances": []}'
    _, plane = asked(body, {"content-type": "application/json"}, "/predictions/digits")
    assert image_of(plane) == BodyPayload("application/json", body)


def test_explanations_point_at_pixels() -> None:
    reply, plane = asked(b"\xff\xd8\xff jpeg", path="/explanations/digits/2.0")
    assert plane.questions[0].operation is Operation.EXPLAIN
    assert reply.json["predictions"][0]["attribution"]["shape"] == [2, 3, 4]


def test_a_refused_prediction_is_worded_as_torchserve_does_too() -> None:
    reply, _ = asked(b"", path="/predictions/digits")
    assert reply.status == 400
    assert reply.json["code"] == 400
    assert reply.json["type"] == "INVALID"
    assert reply.json["message"] == reply.error
    reply, plane = asked(b"\xff\xd8\xff", path="/predictions/digits", plane=Plane(failed))
    assert reply.status == 422
    assert reply.json["predictions"][0]["status"] == "rejected"
    assert plane.codes == [Code.REJECTED]


def test_a_content_type_that_is_too_long_never_reaches_the_model() -> None:
    reply, plane = asked(b"{}", {"content-type": "a" * 257}, "/predictions/digits")
    assert (reply.status, plane.questions) == (400, [])
    assert "at most 256" in reply.error


def test_an_npy_of_many_images_is_many_items() -> None:
    stream = io.BytesIO()
    np.save(stream, PIXELS)
    reply, plane = asked(stream.getvalue(), path="/predictions/digits")
    np.testing.assert_array_equal(image_of(plane), PIXELS)
    assert len(reply.json["predictions"]) == 2
