from __future__ import annotations

import numpy as np
import pytest
from numpy import float32
from numpy.typing import NDArray

from lab.body_region.cases import RegionCase
from lab.body_region.fitting import fit, fit_under, out_of_fold
from lab.body_region.measuring import HEADERS, judge, report, table
from lab.body_region.vectors import CaseVectors
from storage.routes.regions import Region
from workers.guard.kinds import PictureKind
from workers.guard.region_guard import opinion_of
from workers.guard.region_head import RegionHead

SIZE = 240
SHOWN = (PictureKind.HEAD_MR, PictureKind.LIMB_MR, PictureKind.CHEST_XRAY)
PATIENTS = 25


def vectors(kind: PictureKind, count: int, *, seed: int) -> NDArray[float32]:
    middle = np.random.default_rng(100 + list(PictureKind).index(kind)).normal(size=SIZE)
    spread = np.random.default_rng(seed).normal(size=(count, SIZE))
    return np.asarray((middle + 0.4 * spread) / np.sqrt(SIZE), dtype=float32)


def case(kind: PictureKind, number: int) -> CaseVectors:
    modality = "DX" if kind is PictureKind.CHEST_XRAY else "MR"
    described = RegionCase(kind, f"{kind.value} {number}", "made up", modality, lambda: np.zeros((1, 1, 1), float32))
    return CaseVectors(described, vectors(kind, 5, seed=number), vectors(kind, 5, seed=1000 + number))


@pytest.fixture(scope="module")
def seen() -> list[CaseVectors]:
    return [case(kind, number) for kind in SHOWN for number in range(PATIENTS)]


@pytest.fixture(scope="module")
def head(seen: list[CaseVectors]) -> RegionHead:
    return fit(seen, space="made up")


def test_other_patients_of_learned_kinds_are_named(head: RegionHead) -> None:
    for kind, modality in ((PictureKind.HEAD_MR, "MR"), (PictureKind.CHEST_XRAY, "CR")):
        opinion = opinion_of(head, vectors(kind, 5, seed=77), modality=modality)
        assert (opinion.region, opinion.kind) == (kind.region, kind)


def test_a_stranger_gets_no_opinion(head: RegionHead) -> None:
    opinion = opinion_of(head, vectors(PictureKind.BREAST_ULTRASOUND, 5, seed=5), modality="MR")
    assert opinion.region is None
    assert opinion.distance > 1


def test_a_kind_that_does_not_come_under_the_modality_gets_no_opinion(head: RegionHead) -> None:
    shown = vectors(PictureKind.CHEST_XRAY, 5, seed=5)
    assert opinion_of(head, shown, modality="DX").region is Region.CHEST
    assert opinion_of(head, shown, modality="MR").region is None


def test_slices_that_disagree_give_no_opinion(head: RegionHead) -> None:
    mixed = np.concatenate([vectors(kind, 2, seed=3) for kind in (PictureKind.HEAD_MR, PictureKind.LIMB_MR)])
    assert opinion_of(head, mixed, modality="MR").region is None


def test_every_patient_is_judged_once_by_a_head_of_other_patients(seen: list[CaseVectors], head: RegionHead) -> None:
    pairs = out_of_fold(seen, head)
    assert sorted(one.case.patient for one, _ in pairs) == sorted(one.case.patient for one in seen)
    assert len({id(fitted) for _, fitted in pairs}) == 5
    judged = judge(pairs)
    assert not any(one.is_refused(one.case.kind.region) for one in judged)
    (all_of_them,) = (row for row in table(judged) if row[0] == "all")
    assert all_of_them[1] == f"{len(seen)} ({len(seen)})"
    lines = "\n".join(report(judged, folds=judged, unlearned=judged))
    assert lines.count(" | ".join(HEADERS)) == 3


def test_a_head_without_a_kind_keeps_the_limits_of_the_others(seen: list[CaseVectors], head: RegionHead) -> None:
    fewer = fit_under(head, [one for one in seen if one.case.kind is not PictureKind.LIMB_MR])
    assert fewer.description.kinds == (PictureKind.HEAD_MR, PictureKind.CHEST_XRAY)
    assert fewer.limits.tolist() == head.limits[[0, 1]].tolist()
