"""The numbers that describe each input, from the pixels as received."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from handlers.item import Item
from handlers.pixels import Images, stack
from monitoring.input_summary import summarise


def describe(items: Sequence[Item], images: Images) -> None:
    """Give decoded items their summaries; `images` are theirs, joined (mixed dtypes as floats)."""
    for dtype in (np.uint8, np.float32):
        members = [item for item in items if item.image is not None and item.image.dtype == dtype]
        if not members:
            continue
        alike = len(members) == len(items)
        received = images if alike else stack([m.image for m in members if m.image is not None])
        sizes = [member.body.bytes_of(member.position) for member in members]
        for member, summary in zip(members, summarise(received, sizes), strict=True):
            member.summary = summary
