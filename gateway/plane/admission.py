"""Who is let into the queue: bounds on items and bytes, and on what one client may hold of them."""

from __future__ import annotations

from collections import defaultdict

from gateway.refusal import Code, Refusal


class Admission:
    """Counts what waits or is under way.

    A client may hold as much as is still free, so the first one can fill half of the queue, the
    next one half of the rest, and there is always room for another (dynamic thresholds: Choudhury
    & Hahne 1998, Dynamic Queue Length Thresholds for Shared-Memory Packet Switches, alpha = 1).
    """

    def __init__(self, *, most_items: int, most_bytes: int) -> None:
        self._most_items = most_items
        self._most_bytes = most_bytes
        self._held: defaultdict[str, int] = defaultdict(int)
        self.items = 0
        self.bytes = 0

    def enter(self, client: str, items: int, nbytes: int, retry_after_s: float) -> None:
        """Let a question in. Raises `Refusal` if there is no room for it."""
        if items > self._most_items // 2 or nbytes > self._most_bytes:
            raise Refusal(
                Code.TOO_LARGE,
                f"the request has {items} items in {nbytes} bytes, more than the queue ever "
                "takes from one client; send it in parts",
            )
        if self.items + items > self._most_items or self.bytes + nbytes > self._most_bytes:
            raise Refusal(
                Code.BUSY,
                f"{self.items} items are waiting; try again in {retry_after_s:.0f} s",
                retry_after_s=retry_after_s,
            )
        if self._held[client] + items > self._most_items - self.items:
            raise Refusal(
                Code.BUSY,
                f"{self._held[client]} items of this client are waiting; "
                f"try again in {retry_after_s:.0f} s",
                retry_after_s=retry_after_s,
            )
        self._held[client] += items
        self.items += items
        self.bytes += nbytes

    def leave(self, client: str, items: int, nbytes: int) -> None:
        """Take note that a question was closed."""
        self.items -= items
        self.bytes -= nbytes
        self._held[client] -= items
        if not self._held[client]:
            del self._held[client]
