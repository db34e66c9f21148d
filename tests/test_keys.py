from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchkeep.keys import (
    KEY_BYTES,
    KeyFileError,
    client_pseudonym,
    ensure_key,
    envelope_key_file,
    pseudonym_key_file,
    read_key,
    renew_key,
)
from torchkeep.paths import Home

KEY = bytes(range(KEY_BYTES))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "keys" / "some.key"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("make", [ensure_key, renew_key])
def test_a_key_is_made_for_its_owner_only(path: Path, make: object) -> None:
    before = os.umask(0)
    try:
        key = make(path)  # type: ignore[operator]
    finally:
        os.umask(before)
    assert len(key) == KEY_BYTES
    assert read_key(path) == key
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["some.key"]


def test_a_kept_key_stays_and_a_renewed_one_changes(path: Path) -> None:
    first = ensure_key(path)
    assert ensure_key(path) == first
    second = renew_key(path)
    assert second != first
    assert ensure_key(path) == second


def test_the_two_keys_lie_beside_each_other_in_the_home(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert envelope_key_file(home) == tmp_path / "keys" / "envelope.key"
    assert pseudonym_key_file(home) == tmp_path / "keys" / "pseudonym.key"


@pytest.mark.parametrize("open_to", [0o640, 0o604, 0o660, 0o620, 0o601])
def test_a_key_others_may_use_is_refused(path: Path, open_to: int) -> None:
    ensure_key(path)
    path.chmod(open_to)
    for use in (read_key, ensure_key):
        with pytest.raises(KeyFileError, match=r"others may use it\. Run `chmod 600 "):
            use(path)


@pytest.mark.parametrize("open_to", [0o750, 0o705, 0o777])
def test_a_directory_others_may_enter_is_refused(path: Path, open_to: int) -> None:
    ensure_key(path)
    path.parent.chmod(open_to)
    for use in (read_key, ensure_key, renew_key):
        with pytest.raises(KeyFileError, match=r"others may use it\. Run `chmod 700 "):
            use(path)


@pytest.mark.parametrize("content", [b"", b"short", bytes(KEY_BYTES + 1)])
def test_a_file_that_is_no_key_is_refused(path: Path, content: bytes) -> None:
    ensure_key(path)
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match=r"not a key of 32 bytes\. Delete it"):
        ensure_key(path)


def test_a_link_a_pipe_and_a_folder_are_refused(path: Path, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere" / "real.key"
    ensure_key(real)
    path.parent.mkdir(mode=0o700, parents=True)
    path.symlink_to(real)
    with pytest.raises(KeyFileError, match="cannot be read"):
        read_key(path)
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(KeyFileError, match="not a key"):
        read_key(path)
    path.unlink()
    path.mkdir(mode=0o700)
    with pytest.raises(KeyFileError, match="not a key"):
        read_key(path)


def test_a_missing_key_is_a_clear_error(path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"key directory .* No such file"):
        read_key(path)
    path.parent.mkdir(mode=0o700, parents=True)
    with pytest.raises(KeyFileError, match="cannot be read: No such file"):
        read_key(path)


def test_a_key_of_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_key(path)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(KeyFileError, match="belongs to another user"):
        read_key(path)


def test_processes_that_start_together_agree_on_one_key(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from torchkeep.keys import ensure_key\n"
        "sys.stdin.readline(); print(ensure_key(Path(sys.argv[1])).hex())"
    )
    command = [sys.executable, "-c", code, str(path)]
    racers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    keys = {racer.communicate()[0].strip() for racer in racers}
    assert keys == {read_key(path).hex()}
    assert [entry.name for entry in path.parent.iterdir()] == ["some.key"]


def test_the_slower_of_two_makers_takes_the_others_key(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Path.hardlink_to
    others: list[bytes] = []

    def after_another_was_faster(self: Path, target: Path) -> None:
        monkeypatch.setattr(Path, "hardlink_to", link)
        others.append(ensure_key(self))
        link(self, target)

    monkeypatch.setattr(Path, "hardlink_to", after_another_was_faster)
    assert ensure_key(path) == others[0]


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.lists(st.text(max_size=30), min_size=2, max_size=20, unique=True))
def test_clients_get_names_that_differ_and_stay(identities: list[str]) -> None:
    names = [client_pseudonym(KEY, identity) for identity in identities]
    assert len(set(names)) == len(names)
    assert names == [client_pseudonym(KEY, identity) for identity in identities]
    assert all(len(name) == 32 and int(name, 16) >= 0 for name in names)


def test_a_name_depends_on_the_key_and_does_not_contain_the_identity() -> None:
    name = client_pseudonym(KEY, "alice@example.org")
    assert name == "d89e5c057a23d8ce3a4393f9e2ca5c9f"
    assert name != client_pseudonym(bytes(KEY_BYTES), "alice@example.org")


def test_odd_identities_and_keys() -> None:
    assert client_pseudonym(KEY, "\ud800") != client_pseudonym(KEY, "\ud801")
    with pytest.raises(ValueError, match="32 bytes"):
        client_pseudonym(b"", "alice")
