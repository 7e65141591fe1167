"""What an adapter is made with: a backbone's card, a prompt and a head, written down before anything is fitted."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from storage.fewshot import adapters, tasks
from storage.fewshot.adapters import Recipe
from workers.config import WorkerSettings
from workers.devices import choose_device
from workers.fewshot.backbones.registry import DEFAULT_BACKBONE
from workers.fewshot.contracts import MASKLESS, MaskSource, PromptMode, embedding_key
from workers.fewshot.encoders import InstalledEncoders
from workers.fewshot.fitting import FREEZE_ALL
from workers.fewshot.heads.names import HeadName


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody asks for; None leaves the choice to the task's newest adapter, and then to oncue."""

    backbone: str | None
    mode: PromptMode | None
    head: HeadName | None
    seed: int


def newest_recipe(session: Session, task_name: str) -> Recipe | None:
    """Return the recipe of a task's newest adapter; RecordMissing where there is no such task."""
    found = adapters.listed(session, tasks.find(session, task_name))
    return found[0].recipe if found else None


def recipe_for(settings: WorkerSettings, wanted: Wanted, *, before: Recipe | None) -> Recipe:
    """Describe an adapter; BackboneMissing or WeightsMismatch where a backbone that is asked for is not there."""
    if before is not None and wanted.backbone is None and wanted.mode is None:
        return replace(before, head=wanted.head.value if wanted.head else before.head, seed=wanted.seed)
    mode = wanted.mode or PromptMode.CROP
    encoders = InstalledEncoders(settings.models_folder(), choose_device(settings.device))
    card = encoders.backbone(wanted.backbone or DEFAULT_BACKBONE).card
    return Recipe(
        embedding_key=embedding_key(card, mode),
        backbone=card.name,
        backbone_sha256=card.sha256,
        licence=card.licence,
        commercial_use=card.commercial_use,
        prompt_mode=mode.value,
        mask_source=(MaskSource.NONE if mode in MASKLESS else MaskSource.GIVEN).value,
        head=(wanted.head or HeadName.LOGISTIC).value,
        freeze=FREEZE_ALL,
        seed=wanted.seed,
    )
