"""What the guard says of cases whose region is known, and the tables of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    "refused by its own route",
    "refused by a head route",
)
_COLUMNS = (Region.HEAD, Region.CHEST, Region.BREAST, Region.LOWER_LIMB, None)


@dataclass(frozen=True, slots=True)
class Judged:
    """One case with the guard's opinion of it."""

    case: RegionCase
    opinion: RegionOpinion

    def is_refused(self, wanted: Region) -> bool:
        """Return whether a route that wants one region would refuse the case."""
        try:
            check_region(self.opinion, {wanted})
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


def markdown(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (headers, ["---"] * len(headers), *rows))


def _row(name: str, judged: Sequence[Judged]) -> tuple[str, ...]:
    said = [str(sum(one.opinion.region is region for one in judged)) for region in _COLUMNS]
    own = sum(one.is_refused(one.case.kind.region) for one in judged)
    by_head = sum(one.is_refused(Region.HEAD) for one in judged)
    patients = len({one.case.patient for one in judged})
    return (name, f"{len(judged)} ({patients})", *said, str(own), str(by_head))
