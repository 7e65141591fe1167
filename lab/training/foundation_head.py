"""Train adapters and a head on the frozen features of any 2D foundation model: what ``oncue train head`` calls.

As for the project's own model (``adapters``), lesions are painted on slices that are taken to be healthy, and no pixel
label is ever a target. A mask in a case only says which slices are left out.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import torch

from lab.cases import ArrayFile
from lab.errors import UnreadableCase
from lab.patients import Role
from lab.training import adapters, head_calibration, head_folder, loop, slices
from lab.training.adapters import PromptTable
from lab.training.head_settings import HeadResult
from lab.training.loop import Run
from lab.training.samples import Ahead, Sampler
from lab.training.settings import Stage
from lab.training.slices import SliceSet
from storage.progress import unheard
from workers import devices
from workers.errors import ModelUnsuitable, TrainingDataMissing, UnsuitableVolume
from workers.foundation.card import ModelKind
from workers.foundation.weight_files import HEAD_FOLDER
from workers.segmentation.model import open_model
from workers.segmentation.networks import AnomalyNetwork
from workers.segmentation.prompts import TextEncoder
from workers.zero_shot.feature_head import FeatureHead, HeadCard, answer, head_shape, in_range, normalised
from workers.zero_shot.slices import place_slices

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from lab.training.head_settings import HeadSettings
    from lab.training.settings import OnStep
    from storage.progress import OnProgress
    from workers.foundation.contract import FoundationModel
    from workers.segmentation.networks import NetworkShape


def unheard_step(_report: object) -> None:
    """Ignore the report."""


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What a head is made from: the frozen model, healthy slices to train on and of held-out patients, text encoder.

    The network computes in ``dtype`` while it is trained.
    """

    model: FoundationModel
    shape: NetworkShape
    training: SliceSet
    held_out: SliceSet
    modality: str
    encoder: TextEncoder
    dtype: torch.dtype

    def work(self, settings: HeadSettings) -> Path:
        """Return the folder of the checkpoint: one of another model or plan would fit the network, and be wrong."""
        size, count = self.training.size, len(self.training)
        plan = f"{settings.steps}x{settings.batch}-{count}-slices-of-{size}-seed-{settings.seed}"
        return settings.work / f"{self.model.sha256[:12]}-{plan}"


def train_head(
    settings: HeadSettings, *, on_step: OnStep = unheard_step, on_calibration: OnProgress = unheard
) -> HeadResult:
    """Train a head on a model's features and write it; without a card where the deadline came first.

    Raises ModelUnsuitable for a folder that holds no model of single images of another maker, TrainingDataMissing where
    there are no training patients or none to choose a threshold on, and UnreadableCase that names a broken file.
    """
    started = time.monotonic()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    torch.set_num_threads(settings.threads)
    material = gather(settings)
    stop_at = started + 60.0 * settings.deadline_minutes
    run = Run(Stage.ADAPTERS, settings.plan, material.work(settings), stop_at, on_step)
    network, normal, finished = _train(run, material, settings.seed)
    place = settings.out or settings.foundation / HEAD_FOLDER
    if not finished:
        return HeadResult(place, None, time.monotonic() - started)
    model = material.model
    frozen = devices.frozen(network, model.device)
    head = FeatureHead(_uncalibrated(settings, material), frozen, normal.to(model.device), model.card.value_range)
    unseen = Sampler(material.held_out, settings.seed, alone=True)
    head = head_calibration.calibrate(head, model, unseen, material.encoder, on_progress=on_calibration)
    head_folder.write(head, place, licence=model.card.licence)
    return HeadResult(place, head.card, time.monotonic() - started)


def gather(settings: HeadSettings) -> Material:
    """Open the model and read the cases; raises as ``train_head`` does."""
    device = devices.choose_device(settings.device)
    dtype = devices.choose_dtype(device, settings.dtype)
    model = open_model(settings.foundation, device, dtype)
    shape = _checked_shape(model)
    modality = settings.modality or (model.card.modalities or ("MR",))[0]
    training, held_out = (load(settings.cases, role, model, modality=modality) for role in (Role.TRAIN, Role.TUNE))
    return Material(model, shape, training, held_out, modality, TextEncoder.load(), dtype)


def _uncalibrated(settings: HeadSettings, material: Material) -> HeadCard:
    return HeadCard(
        foundation=material.model.card.name,
        foundation_sha256=material.model.sha256,
        channels=material.shape.channels,
        size=material.training.size,
        modality=material.modality,
        threshold=head_calibration.UNCHOSEN,
        held_out=head_calibration.UNREAD,
        slices=len(material.training),
        steps=settings.steps,
        seed=settings.seed,
    )


def _checked_shape(model: FoundationModel) -> NetworkShape:
    if model.card.kind is ModelKind.ONCUE:
        raise ModelUnsuitable(f"{model.card.name} has heads of its own: train them with oncue train foundation")
    return head_shape(model)


def load(folder: Path, wanted: Role, model: FoundationModel, *, modality: str) -> SliceSet:
    """Return the slices of all patients of one role that are free of what their masks mark, as the model is shown them.

    Raises TrainingDataMissing where there is none, UnreadableCase that names a broken or an empty file, and what the
    model's card excludes as ``place_slices`` does.
    """
    sets = []
    for path in slices.patient_files(folder, wanted):
        case = ArrayFile(path, modality, labelled=False).read()
        try:
            placed = place_slices(case.volume, model)
        except UnsuitableVolume as error:
            raise UnreadableCase(f"{path.name}: {error}") from error
        images = normalised(placed.images, model.card.value_range)[:, 0].numpy()
        tissue = placed.tissue[:, 0].numpy()
        sets.append(slices.from_framed(images, tissue, case.name, wanted=slices.tumor_free(case.mask)))
    joined = reduce(SliceSet.joined, sets)
    if not len(joined):
        raise TrainingDataMissing(f"no slice of the {wanted} patients under {folder.name} shows anything healthy")
    return joined


def _train(run: Run, material: Material, seed: int) -> tuple[AnomalyNetwork, Tensor, bool]:
    """Return the network, the vector of the normal prompts, and whether all steps were taken."""
    model, dtype = material.model, material.dtype
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = devices.channels_last(AnomalyNetwork(material.shape)).to(model.device).train()
    table = PromptTable.build(material.encoder)
    normal = table.normal.mean(dim=0)
    ahead = Ahead(Sampler(material.training, seed, alone=True), run.plan.batch)

    def loss_of(step: int) -> Tensor:
        batch = ahead.draw(step)
        abnormal, wanted = adapters.ask(batch, table, np.random.default_rng((seed, 5, step)))
        images = batch.images.to(model.device)
        features = frozen_features(model, images)
        asked, other = (part.to(model.device) for part in (abnormal, normal.expand(len(images), -1)))
        with torch.autocast(model.device.type, dtype, enabled=dtype is not torch.float32):
            logits = answer(module, images, features, abnormal=asked, normal=other)
        masks = (batch.masks * wanted.view(-1, 1, 1, 1)).to(model.device)
        return adapters.loss(logits, masks, batch.settled.to(model.device))

    finished = loop.optimise(run, module, loss_of)
    return module, normal, finished


def frozen_features(model: FoundationModel, images: Tensor) -> list[Tensor]:
    """Return a model's features of images in -1..1, as tensors that a network above them can learn from."""
    stages = model.features(in_range(images, model.card.value_range))
    return [stage.clone() for stage in stages]
