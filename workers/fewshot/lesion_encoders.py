"""The two ways to look at a lesion: cut-outs as the starter set was made, and any backbone under a visual prompt.

Volumes and masks are ``[z, y, x]``, grids ``[n, h, w, c]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy import bool_, float32, intp, uint8
from numpy.typing import NDArray

from storage.domain import Volume
from workers.fewshot import backbone as lite
from workers.fewshot import focus
from workers.fewshot.backbones.torch_backbone import TorchBackbone
from workers.fewshot.contracts import BackboneCard, PromptMode, embedding_key
from workers.fewshot.looks import Look, Placement
from workers.fewshot.rollout import attention_rollout
from workers.fewshot.visual_prompts.cutting import crop
from workers.fewshot.visual_prompts.prompted import Subject, draw, embed_prompted

CUT_OUT_KEY = f"{lite.NAME}:{lite.WEIGHTS_SHA256[:16]}:{focus.MODE}"


@dataclass(frozen=True, slots=True, eq=False)
class CutOutEncoder:
    """EfficientNet-Lite0 on cut-outs in millimetres of the largest slices; the vector is their mean."""

    backbone: lite.Backbone
    key: str = CUT_OUT_KEY
    backbone_sha256: str = lite.WEIGHTS_SHA256

    def look(self, volume: Volume, mask: NDArray[bool_]) -> Look | None:
        """Look at up to three slices."""
        chosen = focus.largest_slices(mask)
        return self.look_at(volume, chosen, [mask[z] for z in chosen]) if len(chosen) else None

    def attention(self, look: Look) -> NDArray[float32] | None:
        """Return None: a CNN has no attention."""
        del look
        return None

    def look_at(self, volume: Volume, slices: NDArray[intp], masks: Sequence[NDArray[bool_]]) -> Look:
        """Look at given slices under given masks ``[y, x]``, which may be those of another lesion."""
        grey, pixel_mm = focus.grey_scale(volume.voxels), volume.geometry.spacing_mm[1:]
        pairs = list(zip(slices, masks, strict=True))
        cuts = [focus.cut_out(volume.voxels[z], mask, grey=grey, pixel_mm=pixel_mm) for z, mask in pairs]
        grids = self.backbone.grid(np.stack(cuts))
        vector = np.asarray(grids.mean(axis=(1, 2)).mean(axis=0), dtype=float32)
        places = tuple(_cut_place(mask, pixel_mm) for mask in masks)
        return Look(vector, float(masks[0].mean()), tuple(int(z) for z in slices), places, grids)


@dataclass(frozen=True, slots=True, eq=False)
class PromptedEncoder:
    """Any backbone under a visual prompt, on the largest slice: as the items of a folder are seen."""

    backbone: TorchBackbone
    mode: PromptMode

    @property
    def key(self) -> str:
        """Name of the space."""
        return embedding_key(self.card, self.mode)

    @property
    def backbone_sha256(self) -> str:
        """Digest of the weights."""
        return self.card.sha256

    @property
    def card(self) -> BackboneCard:
        """What is known of the backbone."""
        return self.backbone.card

    def look(self, volume: Volume, mask: NDArray[bool_]) -> Look | None:
        """Look at the largest slice."""
        chosen = focus.largest_slices(mask, most=1)
        if not len(chosen):
            return None
        z = int(chosen[0])
        subject = Subject(_picture(volume, z), mask[z], name="the lesion")
        drawn = draw(subject, self.mode)
        grid = self.backbone.embed([drawn]).grid
        vector = embed_prompted(self.backbone, [subject], self.mode)[0]
        return Look(vector, float(mask[z].mean()), (z,), (self._place(mask[z]),), grid, (drawn,))

    def attention(self, look: Look) -> NDArray[float32] | None:
        """Return attention rollout, or None for a network without attention."""
        return attention_rollout(self.backbone, look.pictures)

    def _place(self, mask: NDArray[bool_]) -> Placement:
        height, width = mask.shape
        if self.mode not in {PromptMode.CROP, PromptMode.GLOBAL_CROP}:
            return Placement(0.0, 0.0, float(height), float(width))
        # A cut through the coordinates says where it lies.
        rows, columns = np.indices(mask.shape)
        cut = crop(np.stack([rows, columns, columns], axis=-1).astype(np.int64), mask)[0]
        top, left = cut[0, 0, :2]
        return Placement(float(top), float(left), float(cut.shape[0]), float(cut.shape[1]))


def load_cut_out_encoder(device: torch.device) -> CutOutEncoder:
    """Load the encoder of the shipped starter set."""
    return CutOutEncoder(lite.Backbone.load(device=device))


def _picture(volume: Volume, z: int) -> NDArray[uint8]:
    low, high = focus.grey_scale(volume.voxels)
    grey = np.clip((volume.voxels[z] - low) / (high - low), 0.0, 1.0)
    return np.repeat(np.asarray(np.round(grey * 255), dtype=uint8)[..., None], 3, axis=2)


def _cut_place(mask: NDArray[bool_], pixel_mm: tuple[float, float]) -> Placement:
    rows, columns = np.nonzero(mask)
    edges = [(float(axis.min()), float(axis.max()) + 1.0) for axis in (rows, columns)]
    side_mm = focus.MARGIN * max((high - low) * mm for (low, high), mm in zip(edges, pixel_mm, strict=True))
    (top, height), (left, width) = (
        ((low + high) / 2 - side_mm / mm / 2, side_mm / mm) for (low, high), mm in zip(edges, pixel_mm, strict=True)
    )
    return Placement(top, left, height, width)
