"""The models of one worker process: loaded when a job needs them, kept warm within a memory budget.

Several threads may use them at once. What is in use is never let go; else the least recently used one leaves first.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import structlog

from workers.analysers import Analyser
from workers.errors import NoAnalyser
from workers.model_memory import free_unused, megabytes_of

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model comes from. ``identity`` is another one as soon as ``load`` would open something else.

    ``megabytes`` is what it is expected to take, 0 where nobody knows before it is loaded.
    """

    identity: str
    load: Callable[[], Analyser]
    megabytes: float = 0.0


class ModelSources(Protocol):
    """What a worker may load: it changes when a site adds or removes a model."""

    def names(self) -> frozenset[str]:
        """Return the names that routes may ask for here."""
        ...

    def source(self, name: str) -> ModelSource:
        """Return where a model comes from; NoAnalyser where there is none of that name."""
        ...


@dataclass(slots=True, eq=False)
class _Held:
    name: str
    identity: str
    analyser: Analyser
    megabytes: float
    uses: int = 1


class LoadedModels:
    """Models by identity, those used longest ago first; ``budget_megabytes`` 0 keeps all of them.

    Together they may take more than the budget only while they are in use, or where one alone does.
    """

    def __init__(self, sources: ModelSources, *, budget_megabytes: float = 0.0) -> None:
        self.sources = sources
        self._budget = budget_megabytes
        self._held: dict[str, _Held] = {}
        self._sizes: dict[str, float] = {}
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    @contextmanager
    def use(self, name: str) -> Iterator[Analyser]:
        """Hand out a model, loaded if need be, and keep it while the block runs.

        NoAnalyser where there is none of that name; whatever its loader raises, and every other model stays usable.
        """
        source = self.sources.source(name)
        held = self._take(source.identity) or self._load(name, source)
        try:
            yield held.analyser
        finally:
            with self._lock:
                held.uses -= 1
            del held
            self._make_room(0.0, spare_newest=True)

    def warm(self, names: frozenset[str]) -> None:
        """Load models once, so that one that cannot be loaded is noticed; those that fit the budget stay."""
        for name in sorted(names):
            with self.use(name):
                pass

    def release_idle(self) -> None:
        """Let every model go that is not in use, as after the device ran out of memory."""
        self._evict(lambda held: held.uses == 0)

    def forget_removed(self) -> None:
        """Let those go whose source is gone or is another one now; a job that uses one ends with it."""
        with self._lock:
            names = [(held.name, held.identity) for held in self._held.values()]
        gone = {identity for name, identity in names if self._identity(name) != identity}
        if gone:
            self._evict(lambda held: held.identity in gone)

    @property
    def megabytes(self) -> float:
        """Memory of all that is loaded, in 10^6 bytes."""
        with self._lock:
            return self._total()

    def _identity(self, name: str) -> str | None:
        try:
            return self.sources.source(name).identity
        except NoAnalyser:
            return None

    def _take(self, identity: str) -> _Held | None:
        with self._lock:
            held = self._held.pop(identity, None)
            if held is not None:
                held.uses += 1
                self._held[identity] = held
            return held

    def _load(self, name: str, source: ModelSource) -> _Held:
        with self._loading:
            held = self._take(source.identity)  # another thread may have been faster
            if held is not None:
                return held
            self._evict(lambda other: other.name == name)
            self._make_room(self._sizes.get(source.identity, source.megabytes), spare_newest=False)
            held = self._opened(name, source)
            self._make_room(0.0, spare_newest=True)
            return held

    def _opened(self, name: str, source: ModelSource) -> _Held:
        started = time.monotonic()
        analyser = source.load()
        held = _Held(name, source.identity, analyser, megabytes_of(analyser))
        with self._lock:
            self._held[source.identity] = held
            self._sizes[source.identity] = held.megabytes
        seconds, size = round(time.monotonic() - started, 2), round(held.megabytes, 1)
        log.info("model.loaded", model=name, seconds=seconds, megabytes=size)
        if self._budget and held.megabytes > self._budget:
            log.warning("model.over_budget", model=name, megabytes=size, memory_megabytes=self._budget)
        return held

    def _make_room(self, megabytes: float, *, spare_newest: bool) -> None:
        """Let idle models go, the least recently used first, until there is room within the budget."""
        if not self._budget:
            return
        leaving: set[str] = set()
        with self._lock:
            excess = self._total() + megabytes - self._budget
            in_order = list(self._held)
            for identity in in_order[:-1] if spare_newest else in_order:
                if excess > 0 and self._held[identity].uses == 0:
                    leaving.add(identity)
                    excess -= self._held[identity].megabytes
        self._evict(lambda held: held.identity in leaving and held.uses == 0)

    def _evict(self, leaves: Callable[[_Held], bool]) -> None:
        with self._lock:
            identities = [identity for identity, held in self._held.items() if leaves(held)]
            # No reference may stay behind here, or its memory could not be freed below.
            left = [_described(self._held.pop(identity)) for identity in identities]
        for name, megabytes in left:
            log.info("model.evicted", model=name, megabytes=megabytes)
        if left:
            free_unused()

    def _total(self) -> float:
        return sum(held.megabytes for held in self._held.values())


def _described(held: _Held) -> tuple[str, float]:
    return held.name, round(held.megabytes, 1)
