"""Which versions are served, by name."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.refusal import Code, Refusal
from gateway.upstream import ServedVersion


class Catalogue:
    """The served versions; the first one of a name is its default."""

    def __init__(self, models: Sequence[ServedVersion]) -> None:
        self._versions: dict[str, dict[str, ServedVersion]] = {}
        for served in models:
            self._versions.setdefault(served.name, {})[served.version] = served
        self.models = tuple(models)

    def find(self, model: str, version: str = "") -> ServedVersion:
        """Return a version, "" for the default one. Raises `Refusal` if it is not served."""
        versions = self._named(model)
        if not version:
            return next(iter(versions.values()))
        if served := versions.get(version):
            return served
        raise Refusal(
            Code.NOT_FOUND,
            f"model {model!r} has no version {version[:64]!r}; served: {', '.join(versions)}",
        )

    def versions(self, model: str) -> list[ServedVersion]:
        """Return all versions of a model, the default one first. Raises `Refusal` if none."""
        return list(self._named(model).values())

    def _named(self, model: str) -> dict[str, ServedVersion]:
        if versions := self._versions.get(model):
            return versions
        raise Refusal(
            Code.NOT_FOUND,
            f"no model {model[:64]!r} is served here; served: {', '.join(self._versions)}",
        )
