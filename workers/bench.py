"""Set up everything that a worker needs to work on jobs: models, policy and the few-shot head, loaded once."""

from __future__ import annotations

import os

from storage.database import Database
from storage.objects import ObjectStore
from workers.analysers import build_analysers
from workers.config import WorkerSettings
from workers.pipeline import Bench, Classifier
from workers.triage import load_policy


def open_bench(settings: WorkerSettings, database: Database, objects: ObjectStore, *, actor: str) -> Bench:
    """Load the models and read the policy. WeightsMismatch, PolicyInvalid or ConfigurationError refuse the start."""
    policy = load_policy(settings.policy)
    _limit_threads(settings.threads)
    return Bench(
        database=database,
        objects=objects,
        analysers=build_analysers(settings),
        classifier=_open_classifier(settings, database, actor) if settings.classify else None,
        policy=policy,
        overlay_slices=settings.overlay_slices,
    )


def _open_classifier(settings: WorkerSettings, database: Database, actor: str) -> Classifier:
    from workers.support_set import open_classifier

    return open_classifier(settings, database, actor=actor)


def _limit_threads(threads: int) -> None:
    # Beside other load, threads of torch that spin while they wait cost far more than they save (measured: 65 times).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if threads:
        import torch

        torch.set_num_threads(threads)
