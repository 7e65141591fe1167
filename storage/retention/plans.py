"""What the rules would delete now, and what they keep and why: a dry run that changes nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage import journals
from storage.deletion_tables import AnalysisFileRow
from storage.domain import Holding
from storage.models import JobRow
from storage.objects import ObjectStore
from storage.result_tables import ResultObjectRow
from storage.retention import candidates, obstacles
from storage.retention.candidates import Candidate, Target
from storage.retention.deleting import Deleted
from storage.retention.obstacles import Journals, Obstacle
from storage.retention.rules import RetentionRule

_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class KeptBack:
    """Why studies stay that are old enough, how many they are, and the numbers of the first of them."""

    obstacle: Obstacle
    studies: int
    examples: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PlanLine:
    """What one rule would delete of one kind. ``size_bytes`` is at most what is freed: files may be shared.

    ``files`` of images counts the current ones; sizes of pictures and maps are known once a round has measured them.
    """

    rule: RetentionRule
    kind: Holding
    studies: int
    files: int
    size_bytes: int
    kept: tuple[KeptBack, ...]
    is_cut_off: bool


def plan(
    session: Session, objects: ObjectStore, rules: Sequence[RetentionRule], *, now: datetime, most: int | None = None
) -> tuple[PlanLine, ...]:
    """Return what each rule would delete now, in their order; ``most`` studies of each rule and kind are looked at."""
    waiting = Journals(journals.unregistered_studies(objects))
    survey = _Survey(session, waiting, now)
    return tuple(survey.line(target, most) for target in candidates.targets(tuple(rules)))


class _Survey:
    """One look at everything; what keeps a study from a rule is asked once for all kinds."""

    def __init__(self, session: Session, waiting: Journals, now: datetime) -> None:
        self._session = session
        self._waiting = waiting
        self._now = now
        self._judged: tuple[str, dict[int, Obstacle | None]] = ("", {})

    def line(self, target: Target, most: int | None) -> PlanLine:
        found = candidates.old_enough(self._session, target, now=self._now)
        studies, total, seen = 0, Deleted(), 0
        kept: Counter[Obstacle] = Counter()
        examples: dict[Obstacle, list[int]] = defaultdict(list)
        for page in candidates.paged(islice(found, most)):
            obstacles_of = self._judge(target.rule, [one.study_id for one in page])
            for one in page:
                obstacle = obstacles_of[one.study_id]
                if obstacle is not None:
                    kept[obstacle] += 1
                    examples[obstacle] += [one.study_id][: _EXAMPLES - len(examples[obstacle])]
            allowed = [one for one in page if obstacles_of[one.study_id] is None]
            studies, seen = studies + len(allowed), seen + len(page)
            total += _size(self._session, target.kind, allowed)
        held = (KeptBack(each, kept[each], tuple(examples[each])) for each in Obstacle if kept[each])
        is_cut_off = most is not None and seen >= most
        return PlanLine(target.rule, target.kind, studies, total.files, total.size_bytes, tuple(held), is_cut_off)

    def _judge(self, rule: RetentionRule, ids: Sequence[int]) -> dict[int, Obstacle | None]:
        if self._judged[0] != rule.name:
            self._judged = (rule.name, {})
        known = self._judged[1]
        unknown = [study_id for study_id in ids if study_id not in known]
        if unknown:
            found = obstacles.judge(self._session, unknown, rule, waiting=self._waiting, now=self._now)
            known.update((study_id, found.get(study_id)) for study_id in unknown)
        return known


def _size(session: Session, kind: Holding, studies: Sequence[Candidate]) -> Deleted:
    if kind is Holding.IMAGES:
        return Deleted(sum(one.images for one in studies), sum(one.image_bytes for one in studies))
    return sum(_sizes_of_files(session, kind, [one.study_id for one in studies]), start=Deleted())


def _sizes_of_files(session: Session, kind: Holding, ids: Sequence[int]) -> Iterator[Deleted]:
    count = func.count(), func.sum(AnalysisFileRow.size_bytes)
    files = select(*count).join(JobRow, JobRow.id == AnalysisFileRow.job_id)
    files = files.where(JobRow.study_id.in_(ids), AnalysisFileRow.kind == kind.value)
    yield _summed(session.execute(files.where(AnalysisFileRow.deleted_at.is_(None))).one())
    if kind is Holding.RESULTS:
        written = select(func.count(), func.sum(ResultObjectRow.size_bytes))
        written = written.where(ResultObjectRow.study_id.in_(ids))
        yield _summed(session.execute(written.where(ResultObjectRow.deleted_at.is_(None))).one())


def _summed(row: Sequence[int | None]) -> Deleted:
    return Deleted(int(row[0] or 0), int(row[1] or 0))
