"""Settings: `torchkeep.toml` and `TORCHKEEP_<SECTION>_<KEY>` variables fill frozen dataclasses.

A config lives beside its owner and names its section; it validates itself in `__post_init__`.
Variables win over the file. An unknown section, key or variable is an error that names the nearest
known one, so that a typing error never passes as a default.
"""

from __future__ import annotations

import difflib
import os
import tomllib
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from torchkeep.errors import SettingsError

SECTIONS = (
    "alerts",
    "data",
    "gateway",
    "limits",
    "models",
    "monitoring",
    "request_log",
    "screening",
    "server",
    "serving",
    "slo",
)
"""Every section there is; a config class that is not listed here cannot be loaded."""

RESERVED_VARIABLES = frozenset(
    {
        "TORCHKEEP_CONFIG",
        "TORCHKEEP_GRPC_URL",
        "TORCHKEEP_HOME",
        "TORCHKEEP_MODEL",
        "TORCHKEEP_TOKEN",
        "TORCHKEEP_URL",
    }
)
"""Variables that are no settings: where settings and data lie, and what a client is told."""
CONFIG_FILE = "torchkeep.toml"

Config = TypeVar("Config")


@dataclass(frozen=True, slots=True)
class Settings:
    """The raw settings of one process: the file's tables and the environment's variables."""

    tables: Mapping[str, Mapping[str, Any]]
    variables: Mapping[str, str]
    source: str

    @classmethod
    def load(cls, path: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the file `path`, else `TORCHKEEP_CONFIG`, else `./torchkeep.toml` if it exists.

        Raises `SettingsError` if a named file is missing, is not TOML or has an unknown section.
        """
        environ = os.environ if environ is None else environ
        named = path or environ.get("TORCHKEEP_CONFIG")
        file = Path(named or CONFIG_FILE)
        tables: Mapping[str, Mapping[str, Any]] = {}
        if named or file.exists():
            tables = _read_toml(file)
        for section in tables:
            _known(section, SECTIONS, f"section in {file}")
        variables = {
            name: value
            for name, value in environ.items()
            if name.startswith("TORCHKEEP_") and name not in RESERVED_VARIABLES
        }
        for name in variables:
            if not any(name.startswith(_prefix(section)) for section in SECTIONS):
                prefixes = [_prefix(section) for section in SECTIONS]
                _known(name, prefixes + sorted(RESERVED_VARIABLES), "variable")
        return cls(tables, variables, str(file))

    def section(self, name: str, config: type[Config]) -> Config:
        """Return the config dataclass of one section, filled and validated.

        Raises `SettingsError` that names the key, what it holds and what fits.
        """
        hints = get_type_hints(config)
        known = [field.name for field in fields(config)]  # type: ignore[arg-type]
        values = _values(self.tables.get(name, {}), config, f"[{name}]", self.source)
        for variable, text in self.variables.items():
            if not variable.startswith(_prefix(name)):
                continue
            key = variable.removeprefix(_prefix(name)).lower()
            if key not in known:
                _known(variable, [_prefix(name) + item.upper() for item in known], "variable")
            values[key] = _parse(text, hints[key], variable)
        return config(**values)


def _values(table: Mapping[str, Any], config: Any, place: str, source: str) -> dict[str, Any]:
    """Return what one table gives for the fields of a config dataclass."""
    hints = get_type_hints(config)
    values: dict[str, Any] = {}
    for key, value in table.items():
        _known(key, hints, f"key in {place} of {source}")
        values[key] = _convert(value, hints[key], f"{place} {key} in {source}", source)
    return values


def _entry(table: Any, config: Any, place: str, source: str) -> Any:
    """Return one entry of an array of tables, such as `[[alerts.rules]]`."""
    if not isinstance(table, dict):
        raise SettingsError(f"{place} in {source} is {table!r}", remedy="Give a table.")
    values = _values(table, config, place, source)
    required = [each.name for each in fields(config) if _is_required(each)]
    if missing := [name for name in required if name not in values]:
        raise SettingsError(f"{place} in {source} lacks {missing[0]!r}")
    return config(**values)


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _prefix(section: str) -> str:
    return f"TORCHKEEP_{section.upper()}_"


def _read_toml(file: Path) -> Mapping[str, Mapping[str, Any]]:
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"{file} cannot be read: {error.strerror}",
            remedy="Write it, or unset TORCHKEEP_CONFIG.",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is not TOML: {error}") from error
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise SettingsError(
                f"{file}: {name!r} stands outside a section",
                remedy=f"Put it below one of: {', '.join(SECTIONS)}.",
            )
    return tables


def _known(name: str, known: Iterable[str], what: str) -> None:
    choices = sorted(known)
    if name in choices:
        return
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.0)
    raise SettingsError(f"unknown {what}: {name!r}", remedy=f"Did you mean {near[0]!r}?")


def _parse(text: str, hint: Any, where: str) -> Any:
    """Turn a variable's text into the value the hint asks for."""
    kind = _without_none(hint)
    if kind is bool:
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if text.lower() not in words:
            raise SettingsError(f"{where} is {text!r}", remedy="Give true or false.")
        return words[text.lower()]
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError as error:
            raise SettingsError(f"{where} is {text!r}", remedy=f"Give {_article(kind)}.") from error
    if get_origin(kind) is tuple:
        parts = [part.strip() for part in text.split(",")]
        return tuple(_parse(part, get_args(kind)[0], where) for part in parts if part)
    return _convert(text, hint, where)


def _convert(value: Any, hint: Any, where: str, source: str = "") -> Any:
    kind = _without_none(hint)
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise SettingsError(f"{where} is no list", remedy=_list_of(value, where))
        of = get_args(kind)[0]
        if is_dataclass(of):
            place = where.removesuffix(f" in {source}")
            return tuple(
                _entry(table, of, f"{place}, number {number},", source)
                for number, table in enumerate(value, start=1)
            )
        return tuple(value)
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError as error:
            choices = ", ".join(str(member.value) for member in kind)
            raise SettingsError(
                f"{where} is {value!r}", remedy=f"Choose from: {choices}."
            ) from error
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    bool_as_int = kind is int and isinstance(value, bool)
    if isinstance(kind, type) and (bool_as_int or not isinstance(value, kind)):
        raise SettingsError(f"{where} is {_shown(value)}", remedy=f"Give {_article(kind)}.")
    return value


def _shown(value: Any) -> str:
    """A wrong value, but not what a list or table holds: there may be a secret in it."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a table"
    return repr(value)


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        rest = [arg for arg in get_args(hint) if arg is not type(None)]
        return rest[0] if len(rest) == 1 else hint
    return hint


def _list_of(value: Any, where: str) -> str:
    """Say how to write a list; of a name that only lacks its brackets, the line to write."""
    key = where.partition("] ")[2].partition(" ")[0]
    return f'Give a list: {key} = ["{value}"].' if isinstance(value, str) else "Give a list."


def _article(kind: type) -> str:
    words = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a text",
        Path: "a path",
    }
    if is_dataclass(kind):
        return f"tables in {CONFIG_FILE}"
    return words.get(kind, kind.__name__)
