"""What may be attacked without a word: loopback, and nothing that only may be."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustness.black_box.address import is_loopback, require_loopback
from torchkeep.errors import SettingsError

HELD = settings(deadline=None, max_examples=300, derandomize=True)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8080", "grpc://127.9.9.9:1", "http://[::1]:8080", "http://localhost:1"],
)
def test_loopback_passes(url: str) -> None:
    require_loopback(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1@evil.example",
        "http://127.0.0.1\\@evil.example",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://localhost.",
        "http://[::ffff:127.0.0.1]:80",
        "http://[::1%25eth0]:80",
        "http://2130706433",
        "http://0x7f000001",
        "http://0177.0.0.1",
        "http://127.1",
        "http://0.0.0.0",
        "http://[::]",
        "http://evil.example#@127.0.0.1",
    ],
)
def test_what_only_looks_like_it_is_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        require_loopback(url)


def test_localhost_that_leads_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(2, 1, 6, "", (host, 0)) for host in ("127.0.0.1", "192.0.2.7")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    assert not is_loopback("localhost")


@HELD
@given(st.ip_addresses())
def test_of_addresses_only_loopback(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    inside = int(address) >> 24 == 127 if address.version == 4 else int(address) == 1
    assert is_loopback(str(address)) == inside


@HELD
@given(st.text(max_size=30))
def test_no_text_passes_by_chance(host: str) -> None:
    if is_loopback(host):
        assert host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback


def test_the_owner_may() -> None:
    assert require_loopback("http://192.0.2.1:80", own=True).host == "192.0.2.1"
