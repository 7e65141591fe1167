"""Train a family's network, fix its mask rule, and write what loading asks for: what ``oncue train family`` calls.

The first round learns from lesions painted on slices without tumour. Where the family has unlabelled stacks or
pictures, a second round goes on with these, too, which the first one has marked (``marking``).
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from lab import patients
from lab.patients import Role, role
from lab.training import rules
from lab.training.families import calibrate, card, fitting, likeness, marking, material, tuning
from lab.training.families.settings import LICENCE, ONLY, FamilyResult, FamilySettings, unheard_step
from lab.training.loop import Run
from workers import devices, weights
from workers.segmentation.family_calibration import FamilyCalibration
from workers.segmentation.family_segmenter import FamilyNetworks, load_network

if TYPE_CHECKING:
    from lab.training.settings import OnStep
    from lab.training.slices import SliceSet

UNLABELLED_SHARE = 0.8
"""How often slices of whole stacks are drawn in the second round, against 1 for those without tumour."""
WEIGHTS = "network.safetensors"


def train_family(settings: FamilySettings, *, on_step: OnStep = unheard_step) -> FamilyResult:
    """Train one family and write its folder; without a manifest where the deadline came first.

    Raises TrainingDataMissing where there is nothing to train or to tune on.
    """
    started = time.monotonic()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    torch.set_num_threads(settings.threads)
    free = material.load(settings.family, settings.data)
    finished = _rounds(settings, free, on_step, stop_at=started + 60.0 * settings.deadline_minutes)
    if not finished:
        return FamilyResult(finished=False, worth=None, cases=0, seconds=time.monotonic() - started)
    worth, cases = publish(settings)
    return FamilyResult(finished=True, worth=worth, cases=cases, seconds=time.monotonic() - started)


def publish(settings: FamilySettings) -> tuple[rules.Worth, int]:
    """Choose mask rule, ends and limits on the tuning part; write calibration, likeness, card, patients, manifest."""
    family = settings.family
    kinds = tuning.KINDS[family]
    modality = min(family.modalities)
    cases = [case.read() for kind in kinds for case in kind.cases(settings.data, modality)]
    networks = _networks(settings)
    scored = tuning.scored(cases, networks)
    rule, _ = tuning.choose([*scored, *tuning.healthy(networks)])
    strangers = rules.judge(scored, rule).alarms
    end_share, worth = calibrate.choose_end_share(scored, rule)
    FamilyCalibration(family, rule, calibrate.case_scale(scored, rule), end_share).write(settings.out)
    known, refused = likeness.fit(family, networks.networks[0], settings.data)
    known.write(settings.out)
    known_patients = likeness.patients_of(family, settings.data)
    patients.write_seen({case.patient for case in cases} | known_patients | _trained_on(settings), settings.out)
    weights.write_manifest(settings.out, name=family.name, version="1", licence=LICENCE)
    tuned = card.Tuned(len(cases), worth, strangers, refused)
    (settings.out / "README.md").write_text(card.text(family, kinds, tuned), encoding="utf-8")
    return worth, len(cases)


def _rounds(settings: FamilySettings, free: SliceSet, on_step: OnStep, *, stop_at: float) -> bool:
    """Train both rounds, or the first where nothing is unlabelled; returns whether all steps were taken."""
    family, dtype = settings.family, devices.choose_dtype(torch.device("cpu"), settings.dtype)
    run = Run(f"{family.name}-first", settings.first, settings.work, stop_at, on_step)
    network, finished = fitting.fit(run, family, free, seed=settings.seed, dtype=dtype)
    fitting.save(network, settings.out / WEIGHTS)
    if not finished or not marking.is_marked(family):
        return finished
    whole = marking.load(family, settings.data, _networks(settings))
    both = free.joined(replace(whole, weights=whole.weights * UNLABELLED_SHARE))
    first = settings.work / f"{family.name}-first.safetensors"
    first.write_bytes((settings.out / WEIGHTS).read_bytes())
    run = Run(f"{family.name}-second", settings.second, settings.work, stop_at, on_step)
    network, finished = fitting.fit(run, family, both, seed=settings.seed + 1, dtype=dtype, start=first)
    fitting.save(network, settings.out / WEIGHTS)
    return finished


def _networks(settings: FamilySettings) -> FamilyNetworks:
    device = torch.device("cpu")
    network = devices.frozen(load_network(settings.out / WEIGHTS, settings.family), device)
    return FamilyNetworks(settings.family, (network,), device, devices.choose_dtype(device, settings.dtype))


def _trained_on(settings: FamilySettings) -> set[str]:
    """Return the patients whose slices, with or without tumour, were trained on."""
    family, modality = settings.family, min(settings.family.modalities)
    free = {case.patient for source in material.sources(family) for case in source.cases(settings.data, ONLY, modality)}
    whole = {case.patient for case in marking.whole_cases(family, settings.data)}
    return {patient for patient in free | whole if role(patient) is not Role.TEST}
