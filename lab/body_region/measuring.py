"""What the guard says of cases whose region is known, and the tables of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lab.body_region.cases import RegionCase
from lab.body_region.vectors import CaseVectors
from storage.routes.regions import Region
from workers.errors import BodyPartMismatch
from workers.guard.kinds import PictureKind
from workers.guard.region_guard import NO_OPINION, RegionOpinion, check_region, opinion_of
from workers.guard.region_head import RegionHead

HEADERS = (
    "kind",
    "cases (patients)",
    "head",
    "chest",
    "breast",
    "limb",
    "no opinion",
    "refused: own route",
    "refused: head route",
)
_COLUMNS = (Region.HEAD, Region.CHEST, Region.BREAST, Region.LOWER_LIMB, None)


@dataclass(frozen=True, slots=True)
class Judged:
    """One case with the guard's opinion of it."""

    case: RegionCase
    opinion: RegionOpinion

    def is_refused(self, wanted: Region | None) -> bool:
        """Return whether a route that wants one region, or none, would refuse the case."""
        try:
            check_region(self.opinion, {wanted} if wanted else ())
        except BodyPartMismatch:
            return True
        return False


def judge(pairs: Iterable[tuple[CaseVectors, RegionHead]]) -> list[Judged]:
    """Return the opinion of each case under its head; of one that shows nothing there is none."""
    return [
        Judged(one.case, opinion_of(head, one.plain, modality=one.case.modality) if len(one.plain) else NO_OPINION)
        for one, head in pairs
    ]


def table(judged: Sequence[Judged]) -> list[tuple[str, ...]]:
    """Return one row for each kind, drawn heads apart, and one for all: counts, as ``HEADERS`` has them."""
    rows = []
    for kind in PictureKind:
        for drawn in (False, True):
            of_kind = [one for one in judged if one.case.kind is kind and (one.case.source == "phantom") is drawn]
            if of_kind:
                rows.append(_row(f"{kind.value}, drawn" if drawn else kind.value, of_kind))
    return [*rows, _row("all", judged)]


def report(test: Sequence[Judged], *, folds: Sequence[Judged], unlearned: Sequence[Judged]) -> Iterator[str]:
    """Yield the lines of three tables: patients kept out, the others in folds, and kinds that were not learned."""
    titled = (
        ("Patients who are kept out", test),
        ("The other patients, each left out of one of five folds", folds),
        ("Kinds that the head was not shown", unlearned),
    )
    for title, judged in titled:
        yield f"## {title}\n"
        rows = table(judged)
        yield "\n".join(f"| {' | '.join(row)} |" for row in (HEADERS, ["---"] * len(HEADERS), *rows))
        yield ""


def _row(name: str, judged: Sequence[Judged]) -> tuple[str, ...]:
    said = [str(sum(one.opinion.region is region for one in judged)) for region in _COLUMNS]
    own = sum(one.is_refused(one.case.kind.region) for one in judged)
    by_head = sum(one.is_refused(Region.HEAD) for one in judged)
    patients = len({one.case.patient for one in judged})
    return (name, f"{len(judged)} ({patients})", *said, str(own), str(by_head))
