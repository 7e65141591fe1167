"""What the jobs of one worker process use: opened and loaded once, kept warm between jobs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import structlog

from storage.database import Database, utc_now
from storage.objects import ObjectStore
from storage.triage import policies
from storage.triage.policy import Policy
from storage.triage.policy_file import load_policy
from workers.config import WorkerSettings
from workers.image_labels import ImageClassifiers
from workers.known_models import KnownModels
from workers.lesions import Classifiers
from workers.loaded_models import LoadedModels

if TYPE_CHECKING:
    from workers.guard.region_guard import RegionGuard

log = structlog.get_logger(__name__)

LABEL = "label"
"""The analyser of routes that ask for a label of a whole image: few-shot adapters, no segmentation."""


class RouteClassifiers(Classifiers, ImageClassifiers, Protocol):
    """Chooses what labels lesions, and what labels whole images."""


@dataclass(frozen=True, slots=True)
class PipelineResources:
    """What the stages of a job use: opened and loaded once per process, kept warm between jobs."""

    database: Database
    objects: ObjectStore
    models: LoadedModels
    classifiers: RouteClassifiers | None
    policy: Policy
    """That of the settings: it decides while none is promoted."""
    overlay_slices: int = 12
    guard: RegionGuard | None = None

    labels: bool = False
    """Whether routes may ask for labels of whole images here."""

    @property
    def serves(self) -> frozenset[str]:
        """The analysers and models that routes may ask for here; those that a site adds and removes change it."""
        return self.models.sources.names() | (frozenset({LABEL}) if self.labels else frozenset())


def open_resources(
    settings: WorkerSettings, database: Database, objects: ObjectStore, *, actor: str, state: Path
) -> PipelineResources:
    """Load the analysers of the settings and read the policy; WeightsMismatch, PolicyInvalid or ConfigurationError.

    The models that a site added lie under ``state``; each is loaded when the first job asks for it.
    """
    policy = load_policy(settings.policy)
    policies.put_on_record(database, policy, actor=actor, now=utc_now())
    _limit_threads(settings.threads)
    known = KnownModels(settings, database, state)
    models = LoadedModels(known, budget_megabytes=settings.memory_megabytes)
    unknown = known.unknown() - {LABEL}
    if unknown:
        log.warning("worker.unknown_models", serves=sorted(unknown), known=sorted(known.names()))
    models.warm(known.takes(frozenset(settings.analysers)))
    return PipelineResources(
        database=database,
        objects=objects,
        models=models,
        classifiers=_open_classifiers(settings, database, actor) if settings.classify else None,
        labels=settings.classify and bool(known.takes(frozenset({LABEL}))),
        policy=policy,
        overlay_slices=settings.overlay_slices,
        guard=_open_guard(settings) if settings.guard else None,
    )


def _open_classifiers(settings: WorkerSettings, database: Database, actor: str) -> RouteClassifiers:
    from workers.devices import choose_device
    from workers.fewshot.lesion_views import InstalledEncoders
    from workers.fewshot.serving import PromotedClassifiers
    from workers.fewshot.starter import install_starter

    install_starter(settings, database, actor=actor)
    encoders = InstalledEncoders(settings.models_folder(), choose_device(settings.device))
    classifiers = PromotedClassifiers(database, encoders)
    classifiers.warm()
    return classifiers


def _open_guard(settings: WorkerSettings) -> RegionGuard:
    from workers.devices import choose_device
    from workers.guard.region_guard import open_region_guard

    return open_region_guard(settings.models_folder(), device=choose_device(settings.device))


def _limit_threads(threads: int) -> None:
    # Beside other load, threads of torch that spin while they wait cost far more than they save (measured: 65 times).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if threads:
        import torch

        torch.set_num_threads(threads)
