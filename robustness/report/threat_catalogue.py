"""Which entries of public threat catalogues an attack belongs to, read from a checked-in table.

An attack is mapped by what its attacker knows, which is what the catalogues distinguish.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec

from torchkeep.errors import SettingsError

FILE = Path(__file__).with_name("threat_catalogue.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A published catalogue; `checked` says against what its entries were compared, and how far."""

    id: str
    title: str
    version: str
    address: str
    checked: str
    checked_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Technique:
    """An entry of a catalogue."""

    id: str
    source: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """The table. Raises `SettingsError` if ids repeat or name nothing."""

    schema: int
    sources: tuple[Source, ...]
    techniques: tuple[Technique, ...]
    by_knowledge: Mapping[str, tuple[str, ...]]
    default: tuple[str, ...]

    def __post_init__(self) -> None:
        sources = [source.id for source in self.sources]
        known = [technique.id for technique in self.techniques]
        used = [*self.default, *(id_ for ids in self.by_knowledge.values() for id_ in ids)]
        if len(set(sources)) < len(sources) or len(set(known)) < len(known):
            raise SettingsError("the threat catalogue repeats an id")
        dangling = set(used) - set(known)
        dangling |= {technique.source for technique in self.techniques} - set(sources)
        if dangling:
            raise SettingsError(f"the threat catalogue lacks {', '.join(sorted(dangling))}")

    def techniques_of(self, knows: str) -> tuple[Technique, ...]:
        """Return the entries for an attacker who knows `knows`, or the default ones."""
        wanted = self.by_knowledge.get(knows, self.default)
        return tuple(technique for technique in self.techniques if technique.id in wanted)


@cache
def catalogue() -> Catalogue:
    """Return the checked-in table."""
    return msgspec.json.decode(FILE.read_bytes(), type=Catalogue, strict=True)


def references(knows: str) -> str:
    """Return the ids of the entries for an attacker who knows `knows`."""
    return ", ".join(technique.id for technique in catalogue().techniques_of(knows))
