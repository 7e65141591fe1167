"""Verification: hash what the rows hold now, and hold it against the tree, and the tree against signed checkpoints.

An event is proved by the checkpoint that its tree leads to. Whoever can change the database can change events, leaves
and tiles alike, but cannot sign; and who holds the key as well cannot take back what witnesses were given.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Executable, and_, select
from sqlalchemy.orm import Session

from storage.audit_tables import AuditCheckpointRow, AuditCountRow, AuditLeafRow, AuditLogRow, AuditPendingRow
from storage.errors import AuditTileMissing, OncueError
from storage.history import guards, tiles
from storage.history.archived_leaves import ArchivedLeaves, archived_leaves
from storage.history.checkpoint_text import Checkpoint, open_checkpoint
from storage.history.leaves import COLUMNS, EVENTS, FIELDS, leaves_data
from storage.history.merkle import EMPTY_ROOT, HASH_BYTES
from storage.history.note_keys import VerifierKey
from storage.history.sealing import counted, read_tile
from storage.progress import OnProgress, unheard

GENESIS = "0" * 64
"""What the first event of a chain of before follows."""
_CHUNK = 8192
_WIDEST = 4 * _CHUNK
_AT_ONCE = 500
_MOST_PROBLEMS = 20
_MONTH_LENGTH = len("2026-03")
_SEQ, _PREVIOUS, _HASH = (FIELDS.index(name) for name in ("seq", "previous_hash", "hash"))
_CHAINED = tuple(FIELDS.index(name) for name in ("seq", "at", "tag", "subject", "actor", "details"))

Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Trusted:
    """A checkpoint that stands outside the log, and where it was found."""

    place: str
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found: events proved, where it began, how large the log is, its root, and what does not hold.

    ``unsealed`` events are committed and in no checkpoint yet; ``archived`` ones left the database, and are proved by
    their archives (`oncue audit check-archive`). ``problems`` are sentences, in the order of the log, at
    most twenty; none where all holds.
    """

    proved: int
    since: int
    size: int
    root: str
    unsealed: int
    archived: int
    problems: tuple[str, ...]


def verify(
    session: Session,
    key: VerifierKey,
    *,
    since: Checkpoint | None = None,
    trusted: Sequence[Trusted] = (),
    on_progress: OnProgress = unheard,
) -> Verification:
    """Prove the whole log, or what came after a checkpoint that was proved before.

    ``trusted`` are checkpoints from outside, as of witnesses: a log that was cut or rebuilt does not agree with them.
    """
    walk = _Walk(session, key, since.size if since else 0, archived_leaves(session))
    return walk.verified(since, trusted, on_progress)


@dataclass(slots=True)
class _Walk:
    """One walk along the leaves, with what was found so far."""

    session: Session
    key: VerifierKey
    since: int
    archives: ArchivedLeaves
    problems: list[str] = field(default_factory=list)
    partial: dict[tuple[int, int], bytes] = field(default_factory=dict)
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    chain: str | None = GENESIS
    proved: int = 0
    away: int = 0

    def verified(self, since: Checkpoint | None, trusted: Sequence[Trusted], on_progress: OnProgress) -> Verification:
        size = self.session.scalars(select(AuditLogRow.size)).one()
        try:
            if since is not None:
                self._starts_at(since, size)
            reached = self._walk(size, on_progress) if not self.problems else self.since
            self._ends_at(size, reached)
            root = tiles.root(min(size, reached), read_tile(self.session)) if not self.problems else EMPTY_ROOT
            self._agrees(size, trusted)
        except AuditTileMissing as error:
            self._name(str(error))
            root = EMPTY_ROOT
        self._nothing_beside()
        for problem in self.archives.problems(self.session):
            self._name(problem)
        for guard in guards.missing(self.session):
            self._name(f"the database's guard: {guard}")
        return Verification(
            proved=self.proved,
            since=self.since,
            size=size,
            root=root.hex(),
            unsealed=len(self.session.scalars(select(AuditPendingRow.seq)).all()),
            archived=self.away,
            problems=tuple(self.problems),
        )

    def _name(self, problem: str) -> None:
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(problem)

    def _starts_at(self, since: Checkpoint, size: int) -> None:
        """Hold the log of today against the checkpoint that the proof begins at."""
        if since.size > size:
            self._name(f"the log has {size} events and had {since.size} at the last proof: its end was cut off")
        elif tiles.root(since.size, read_tile(self.session)) != since.root:
            self._name(
                f"at {since.size} events the log is not what was proved before: it was rebuilt, or tiles changed"
            )

    def _walk(self, size: int, on_progress: OnProgress) -> int:
        """Hash every leaf from where the proof begins, and hold each tile that they make against the stored one."""
        number = self.since
        while leaves := self._leaves(number):
            events = self._held(leaves, number)
            self._compare(number, self._hashes(events, number))
            present = [event for event in events if event is not None]
            self.counts.update(counted(present))
            number += len(events)
            self.proved += len(present)
            self.away += len(events) - len(present)
            on_progress(number - self.since, size - self.since)
            if len(events) < len(leaves):
                break
        return number

    def _leaves(self, number: int) -> Sequence[tuple[int, int]]:
        """Return the next leaves: their numbers, and those of the events that they stand for."""
        query = select(AuditLeafRow.number, AuditLeafRow.seq).where(AuditLeafRow.number >= number)
        return self._fetched(query.order_by(AuditLeafRow.number).limit(_CHUNK))

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

    def _held(self, leaves: Sequence[tuple[int, int]], number: int) -> list[Values | None]:
        """Return the events of these leaves up to the first that is not there, and follow the chain of before.

        An event whose month was archived is None.
        """
        stored = self._events([seq for _, seq in leaves])
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
                self.chain = None  # what it was, the archive knows
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
        follows = self.since > 0 or self.chain in (None, event[_PREVIOUS])
        if not follows or event[_HASH] != expected:
            self._name(f"event {event[_SEQ]} does not follow from the one before it in the chain of before")
        self.chain = event[_HASH]

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

    def _ends_at(self, size: int, reached: int) -> None:
        if not self.problems and reached != size:
            self._name(f"the log says that it has {size} events, and {reached} of them are there: its end was cut off")
        newest = self.session.scalars(select(AuditCheckpointRow).order_by(AuditCheckpointRow.size.desc()).limit(1))
        last = newest.one_or_none()
        if (last.size if last else 0) != size:
            self._name(f"the log has {size} events, its newest checkpoint is of {last.size if last else 0}")

    def _agrees(self, size: int, trusted: Sequence[Trusted]) -> None:
        """Hold the tree against every checkpoint: those kept with it, and those from outside."""
        kept = select(AuditCheckpointRow).where(AuditCheckpointRow.size >= self.since).order_by(AuditCheckpointRow.size)
        for row in self.session.scalars(kept):
            try:
                checkpoint = open_checkpoint(row.note, self.key).checkpoint
            except OncueError as error:
                self._name(f"the checkpoint of {row.size} events: {error}")
                continue
            if (checkpoint.size, checkpoint.root.hex()) != (row.size, row.root):
                self._name(f"the checkpoint of {row.size} events says something else than its row")
            self._agrees_with(checkpoint, size, "the log itself")
        for one in trusted:
            self._agrees_with(one.checkpoint, size, one.place)

    def _agrees_with(self, checkpoint: Checkpoint, size: int, place: str) -> None:
        if checkpoint.size > size:
            self._name(f"{place} has a checkpoint of {checkpoint.size} events, the log has {size}: its end was cut off")
        elif tiles.root(checkpoint.size, read_tile(self.session)) != checkpoint.root:
            self._name(
                f"{place} has another root at {checkpoint.size} events: the log was forked or rebuilt before there"
            )

    def _nothing_beside(self) -> None:
        """Name events that no leaf and no note of the database stands for, and counts that do not add up."""
        if self.since:
            return
        beside = (
            select(EVENTS.c.seq)
            .outerjoin(AuditLeafRow, AuditLeafRow.seq == EVENTS.c.seq)
            .outerjoin(AuditPendingRow, AuditPendingRow.seq == EVENTS.c.seq)
            .where(and_(AuditLeafRow.seq.is_(None), AuditPendingRow.seq.is_(None)))
            .limit(_MOST_PROBLEMS)
        )
        for seq in self.session.scalars(beside):
            self._name(f"event {seq} was put in beside the log: nothing was noted of it")
        lost = (
            select(AuditPendingRow.seq)
            .outerjoin(EVENTS, EVENTS.c.seq == AuditPendingRow.seq)
            .where(EVENTS.c.seq.is_(None))
            .limit(_MOST_PROBLEMS)
        )
        for seq in self.session.scalars(lost):
            self._name(f"event {seq} was noted before it was sealed, and is missing")
        rows = select(AuditCountRow.day, AuditCountRow.kind, AuditCountRow.name, AuditCountRow.count)
        stored = {(day, kind, name): count for day, kind, name, count in self.session.execute(rows)}
        if not self.problems and self._of_present_months(stored) != self._of_present_months(self.counts):
            self._name("the counts of events by day are not those of the events")

    def _of_present_months(self, counts: Mapping[tuple[str, str, str], int]) -> dict[tuple[str, str, str], int]:
        """Return the counts of days whose events are in the database."""
        return {key: count for key, count in counts.items() if key[0][:_MONTH_LENGTH] not in self.archives.names}
