"""SAM2 from a local folder: a clinician's box becomes a mask, or a grid of points becomes segments.

Preprocessing is our own (the processor of the library needs torchvision): stretch to the trained square, ImageNet
mean and standard deviation. The thresholds of the automatic mode are those of SAM2's own mask generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from workers.errors import BackboneUnusable
from workers.fewshot.contracts import Interpolation, Mask, Picture, Preprocessing
from workers.fewshot.frozen_backbone import frozen
from workers.fewshot.preprocessing import IMAGENET_MEAN, IMAGENET_STD, to_tensor

POINTS_PER_SIDE = 16
LEAST_QUALITY = 0.8
LEAST_STABILITY = 0.95
MOST_OVERLAP = 0.7
_STABILITY_OFFSET = 1.0
_POINTS_AT_ONCE = 32

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the picture."""


@dataclass(frozen=True, slots=True, eq=False)
class SegmentAnything:
    """A frozen Sam2Model."""

    network: Any
    preprocessing: Preprocessing
    device: torch.device

    @classmethod
    def load(cls, folder: Path, *, device: torch.device) -> SegmentAnything:
        """Load the folder's safetensors; BackboneUnusable where it holds no Sam2Model."""
        from transformers import Sam2Model

        try:
            network: Any = Sam2Model.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise BackboneUnusable(f"{folder.name} holds no Sam2Model with safetensors") from error
        side = int(network.config.prompt_encoder_config.image_size)
        preprocessing = Preprocessing(side, IMAGENET_MEAN, IMAGENET_STD, Interpolation.BILINEAR)
        return cls(frozen(network, device=device, dtype=torch.float32), preprocessing, device)

    def in_box(self, picture: Picture, box: Box) -> Mask:
        """Segment what a box surrounds; the box itself where the network finds nothing in it."""
        rows, columns = picture.shape[:2]
        with torch.inference_mode():
            scale = torch.tensor([self.preprocessing.size / columns, self.preprocessing.size / rows] * 2)
            boxes = (torch.tensor(box) * scale).view(1, 1, 4).to(self.device)
            pixels = to_tensor([picture], self.preprocessing).to(self.device)
            seen = self.network(pixel_values=pixels, input_boxes=boxes, multimask_output=False)
            mask = self._full_size(seen.pred_masks[0, 0], picture)[0] > 0
        found = np.asarray(mask.cpu().numpy(), dtype=bool)
        return found if found.any() else _filled(box, found.shape)

    def everything(self, picture: Picture) -> tuple[Mask, ...]:
        """Segment around a grid of points; stable segments with little overlap, the surest first; may be none."""
        side = (torch.arange(POINTS_PER_SIDE) + 0.5) / POINTS_PER_SIDE * self.preprocessing.size
        points = torch.cartesian_prod(side, side).to(self.device)
        kept: list[tuple[float, Mask]] = []
        with torch.inference_mode():
            embedded = self.network.get_image_embeddings(to_tensor([picture], self.preprocessing).to(self.device))
            for some in torch.split(points, _POINTS_AT_ONCE):
                seen = self.network(image_embeddings=embedded, input_points=some.view(1, -1, 1, 2))
                kept.extend(self._sure(seen.pred_masks[0].flatten(0, 1), seen.iou_scores[0].flatten(), picture))
        return _apart(sorted(kept, key=lambda entry: -entry[0]))

    def _sure(self, logits: Tensor, quality: Tensor, picture: Picture) -> list[tuple[float, Mask]]:
        inner = (logits > _STABILITY_OFFSET).flatten(1).sum(dim=1)
        outer = (logits > -_STABILITY_OFFSET).flatten(1).sum(dim=1).clamp(min=1)
        keep = (quality >= LEAST_QUALITY) & (inner / outer >= LEAST_STABILITY) & (inner > 0)
        if not keep.any():
            return []
        masks = self._full_size(logits[keep], picture) > 0
        return list(zip(quality[keep].tolist(), np.asarray(masks.cpu().numpy(), dtype=bool), strict=True))

    @staticmethod
    def _full_size(logits: Tensor, picture: Picture) -> Tensor:
        return interpolate(logits[None].float(), size=picture.shape[:2], mode="bilinear", align_corners=False)[0]


def _apart(ordered: Sequence[tuple[float, Mask]]) -> tuple[Mask, ...]:
    kept: list[Mask] = []
    for _, mask in ordered:
        if mask.any() and all(_overlap(mask, other) <= MOST_OVERLAP for other in kept):
            kept.append(mask)
    return tuple(kept)


def _overlap(first: Mask, second: Mask) -> float:
    return int(np.count_nonzero(first & second)) / max(int(np.count_nonzero(first | second)), 1)


def _filled(box: Box, shape: tuple[int, ...]) -> Mask:
    left, top, right, bottom = (round(edge) for edge in box)
    mask = np.zeros(shape, dtype=bool)
    mask[max(top, 0) : max(bottom, top + 1), max(left, 0) : max(right, left + 1)] = True
    return mask
