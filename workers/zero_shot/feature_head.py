"""Adapters and a head that were trained on the frozen features of another maker's foundation model.

``oncue train head`` writes them to ``head/`` in the model's folder: the network of ``workers.segmentation.networks``
with the channels of that model, for single slices; the vector of the normal prompts; and a card that names the model's
digest. Where that folder is not there, the method works without training.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from workers import devices, weights
from workers.errors import ModelUnsuitable, WeightsMismatch
from workers.foundation.weight_files import HEAD_CARD, HEAD_FOLDER, HEAD_WEIGHTS, read_checkpoint
from workers.segmentation import networks
from workers.segmentation.networks import MOST_STAGES, AnomalyLogits, AnomalyNetwork, NetworkShape

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from workers.foundation.card import ValueRange
    from workers.foundation.contract import FoundationModel

HEAD_FORMAT = 1
NORMAL = "normal"
"""Name under which the vector of the normal prompts is stored beside the network's weights."""
MULTIPLE = 16
"""The network shrinks images so far; sides that are no multiples of it are padded."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What a head reads on lesions painted on held-out patients, and what a fixed grey level reads there.

    ``dice`` at the head's threshold, ``grey_dice`` at the best single level of grey, both means over batches of slices.
    """

    dice: float
    average_precision: float
    grey_dice: float
    slices: int


@dataclass(frozen=True, slots=True)
class HeadCard:
    """What a head is, and how it was made.

    ``foundation`` and ``foundation_sha256`` name the model, ``channels`` are those of its features' stages; ``size`` is
    the side in pixels of the squares that were trained on. Scores above ``threshold`` are lesion.
    """

    foundation: str
    foundation_sha256: str
    channels: tuple[int, ...]
    size: int
    modality: str
    threshold: float
    held_out: HeldOut
    slices: int
    steps: int
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class FeatureHead:
    """A trained head, frozen, on its model's device."""

    card: HeadCard
    network: AnomalyNetwork
    normal: Tensor
    """Vector of the normal prompts, ``[384]``."""
    value_range: ValueRange

    @property
    def threshold(self) -> float:
        """Score above which a place is lesion, chosen on lesions painted on held-out patients."""
        return self.card.threshold

    @torch.inference_mode()
    def score(self, images: Tensor, features: list[Tensor], prompt: Tensor) -> Tensor:
        """Return scores 0..1 ``[n, 1, y, x]`` for what ``prompt [384]`` names.

        ``images [n, 1, y, x]`` are in the model's value range, and ``features`` what the model's ``features`` gives for
        them; ``y`` and ``x`` are multiples of the model's ``factor``.
        """
        device = self.normal.device
        grey = normalised(images[:, :1].to(device).float(), self.value_range)
        given = [stage.to(device).float() for stage in features]
        prompts = [vector.to(device).float().expand(len(grey), -1) for vector in (prompt, self.normal)]
        logits = answer(self.network, grey, given, abnormal=prompts[0], normal=prompts[1])
        return logits.pixels.float().sigmoid()


def answer(
    network: AnomalyNetwork, grey: Tensor, features: list[Tensor], *, abnormal: Tensor, normal: Tensor
) -> AnomalyLogits:
    """Return a network's logits for single images ``[n, 1, y, x]`` in -1..1, also of sides that it does not take.

    Those are padded at their ends, and what it says of the padding is cut off. Stages that are shrunken more than the
    network shrinks its images are left out.
    """
    rows, columns = grey.shape[2:]
    down, right = -rows % MULTIPLE, -columns % MULTIPLE
    stages = enumerate(features[:MOST_STAGES])
    padded = [_padded(stage, down >> level, right >> level) for level, stage in stages]
    logits: AnomalyLogits = network(_padded(grey, down, right), padded, abnormal, normal)
    attention = tuple(stage[..., : rows >> level, : columns >> level] for level, stage in enumerate(logits.attention))
    return AnomalyLogits(logits.pixels[..., :rows, :columns], attention, logits.slices)


def normalised(images: Tensor, values: ValueRange) -> Tensor:
    """Return images in a model's value range brought to -1..1, in which networks take them."""
    return (images - values.low) / (values.high - values.low) * 2.0 - 1.0


def in_range(images: Tensor, values: ValueRange) -> Tensor:
    """Return images in -1..1 brought to a model's value range."""
    return (images + 1.0) / 2.0 * (values.high - values.low) + values.low


def _padded(maps: Tensor, down: int, right: int) -> Tensor:
    if not down and not right:
        return maps
    return functional.pad(maps, (0, right, 0, down), mode="replicate")


def head_shape(model: FoundationModel) -> NetworkShape:
    """Return the shape of a network on a model's features, which are asked of an empty image.

    Raises ModelUnsuitable for models of volumes.
    """
    if model.spatial_dims != 2:  # noqa: PLR2004 - heads score slices
        raise ModelUnsuitable(f"{model.card.name} is a model of volumes: a head is trained on models of single images")
    side = max(MULTIPLE, 2 * model.factor)
    empty = torch.full((1, 1, side, side), model.card.value_range.low)
    stages = model.features(empty)
    return NetworkShape(tuple(stage.shape[1] for stage in stages[:MOST_STAGES]), context=1)


def load_head(folder: Path, model: FoundationModel) -> FeatureHead | None:
    """Return the head in ``head/`` of a model's folder, or None where there is none.

    Raises WeightsMismatch where a file differs from the head's manifest, or the head is of another model.
    """
    place = folder / HEAD_FOLDER
    if not place.is_dir():
        return None
    weights.verify(place)
    card = read_card(place)
    if card.foundation_sha256 != model.sha256:
        raise WeightsMismatch(
            f"{HEAD_FOLDER}/{HEAD_CARD} of {folder.name} is of a model with another digest: train the head again, "
            "after the model's files and its card are as they shall stay"
        )
    shape = head_shape(model)
    if card.channels != shape.channels:
        raise WeightsMismatch(
            f"{HEAD_FOLDER}/{HEAD_CARD} of {folder.name} is for features of {card.channels} channels, "
            f"and the model has {shape.channels}: train the head again"
        )
    stored = dict(read_checkpoint(place / HEAD_WEIGHTS).weights)
    network = AnomalyNetwork(shape)
    normal = stored.pop(NORMAL, torch.empty(0))
    _check_names(network, stored, normal)
    network.load_state_dict(stored)
    return FeatureHead(card, devices.frozen(network, model.device), normal.to(model.device), model.card.value_range)


def _check_names(network: AnomalyNetwork, stored: Mapping[str, Tensor], normal: Tensor) -> None:
    """Raise WeightsMismatch that names the first weight which is missing, unknown or of another shape."""
    expected = {name: value.shape for name, value in network.state_dict().items()}
    expected[NORMAL] = torch.Size([networks.TEXT_WIDTH])
    given = {name: value.shape for name, value in stored.items()} | {NORMAL: normal.shape}
    wrong = sorted(name for name in expected.keys() | given.keys() if expected.get(name) != given.get(name))
    if wrong:
        raise WeightsMismatch(f"{HEAD_WEIGHTS} does not fit the network at {wrong[0]}: train the head again")


def read_card(place: Path) -> HeadCard:
    """Return the card of a head's own folder; WeightsMismatch where it cannot be read."""
    try:
        content: dict[str, Any] = dict(json.loads((place / HEAD_CARD).read_bytes()))
        known = content.pop("format") == HEAD_FORMAT
        card = HeadCard(**content)
        card = replace(card, channels=tuple(content["channels"]), held_out=HeldOut(**content["held_out"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsMismatch(f"{HEAD_FOLDER}/{HEAD_CARD} does not fit this version of oncue: {error}") from error
    if not known:
        raise WeightsMismatch(f"{HEAD_FOLDER}/{HEAD_CARD} has another format than {HEAD_FORMAT}: train the head again")
    return card


def save_head(head: FeatureHead, place: Path) -> None:
    """Write card and weights of a head to its own folder, without a manifest."""
    place.mkdir(parents=True, exist_ok=True)
    content = {"format": HEAD_FORMAT} | asdict(head.card)
    (place / HEAD_CARD).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    state = networks.stored(head.network) | {NORMAL: head.normal.float().contiguous()}
    save_file({name: value.cpu() for name, value in state.items()}, place / HEAD_WEIGHTS, metadata={"format": "pt"})
