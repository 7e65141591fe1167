"""Choose mask rule, ends and limits of trained networks, and write calibration, likeness, card, patients, manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab import metrics, patients
from lab.training import rules
from lab.training.families import calibrate, card, choosing, likeness, marking, material, out_of_fold, rounds, tuning
from lab.training.families.choosing import Drawing
from lab.training.families.settings import LICENCE, FamilySettings
from workers import weights
from workers.segmentation.family_calibration import FamilyCalibration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.training.families.folds import Fold
    from workers.segmentation.family_segmenter import FamilyNetworks
    from workers.segmentation.random_walk import Walk


def publish(settings: FamilySettings, dealt: Sequence[Fold]) -> tuple[rules.Worth, int]:
    """Write everything but the networks; returns what the masks are worth on the cases that chose, and their number."""
    family = settings.family
    networks = rounds.networks(settings, *(rounds.file_of(settings, fold) for fold in dealt))
    walk = settings.plan.walk
    calibration, tuned = _chosen(settings, dealt, networks) if walk is None else _own(settings, dealt, walk)
    calibration.write(settings.out)
    known, refused = likeness.fit(family, networks.networks[0], settings.data)
    known.write(settings.out)
    _write_patients(settings, dealt)
    weights.write_manifest(settings.out, name=family.name, version="1", licence=LICENCE)
    text = card.text(family, tuning.KINDS[family], tuned, refused)
    (settings.out / "README.md").write_text(text, encoding="utf-8")
    return tuned.worth, tuned.cases


def _chosen(
    settings: FamilySettings, dealt: Sequence[Fold], networks: FamilyNetworks
) -> tuple[FamilyCalibration, card.Tuned]:
    """Choose one level for all patients, on the tuning part."""
    scored = out_of_fold.scored(settings, dealt)
    rule, _ = tuning.choose([*scored, *tuning.healthy(networks)])
    strangers = rules.judge(scored, rule).alarms
    end_share, worth = calibrate.choose_end_share(scored, rule)
    calibration = FamilyCalibration(settings.family, rule, calibrate.case_scale(scored, rule), end_share)
    return calibration, card.Tuned(len(scored), worth, strangers=strangers)


def _own(settings: FamilySettings, dealt: Sequence[Fold], walk: Walk) -> tuple[FamilyCalibration, card.Tuned]:
    """Choose the share of each patient's own peak."""
    cases = out_of_fold.spread(settings, dealt, walk)
    plan = settings.plan
    drawing = Drawing(walk, plan.edge_mm, minimum_ml=plan.minimum_ml, tops=plan.tops, leasts=plan.leasts)
    found = choosing.choose(cases, drawing)
    case = calibrate.scale_of(cases, otherwise=max(choosing.BASE.peak, found.choice.least))
    own = drawing.own(found.choice)
    free = any(metrics.far_slices(case.truth).any() for case in cases)
    calibration = FamilyCalibration(settings.family, drawing.rule, case, found.choice.end, own, plan.edge_mm)
    return calibration, card.Tuned(
        len(cases), found.own, left_out=found.left_out, folds=len(dealt), has_free_slices=free
    )


def _write_patients(settings: FamilySettings, dealt: Sequence[Fold]) -> None:
    """Record everyone who trained or tuned, and whom each network of several was trained without."""
    family = settings.family
    seen = likeness.patients_of(family, settings.data)
    for fold in dealt:
        seen |= {case.patient for case in out_of_fold.cases(settings, fold)}
        seen |= material.patients_of(family, settings.data, fold)
        seen |= {case.patient for case in marking.whole_cases(family, settings.data, fold)}
    left_out = {rounds.file_of(settings, fold).name: fold.left_out for fold in dealt if fold.left_out is not None}
    patients.write_seen(seen, settings.out, left_out=left_out)
