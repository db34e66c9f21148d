"""Whether a command line that is written down somewhere can be typed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from typer.main import get_command

from tests.house.source_files import ROOT


def unknown_words(words: Sequence[str]) -> str | None:
    """Return what is wrong with a `torchkeep` or `make` command line; None if nothing is."""
    program, *arguments = words
    if program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
        wanted = {word for word in arguments if "=" not in word and not word.startswith("-")}
        return f"make has no {wanted - targets}" if wanted - targets else None
    if Path(program).name == "torchkeep":
        return _unknown_to_torchkeep(arguments)
    return None


def _unknown_to_torchkeep(arguments: Sequence[str]) -> str | None:
    from torchkeep.cli.main import command as build

    command, path = get_command(build()), "torchkeep"
    rest = list(arguments)
    while rest and (verbs := getattr(command, "commands", None)) and not rest[0].startswith("-"):
        if rest[0] not in verbs:
            return f"{path} has no verb {rest[0]!r}"
        command, path = verbs[rest[0]], f"{path} {rest.pop(0)}"
    options = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    for word in rest:
        name = word.partition("=")[0]
        if word.startswith("--") and name not in options | {"--help"}:
            return f"{path} has no option {name}"
    return None
