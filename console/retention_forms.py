"""What other programs read of retention: plans, rounds, deletions, and who keeps a study."""

from __future__ import annotations

from typing import Self

from console.record_schema import IsoTime, RecordSchema
from storage.domain import Holding
from storage.retention.obstacles import Obstacle
from storage.retention.plans import PlanLine
from storage.retention.rounds import Round


class KeptBackForm(RecordSchema):
    """Why studies stay that are old enough, how many, and the numbers of the first of them."""

    why: Obstacle
    studies: int
    examples: list[int]


class PlanLineForm(RecordSchema):
    """What a rule would delete of one kind now. ``size_bytes`` is at most what is freed: files may be shared."""

    rule: str
    kind: Holding
    when: str
    studies: int
    files: int
    size_bytes: int
    kept: list[KeptBackForm]

    @classmethod
    def of(cls, line: PlanLine) -> Self:
        """Return a line of a plan as others read it."""
        kept = [KeptBackForm(why=one.obstacle, studies=one.studies, examples=list(one.examples)) for one in line.kept]
        return cls(
            rule=line.rule.name,
            kind=line.kind,
            when=line.rule.says,
            studies=line.studies,
            files=line.files,
            size_bytes=line.size_bytes,
            kept=kept,
        )


class RoundForm(RecordSchema):
    """What was deleted: studies from which something went, and the files that left the disk.

    ``waiting_files`` are still on the list of those that are to go.
    """

    studies: int = 0
    files: int = 0
    size_bytes: int = 0
    waiting_files: int = 0

    def plus(self, done: Round) -> RoundForm:
        """Return the sum of this and a round."""
        return RoundForm(
            studies=self.studies + done.studies,
            files=self.files + done.freed.files,
            size_bytes=self.size_bytes + done.freed.size_bytes,
        )


class DeletionForm(RecordSchema):
    """What retention deleted of a study and is not there again: kind, when, by which rule, and how much."""

    kind: Holding
    deleted_at: IsoTime
    rule: str
    actor: str
    files: int
    size_bytes: int


class KeptStudyForm(RecordSchema):
    """Who keeps a study from every rule, why, and since when."""

    kept_by: str
    reason: str
    kept_at: IsoTime
