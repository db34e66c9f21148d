"""Networks written elsewhere: a class or function of an installed package, as `pkg.module:Class`.

Naming one runs nothing. Its module is imported only if the user trusts that very name, in
`[models] trusted` of the settings or, in the process of `torchkeep import`, on the command line: an
artifact can therefore not choose the code that is run to load it.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from torchkeep.errors import SettingsError
from torchkeep.settings import Settings

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", re.ASCII)
_trusted_here: ContextVar[frozenset[str]] = ContextVar("_trusted_here", default=frozenset())


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsConfig:
    """Section `[models]`: the classes that artifacts may have imported, as `pkg.module:Class`."""

    trusted: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.trusted:
            _check_name(name)


@contextmanager
def trusting(name: str) -> Iterator[None]:
    """Trust `name` in the block, besides what the settings trust."""
    _check_name(name)
    token = _trusted_here.set(_trusted_here.get() | {name})
    try:
        yield
    finally:
        _trusted_here.reset(token)


def trusted_by_settings() -> tuple[str, ...]:
    """Return the names that the settings of this process trust."""
    return Settings.load().section("models", ModelsConfig).trusted


def setting_to_trust(name: str) -> str:
    """Return how to say in the settings that `name` is trusted, besides those that are."""
    names = [*dict.fromkeys([*trusted_by_settings(), name])]
    listed = ", ".join(f'"{each}"' for each in names)
    return (
        f"write trusted = [{listed}] below [models] in torchkeep.toml, "
        f"or set TORCHKEEP_MODELS_TRUSTED={','.join(names)}"
    )


def construct(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Import the trusted `name` and call it with `arguments`.

    Raises `SettingsError` if it is not trusted, cannot be imported, fails, or makes no network.
    """
    maker = _find(name)
    try:
        network = maker(**arguments)
    except Exception as error:
        said = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise SettingsError(
            f"{name}({said}) failed: {_one_line(error)}",
            remedy="Give the arguments it needs with --option key=value.",
        ) from error
    if not isinstance(network, nn.Module):
        raise SettingsError(
            f"{name} made a {type(network).__name__}", remedy="Name what makes an nn.Module."
        )
    return network


def _find(name: str) -> Callable[..., object]:
    _check_name(name)
    if name not in _trusted_here.get() and name not in trusted_by_settings():
        raise SettingsError(
            f"{name} is not trusted, so it is not imported",
            remedy=f"If it is yours, {setting_to_trust(name)}.",
        )
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise SettingsError(
            f"{module_name} cannot be imported: {_one_line(error)}", remedy=_where(module_name)
        ) from error
    if not hasattr(module, attribute):
        near = difflib.get_close_matches(attribute, dir(module), n=1)
        remedy = f"Did you mean {near[0]!r}?" if near else "Name a class of that module."
        raise SettingsError(f"{module_name} has no {attribute!r}", remedy=remedy)
    found: Callable[..., object] = getattr(module, attribute)
    is_network = inspect.isclass(found) and issubclass(found, nn.Module)
    if not (is_network or inspect.isfunction(found)):
        raise SettingsError(
            f"{name} is no network", remedy="Name a class derived from torch.nn.Module."
        )
    return found


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise SettingsError(f"{name!r} names no class", remedy="Write it as package.module:Class.")


def _where(module: str) -> str:
    """Return what to do about a module that is not found; workers run in folders of their own."""
    top = module.partition(".")[0]
    here = Path.cwd()
    if (here / f"{top}.py").exists() or (here / top).is_dir():
        return f"It lies in this folder, where no server looks: set PYTHONPATH={here}."
    return "Install its package, or name the folder it lies in: PYTHONPATH=/absolute/folder."


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
