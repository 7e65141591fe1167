"""Open what the pipeline uses: models, triage policy and the few-shot classifiers, loaded once per process."""

from __future__ import annotations

import os

from storage.database import Database
from storage.objects import ObjectStore
from workers.analysers import build_analysers
from workers.config import WorkerSettings
from workers.labelling import Classifiers
from workers.pipeline import PipelineResources
from workers.triage import load_policy


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
    )


def _open_classifiers(settings: WorkerSettings, database: Database, actor: str) -> Classifiers:
    from workers.devices import choose_device
    from workers.fewshot.encoders import InstalledEncoders
    from workers.fewshot.serving import PromotedClassifiers
    from workers.fewshot.starter import install_starter

    install_starter(settings, database, actor=actor)
    encoders = InstalledEncoders(settings.models_folder(), choose_device(settings.device))
    classifiers = PromotedClassifiers(database, encoders)
    classifiers.warm()
    return classifiers


def _limit_threads(threads: int) -> None:
    # Beside other load, threads of torch that spin while they wait cost far more than they save (measured: 65 times).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if threads:
        import torch

        torch.set_num_threads(threads)
