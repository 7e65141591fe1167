"""The order in which a worker looks at its lanes: urgent work mostly first, no lane starved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from storage.domain import Lane

WEIGHTS: Mapping[str, int] = {Lane.STAT.value: 8, Lane.ROUTINE.value: 3, Lane.BATCH.value: 1}
"""Out of twelve messages, how many come from each lane while all three are full."""


class LaneOrder:
    """A kombu queue cycle: smooth weighted round robin with bounded credit.

    Each message taken credits every lane with its weight and charges the lane it came from with the sum, so shares
    follow the weights while all lanes are full, and a lane that stood empty saves up at most one round. kombu calls
    ``consume`` each time it polls; ``on_poll`` is told, which is how a worker proves that it still polls.
    """

    def __init__(self, weights: Mapping[str, int] = WEIGHTS, *, on_poll: Callable[[], None] | None = None) -> None:
        self._weights = weights
        self._on_poll = on_poll
        self._credit: dict[str, int] = {}

    def update(self, queues: Sequence[str]) -> None:
        """Take over the queues that the worker consumes from; the credit of those that stay is kept."""
        self._credit = {queue: self._credit.get(queue, 0) for queue in queues}

    def consume(self, n: int) -> list[str]:
        """Return the queues, the one to be served first in front."""
        if self._on_poll is not None:
            self._on_poll()
        order = sorted(self._credit, key=lambda queue: (-self._credit[queue] - self._weight(queue), queue))
        return order[:n]

    def rotate(self, last_used: str) -> str:
        """Charge the queue that a message came from."""
        if last_used not in self._credit:
            return last_used
        total = sum(self._weight(queue) for queue in self._credit)
        for queue in self._credit:
            self._credit[queue] += self._weight(queue)
        self._credit[last_used] -= total
        self._credit = {queue: max(-total, min(total, credit)) for queue, credit in self._credit.items()}
        return last_used

    def _weight(self, queue: str) -> int:
        """Return the weight of a queue's lane; the name of a pool may stand before it."""
        return self._weights.get(queue.rpartition(".")[2], 1)
