"""Whose key it is: in constant time, and anew when the file changes."""

from __future__ import annotations

import errno
import logging
import os
import time
from datetime import UTC, datetime, timedelta
from hmac import compare_digest
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.identity import api_keys
from gateway.identity.api_key_file import ApiKeyFile
from gateway.identity.api_keys import ApiKeys
from gateway.identity.local_key import ensure_local_key
from gateway.principal import Permission
from gateway.refusal import Code, Refusal
from torchkeep.keys import KeyFileError, client_pseudonym, ensure_key, pseudonym_key_file
from torchkeep.paths import Home

PREDICT = [Permission.PREDICT]
KEY = bytes(range(32))


@pytest.fixture
def file(tmp_path: Path) -> ApiKeyFile:
    return ApiKeyFile.of(Home(tmp_path))


def keen(file: ApiKeyFile) -> ApiKeys:
    """Keys that look at their file before each answer."""
    return ApiKeys(file, KEY, look_every_s=0.0)


def refused(keys: ApiKeys, token: str | None) -> str:
    with pytest.raises(Refusal) as caught:
        keys.authenticate(token)
    assert caught.value.code is Code.UNAUTHENTICATED
    assert "\n" not in caught.value.message
    return caught.value.message


def test_a_key_says_who_asks_and_what_it_may(tmp_path: Path, file: ApiKeyFile) -> None:
    home = Home(tmp_path)
    made = [file.add("shop", PREDICT), file.add("desk", [Permission.ADMIN])]
    local = ensure_local_key(home)
    keys = ApiKeys.of(home)
    assert len(keys) == 3
    shop, desk = (keys.authenticate(each.text) for each in made)
    assert (shop.name, shop.permissions) == ("shop", frozenset(PREDICT))
    assert shop.client == client_pseudonym(ensure_key(pseudonym_key_file(home)), made[0].key.id)
    assert desk.client != shop.client
    assert keys.authenticate(local).name == "local"
    assert keys.authenticate(made[0].text) is shop


def test_what_is_no_key_is_refused_with_a_remedy(file: ApiKeyFile) -> None:
    text = file.add("shop", PREDICT).text
    keys = ApiKeys(file, KEY)
    for none in (None, ""):
        assert refused(keys, none).startswith("no API key was sent: send a key as `Authorization")
    secret = text[12:]
    other = "A" if text[-1] != "A" else "B"
    for wrong in (
        text[:-1],
        text + "x",
        text[:-1] + other,
        text.upper(),
        f" {text}"[:-1],
        "kt" + text[2:],
        text[:11] + "-" + secret,
        "tk_00000000_" + secret,
        text[:-1] + "ä",
        text[:-1] + "\ud800",
        "\0" * len(text),
        text * 100_000,
        f"Bearer {text}",
    ):
        message = refused(keys, wrong)
        assert message.startswith("the API key is not valid: ")
        assert secret not in message


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(max_size=70) | st.text("tk_0123456789abcdef", min_size=55, max_size=55))
def test_whatever_is_sent_is_refused(tmp_path_factory: pytest.TempPathFactory, token: str) -> None:
    home = Home(tmp_path_factory.getbasetemp() / "any-token")
    ensure_local_key(home)
    refused(ApiKeys.of(home), token)


def test_each_secret_is_compared_in_constant_time_known_or_not(
    file: ApiKeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = file.add("shop", PREDICT).text
    keys = ApiKeys(file, KEY)
    compared: list[tuple[bytes, bytes]] = []

    def seen(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare_digest(one, other)

    monkeypatch.setattr(api_keys, "compare_digest", seen)
    keys.authenticate(text)
    refused(keys, text[:12] + "x" * 43)
    refused(keys, "tk_ffffffff_" + text[12:])
    assert len(compared) == 3
    assert all(len(one) == len(other) == 32 for one, other in compared)
    assert compared[0][0] == compared[2][0] != compared[1][0]


def test_the_secret_that_an_unknown_key_is_compared_with_lets_nobody_in(
    file: ApiKeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = file.add("shop", PREDICT).text
    keys = ApiKeys(file, KEY)
    monkeypatch.setattr(api_keys, "compare_digest", lambda one, other: True)
    refused(keys, "tk_ffffffff_" + text[12:])


def test_an_expired_key_is_told_so_only_to_its_owner(
    file: ApiKeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = file.add("shop", PREDICT, expires=datetime.now(UTC) + timedelta(hours=1)).text
    keys = ApiKeys(file, KEY)
    assert keys.authenticate(text).name == "shop"
    now = time.time()
    monkeypatch.setattr(
        api_keys, "time", SimpleNamespace(time=lambda: now + 3601, monotonic=time.monotonic)
    )
    assert refused(keys, text) == "the API key of 'shop' has expired: ask for a new one"
    assert "not valid" in refused(keys, text[:-4] + "....")


def test_a_rotated_key_takes_both_secrets_until_the_overlap_ends(
    file: ApiKeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = file.add("shop", PREDICT).text
    keys = keen(file)
    before = keys.authenticate(first)
    second = file.rotate("shop", overlap=timedelta(hours=1)).text
    assert keys.authenticate(second) == keys.authenticate(first) == before
    now = time.time()
    monkeypatch.setattr(
        api_keys, "time", SimpleNamespace(time=lambda: now + 3601, monotonic=time.monotonic)
    )
    assert "has expired" in refused(keys, first)
    assert keys.authenticate(second) == before
    third = file.rotate("shop").text
    refused(keys, second)
    assert keys.authenticate(third) == before
    file.revoke("shop")
    refused(keys, third)


def test_the_file_is_looked_at_once_a_second_and_read_when_it_changed(
    file: ApiKeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = file.add("shop", PREDICT).text
    looks, reads, now = [0], [0], [1000.0]
    read = ApiKeyFile.read

    def counting_stat(path: Path) -> os.stat_result:
        looks[0] += 1
        return path.stat()

    def counting_read(self: ApiKeyFile) -> object:
        reads[0] += 1
        return read(self)

    clock = SimpleNamespace(monotonic=lambda: now[0], time=time.time)
    monkeypatch.setattr(api_keys, "time", clock)
    monkeypatch.setattr(api_keys, "os", SimpleNamespace(stat=counting_stat))
    keys = ApiKeys(file, KEY)
    monkeypatch.setattr(ApiKeyFile, "read", counting_read)
    for _ in range(50):
        now[0] += 0.1
        keys.authenticate(text)
    assert 4 <= looks[0] <= 5
    assert reads == [0]
    other = file.add("other", PREDICT).text
    reads[0] = 0
    now[0] += 1.0
    for _ in range(5):
        assert keys.authenticate(other).name == "other"
    assert reads == [1]


def test_a_key_revoked_in_another_process_stops_within_a_second_or_so(file: ApiKeyFile) -> None:
    text = file.add("shop", PREDICT).text
    keys = ApiKeys(file, KEY)
    keys.authenticate(text)
    file.revoke("shop")
    time.sleep(1.05)
    refused(keys, text)


@pytest.mark.parametrize("fault", ["broken", "gone", "readable", "cut off in place"])
def test_a_broken_file_leaves_the_keys_and_is_told_once(
    file: ApiKeyFile, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    text = file.add("shop", PREDICT).text
    keys = keen(file)
    good = file.path.read_bytes()
    caplog.set_level(logging.INFO)
    if fault == "broken":
        file.path.write_text("{}}")
    elif fault == "gone":
        file.path.unlink()
    elif fault == "readable":
        file.path.chmod(0o644)
    else:
        os.truncate(file.path, len(good) - 5)
    for _ in range(5):
        assert keys.authenticate(text).name == "shop"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "the API keys stay as they were: " in record.getMessage()
    assert "api-keys.json" in record.getMessage()
    assert text[12:] not in caplog.text
    file.path.write_bytes(good)
    file.path.chmod(0o600)
    other = file.add("other", PREDICT).text
    assert keys.authenticate(other).name == "other"
    file.path.unlink()
    keys.authenticate(other)
    assert len(caplog.records) == 2


@pytest.mark.parametrize("call", ["open", "stat"])
def test_keys_that_the_system_does_not_let_it_read_are_soon_refused(
    file: ApiKeyFile,
    call: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = file.add("shop", PREDICT).text
    now = [1000.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], time=time.time)
    monkeypatch.setattr(api_keys, "time", clock)
    keys = ApiKeys(file, KEY)
    file.revoke("shop")
    with monkeypatch.context() as starved:
        starve(starved, call)
        now[0] += 1.0
        assert keys.authenticate(text).name == "shop"
        now[0] += 4.9
        assert keys.authenticate(text).name == "shop"
        now[0] += 0.2
        with pytest.raises(Refusal, match="the API keys cannot be read") as caught:
            keys.authenticate(text)
        assert (caught.value.code, caught.value.retry_after_s) == (Code.UNAVAILABLE, 1.0)
        refused(keys, None)  # who shows no key is told so
        refused(keys, "x")
    (record,) = caplog.records
    assert "for 5 s, then none is taken: " in record.getMessage()
    now[0] += 1.0
    assert "not valid" in refused(keys, text)
    again = file.add("shop", PREDICT).text
    now[0] += 1.0
    assert keys.authenticate(again).name == "shop"


def starve(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Have no descriptor left for the file."""

    def none_left(*arguments: Any, **options: Any) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    if call == "open":
        monkeypatch.setattr(os, "open", none_left)
    else:
        monkeypatch.setattr(os, "stat", none_left)
        monkeypatch.setattr(Path, "stat", none_left)


def test_a_file_that_is_readable_but_broken_is_no_reason_to_refuse(
    file: ApiKeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = file.add("shop", PREDICT).text
    now = [1000.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], time=time.time)
    monkeypatch.setattr(api_keys, "time", clock)
    keys = ApiKeys(file, KEY)
    with monkeypatch.context() as starved:
        starve(starved, "stat")
        now[0] += 1.0
        keys.authenticate(text)
    file.path.write_text("{}}")
    for _ in range(3):
        now[0] += 60.0
        assert keys.authenticate(text).name == "shop"


def test_keys_that_cannot_be_read_at_the_start_are_an_error(file: ApiKeyFile) -> None:
    with pytest.raises(KeyFileError, match="No such file"):
        ApiKeys(file, KEY)
    file.add("shop", PREDICT)
    file.path.chmod(0o604)
    with pytest.raises(KeyFileError, match=r"others may use it\. Run `chmod 600"):
        ApiKeys(file, KEY)


def test_a_key_costs_less_than_5_microseconds(file: ApiKeyFile) -> None:
    texts = [file.add(f"shop-{i}", PREDICT).text for i in range(50)]
    keys = ApiKeys(file, KEY)
    best = min(_seconds(keys, texts) for _ in range(5))
    assert best / len(texts) / 20 < 5e-6


def _seconds(keys: ApiKeys, texts: list[str]) -> float:
    """Seconds of this process, whatever runs beside it."""
    begun = time.process_time()
    for _ in range(20):
        for text in texts:
            keys.authenticate(text)
    return time.process_time() - begun
