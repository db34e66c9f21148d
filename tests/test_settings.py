"""Settings come from one file and the environment; a typing error never passes as a default."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchkeep.errors import SettingsError
from torchkeep.settings import Settings


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    name: str
    weight: float = 1.0
    colour: Colour = Colour.RED


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    port: int = 80
    share: float = 0.5
    strict: bool = False
    colour: Colour = Colour.RED
    folder: Path | None = None
    names: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise SettingsError(f"port {self.port}")


def load(tmp_path: Path, text: str = "", **environ: str) -> Example:
    file = tmp_path / "torchkeep.toml"
    file.write_text(text)
    return Settings.load(file, environ).section("server", Example)


def test_defaults_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.load(environ={}).section("server", Example) == Example()


def test_the_file_fills_and_variables_win(tmp_path: Path) -> None:
    text = '[server]\nport = 1\nshare = 1\ncolour = "blue"\nfolder = "a/b"\nnames = ["x"]\n'
    found = load(tmp_path, text, TORCHKEEP_SERVER_PORT="2", TORCHKEEP_SERVER_STRICT="yes")
    assert found == Example(
        port=2, share=1.0, strict=True, colour=Colour.BLUE, folder=Path("a/b"), names=("x",)
    )


def test_an_array_of_tables_fills_a_tuple_of_configs(tmp_path: Path) -> None:
    text = (
        '[[server.parts]]\nname = "a"\nweight = 2\n[[server.parts]]\nname = "b"\ncolour = "blue"\n'
    )
    expected = (Part(name="a", weight=2.0), Part(name="b", colour=Colour.BLUE))
    assert load(tmp_path, text) == Example(parts=expected)


def test_variables_of_every_type(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        TORCHKEEP_SERVER_SHARE="0.25",
        TORCHKEEP_SERVER_COLOUR="blue",
        TORCHKEEP_SERVER_FOLDER="c",
        TORCHKEEP_SERVER_NAMES="a, b,",
        TORCHKEEP_SERVER_STRICT="0",
    )
    assert found == Example(share=0.25, colour=Colour.BLUE, folder=Path("c"), names=("a", "b"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[server]\nprot = 1", r"unknown key in \[server\].*'prot'.*Did you mean 'port'\?"),
        ("[sever]\nport = 1", "unknown section.*'sever'.*Did you mean 'server'"),
        ("port = 1", "'port' stands outside a section"),
        ("[server]\nport = 'x'", r"\[server\] port.*'x'.*Give a whole number"),
        ("[server]\nport = true", "Give a whole number"),
        ("[server]\nstrict = 1", "Give true or false"),
        ("[server]\ncolour = 'green'", "Choose from: red, blue"),
        ("[server]\nport = 70000", "port 70000"),
        ("[server", "is not TOML"),
        ("[server]\nport = ['secret']", r"port in .* is a list\. Give a whole number"),
        ("[server]\nnames = 3", r"\[server\] names in .* is no list. Give a list"),
        ("[server]\nparts = [3]", r"\[server\] parts, number 1, in .* is 3. Give a table"),
        ("[[server.parts]]\nweight = 1", "parts, number 1, in .* lacks 'name'"),
        ("[[server.parts]]\nname = 1", "parts, number 1, name in .* is 1. Give a text"),
        ("[[server.parts]]\nnam = 'a'", "unknown key in .*parts, number 1.*Did you mean 'name'"),
    ],
)
def test_a_wrong_file_names_the_fault(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TORCHKEEP_SERVER_PROT", "1", "Did you mean 'TORCHKEEP_SERVER_PORT'"),
        ("TORCHKEEP_SEVER_PORT", "1", "unknown variable.*'TORCHKEEP_SEVER_PORT'"),
        ("TORCHKEEP_SERVER_PORT", "x", "Give a whole number"),
        ("TORCHKEEP_SERVER_STRICT", "maybe", "Give true or false"),
        ("TORCHKEEP_SERVER_COLOUR", "", "Choose from: red, blue"),
        ("TORCHKEEP_SERVER_PARTS", "a", "Give tables in torchkeep.toml"),
    ],
)
def test_a_wrong_variable_names_the_fault(
    tmp_path: Path, name: str, value: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        load(tmp_path, **{name: value})


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml cannot be read: No such file"):
        Settings.load(tmp_path / "none.toml", {})
    with pytest.raises(SettingsError, match="unset TORCHKEEP_CONFIG"):
        Settings.load(environ={"TORCHKEEP_CONFIG": str(tmp_path / "none.toml")})


@settings(deadline=None, max_examples=100, derandomize=True)
@given(text=st.one_of(st.text(max_size=60), st.binary(max_size=60)))
def test_no_file_raises_anything_but_a_settings_error(
    tmp_path_factory: pytest.TempPathFactory, text: str | bytes
) -> None:
    file = tmp_path_factory.mktemp("fuzz") / "torchkeep.toml"
    file.write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    try:
        Settings.load(file, {}).section("server", Example)
    except SettingsError:
        return
