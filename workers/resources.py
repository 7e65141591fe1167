"""What the jobs of one worker process use: opened and loaded once, kept warm between jobs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from storage.database import Database
from storage.objects import ObjectStore
from workers.analysers import Analyser, build_analysers
from workers.config import WorkerSettings
from workers.image_labels import ImageClassifiers
from workers.lesions import Classifiers
from workers.triage import Policy, load_policy

if TYPE_CHECKING:
    from workers.guard.region_guard import RegionGuard

LABEL = "label"
"""The analyser of routes that ask for a label of a whole image: few-shot adapters, no segmentation."""


class RouteClassifiers(Classifiers, ImageClassifiers, Protocol):
    """Chooses what labels lesions, and what labels whole images."""


@dataclass(frozen=True, slots=True)
class PipelineResources:
    """What the stages of a job use: opened and loaded once per process, kept warm between jobs."""

    database: Database
    objects: ObjectStore
    analysers: Mapping[str, Analyser]
    classifiers: RouteClassifiers | None
    policy: Policy
    overlay_slices: int = 12
    guard: RegionGuard | None = None

    @property
    def serves(self) -> frozenset[str]:
        """The analysers that routes may ask for here."""
        return frozenset(self.analysers) | (frozenset({LABEL}) if self.classifiers else frozenset())


def open_resources(
    settings: WorkerSettings, database: Database, objects: ObjectStore, *, actor: str
) -> PipelineResources:
    """Load the models and read the policy; raises WeightsMismatch, PolicyInvalid or ConfigurationError."""
    policy = load_policy(settings.policy)
    _limit_threads(settings.threads)
    return PipelineResources(
        database=database,
        objects=objects,
        analysers=build_analysers(settings),
        classifiers=_open_classifiers(settings, database, actor) if settings.classify else None,
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
