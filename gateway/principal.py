"""Who asks, and what they may."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.refusal import Code, Refusal


class Permission(StrEnum):
    """A role of an API key."""

    PREDICT = "predict"
    EXPLAIN = "explain"
    OBSERVE = "observe"  # configurations, statistics, the index
    ADMIN = "admin"  # all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A caller that has shown a valid key; `client` is the pseudonym under which it is logged."""

    name: str
    client: str
    permissions: frozenset[Permission]

    def require(self, permission: Permission) -> None:
        """Raise `Refusal` unless this caller may do that."""
        if permission not in self.permissions and Permission.ADMIN not in self.permissions:
            raise Refusal(
                Code.FORBIDDEN, f"the key {self.name!r} lacks the permission {permission.value!r}"
            )
