"""`torchkeep key`: keys are made, listed, renewed and revoked, and shown once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.identity.api_key_file import ApiKeyFile, is_key_text, is_text_of
from gateway.identity.api_keys import ApiKeys
from gateway.identity.local_key import ensure_local_key, local_key
from gateway.principal import Permission
from tests.house.doc_blocks import console_commands
from tests.house.source_files import ROOT
from torchkeep.paths import Home

VERBS = ("add", "list", "rotate", "revoke")


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "torchkeep.cli", "key", *words],
        cwd=folder,
        env=os.environ | {"TORCHKEEP_HOME": str(folder / "home"), "COLUMNS": "120"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, *words: str) -> tuple[int, str, str]:
    """Run the verb; return its exit code, stdout and stderr."""
    with start(folder, *words) as process:
        out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def told(folder: Path, *words: str) -> dict[str, Any]:
    code, out, err = run(folder, *words, "--json")
    assert (code, err) == (0, "")
    printed: dict[str, Any] = json.loads(out)
    return printed


def test_a_key_is_printed_once_and_never_again(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "add", "shop", "--permission", "predict")
    assert code == 0
    text = out.strip()
    assert out == f"{text}\n"
    assert is_key_text(text)
    assert "store it now" in err
    (key,) = ApiKeyFile.of(Home(tmp_path / "home")).known()
    assert is_text_of(text, key)
    later = "".join(run(tmp_path, "list")[1:]) + json.dumps(told(tmp_path, "list")) + err
    later += run(tmp_path, "add", "shop")[2]
    assert text[12:] not in later
    assert key.sha256 not in later
    files = [path.read_text() for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert not any(text[12:] in content for content in files)


def test_what_is_made_is_listed_renewed_and_revoked(tmp_path: Path) -> None:
    assert told(tmp_path, "list") == {"keys": []}
    assert run(tmp_path, "list")[1] == "no API key is here\n"
    words = ("--permission", "predict", "--permission", "explain", "--expires-days", "90")
    first = told(tmp_path, "add", "shop", *words)
    plain = told(tmp_path, "add", "plain")
    assert first["permissions"] == ["explain", "predict"]
    assert (plain["permissions"], plain["expires"]) == (["predict"], None)
    assert first["expires"] > first["created"]
    second = told(tmp_path, "rotate", "shop", "--overlap", "3600")
    assert second["id"] == first["id"]
    assert len(second["old_secrets_until"]) == 1
    listed = told(tmp_path, "list")["keys"]
    assert [row["name"] for row in listed] == ["shop", "plain"]
    assert {name: second[name] for name in listed[0]} == listed[0]
    lines = run(tmp_path, "list")[1].splitlines()
    assert lines[1].split()[:4] == ["shop", first["id"], "explain,", "predict"]
    assert lines[2].split() == ["old", "secret", second["old_secrets_until"][0]]
    assert lines[3].split()[-1] == "never"
    keys = ApiKeys.of(Home(tmp_path / "home"))
    assert keys.authenticate(first["key"]) == keys.authenticate(second["key"])
    assert told(tmp_path, "revoke", "plain") == {"revoked": "plain"}
    assert run(tmp_path, "revoke", "shop") == (0, "", "shop is revoked\n")
    assert told(tmp_path, "list") == {"keys": []}


def test_the_local_key_is_renewed_with_its_file(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    first = ensure_local_key(home)
    code, out, _ = run(tmp_path, "rotate", "local")
    assert code == 0
    assert out.strip() == local_key(home) != first


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("add", "a b"), "'a b' is no name of a key. Give 1 to 64 of"),
        (("add", "local"), "'local' is kept for this machine's own key"),
        (("add", "shop"), "there is a key 'shop' already. Choose another name, or renew it"),
        (("add", "new", "--permission", "root"), "'root' is no permission. Choose from: predict"),
        (("rotate", "sop"), "there is no key 'sop'. Did you mean 'shop'?"),
        (("revoke", "sop"), "there is no key 'sop'. Did you mean 'shop'?"),
    ],
)
def test_what_a_user_does_wrong_is_one_line(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    ApiKeyFile.of(Home(tmp_path / "home")).add("shop", [Permission.PREDICT])
    code, out, err = run(tmp_path, *words)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert message in line


@pytest.mark.parametrize(
    "words",
    [
        ("add", "shop", "--expires-days", "0"),
        ("add", "shop", "--expires-days", "99999999999999999999"),
        ("rotate", "shop", "--overlap", "-1"),
        ("add",),
        ("steal",),
    ],
)
def test_a_wrong_option_is_exit_code_2_and_makes_no_key(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    code, out, err = run(tmp_path, *words)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert not (tmp_path / "home").exists()


def test_a_broken_file_and_one_others_may_read_are_one_line(tmp_path: Path) -> None:
    file = ApiKeyFile.of(Home(tmp_path / "home"))
    text = file.add("shop", [Permission.PREDICT]).text
    file.path.chmod(0o644)
    for words in (("list",), ("add", "new"), ("revoke", "shop")):
        code, out, err = run(tmp_path, *words)
        assert (code, out) == (2, "")
        assert f"others may use it. Run `chmod 600 {file.path}`." in err
    file.path.chmod(0o600)
    file.path.write_text("hello")
    code, out, err = run(tmp_path, "list")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "is not a file of API keys" in err
    assert text not in err


def test_two_commands_at_once_both_succeed(tmp_path: Path) -> None:
    names = ("one", "two", "three")
    made = [start(tmp_path, "add", name) for name in names]
    texts = [process.communicate(timeout=120)[0].strip() for process in made]
    keys = {key.name: key for key in ApiKeyFile.of(Home(tmp_path / "home")).known()}
    assert keys.keys() == set(names)
    assert all(is_text_of(text, keys[name]) for name, text in zip(names, texts, strict=True))


@pytest.mark.parametrize("verb", VERBS)
def test_every_help_has_an_example(tmp_path: Path, verb: str) -> None:
    code, out, _ = run(tmp_path, verb, "--help")
    assert code == 0
    assert f"torchkeep key {verb}" in out.partition("Examples")[2]
    assert f"torchkeep key {verb}" in run(tmp_path, "--help")[1].partition("Examples")[2]


def test_the_commands_of_the_documentation_run_as_they_stand(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "gateway-keys.md").read_text(encoding="utf-8")
    commands = [words[2:] for words in console_commands(page) if words[:2] == ["torchkeep", "key"]]
    assert len(commands) == 6
    for words in commands:
        code, out, err = run(tmp_path, *words)
        assert code == 0, err
    (left,) = json.loads(out)["keys"]
    assert left["name"] == "web-shop"
