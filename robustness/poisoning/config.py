"""How a scan decides; light to import."""

from __future__ import annotations

from dataclasses import dataclass

from torchkeep.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanConfig:
    """Where suspicion begins and what it takes to confirm it; shares and confidences are of 1.

    `silhouette` is ART's: a class whose activations part less clearly is not split. `separation`
    counts standard deviations. Classes smaller than `fewest` are not tested.
    """

    neighbours: int = 20
    silhouette: float = 0.1
    gap: float = 0.2
    separation: float = 2.5
    false_discoveries: float = 0.01
    explained_away: float = 0.6
    label_confidence: float = 0.9
    fewest: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        shares = (self.gap, self.false_discoveries, self.explained_away, self.label_confidence)
        if not all(0 < share < 1 for share in shares):
            raise SettingsError(
                "gap, false_discoveries, explained_away and label_confidence of a scan lie "
                "between 0 and 1"
            )
        if self.neighbours < 1 or self.fewest < 2 or self.separation <= 0:
            raise SettingsError("neighbours and separation of a scan are above 0, fewest above 1")
        if not -1 <= self.silhouette <= 1:
            raise SettingsError(f"a silhouette of {self.silhouette}", remedy="Give -1 to 1.")
        if self.seed < 0:
            raise SettingsError(f"seed {self.seed}", remedy="Give a whole number from 0.")
