"""Train a family's networks, fix its mask rule, and write what loading asks for: what ``oncue train family`` calls.

The first round learns from lesions painted on slices without tumour. Where the family has unlabelled stacks or
pictures, a second round goes on with these, too, which the first one has marked (``marking``). A family of few patients
has one network for each fold of them (``folds``), and every patient is scored by the network that never saw them.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import torch

from lab.training.families import folds, material, publish, rounds
from lab.training.families.settings import FamilyResult, FamilySettings, unheard_step

if TYPE_CHECKING:
    from lab.training.settings import OnStep


ROUNDS = (rounds.train_first, rounds.train_second)


def train_family(settings: FamilySettings, *, on_step: OnStep = unheard_step) -> FamilyResult:
    """Train one family and write its folder; without a manifest where the deadline came first.

    Raises TrainingDataMissing where there is nothing to train or to tune on.
    """
    started = time.monotonic()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    torch.set_num_threads(settings.threads)
    stop_at = started + 60.0 * settings.deadline_minutes
    dealt = folds.deal(material.patients_of(settings.family, settings.data), settings.plan.folds)
    trained = (part(settings, fold, on_step, stop_at=stop_at) for part in ROUNDS for fold in dealt)
    if not all(trained):
        return FamilyResult(finished=False, worth=None, cases=0, seconds=time.monotonic() - started)
    worth, cases = publish.publish(settings, dealt)
    return FamilyResult(finished=True, worth=worth, cases=cases, seconds=time.monotonic() - started)
