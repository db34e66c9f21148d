"""Text that cannot steer a terminal: callers chose some of what is logged."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return the text on one line, with what is no printable character replaced by U+FFFD."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
