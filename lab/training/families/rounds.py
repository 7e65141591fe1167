"""The two rounds that train one network of a family, without the patients of its fold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from lab.segmentation import plain_unet
from lab.training.families import fitting, marking, material
from lab.training.families.foundation_marks import HesitantScores
from lab.training.families.heavier import heavier
from lab.training.families.painters import RECIPES
from lab.training.loop import Run
from workers import devices
from workers.config import WorkerSettings
from workers.segmentation.families import family_named
from workers.segmentation.family_segmenter import ANYTHING, FamilyNetworks, load_foundation, load_network
from workers.segmentation.prompts import PromptEncoder, TextEncoder

if TYPE_CHECKING:
    from pathlib import Path

    from lab.training.families.folds import Fold
    from lab.training.families.settings import FamilySettings
    from lab.training.settings import OnStep
    from lab.training.slices import SliceSet
    from workers.segmentation.foundation_scores import FoundationScores

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
    dtype = devices.choose_dtype(device, settings.dtype)
    found = FamilyNetworks(family, loaded, device, dtype, foundation=_foundation(settings))
    return found.looking_for(PromptEncoder(TextEncoder.load(), device).pair(ANYTHING)) if family.prompted else found


def train(settings: FamilySettings, fold: Fold, on_step: OnStep, *, stop_at: float) -> bool:
    """Train both rounds, or the first where nothing is unlabelled; returns whether all steps were taken.

    The weights are written in any case, for one who wants to look at them early.
    """
    family, dtype = settings.family, devices.choose_dtype(torch.device("cpu"), settings.dtype)
    recipe, weights = RECIPES[family_named(family.name)], file_of(settings, fold)
    free, seed = material.load(family, settings.data, fold), settings.seed + 2 * fold.number
    run = _run(settings, fold, "first", on_step, stop_at=stop_at)
    begun, start = _begun(settings, fold, free)
    network, finished = fitting.fit(run, family, begun, recipe=recipe, seed=seed, dtype=dtype, start=start)
    fitting.save(network, weights)
    if not finished or not marking.is_marked(family):
        return finished
    first = settings.work / f"{run.stage}.safetensors"
    first.write_bytes(weights.read_bytes())
    whole = marking.load(family, settings.data, networks(settings, first), fold, walk=settings.walk)
    both = _with_unlabelled(free, whole)
    run = _run(settings, fold, "second", on_step, stop_at=stop_at)
    network, finished = fitting.fit(run, family, both, recipe=heavier(recipe), seed=seed + 1, dtype=dtype, start=first)
    fitting.save(network, weights)
    return finished


def _begun(settings: FamilySettings, fold: Fold, free: SliceSet) -> tuple[SliceSet, Path | None]:
    """Return what the first round is shown and what it starts from.

    A founded family begins with the plain network for heads, and with pictures that the foundation model marks.
    """
    foundation = _foundation(settings)
    if foundation is None:
        return free, None
    whole = marking.load(settings.family, settings.data, HesitantScores(foundation), fold)
    return _with_unlabelled(free, whole), WorkerSettings().models_folder() / plain_unet.FOLDER / plain_unet.WEIGHTS_FILE


def _foundation(settings: FamilySettings) -> FoundationScores | None:
    device = torch.device("cpu")
    dtype = devices.choose_dtype(device, settings.dtype)
    return load_foundation(settings.family, None, None, device=device, dtype=dtype)


def _with_unlabelled(free: SliceSet, whole: SliceSet) -> SliceSet:
    return free.joined(replace(whole, weights=whole.weights * UNLABELLED_SHARE))


def _run(settings: FamilySettings, fold: Fold, name: str, on_step: OnStep, *, stop_at: float) -> Run:
    folded = "" if fold.left_out is None else f"-{fold.number}"
    plan = settings.first if name == "first" else settings.second
    return Run(f"{settings.family.name}{folded}-{name}", plan, settings.work, stop_at, on_step)
