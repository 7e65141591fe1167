"""Train part of a backbone and its head on a few pictures: first the head alone, then both (LP-FT)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy import float32, intp
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from lab.fewshot.freezing.strategies import Freeze, apply
from storage.progress import OnProgress, unheard
from workers.errors import BackboneUnusable
from workers.fewshot.contracts import Picture, PromptMode, Vectors
from workers.fewshot.fitted_heads import LinearHead
from workers.fewshot.frozen_backbone import TorchBackbone
from workers.fewshot.heads import Logistic
from workers.fewshot.preprocessing import to_tensor
from workers.fewshot.visual_prompts import MaskedPicture, draw

if TYPE_CHECKING:
    from lab.fewshot.runs import Material, Predict

EPOCHS = 15
BATCH = 8
HEAD_RATE = 1e-2
RATES = {Freeze.LAST: 3e-5, Freeze.FULL: 1e-5, Freeze.LORA: 1e-3, Freeze.PROMPTS: 1e-2}
"""Learning rates of the backbone's free part; fixed, no validation set exists to choose others on."""
_DECAY = 1e-4
_NO_TUNING = frozenset({PromptMode.GLOBAL_CROP, PromptMode.MASKPOOL, PromptMode.THREE_LOOKS})
"""Modes whose vector is put together from several pictures, or from part of the grid."""


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Pictures as the backbone sees them, drawn, with the places of their labels."""

    pictures: Sequence[Picture]
    targets: Tensor


class TunedHead(torch.nn.Module):
    """The fitted logistic head as a trainable layer on ``unit((x - centre) * scale)``."""

    def __init__(self, head: LinearHead) -> None:
        super().__init__()
        self.register_buffer("centre", torch.from_numpy(head.centre.copy()))
        self.register_buffer("scale", torch.from_numpy(head.scale.copy()))
        self.weight = torch.nn.Parameter(torch.from_numpy(head.weight.copy()))
        self.bias = torch.nn.Parameter(torch.from_numpy(head.bias.copy()))

    def forward(self, pooled: Tensor) -> Tensor:
        """Return the scores ``[n, k]``."""
        placed = normalize((pooled.float() - self.get_buffer("centre")) * self.get_buffer("scale"), dim=-1)
        return placed @ self.weight.T + self.bias


def tune(
    backbone: TorchBackbone,
    freeze: Freeze,
    head: LinearHead,
    *,
    examples: Examples,
    seed: int,
    on_epoch: OnProgress = unheard,
) -> TunedModel:
    """Train a copy of the backbone with its head in float32; the backbone itself is left as it is."""
    generator = torch.Generator().manual_seed(seed)
    encoder = copy.deepcopy(backbone.encoder).float().to(backbone.device)
    apply(encoder, freeze, generator=generator)
    layer = TunedHead(head).to(backbone.device)
    free = [one for one in encoder.parameters() if one.requires_grad]
    optimiser = torch.optim.AdamW(
        [{"params": free, "lr": RATES[freeze]}, {"params": layer.parameters(), "lr": HEAD_RATE}], weight_decay=_DECAY
    )
    steps = EPOCHS * -(-len(examples.pictures) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    preprocessing = backbone.card.preprocessing
    for epoch in range(EPOCHS):
        for places in _batches(len(examples.pictures), generator):
            pixels = to_tensor([examples.pictures[place] for place in places], preprocessing).to(backbone.device)
            loss = cross_entropy(layer(encoder(pixels)[0]), examples.targets[places])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch ships this method unannotated
            optimiser.step()
            schedule.step()
        on_epoch(epoch + 1, EPOCHS)
    return TunedModel(encoder.eval(), layer, backbone, head.classes)


@dataclass(frozen=True, slots=True, eq=False)
class TunedModel:
    """A trained copy with its head."""

    encoder: torch.nn.Module
    head: TunedHead
    origin: TorchBackbone
    classes: tuple[str, ...]

    def predict_proba(self, read: Callable[[int], Picture], count: int) -> Vectors:
        """Return probabilities ``[count, k]`` for pictures that are read one batch at a time."""
        preprocessing, rows = self.origin.card.preprocessing, []
        with torch.inference_mode():
            for start in range(0, count, BATCH):
                pictures = [read(place) for place in range(start, min(start + BATCH, count))]
                pooled, _ = self.encoder(to_tensor(pictures, preprocessing).to(self.origin.device))
                rows.append(self.head(pooled).softmax(dim=-1).cpu().numpy())
        return np.asarray(np.concatenate(rows), dtype=float32)


def predict_tuned(
    backbone: TorchBackbone,
    freeze: Freeze,
    prompt: PromptMode,
    *,
    subjects: Sequence[Callable[[], MaskedPicture]],
    vectors: Vectors,
    material: Material,
    on_epoch: OnProgress = unheard,
) -> Predict:
    """Return a predictor that trains anew for each support set; BackboneUnusable for prompts of two pictures."""
    if prompt in _NO_TUNING:
        raise BackboneUnusable(f"prompt {prompt.value} cannot be trained through: use none, crop or a drawn prompt")
    labels = material.labels

    def predict(support: NDArray[intp], test: NDArray[intp], seed: int) -> tuple[tuple[str, ...], Vectors]:
        chosen = [labels[place] for place in support]
        head = Logistic().fit(vectors[support], chosen, [material.groups[place] for place in support], seed=seed)
        targets = torch.tensor([head.classes.index(label) for label in chosen], device=backbone.device)
        examples = Examples([draw(subjects[place](), prompt) for place in support], targets)
        model = tune(backbone, freeze, head, examples=examples, seed=seed, on_epoch=on_epoch)
        return head.classes, model.predict_proba(lambda place: draw(subjects[test[place]](), prompt), len(test))

    return predict


def _batches(count: int, generator: torch.Generator) -> Iterator[list[int]]:
    order = torch.randperm(count, generator=generator).tolist()
    for start in range(0, count, BATCH):
        yield order[start : start + BATCH]
