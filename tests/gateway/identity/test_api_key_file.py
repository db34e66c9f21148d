"""The file of API keys: whole, private and without a secret, whoever writes it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.identity import api_key_file
from gateway.identity.api_key_file import ApiKeyFile, is_key_text, is_text_of
from gateway.identity.local_key import ensure_local_key, local_key
from gateway.principal import Permission
from torchkeep.errors import UserError
from torchkeep.keys import KeyFileError
from torchkeep.paths import Home

PREDICT = [Permission.PREDICT]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def file(home: Home) -> ApiKeyFile:
    return ApiKeyFile.of(home)


def everything_below(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_key_is_told_once_and_only_its_digest_is_kept(file: ApiKeyFile, home: Home) -> None:
    before = os.umask(0)
    try:
        made = file.add("shop", [Permission.PREDICT, Permission.EXPLAIN, Permission.PREDICT])
    finally:
        os.umask(before)
    assert is_key_text(made.text)
    assert is_text_of(made.text, made.key)
    assert file.known() == (made.key,)
    assert made.key.permissions == (Permission.EXPLAIN, Permission.PREDICT)
    secret = made.text.split("_", 2)[2]
    assert secret.encode() not in everything_below(home.root)
    assert secret not in repr(made)
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    for path in file.path.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_file_is_no_keys_but_a_folder_others_may_enter_is_refused(file: ApiKeyFile) -> None:
    assert file.known() == ()
    file.add("shop", PREDICT)
    file.path.parent.chmod(0o755)
    for use in (file.known, lambda: file.add("b", PREDICT), lambda: file.revoke("shop")):
        with pytest.raises(KeyFileError, match=r"others may use it\. Run `chmod 700 "):
            use()


@pytest.mark.parametrize("name", ["", "a b", "-x", ".x", "a\n", "ä", "x" * 65, "[red]", "local"])
def test_a_name_that_is_none_is_refused(file: ApiKeyFile, name: str) -> None:
    with pytest.raises(UserError, match=r"is no name of a key|is kept for this machine"):
        file.add(name, PREDICT)
    assert file.known() == ()


def test_a_key_that_may_do_nothing_is_not_made(file: ApiKeyFile) -> None:
    with pytest.raises(UserError, match=r"may do nothing\. Give it a permission"):
        file.add("shop", [])
    assert file.known() == ()


def test_a_name_is_given_once(file: ApiKeyFile) -> None:
    first = file.add("shop", PREDICT)
    with pytest.raises(UserError, match=r"a key 'shop' already.*torchkeep key rotate shop"):
        file.add("shop", [Permission.ADMIN])
    assert file.known() == (first.key,)


def test_a_rotated_key_keeps_its_id_and_drops_secrets_that_are_over(file: ApiKeyFile) -> None:
    file.add("other", PREDICT)
    first = file.add("shop", PREDICT)
    second = file.rotate("shop", overlap=timedelta(hours=1))
    assert (second.key.id, second.key.permissions) == (first.key.id, first.key.permissions)
    assert [old.sha256 for old in second.key.old] == [first.key.sha256]
    third = file.rotate("shop", overlap=timedelta(hours=1))
    assert [old.sha256 for old in third.key.old] == [first.key.sha256, second.key.sha256]
    last = file.rotate("shop")
    assert [old.sha256 for old in last.key.old] == [first.key.sha256, second.key.sha256]
    assert [key.name for key in file.known()] == ["other", "shop"]
    assert len({made.text for made in (first, second, third, last)}) == 4


def test_an_overlap_outlives_neither_secret(file: ApiKeyFile) -> None:
    soon, later = (datetime.now(UTC) + timedelta(days=days) for days in (1, 9))
    file.add("shop", PREDICT, expires=soon)
    assert file.rotate("shop", overlap=timedelta(days=5)).key.old[0].expires == soon
    assert file.rotate("shop", expires=later).key.expires == later
    made = file.rotate("shop", overlap=timedelta(days=5), expires=soon)
    assert made.key.old[-1].expires == soon


def test_an_expired_key_is_renewed_only_with_a_new_end(file: ApiKeyFile) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    file.add("shop", PREDICT, expires=past)
    with pytest.raises(UserError, match=r"'shop' has expired\. .*--expires-days"):
        file.rotate("shop")
    made = file.rotate("shop", overlap=timedelta(days=1), expires=past + timedelta(days=1))
    assert made.key.old == ()


def test_a_revoked_key_is_gone_and_an_unknown_one_is_named(file: ApiKeyFile) -> None:
    with pytest.raises(UserError, match=r"no key 'shop'\. Add one: torchkeep key add"):
        file.revoke("shop")
    file.add("shop", PREDICT)
    with pytest.raises(UserError, match=r"Did you mean 'shop'\?"):
        file.rotate("sop")
    file.revoke("shop")
    assert file.known() == ()


def test_a_full_disk_leaves_the_file_as_it_was(
    file: ApiKeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.add("shop", PREDICT)
    before = file.path.read_bytes()
    monkeypatch.setattr(api_key_file, "MAX_FILE_BYTES", len(before) + 10)
    with pytest.raises(KeyFileError, match="no room for another key"):
        file.add("other", PREDICT)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        file.rotate("shop")
    assert file.path.read_bytes() == before
    assert sorted(path.name for path in file.path.parent.iterdir()) == [
        "api-keys.json",
        "api-keys.lock",
    ]


def entry(**changes: Any) -> dict[str, Any]:
    good = {
        "id": "0123abcd",
        "name": "shop",
        "permissions": ["predict"],
        "sha256": "0" * 64,
        "created": "2026-01-01T00:00:00Z",
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def content(*keys: object, **more: object) -> bytes:
    return json.dumps({"format": 1, "keys": keys} | more).encode()


HOSTILE = {
    "nothing": b"",
    "binary": b"\xff\xfe\x00",
    "cut off": content(entry())[:-9],
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "another format": content(format=2),
    "an unknown field": content(colour="red"),
    "a misspelt end": content(entry(expire="2026-01-01T00:00:00Z")),
    "no permission": content(entry(permissions=[])),
    "an unknown permission": content(entry(permissions=["root\nerror: x"])),
    "permissions in one text": content(entry(permissions="predict")),
    "a short digest": content(entry(sha256="0" * 63)),
    "a digest and a line": content(entry(sha256="0" * 64 + "\n")),
    "no digest": content(entry(sha256=None)),
    "an id in capitals": content(entry(id="0123ABCD")),
    "a name with a line": content(entry(name="shop\n")),
    "a time without zone": content(entry(expires="2027-01-01T00:00:00")),
    "a time out of time": content(entry(expires="0001-01-01T00:00:00+23:59")),
    "a number for a time": content(entry(expires=1e400)),
    "one id twice": content(entry(), entry(name="other")),
    "one name twice": content(entry(), entry(id="00000000")),
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_a_file_that_is_none_is_one_line_and_is_not_changed(
    file: ApiKeyFile, hostile: bytes
) -> None:
    file.add("first", PREDICT)
    file.path.write_bytes(hostile)
    for use in (file.known, lambda: file.add("b", PREDICT), lambda: file.rotate("shop")):
        with pytest.raises(KeyFileError, match=r"is not a file of API keys") as caught:
            use()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500
    assert file.path.read_bytes() == hostile


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from([*entry(), "format", "keys", "old", "x"]), inner)
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_whatever_is_in_the_file_it_is_keys_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, found: bytes
) -> None:
    file = ApiKeyFile.of(Home(tmp_path_factory.getbasetemp() / "any-content"))
    with file.locked():
        file.write(())
    file.path.write_bytes(found)
    with suppress(KeyFileError):
        assert all(key.permissions for key in file.known())


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "readable", "large"])
def test_what_is_no_private_file_is_refused(file: ApiKeyFile, tmp_path: Path, kind: str) -> None:
    file.add("first", PREDICT)
    if kind == "readable":
        file.path.chmod(0o640)
    elif kind == "large":
        os.truncate(file.path, api_key_file.MAX_FILE_BYTES + 1)
    else:
        moved = file.path.rename(tmp_path / "elsewhere.json")
        if kind == "link":
            file.path.symlink_to(moved)
        elif kind == "pipe":
            os.mkfifo(file.path, 0o600)
        else:
            file.path.mkdir(mode=0o700)
    with pytest.raises(KeyFileError, match=r"api-keys\.json"):
        file.known()


def test_a_lock_that_cannot_be_taken_is_an_error(
    file: ApiKeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_key_file, "LOCK_TIMEOUT_S", 0.05)
    with file.locked(), pytest.raises(KeyFileError, match="another process is changing"):
        file.add("shop", PREDICT)
    file.path.with_suffix(".lock").unlink()
    file.path.with_suffix(".lock").mkdir()
    with pytest.raises(KeyFileError, match="cannot be locked: Is a directory"):
        file.add("shop", PREDICT)


def race(home: Home, body: str, arguments: list[list[str]]) -> list[str]:
    """Run `body` in one process each, all at once; return what they print."""
    code = (
        "import sys; from pathlib import Path; from torchkeep.paths import Home\n"
        "from gateway.identity.api_key_file import ApiKeyFile\n"
        "from gateway.identity.local_key import ensure_local_key\n"
        "from gateway.principal import Permission\n"
        "home = Home(Path(sys.argv[1])); file = ApiKeyFile.of(home)\n"
        f"print('ready', flush=True); sys.stdin.readline()\n{body}"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(home.root), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for words in arguments
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    printed = [racer.communicate(timeout=60)[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * len(racers)
    return printed


def test_processes_that_add_at_once_lose_no_key(home: Home, file: ApiKeyFile) -> None:
    body = (
        "for i in range(10):\n"
        "    name = f'{sys.argv[2]}-{i}'\n"
        "    print(name, file.add(name, [Permission.PREDICT]).text)\n"
        "    if i % 2: print(name, file.rotate(name).text)\n"
        "    if i % 5 == 4: file.revoke(name); print(name, '-')\n"
    )
    told = dict(
        line.split()
        for text in race(home, body, [["a"], ["b"], ["c"]])
        for line in text.split("\n")
        if line
    )
    kept = {key.name: key for key in file.known()}
    assert len(told) == 30
    assert kept.keys() == {name for name, text in told.items() if text != "-"}
    assert all(is_text_of(told[name], key) for name, key in kept.items())


def test_processes_that_start_together_agree_on_the_local_key(home: Home) -> None:
    printed = race(home, "print(ensure_local_key(home))", [[], [], []])
    assert {text.strip() for text in printed} == {local_key(home)}
    assert len(ApiKeyFile.of(home).known()) == 1


def test_the_local_key_is_made_once_and_made_good(home: Home, file: ApiKeyFile) -> None:
    with pytest.raises(UserError, match=r"no API key of its own\. Run torchkeep up\."):
        local_key(home)
    first = ensure_local_key(home)
    assert ensure_local_key(home) == first == local_key(home)
    (key,) = file.known()
    assert set(key.permissions) == {Permission.PREDICT, Permission.EXPLAIN, Permission.OBSERVE}
    assert stat.S_IMODE(file.local_text.stat().st_mode) == 0o600
    file.local_text.unlink()
    second = ensure_local_key(home)
    assert second != first
    assert file.known()[0].id == key.id
    file.path.unlink()
    assert is_text_of(ensure_local_key(home), file.known()[0])
    rotated = file.rotate("local", expires=datetime.now(UTC) - timedelta(seconds=1))
    assert local_key(home) == rotated.text
    assert ensure_local_key(home) != rotated.text
    assert file.known()[0].expires is None
    file.revoke("local")
    with pytest.raises(UserError, match="no API key of its own"):
        local_key(home)


def test_a_local_key_that_is_none_or_not_private_is_refused(home: Home, file: ApiKeyFile) -> None:
    ensure_local_key(home)
    file.local_text.write_bytes(b"\xff" * 20)
    with pytest.raises(KeyFileError, match=r"holds no API key\. Delete it"):
        local_key(home)
    assert ensure_local_key(home) == local_key(home)
    file.local_text.chmod(0o644)
    for use in (local_key, ensure_local_key):
        with pytest.raises(KeyFileError, match="others may use it"):
            use(home)
