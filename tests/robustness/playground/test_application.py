"""The routes, the parser and who is turned away."""

from __future__ import annotations

import base64
import contextlib
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from robustness.playground import upload
from robustness.playground.application import MAX_BODY
from robustness.playground.gate import HEADERS
from robustness.playground.lab import Lab
from robustness.playground.trial import LARGEST, SMALLEST, Trial, parse_trial
from tests.robustness.playground.conftest import listening_page
from torchkeep.errors import SettingsError

JSON_TYPE = {"content-type": "application/json"}


@pytest.fixture
def client(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=30, trust_env=False) as found:
        yield found


def png(width: int, height: int, mode: str = "L") -> str:
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_the_files_have_their_types_and_the_policy(client: httpx.Client) -> None:
    for path, kind in {"/": "html", "/page.css": "css", "/page.js": "javascript"}.items():
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(f"text/{kind}")
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_test_image_is_a_png_of_the_inputs_size(client: httpx.Client, lab: Lab) -> None:
    answer = client.get("/api/images/0")
    assert answer.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(answer.content)).size == (8, 8)
    assert client.get(f"/api/images/{lab.about()['images']}").status_code == 400


def test_a_trial_is_answered_and_can_be_repeated(client: httpx.Client) -> None:
    trial = {"index": 3, "threat": "linf", "size": 0.3}
    answer = client.post("/api/trial", json=trial)
    assert answer.status_code == 200
    assert answer.json()["before"]["verdict"] in ("clean", "suspicious")
    assert client.post("/api/trial", json=trial).json() == answer.json()


def test_what_the_page_offers_can_be_tried_out(client: httpx.Client) -> None:
    about = client.get("/api/about").json()
    for attack in about["attacks"]:
        kind = attack["threats"][-1]
        trial = {"attack": attack["name"], "threat": kind, "size": about["threats"][kind]["size"]}
        assert client.post("/api/trial", json=trial).status_code == 200, attack["name"]


def test_a_fault_is_told_as_json_behind_the_same_headers(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lab, "about", lambda _: 1 / 0)
    with listening_page(lab) as address:
        answer = httpx.get(f"{address}api/about", trust_env=False)
    assert answer.status_code == 500
    assert set(answer.json()) == {"error", "remedy"}
    assert "division" not in answer.text
    assert set(HEADERS) <= set(answer.headers)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.x:80"])
def test_a_name_as_host_is_turned_away(client: httpx.Client, host: str) -> None:
    answer = client.get("/api/about", headers={"host": host})
    assert answer.status_code == 403
    assert answer.json()["remedy"]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"content-type": "text/plain"},
    ],
)
def test_other_sites_may_not_post(client: httpx.Client, headers: dict[str, str]) -> None:
    answer = client.post("/api/trial", content=b"{}", headers=JSON_TYPE | headers)
    assert answer.status_code == 403


def test_the_page_itself_may_post(client: httpx.Client, address: str) -> None:
    headers = JSON_TYPE | {"origin": address.rstrip("/"), "sec-fetch-site": "same-origin"}
    assert client.post("/api/trial", content=b"{}", headers=headers).status_code == 200


def test_a_body_is_read_no_further_than_its_bound(client: httpx.Client) -> None:
    answer = client.post("/api/trial", content=b" " * (MAX_BODY + 1), headers=JSON_TYPE)
    assert answer.status_code == 413


def test_unknown_routes_and_methods_are_json(client: httpx.Client) -> None:
    assert set(client.get("/../../etc/passwd").json()) == {"error", "remedy"}
    assert client.get("/api/trial").status_code == 405


def test_an_upload_is_fitted_and_said_so(client: httpx.Client) -> None:
    outcome = client.post("/api/trial", json={"upload": png(40, 30, "RGB")}).json()
    assert any("resized from 40 × 30 to 8 × 8" in note for note in outcome["notes"])
    assert outcome["command"] == ""


def test_what_is_no_image_or_a_bomb_is_refused(client: httpx.Client) -> None:
    bomb = png(20_000, 20_000, "1")
    for text in ("%%%", "", base64.b64encode(b"GIF89a").decode(), png(9, 9)[:40], bomb):
        answer = client.post("/api/trial", json={"upload": text})
        assert answer.status_code == 400, text[:20]
        assert answer.json()["remedy"]
        assert "tmp" not in answer.text


def test_an_upload_of_the_right_size_keeps_its_pixels() -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    found, notes = upload.decode_upload(base64.b64encode(file.getvalue()).decode(), (1, 8, 8))
    assert notes == ()
    assert (found == pixels[None]).all()


def test_a_second_trial_waits_and_is_then_told(client: httpx.Client, lab: Lab) -> None:
    with lab._lock:
        answer = client.post("/api/trial", json={})
    assert answer.status_code == 503
    assert client.post("/api/trial", json={}).status_code == 200


BAD: list[dict[str, Any]] = [
    {"index": -1},
    {"index": 1.5},
    {"index": "1"},
    {"size": 0},
    {"size": -1},
    {"size": 1e-7},
    {"size": "0.3"},
    {"steps": 40},
    {"attack": 1},
    {"attack": "x" * 21},
    {"threat": "l0"},
    {"place": "https://evil.example"},
    {"defence": ["jpeg:75"]},
    {"policy": "none"},
    {"path": "/etc/passwd"},
    {"seed": -1},
    {"seed": 2**32},
]


@pytest.mark.parametrize("bad", BAD)
def test_what_is_out_of_bounds_is_no_trial(bad: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        parse_trial(json.dumps(bad).encode())


@pytest.mark.parametrize(
    ("threat", "size"), [("linf", 1.01), ("l2", 101), ("l1", 1e5), ("patch", 1.5), ("l2", 1e308)]
)
def test_a_strength_beyond_any_image_is_refused(threat: str, size: float) -> None:
    trial = parse_trial(json.dumps({"threat": threat, "size": size}).encode())
    with pytest.raises(SettingsError, match="strength"):
        trial.allowed()


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.binary(max_size=200))
def test_bytes_are_a_trial_or_a_settings_error(body: bytes) -> None:
    with contextlib.suppress(SettingsError):
        assert isinstance(parse_trial(body), Trial)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.dictionaries(st.sampled_from([*Trial.__struct_fields__, "other"]), JSON_VALUES))
def test_any_json_is_a_trial_within_bounds_or_a_settings_error(raw: dict[str, Any]) -> None:
    try:
        trial = parse_trial(json.dumps(raw).encode())
    except SettingsError:
        return
    assert set(raw) <= set(Trial.__struct_fields__)
    assert trial.index >= 0
    assert trial.size >= SMALLEST
    assert trial.threat in LARGEST
