"""The numbers that describe each input, from the pixels as received."""

from __future__ import annotations

from collections.abc import Sequence

from handlers.item import Item
from handlers.pixels import Images, stack
from monitoring.input_summary import summarise


def describe(items: Sequence[Item], images: Images) -> None:
    """Give decoded items their summaries; `images` are theirs, joined (mixed dtypes as floats)."""
    groups: dict[object, list[Item]] = {}
    for item in items:
        if item.image is not None:
            groups.setdefault(item.image.dtype, []).append(item)
    for members in groups.values():
        alike = len(groups) == 1
        received = images if alike else stack([m.image for m in members if m.image is not None])
        sizes = [member.body.bytes_of(member.position) for member in members]
        for member, summary in zip(members, summarise(received, sizes), strict=True):
            member.summary = summary
