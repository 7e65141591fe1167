"""What a trial of residuals as a learned input read of a family."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lab.bootstrap import Estimate, mean_interval

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """How much one trial may cost: painted samples and pairs of heads in each fold, and cases of each kind.

    Of a stack one slice in ``every`` is redrawn and measured, as if the stack had no others once it is scored.
    """

    samples: int = 200
    heads: int = 2
    steps: int = 150
    cases: int | None = None
    every: int = 1


DEFAULT = TrialPlan()


@dataclass(frozen=True, slots=True)
class Precisions:
    """Average precision of the family's own score, of heads shown zeros, and of heads shown residuals."""

    score: float
    without: float
    beside: float


@dataclass(frozen=True, slots=True)
class CaseReading:
    """One case: ``smoothed`` across slices, ``final`` as the mask is drawn from it (spread, where the family does so).

    ``gains`` is for each pair of heads by how much its ``smoothed`` precision is higher with residuals; ``pixel`` and
    ``feature`` are the precision of the residuals alone, ``redrawn`` the share of the slices that have any.
    """

    kind: str
    name: str
    patient: str
    smoothed: Precisions
    final: Precisions
    gains: tuple[float, ...]
    pixel: float
    feature: float
    redrawn: float


@dataclass(frozen=True, slots=True)
class TrialReport:
    """What a trial read of a family; ``painted`` are the held back samples of all folds, by mean precision."""

    family: str
    plan: TrialPlan
    painted: Precisions
    cases: tuple[CaseReading, ...]
    cpu_seconds: float

    def gain(self, *, kind: str | None = None, final: bool = True) -> Estimate | None:
        """Return by how much residuals raise the precision, mean over patients, of one kind or all; None without."""
        some = [case for case in self.cases if kind in {None, case.kind}]
        read = [case.final if final else case.smoothed for case in some]
        return mean_interval([one.beside - one.without for one in read], [case.patient for case in some])

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def table(report: TrialReport) -> str:
    """Return a report as lines of text: what the painted samples gave, and means over patients for each kind."""
    lines = [f"{report.family}: {report.cpu_seconds:.0f} CPU-seconds, painted {_row(report.painted)}"]
    for kind in dict.fromkeys(case.kind for case in report.cases):
        some = [case for case in report.cases if case.kind == kind]
        owners, gain = [case.patient for case in some], report.gain(kind=kind)
        if gain is None:
            continue
        better = sum(case.final.beside > case.final.without for case in some)
        means = _row(mean_of([case.final for case in some], owners))
        interval = f"{gain.mean:+.3f} ({gain.lo:+.3f} to {gain.hi:+.3f}), better in {better} of {len(some)} cases"
        lines.append(f"  {kind}, {len(set(owners))} patients: {means}: {interval}")
    return "\n".join(lines)


def mean_of(precisions: Sequence[Precisions], owners: Sequence[str]) -> Precisions:
    """Return the means over owners of each one's mean."""
    ways = zip(*((one.score, one.without, one.beside) for one in precisions), strict=True)
    estimates = [mean_interval(way, owners) for way in ways]
    return Precisions(*(0.0 if estimate is None else estimate.mean for estimate in estimates))


def _row(precisions: Precisions) -> str:
    return f"{precisions.score:.3f} score, {precisions.without:.3f} without, {precisions.beside:.3f} with residuals"
