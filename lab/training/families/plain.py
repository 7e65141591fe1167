"""Train the plain network of a family: single slices, painted lesions alone, as many steps as the family's own."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from lab import patients
from lab.segmentation.plain_family import WEIGHTS, networks, single
from lab.training.families import calibrate, fitting, material, tuning
from lab.training.families.settings import LICENCE, ONLY, FamilyResult, FamilySettings, unheard_step
from lab.training.loop import Run
from workers import devices, weights
from workers.segmentation.family_calibration import FamilyCalibration

if TYPE_CHECKING:
    from lab.training.settings import OnStep

CARD = """# {name}, plain

The network that the evaluation compares the family `{name}` with: single slices, lesions painted on tumour-free slices
alone, {steps} steps. Its rule was chosen on the tuning part: mean Dice {dice:.3f}, {alarms:.1%} of the slices far from
any tumour carry a mask. It is no part of the program.
"""


def train_plain(settings: FamilySettings, *, on_step: OnStep = unheard_step) -> FamilyResult:
    """Train the plain network and write its folder; without a manifest where the deadline came first.

    It takes the steps of both rounds in one. Raises TrainingDataMissing.
    """
    started = time.monotonic()
    torch.set_num_threads(settings.threads)
    family, dtype = settings.family, devices.choose_dtype(torch.device("cpu"), settings.dtype)
    steps = settings.plan.first.steps + settings.plan.second.steps
    plan = replace(settings.plan.first, steps=steps)
    run = Run(f"{family.name}-plain", plan, settings.work, started + 60.0 * settings.deadline_minutes, on_step)
    free = material.load(family, settings.data)
    network, finished = fitting.fit(run, single(family), free, seed=settings.seed, dtype=dtype)
    fitting.save(network, settings.out / WEIGHTS)
    if not finished:
        return FamilyResult(finished=False, worth=None, cases=0, seconds=time.monotonic() - started)
    return _published(settings, started=started, steps=plan.steps)


def _published(settings: FamilySettings, *, started: float, steps: int) -> FamilyResult:
    family, modality = settings.family, min(settings.family.modalities)
    trained = networks(settings.out / WEIGHTS, family)
    cases = [case.read() for kind in tuning.KINDS[family] for case in kind.cases(settings.data, modality)]
    scored = tuning.scored(cases, trained)
    rule, _ = tuning.choose([*scored, *tuning.healthy(trained)])
    end_share, worth = calibrate.choose_end_share(scored, rule)
    FamilyCalibration(family, rule, calibrate.case_scale(scored, rule), end_share).write(settings.out)
    read = {case.patient for source in material.sources(family) for case in source.cases(settings.data, ONLY, modality)}
    patients.write_seen({case.patient for case in cases} | read, settings.out)
    weights.write_manifest(settings.out, name=f"{family.name}-plain", version="1", licence=LICENCE)
    card = CARD.format(name=family.name, steps=steps, dice=worth.dice, alarms=worth.alarms)
    (settings.out / "README.md").write_text(card, encoding="utf-8")
    return FamilyResult(finished=True, worth=worth, cases=len(cases), seconds=time.monotonic() - started)
