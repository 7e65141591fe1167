"""One signature for everybody who is told how far a long piece of work is."""

from __future__ import annotations

from collections.abc import Callable

OnProgress = Callable[[int, int], None]
"""Told how many parts are done, and of how many."""


def unheard(done: int, total: int) -> None:
    """Tell nobody: what stands in where nobody listens."""
    del done, total
