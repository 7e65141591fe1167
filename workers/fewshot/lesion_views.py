"""What a backbone sees of a lesion in a volume: one vector, and grids that know where in the plane they lie.

Volumes and masks are ``[z, y, x]``, grids ``[n, h, w, c]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy import bool_, float32, intp
from numpy.typing import NDArray

from storage.fewshot.adapters import Adapter
from storage.volumes import Volume
from workers.errors import AnotherBackbone
from workers.fewshot.contracts import BackboneCard, Picture, PromptMode, item_key
from workers.fewshot.frozen_backbone import TorchBackbone, attention_rollout
from workers.fewshot.preprocessing import cell_weights, grey_levels, grey_picture
from workers.fewshot.registry import open_backbone
from workers.fewshot.visual_prompts import MaskedPicture, crop, draw, embed_prompted

LEAST_PIXELS = 12
"""A lesion that is smaller than this on its largest slice has too little texture to be labelled."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a picture lies in its plane, in pixels: the first row and column that it covers, and how many."""

    top: float
    left: float
    height: float
    width: float


@dataclass(frozen=True, slots=True, eq=False)
class LesionView:
    """One lesion as it was seen: vector ``[d]``, share of the plane that the mask covers, and a grid per picture.

    ``weights`` float32 ``[n, h, w]`` says how much each cell counts in a vector that is their weighted mean; None where
    every cell counts the same, or where the vector is no mean of cells.
    """

    vector: NDArray[float32]
    area: float
    slices: tuple[int, ...]
    placements: tuple[Placement, ...]
    grids: NDArray[float32]
    pictures: tuple[Picture, ...] = ()
    weights: NDArray[float32] | None = None


class LesionEncoder(Protocol):
    """Turns a lesion of a volume into a vector of one space."""

    @property
    def key(self) -> str:
        """Name of the space: only vectors with the same key may be compared."""

    @property
    def backbone_sha256(self) -> str:
        """Digest of the weights."""

    def view(self, volume: Volume, mask: NDArray[bool_]) -> LesionView | None:
        """Return the lesion under a mask as it is seen; None where it is too small on every slice."""

    def attention(self, view: LesionView) -> NDArray[float32] | None:
        """Return where the network's own attention went ``[n, h, w]``; None for a network without attention."""


@dataclass(frozen=True, slots=True, eq=False)
class PromptedEncoder:
    """A backbone under a visual prompt, on the lesion's largest slice: as the pictures of a folder are seen."""

    backbone: TorchBackbone
    mode: PromptMode

    @property
    def key(self) -> str:
        """Name of the space."""
        return item_key(self.card, self.mode)

    @property
    def backbone_sha256(self) -> str:
        """Digest of the weights."""
        return self.card.sha256

    @property
    def card(self) -> BackboneCard:
        """What is known of the backbone."""
        return self.backbone.card

    def view(self, volume: Volume, mask: NDArray[bool_]) -> LesionView | None:
        """Return what the backbone sees on the slice with the largest area; None where that has few pixels."""
        chosen = largest_slices(mask, most=1)
        if not len(chosen):
            return None
        z = int(chosen[0])
        subject = MaskedPicture(grey_picture(volume.voxels[z], *grey_levels(volume.voxels)), mask[z], name="the lesion")
        drawn = draw(subject, self.mode)
        grid = self.backbone.embed([drawn]).grid
        vector = embed_prompted(self.backbone, [subject], self.mode)[0]
        weights = self._weights(mask[z], cells=(grid.shape[1], grid.shape[2]))
        return LesionView(vector, float(mask[z].mean()), (z,), (self._place(mask[z]),), grid, (drawn,), weights)

    def attention(self, view: LesionView) -> NDArray[float32] | None:
        """Return attention rollout, or None for a network without attention."""
        return attention_rollout(self.backbone, view.pictures)

    def _weights(self, mask: NDArray[bool_], *, cells: tuple[int, int]) -> NDArray[float32] | None:
        if self.mode is not PromptMode.MASKPOOL:
            return None
        return cell_weights(mask, self.card.preprocessing, cells=cells)[None]

    def _place(self, mask: NDArray[bool_]) -> Placement:
        height, width = mask.shape
        if self.mode not in {PromptMode.CROP, PromptMode.GLOBAL_CROP}:
            return Placement(0.0, 0.0, float(height), float(width))
        # A cut through the coordinates says where it lies.
        rows, columns = np.indices(mask.shape)
        cut = crop(np.stack([rows, columns, columns], axis=-1).astype(np.int64), mask)[0]
        top, left = cut[0, 0, :2]
        return Placement(float(top), float(left), float(cut.shape[0]), float(cut.shape[1]))


class InstalledEncoders:
    """Opens the encoder that an adapter was fitted with, from packages and registered folders, once per process."""

    def __init__(self, models: Path, device: torch.device) -> None:
        self._models = models
        self._device = device
        self._opened: dict[str, LesionEncoder] = {}

    def open(self, adapter: Adapter) -> LesionEncoder:
        """Return an adapter's encoder; AnotherBackbone, BackboneMissing or WeightsMismatch where it is not there."""
        key = adapter.recipe.embedding_key
        if key not in self._opened:
            self._opened[key] = self._load(adapter)
        return self._opened[key]

    def backbone(self, name: str) -> TorchBackbone:
        """Load a backbone by its name."""
        return open_backbone(name, models=self._models, device=self._device)

    def _load(self, adapter: Adapter) -> LesionEncoder:
        try:
            mode = PromptMode(adapter.recipe.prompt_mode)
        except ValueError as error:
            raise AnotherBackbone(f"adapter {adapter.id} was fitted under an unknown prompt: fit it again") from error
        return PromptedEncoder(self.backbone(adapter.recipe.backbone), mode)


def largest_slices(mask: NDArray[bool_], *, most: int) -> NDArray[intp]:
    """Return up to ``most`` slices, the one with the largest area first; those under LEAST_PIXELS are left out."""
    areas = np.count_nonzero(mask, axis=(1, 2))
    order = np.argsort(-areas, kind="stable")[:most]
    return np.asarray(order[areas[order] >= LEAST_PIXELS], dtype=intp)


def telling_slice(volume: Volume) -> int:
    """Return the slice that stands for a whole series: of the middle half of the stack the one of greatest contrast.

    Contrast is the standard deviation of its values. An image is its own slice.
    """
    depth = len(volume.voxels)
    first, last = depth // 4, max(depth // 4 + 1, (3 * depth + 3) // 4)
    return first + int(volume.voxels[first:last].std(axis=(1, 2)).argmax())
