"""One round of retention: what is on the list of files goes, then the oldest studies that the rules allow."""

from __future__ import annotations

import heapq
import itertools
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from storage import analysis_files, journals
from storage.database import Database
from storage.deletion_errors import RetentionBusy
from storage.objects import ObjectStore
from storage.retention import candidates, deleting, discarding, obstacles, turns
from storage.retention.candidates import Candidate, Target
from storage.retention.deleting import Deleted
from storage.retention.discarding import Freed
from storage.retention.obstacles import Journals
from storage.retention.rules import RetentionRule

_MEASURED_AT_ONCE = 2000


@dataclass(frozen=True, slots=True)
class Round:
    """What a round did: studies from which something went, what their rows said, what left the disk.

    ``more`` says that it ended because it had done enough, and not because there was nothing left to do.
    """

    studies: int
    deleted: Deleted
    freed: Freed
    more: bool


@dataclass(slots=True)
class _Tally:
    """What a round has deleted so far."""

    studies: int = 0
    deleted: Deleted = field(default_factory=Deleted)

    def count(self, done: Deleted | None) -> None:
        if done is not None:
            self.studies, self.deleted = self.studies + 1, self.deleted + done


@dataclass(frozen=True, slots=True)
class Retention:
    """Deletes by rules, as ``owner``; events name ``actor``."""

    database: Database
    objects: ObjectStore
    rules: tuple[RetentionRule, ...]
    owner: str
    actor: str
    clock: Callable[[], datetime]

    def run(self, *, most_files: int) -> Round:
        """Do one round; it ends behind the study with which it has deleted ``most_files``.

        RetentionBusy where another process has its turn, LeaseLost where one took it over.
        """
        with self.database.write() as session:
            if not turns.take(session, self.owner, now=self.clock()):
                raise RetentionBusy("another process deletes by the rules at this moment; try again in two minutes")
        try:
            return self._run(most_files)
        finally:
            with self.database.write() as session:
                turns.end(session, self.owner, now=self.clock())

    def _run(self, most_files: int) -> Round:
        self._measure()
        freed = self._discard(most_files)
        waiting = Journals(journals.unregistered_studies(self.objects))
        tally = _Tally()
        for target, candidate in self._due(waiting, tally):
            tally.count(self._delete(candidate.study_id, target, waiting))
            if tally.deleted.files >= most_files:
                break
        freed += self._discard(tally.deleted.files)
        more = max(tally.deleted.files, freed.files) >= most_files
        return Round(tally.studies, tally.deleted, freed, more=more)

    def _due(self, waiting: Journals, tally: _Tally) -> Iterator[tuple[Target, Candidate]]:
        """Return what is to go: by rules that look at age alone, then by those that wait for a full disk."""
        every = [*candidates.targets(self.rules)]
        yield from (
            (target, one) for target in every if _limit(target) is None for one in self._allowed(target, waiting)
        )
        by_limit: dict[float, list[Target]] = defaultdict(list)
        for target in every:
            limit = _limit(target)
            if limit is not None:
                by_limit[limit].append(target)
        for limit, targets in sorted(by_limit.items(), reverse=True):
            yield from self._until_below(limit, targets, waiting, tally)

    def _until_below(
        self, limit: float, targets: list[Target], waiting: Journals, tally: _Tally
    ) -> Iterator[tuple[Target, Candidate]]:
        """Return the oldest of several rules first, for as long as the disk is fuller than ``limit`` percent.

        What has been deleted by now counts as gone: its files go at the end of the round, or an hour later.
        """
        to_free = self._excess(limit) + tally.deleted.size_bytes
        for oldest, target in _merged([self._of_target(target, waiting) for target in targets]):
            if tally.deleted.size_bytes >= to_free:
                return
            yield target, oldest

    def _of_target(self, target: Target, waiting: Journals) -> Iterator[tuple[Candidate, Target]]:
        return ((one, target) for one in self._allowed(target, waiting))

    def _excess(self, limit: float) -> float:
        """Return by how many bytes the disk is fuller, with what is on the list of files taken for gone."""
        with self.database.read() as session:
            listed = discarding.waiting(session)
        usage = shutil.disk_usage(self.objects.root)
        return usage.used - listed.size_bytes - usage.total * limit / 100

    def _allowed(self, target: Target, waiting: Journals) -> Iterator[Candidate]:
        """Return the studies of a target that nothing stands in the way of; each page is read in a short session."""
        now = self.clock()
        behind: Candidate | None = None
        while True:
            with self.database.read() as session:
                found = candidates.old_enough(session, target, now=now, behind=behind)
                page = [*itertools.islice(found, candidates.PAGE)]
                kept = obstacles.judge(session, [one.study_id for one in page], target.rule, waiting=waiting, now=now)
            yield from (one for one in page if one.study_id not in kept)
            if len(page) < candidates.PAGE:
                return
            behind = page[-1]

    def _delete(self, study_id: int, target: Target, waiting: Journals) -> Deleted | None:
        with self.database.write() as session:
            now = self.clock()
            turns.go_on(session, self.owner, now=now)
            return deleting.delete(session, study_id, target, waiting=waiting, actor=self.actor, now=now)

    def _discard(self, most_files: int) -> Freed:
        """Have files go that are on the list, until none is due or so many are done."""
        total = Freed()
        while total.files + total.stayed < most_files:
            with self.database.write() as session:
                turns.go_on(session, self.owner, now=self.clock())
            freed = discarding.discard(self.database, self.objects, now=self.clock())
            total += freed
            if not freed.files + freed.stayed:
                break
        return total

    def _measure(self) -> None:
        with self.database.write() as session:
            analysis_files.measure(session, self.objects, limit=_MEASURED_AT_ONCE)


def _limit(target: Target) -> float | None:
    return target.rule.when_disk_above_percent


def _merged(parts: list[Iterator[tuple[Candidate, Target]]]) -> Iterator[tuple[Candidate, Target]]:
    return heapq.merge(*parts, key=lambda pair: pair[0])
