"""Prove a range of the log's leaves: hash the events that stand there, and hold the tiles that follow against ours.

A range needs nothing of its neighbours, so several can be proved at once; ``verification`` joins what they found.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Executable, select
from sqlalchemy.orm import Session

from storage.audit_tables import AuditLeafRow
from storage.history import tiles
from storage.history.archived_leaves import ArchivedLeaves, archived_leaves
from storage.history.leaves import COLUMNS, EVENTS, FIELDS, leaves_data
from storage.history.merkle import HASH_BYTES
from storage.history.sealing import counted, read_tile

GENESIS = "0" * 64
"""What the first event of a chain of before follows."""
MOST_PROBLEMS = 20
_CHUNK = 8192
_WIDEST = 4 * _CHUNK
_AT_ONCE = 500
_SEQ, _PREVIOUS, _HASH = (FIELDS.index(name) for name in ("seq", "previous_hash", "hash"))
_CHAINED = tuple(FIELDS.index(name) for name in ("seq", "at", "tag", "subject", "actor", "details"))

Values = tuple[Any, ...]
Counts = Counter[tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class LeafRange:
    """Leaves ``[start, stop)``, by number from 0."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class ChainEnds:
    """The chain of before where a range touches its neighbours: what its first event follows, and its last hash.

    Either is None where an archive knows it; ``event`` is the number of the first one.
    """

    first: str | None
    last: str | None
    event: int


@dataclass(frozen=True, slots=True)
class ProvedRange:
    """What was found in a range.

    ``reached`` is the leaf after the last that was looked at: before the range's end where one is missing. ``proved``
    counts events that are here, ``away`` those in archives, ``counts`` the events by day, kind and name. ``chain`` is
    None where no event of the range is linked in the chain of before.
    """

    range: LeafRange
    reached: int
    proved: int
    away: int
    counts: Counts
    chain: ChainEnds | None
    problems: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether every leaf of the range was there."""
        return self.reached == self.range.stop


def prove_range(session: Session, wanted: LeafRange) -> ProvedRange:
    """Prove one range. Tiles that begin before it are taken as stored there, for the neighbour's proof names them."""
    return _Walk(session, archived_leaves(session), wanted).proved()


@dataclass(slots=True)
class _Walk:
    """One walk along the leaves of a range, with what was found so far."""

    session: Session
    archives: ArchivedLeaves
    range: LeafRange
    problems: list[str] = field(default_factory=list)
    partial: dict[tuple[int, int], bytes] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counter)
    chain: str | None = None
    first: str | None = None
    first_event: int = 0
    chained: bool = False
    count: int = 0
    away: int = 0

    def proved(self) -> ProvedRange:
        number = self.range.start
        while number < self.range.stop:
            leaves = self._leaves(number)
            events = self._held(leaves, number)
            self._compare(number, self._hashes(events, number))
            present = [event for event in events if event is not None]
            self.counts.update(counted(present))
            number += len(events)
            self.count += len(present)
            self.away += len(events) - len(present)
            if not events or len(events) < len(leaves):
                break
        ends = ChainEnds(self.first, self.chain, self.first_event) if self.chained else None
        return ProvedRange(self.range, number, self.count, self.away, self.counts, ends, tuple(self.problems))

    def _name(self, problem: str) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)

    def _leaves(self, number: int) -> Sequence[tuple[int, int]]:
        """Return the next leaves: their numbers, and those of the events that they stand for."""
        within = AuditLeafRow.number.between(number, self.range.stop - 1)
        query = select(AuditLeafRow.number, AuditLeafRow.seq).where(within).order_by(AuditLeafRow.number)
        return self._fetched(query.limit(_CHUNK))

    def _held(self, leaves: Sequence[tuple[int, int]], number: int) -> list[Values | None]:
        """Return the events of these leaves up to the first that is not there, and follow the chain of before.

        An event whose month was archived is None.
        """
        stored = self._events([seq for _, seq in leaves]) if leaves else {}
        kept: list[Values | None] = []
        for place, (leaf, seq) in enumerate(leaves, start=number):
            event = stored.get(seq)
            if leaf != place:
                self._name(f"leaf {place} of the log is missing: leaf {leaf} follows")
                break
            if event is None and not self.archives.covers(leaf):
                self._name(f"event {seq} (leaf {leaf}) is missing")
                break
            if event is None:
                self.chain, self.chained = None, True  # what it was, the archive knows
            elif event[_HASH] or event[_PREVIOUS]:
                self._follow_chain(event)
            kept.append(event)
        return kept

    def _events(self, seqs: Sequence[int]) -> dict[int, Values]:
        """Return events by their numbers, which lie together unless somebody changed them."""
        low, high = min(seqs), max(seqs)
        if high - low < _WIDEST:
            return {row[_SEQ]: row for row in self._fetched(select(*COLUMNS).where(EVENTS.c.seq.between(low, high)))}
        parts = (seqs[start : start + _AT_ONCE] for start in range(0, len(seqs), _AT_ONCE))
        return {
            row[_SEQ]: row for part in parts for row in self._fetched(select(*COLUMNS).where(EVENTS.c.seq.in_(part)))
        }

    def _fetched(self, query: Executable) -> Sequence[Values]:
        """Return rows as the driver gives them: at a million, the conveniences in between take half of the time."""
        cursor = self.session.connection().execute(query).cursor
        return cursor.fetchall() if cursor else ()

    def _follow_chain(self, event: Values) -> None:
        fields = json.dumps([event[place] for place in _CHAINED], ensure_ascii=False, separators=(",", ":"))
        expected = hashlib.sha256((event[_PREVIOUS] + fields).encode()).hexdigest()
        if not self.chained:
            self.first, self.first_event = event[_PREVIOUS], event[_SEQ]
        follows = not self.chained or self.chain in (None, event[_PREVIOUS])
        if not follows or event[_HASH] != expected:
            self._name(broken_chain(event[_SEQ]))
        self.chain, self.chained = event[_HASH], True

    def _hashes(self, events: Sequence[Values | None], number: int) -> bytes:
        """Return the hashes of leaves from ``number`` on; that of an archived event is the one that the tree holds."""
        present = tiles.hashed_leaves(leaves_data([event for event in events if event is not None]))
        if len(present) == len(events) * HASH_BYTES:
            return present
        read = functools.cache(read_tile(self.session))
        of_present = (present[start : start + HASH_BYTES] for start in range(0, len(present), HASH_BYTES))
        return b"".join(
            tiles.subtree_hash(0, leaf, read) if event is None else next(of_present)
            for leaf, event in enumerate(events, start=number)
        )

    def _compare(self, number: int, hashes: bytes) -> None:
        """Grow the tree that was computed by these leaves, and name where the stored one differs."""
        stored = read_tile(self.session)
        for tile in tiles.grown(number, hashes, lambda *place: self.partial.get(place) or stored(*place)):
            if not tile.is_full:
                self.partial[tile.level, tile.number] = tile.hashes
            else:
                self.partial.pop((tile.level, tile.number), None)
            kept = stored(tile.level, tile.number)[: len(tile.hashes)]
            if kept != tile.hashes:
                self._name(self._difference(tile, kept))

    def _difference(self, tile: tiles.Tile, kept: bytes) -> str:
        place = next(
            (
                at
                for at in range(len(tile.hashes) // HASH_BYTES)
                if tile.hashes[at * HASH_BYTES : (at + 1) * HASH_BYTES] != kept[at * HASH_BYTES : (at + 1) * HASH_BYTES]
            ),
            0,
        )
        leaf = tile.number * tiles.WIDTH + place
        if tile.level:
            return f"tile {tile.number} of level {tile.level} was changed: it does not follow from the leaves below"
        seq = self.session.scalar(select(AuditLeafRow.seq).where(AuditLeafRow.number == leaf))
        return f"event {seq} (leaf {leaf}) was changed, or put in another's place: it is not what was sealed"


def broken_chain(seq: int) -> str:
    """Return the sentence for an event that does not follow in the chain of before."""
    return f"event {seq} does not follow from the one before it in the chain of before"
