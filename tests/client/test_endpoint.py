"""Addresses are read once, at the start, and a wrong one says what a right one looks like."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchkeep.client.endpoint import Endpoint
from torchkeep.errors import SettingsError


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://127.0.0.1:8080", Endpoint("http", "127.0.0.1", 8080)),
        ("https://models.example/v1/", Endpoint("https", "models.example", 443, "/v1")),
        ("grpc://[::1]:7070", Endpoint("grpc", "::1", 7070)),
        ("GRPCS://Models.example", Endpoint("grpcs", "models.example", 443)),
    ],
)
def test_an_address_is_read(url: str, endpoint: Endpoint) -> None:
    assert Endpoint.parse(url) == endpoint
    assert Endpoint.parse(str(endpoint)) == endpoint


def test_only_https_and_grpcs_are_encrypted() -> None:
    schemes = ("http", "https", "grpc", "grpcs")
    assert [Endpoint(scheme, "h", 1).tls for scheme in schemes] == [False, True, False, True]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8080",
        "ftp://host",
        "http://",
        "http://host:port",
        "http://host:99999",
        "http://[::1",
        "http://a..b",
        "grpc://host:7070/mnist",
        "http://host/?model=mnist",
        "http://host/#mnist",
        "http://höst:8080",
        "http://host:8080/a b",
        "http://host\r\nX-Evil: 1",
    ],
)
def test_a_wrong_address_is_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        Endpoint.parse(url)


def test_a_password_in_the_address_is_refused_and_not_told() -> None:
    with pytest.raises(SettingsError) as caught:
        Endpoint.parse("http://me:secret@host:8080")
    assert "secret" not in str(caught.value)


@settings(deadline=None, max_examples=300, derandomize=True)
@given(st.sampled_from(["http://", "grpc://", ""]), st.text(max_size=20))
def test_any_text_is_an_address_or_refused(scheme: str, text: str) -> None:
    try:
        endpoint = Endpoint.parse(scheme + text)
    except SettingsError:
        return
    assert Endpoint.parse(str(endpoint)) == endpoint
