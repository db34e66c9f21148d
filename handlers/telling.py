"""How much of the screening an answer tells; a score is an oracle for an attacker."""

from __future__ import annotations

from dataclasses import dataclass

from handlers.config import ScreeningConfig
from handlers.item import Item, Judgement
from torchkeep.schema import Disclose, ItemStatus, Policy

WITHHELD = "the item was not accepted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """What one audience may know."""

    disclose: Disclose

    @classmethod
    def to_callers(cls, config: ScreeningConfig) -> Telling:
        """Under the policy `observe` callers are told nothing, else what the setting says."""
        observes = config.policy is Policy.OBSERVE
        return cls(disclose=Disclose.NONE if observes else config.disclose)

    def prediction_of(self, item: Item) -> Judgement | None:
        """Return the judgement of an item whose prediction is answered."""
        return item.judgement if item.status is ItemStatus.OK else None

    def verdict_of(self, item: Item) -> Judgement | None:
        """Return the judgement of an item whose verdict is told."""
        return None if self.disclose is Disclose.NONE else item.judgement

    def score_of(self, item: Item) -> Judgement | None:
        """Return the judgement of an item whose scores are told."""
        return item.judgement if self.disclose is Disclose.FULL else None

    def message_of(self, item: Item) -> str:
        """Return why an item has no prediction."""
        hidden = item.status is ItemStatus.REJECTED and self.disclose is Disclose.NONE
        return WITHHELD if hidden else item.message
