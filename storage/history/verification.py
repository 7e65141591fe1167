"""Verification: hash what the rows hold now, and hold it against the tree, and the tree against signed checkpoints.

An event is proved by the checkpoint that its tree leads to. Whoever can change the database can change events, leaves
and tiles alike, but cannot sign; and who holds the key as well cannot take back what witnesses were given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from storage.audit_tables import AuditCheckpointRow, AuditCountRow, AuditLeafRow, AuditLogRow, AuditPendingRow
from storage.errors import OncueError
from storage.history import guards, tiles
from storage.history.archived_leaves import ArchivedLeaves, archived_leaves
from storage.history.checkpoint_text import Checkpoint, open_checkpoint
from storage.history.errors import AuditTileMissing
from storage.history.leaf_ranges import GENESIS, MOST_PROBLEMS, Counts, LeafRange, ProvedRange, broken_chain
from storage.history.leaves import EVENTS
from storage.history.merkle import EMPTY_ROOT
from storage.history.note_keys import VerifierKey
from storage.history.provers import proved_ranges
from storage.history.sealing import read_tile
from storage.progress import OnProgress, unheard

_MONTH_LENGTH = len("2026-03")


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

    ``session`` is that of a snapshot: what is sealed meanwhile is left for the next proof. ``trusted`` are checkpoints
    from outside, as of witnesses: a log that was cut or rebuilt does not agree with them.
    """
    proof = _Proof(session, key, since.size if since else 0, archived_leaves(session))
    return proof.verified(since, trusted, on_progress)


@dataclass(slots=True)
class _Proof:
    """One proof, with what was found so far."""

    session: Session
    key: VerifierKey
    since: int
    archives: ArchivedLeaves
    problems: list[str] = field(default_factory=list)
    counts: Counts = field(default_factory=Counter)
    proved: int = 0
    away: int = 0

    def verified(self, since: Checkpoint | None, trusted: Sequence[Trusted], on_progress: OnProgress) -> Verification:
        size = self.session.scalars(select(AuditLogRow.size)).one()
        try:
            if since is not None:
                self._starts_at(since, size)
            reached = self._prove_leaves(on_progress) if not self.problems else self.since
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
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)

    def _starts_at(self, since: Checkpoint, size: int) -> None:
        """Hold the log of today against the checkpoint that the proof begins at."""
        if since.size > size:
            self._name(f"the log has {size} events and had {since.size} at the last proof: its end was cut off")
        elif tiles.root(since.size, read_tile(self.session)) != since.root:
            self._name(
                f"at {since.size} events the log is not what was proved before: it was rebuilt, or tiles changed"
            )

    def _prove_leaves(self, on_progress: OnProgress) -> int:
        """Prove the leaves from where the proof begins, and return the one after the last that is there."""
        last_leaf = self.session.scalar(select(AuditLeafRow.number).order_by(AuditLeafRow.number.desc()).limit(1))
        stop = 0 if last_leaf is None else last_leaf + 1
        ranges = proved_ranges(self.session, LeafRange(self.since, max(stop, self.since)), on_progress=on_progress)
        return self._joined(ranges)

    def _joined(self, ranges: Iterable[ProvedRange]) -> int:
        """Add up what was found in ranges, up to the first that is not whole, and hold the chain of before together."""
        reached = self.since
        chain: str | None = GENESIS if not self.since else None
        for found in ranges:
            self.counts.update(found.counts)
            self.proved += found.proved
            self.away += found.away
            if found.chain is not None:
                if None not in (chain, found.chain.first) and chain != found.chain.first:
                    self._name(broken_chain(found.chain.event))
                chain = found.chain.last
            for problem in found.problems:
                self._name(problem)
            reached = found.reached
            if not found.is_whole:
                break
        return reached

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
            .limit(MOST_PROBLEMS)
        )
        for seq in self.session.scalars(beside):
            self._name(f"event {seq} was put in beside the log: nothing was noted of it")
        lost = (
            select(AuditPendingRow.seq)
            .outerjoin(EVENTS, EVENTS.c.seq == AuditPendingRow.seq)
            .where(EVENTS.c.seq.is_(None))
            .limit(MOST_PROBLEMS)
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
