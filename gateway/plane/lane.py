"""The queue of items that may share a call, fair between clients.

Clients take turns, each with its part of the call; a question that does not fit its client's part
goes behind that client's other ones. So a call of 10,000 items delays nobody else's single image by
more than the calls already under way. (Round-robin with a quantum: Shreedhar & Varghese 1996,
Efficient Fair Queuing Using Deficit Round Robin, with items of equal size.)
"""

from __future__ import annotations

from collections import deque

from gateway.plane.pending import Pending, Share


class Lane:
    """Waiting questions of one model version, one operation and one kind of payload."""

    def __init__(self, most: int) -> None:
        self.most = most  # items in a call
        self.items = 0
        self._waiting: dict[str, deque[Pending]] = {}
        self._turns: deque[str] = deque()

    def add(self, pending: Pending) -> None:
        """Queue a question behind those of its client."""
        client = pending.question.principal.client
        queue = self._waiting.get(client)
        if queue is None:
            queue = self._waiting[client] = deque()
            self._turns.append(client)
        queue.append(pending)
        self.items += pending.left

    def drop(self, pending: Pending) -> None:
        """Forget the items of a question that no call has taken: it waits no longer."""
        client = pending.question.principal.client
        queue = self._waiting[client]
        queue.remove(pending)
        self.items -= pending.left
        if not queue:
            del self._waiting[client]
            self._turns.remove(client)

    @property
    def oldest(self) -> float:
        """When the question whose turn it is was queued; infinity if nothing waits."""
        return self._waiting[self._turns[0]][0].queued if self._turns else float("inf")

    def take(self, now: float) -> list[Share]:
        """Hand out the next call: at most `most` items."""
        shares: list[Share] = []
        room = self.most
        quantum = max(1, self.most // max(1, len(self._turns)))
        while room and self._turns:
            client = self._turns.popleft()
            queue = self._waiting[client]
            room -= self._serve(queue, min(quantum, room), now, shares)
            if queue:
                self._turns.append(client)
            else:
                del self._waiting[client]
        return shares

    def _serve(self, queue: deque[Pending], most: int, now: float, shares: list[Share]) -> int:
        """Take items of one client; return how many."""
        taken = 0
        while queue and taken < most:
            pending = queue.popleft()
            share = pending.take(most - taken, now)
            shares.append(share)
            taken += share.count
            if pending.left:
                queue.append(pending)
        self.items -= taken
        return taken
