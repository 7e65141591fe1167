"""The two rounds that train one network of a family, without the patients of its fold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from lab.segmentation import plain_unet
from lab.training.families import fitting, marking, material
from lab.training.families.foundation_marks import FoundationScores, HesitantScores
from lab.training.families.heavier import heavier
from lab.training.families.painters import RECIPES
from lab.training.loop import Run
from workers import devices
from workers.config import SEGMENTATION_FOLDER, WorkerSettings
from workers.segmentation.families import Frame, family_named
from workers.segmentation.family_segmenter import ANYTHING, FamilyNetworks, load_network
from workers.segmentation.prompts import PromptEncoder, TextEncoder

if TYPE_CHECKING:
    from pathlib import Path

    from lab.training.families.folds import Fold
    from lab.training.families.settings import FamilySettings
    from lab.training.settings import OnStep
    from lab.training.slices import SliceSet

UNLABELLED_SHARE = 0.8
"""How often slices of whole stacks are drawn in the second round, against 1 for those without tumour."""
WEIGHTS = "network.safetensors"


def file_of(settings: FamilySettings, fold: Fold) -> Path:
    """Return where the weights of a fold's network lie."""
    return settings.out / (WEIGHTS if fold.left_out is None else f"network-{fold.number}.safetensors")


def networks(settings: FamilySettings, *files: Path) -> FamilyNetworks:
    """Load networks on the processor."""
    device, family = torch.device("cpu"), settings.family
    loaded = tuple(devices.frozen(load_network(file, family), device) for file in files)
    found = FamilyNetworks(family, loaded, device, _dtype(settings))
    return found.looking_for(PromptEncoder(TextEncoder.load(), device).pair(ANYTHING)) if family.prompted else found


def train_first(settings: FamilySettings, fold: Fold, on_step: OnStep, *, stop_at: float) -> bool:
    """Train a fold's network on painted lesions; returns whether all steps were taken.

    The weights are written in any case, for one who wants to look at them early.
    """
    free = material.load(settings.family, settings.data, fold)
    run = _run(settings, fold, "first", on_step, stop_at=stop_at)
    start = None
    if settings.family.frame is Frame.HEAD:
        free, start = _begun(settings, fold, free)
    network, finished = fitting.fit(
        run, settings.family, free, seed=_seed(settings, fold), dtype=_dtype(settings), start=start
    )
    fitting.save(network, file_of(settings, fold))
    if finished:
        _first(settings, fold).write_bytes(file_of(settings, fold).read_bytes())
    return finished


def train_second(settings: FamilySettings, fold: Fold, on_step: OnStep, *, stop_at: float) -> bool:
    """Go on with what the first round marks in whole stacks, where a family has any; returns as ``train_first``."""
    family, first = settings.family, _first(settings, fold)
    if not marking.is_marked(family) or not settings.plan.second.steps:
        return True
    free = material.load(family, settings.data, fold)
    walk = settings.plan.walk if settings.plan.marks_spread else None
    whole = marking.load(family, settings.data, networks(settings, first), fold, walk=walk)
    both = _with_unlabelled(free, whole)
    run = _run(settings, fold, "second", on_step, stop_at=stop_at)
    recipe, seed = heavier(RECIPES[family_named(family.name)]), _seed(settings, fold) + 1
    network, finished = fitting.fit(run, family, both, recipe=recipe, seed=seed, dtype=_dtype(settings), start=first)
    fitting.save(network, file_of(settings, fold))
    return finished


def _begun(settings: FamilySettings, fold: Fold, free: SliceSet) -> tuple[SliceSet, Path]:
    """Return what the first round is shown of heads and what it starts from.

    It begins with the plain network for heads, and with pictures that the foundation model's heads have marked.
    """
    models, device = WorkerSettings().models_folder(), torch.device("cpu")
    scorer = FoundationScores.load(models / SEGMENTATION_FOLDER, device=device, dtype=_dtype(settings))
    whole = marking.load(settings.family, settings.data, HesitantScores(scorer), fold)
    return _with_unlabelled(free, whole), models / plain_unet.FOLDER / plain_unet.WEIGHTS_FILE


def _with_unlabelled(free: SliceSet, whole: SliceSet) -> SliceSet:
    return free.joined(replace(whole, weights=whole.weights * UNLABELLED_SHARE))


def _first(settings: FamilySettings, fold: Fold) -> Path:
    """Return where the weights of the first round are kept, which mark for the second."""
    return settings.work / f"{_run_name(settings, fold, 'first')}.safetensors"


def _seed(settings: FamilySettings, fold: Fold) -> int:
    return settings.seed + 2 * fold.number


def _dtype(settings: FamilySettings) -> torch.dtype:
    return devices.choose_dtype(torch.device("cpu"), settings.dtype)


def _run_name(settings: FamilySettings, fold: Fold, name: str) -> str:
    folded = "" if fold.left_out is None else f"-{fold.number}"
    return f"{settings.family.name}{folded}-{name}"


def _run(settings: FamilySettings, fold: Fold, name: str, on_step: OnStep, *, stop_at: float) -> Run:
    plan = settings.plan.first if name == "first" else settings.plan.second
    return Run(_run_name(settings, fold, name), plan, settings.work, stop_at, on_step)
