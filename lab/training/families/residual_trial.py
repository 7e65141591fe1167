"""Try once per family whether residuals of the pseudo-healthy image, learned together with the score, help.

Two heads are trained on the same painted samples, in the same order, from the same beginning: one is shown the
residuals, the other zeros in their place. Both are read on the family's tuning part, each patient by the networks that
were trained without them; experts' masks measure and do nothing else, and no test patient is read.

Run: ``python -m lab.training.families.residual_trial --family NAME [--data FOLDER] [--models FOLDER] [--out FOLDER]``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from lab import metrics
from lab.patients import is_seen, is_tuned_on, read_left_out
from lab.segmentation.case_selection import sample
from lab.training.families import channel_head, folds, material, rounds, tuning
from lab.training.families.folds import UNFOLDED, Fold
from lab.training.families.residual_report import (
    DEFAULT,
    CaseReading,
    Precisions,
    TrialPlan,
    TrialReport,
    mean_of,
    table,
)
from lab.training.families.residuals import FEATURE, PIXEL, Redrawer
from lab.training.families.settings import FamilySettings
from lab.training.settings import StageSettings
from workers import devices
from workers.config import FAMILIES_FOLDER, SEGMENTATION_FOLDER, WorkerSettings
from workers.errors import WeightsMismatch
from workers.segmentation.families import FAMILIES, family_named
from workers.segmentation.family_calibration import read_calibration
from workers.segmentation.family_segmenter import network_files
from workers.segmentation.framing import frame
from workers.segmentation.mask import smooth_across

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from lab.cases import CaseSource, LabelledCase
    from lab.training.families.channel_head import ChannelHead
    from storage.volumes import Vector
    from workers.segmentation.families import Family
    from workers.segmentation.family_calibration import FamilyCalibration
    from workers.segmentation.family_segmenter import FamilyNetworks

    FloatArray = NDArray[np.float32]

HELD_BACK = 0.2
"""Share of the painted samples that no head is trained on."""
BATCH, RATE = 8, 3e-3
"""Of the heads' training."""


@dataclass(frozen=True, slots=True, eq=False)
class _Trained:
    """What reads the cases of one fold: the networks that left them out, and pairs of heads (blind, seeing)."""

    networks: FamilyNetworks
    redrawer: Redrawer
    calibration: FamilyCalibration
    pairs: tuple[tuple[ChannelHead, ChannelHead], ...]
    every: int


@dataclass(frozen=True, slots=True, eq=False)
class _Shown:
    """What is measured of a stack: its images, body, truth and the family's scores ``[z, y, x]``, and their spacing."""

    images: FloatArray
    body: NDArray[np.bool_]
    truth: NDArray[np.bool_]
    scores: FloatArray
    spacing_mm: Vector

    @classmethod
    def of(cls, case: LabelledCase, networks: FamilyNetworks, every: int) -> _Shown:
        """Score a whole case, and keep one slice in ``every``."""
        stack = frame(case.volume, networks.family)
        truth, scores = tuning.framed_truth(case, stack), networks.scores(stack)
        z_mm, y_mm, x_mm = stack.spacing_mm
        spacing_mm = (z_mm * every, y_mm, x_mm)
        return cls(stack.images[::every], stack.body[::every], truth[::every], scores[::every], spacing_mm)


def try_residuals(settings: FamilySettings, redrawer: Redrawer, plan: TrialPlan) -> TrialReport:
    """Train the heads of each fold and read its cases; ``settings.out`` holds the family's shipped weights.

    Raises TrainingDataMissing without slices to paint on, WeightsMismatch where weights have seen whom they should not.
    """
    started = time.process_time()
    calibration = read_calibration(settings.out)
    painted, cases = [], []
    for fold, file in shipped_folds(settings):
        networks = rounds.networks(settings, file)
        samples = channel_head.paint(settings, fold, networks, redrawer, count=plan.samples)
        trained_on = round(len(samples) * (1.0 - HELD_BACK))
        learned, held_back = samples.at(slice(None, trained_on)), samples.at(slice(trained_on, None))
        pairs = tuple(_pair(learned, plan, seed) for seed in range(plan.heads))
        painted.append(_painted(held_back, pairs))
        trained = _Trained(networks, redrawer, calibration, pairs, plan.every)
        cases += [read(case.read(), kind, trained) for kind, case in listed(settings, fold, plan.cases)]
    return TrialReport(
        settings.family.name,
        plan,
        mean_of(painted, [str(fold) for fold in range(len(painted))]),
        tuple(cases),
        round(time.process_time() - started, 1),
    )


def shipped_folds(settings: FamilySettings) -> list[tuple[Fold, Path]]:
    """Return the folds that the shipped networks were trained by, each with its file.

    Raises WeightsMismatch where the weights do not say that they left these patients out.
    """
    files = network_files(settings.out)
    dealt = folds.deal(material.patients_of(settings.family, settings.data), len(files))
    recorded = read_left_out(settings.out)
    for fold, file in zip(dealt, files, strict=True):
        unseen = recorded.get(file.name, frozenset())
        if fold is not UNFOLDED and not all(is_seen(patient, unseen) for patient in fold.left_out or ()):
            raise WeightsMismatch(f"{file.name} was not trained without the patients of fold {fold.number}")
    return list(zip(dealt, files, strict=True))


def listed(settings: FamilySettings, fold: Fold, most: int | None) -> Iterator[tuple[str, CaseSource]]:
    """List the tuning cases of a fold with their kinds, at most so many of each kind, the same ones every time."""
    taken = is_tuned_on if fold.left_out is None else fold.left_out.__contains__
    for kind in tuning.KINDS[settings.family]:
        if kind.name.startswith("normal"):
            continue
        found = kind.cases(settings.data, min(settings.family.modalities), taken=taken)
        yield from ((kind.name, case) for case in (found if most is None else sample(found, most)))


def read(case: LabelledCase, kind: str, trained: _Trained) -> CaseReading:
    """Return what each way gives on a case."""
    shown, known = _Shown.of(case, trained.networks, trained.every), trained.calibration
    channels = trained.redrawer.channels(shown.images, shown.scores)
    blind, seeing = (
        [_smoothed(_scores(head, channels) * shown.body, shown, known) for head in heads]
        for heads in zip(*trained.pairs, strict=True)
    )
    own = _smoothed(shown.scores, shown, known)
    smoothed = (own, np.mean(blind, axis=0), np.mean(seeing, axis=0))
    pairs = zip(blind, seeing, strict=True)
    pixel, feature = (_precision(channels[:, channel].numpy(), shown) for channel in (PIXEL, FEATURE))
    return CaseReading(
        kind,
        case.name,
        case.patient,
        smoothed=Precisions(*(_precision(way, shown) for way in smoothed)),
        final=Precisions(*(_precision(_spread(way, shown, known), shown) for way in smoothed)),
        gains=tuple(_precision(after, shown) - _precision(before, shown) for before, after in pairs),
        pixel=pixel,
        feature=feature,
        redrawn=float((channels[:, PIXEL:] > 0).flatten(1).any(dim=1).float().mean()),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the trial of the families that are named, and write one report each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--family", action="append", choices=sorted(FAMILIES), required=True, help="may be repeated")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of all data")
    parser.add_argument("--models", type=Path, help="folder of all models, by default the installed ones")
    parser.add_argument("--out", type=Path, help="folder for FAMILY.json, by default none is written")
    parser.add_argument("--samples", type=int, default=DEFAULT.samples, help="painted samples of each fold")
    parser.add_argument("--heads", type=int, default=DEFAULT.heads, help="pairs of heads of each fold")
    parser.add_argument("--steps", type=int, default=DEFAULT.steps, help="training steps of each head")
    parser.add_argument("--cases", type=int, help="most cases of each kind, by default all")
    parser.add_argument("--every", type=int, default=DEFAULT.every, help="one slice in so many is redrawn and measured")
    chosen = parser.parse_args(arguments)
    plan = TrialPlan(chosen.samples, chosen.heads, chosen.steps, chosen.cases, chosen.every)
    torch.set_num_threads(1)
    for name in chosen.family:
        report = _tried(family_named(name), chosen.data, chosen.models or WorkerSettings().models_folder(), plan)
        sys.stdout.write(table(report) + "\n")
        sys.stdout.flush()
        if chosen.out is not None:
            chosen.out.mkdir(parents=True, exist_ok=True)
            (chosen.out / f"{name}.json").write_text(json.dumps(report.to_json(), indent=1) + "\n", encoding="utf-8")


def _tried(family: Family, data: Path, models: Path, plan: TrialPlan) -> TrialReport:
    dtype = devices.choose_dtype(torch.device("cpu"))
    folder = models / FAMILIES_FOLDER / family.name
    settings = FamilySettings(family, data, out=folder, work=folder)
    return try_residuals(settings, Redrawer.load(models / SEGMENTATION_FOLDER, family, dtype), plan)


def _pair(samples: channel_head.PaintedSamples, plan: TrialPlan, seed: int) -> tuple[ChannelHead, ChannelHead]:
    stage = StageSettings(plan.steps, BATCH, RATE)
    blind, seeing = (channel_head.fit(samples, stage, seed=seed, blind=blind) for blind in (True, False))
    return blind, seeing


def _painted(samples: channel_head.PaintedSamples, pairs: Sequence[tuple[ChannelHead, ChannelHead]]) -> Precisions:
    blind, seeing = (
        [channel_head.painted_precision(samples, head) for head in heads] for heads in zip(*pairs, strict=True)
    )
    score = channel_head.painted_precision(samples, None)
    return Precisions(score, float(np.mean(blind)), float(np.mean(seeing)))


@torch.inference_mode()
def _scores(head: ChannelHead, channels: Tensor) -> FloatArray:
    return np.asarray(head(channels)[:, 0].sigmoid().numpy())


def _smoothed(scores: FloatArray, shown: _Shown, known: FamilyCalibration) -> FloatArray:
    return smooth_across(scores.astype(np.float32), shown.spacing_mm[0], known.rule.smoothing_mm)


def _spread(smoothed: FloatArray, shown: _Shown, known: FamilyCalibration) -> FloatArray:
    return smoothed if known.own is None else known.own.spread(smoothed, shown.images, shown.spacing_mm)


def _precision(scores: FloatArray, shown: _Shown) -> float:
    return metrics.average_precision(scores, shown.truth) or 0.0


if __name__ == "__main__":
    main()
