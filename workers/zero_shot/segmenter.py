"""Zero-shot segmentation with any frozen foundation model: frame, attend, redraw, compare, fuse, draw the mask."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from storage.domain import Algorithm, Segmentation
from workers import devices
from workers.errors import OutOfDeviceMemory
from workers.foundation.folders import open_foundation
from workers.segmentation.mask import case_level
from workers.segmentation.prompts import plain_words
from workers.zero_shot import fusion, residuals, suspicion
from workers.zero_shot.conditions import ConditionPair, condition_pair
from workers.zero_shot.feature_head import load_head
from workers.zero_shot.fusion import FusionRule
from workers.zero_shot.heads import Head, prompt_vector
from workers.zero_shot.slices import FLAT, place_slices
from workers.zero_shot.windows import place_windows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from storage.volumes import Volume
    from workers.foundation.contract import FoundationModel
    from workers.zero_shot.frame import Frame

    AbortCheck = Callable[[], None]
    FloatArray = NDArray[np.float32]
    BoolArray = NDArray[np.bool_]

NAME = "oncue-foundation-zero-shot"
VERSION = "1"
CASE_ML = 1.0
"""Volume whose highest scores are averaged to the case score."""
BATCH = {FLAT: 8, FLAT + 1: 1}
"""Tiles that go through a model at once, by its dimensions."""
CONTROL_SIDE = 4
"""Side in latent cells of the fields of the chequerboard that is redrawn in healthy tissue, to compare with."""
UNCONFIRMED = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class FoundationSegmenter:
    """A frozen model of any maker with what fuses its maps: a head trained on it, else the rule alone."""

    model: FoundationModel
    dtype: torch.dtype
    head: Head | None = None
    rule: FusionRule = field(default_factory=FusionRule)

    @classmethod
    def load(
        cls, folder: Path, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> FoundationSegmenter:
        """Open the model, and the head that lies in its folder; raises as ``open_foundation`` does."""
        device = device or devices.choose_device()
        dtype = dtype or devices.choose_dtype(device)
        model = open_foundation(folder, device, dtype)
        return cls(model, dtype, load_head(folder, model))

    def segment(self, volume: Volume, *, prompt: str, check: AbortCheck) -> Segmentation:
        """Return where ``prompt`` is found, on the volume's own grid; the mask is empty where nothing was found.

        ``check`` is called between steps. FieldOfViewUnknown and FieldOfViewMismatch say what the card excludes,
        UnsuitableVolume what no model can be shown, ConfigurationError what is wrong with the prompt, and
        OutOfDeviceMemory that the device is too small.
        """
        try:
            return self._segment(volume, prompt=prompt, check=check)
        except torch.OutOfMemoryError as error:
            raise OutOfDeviceMemory(
                f"{self.model.card.name} ran out of device memory: take one with more, or a smaller size in its card"
            ) from error

    def _segment(self, volume: Volume, *, prompt: str, check: AbortCheck) -> Segmentation:
        check()
        frame = (
            place_slices(volume, self.model) if self.model.spatial_dims == FLAT else place_windows(volume, self.model)
        )
        if self.head is not None:
            vector = prompt_vector(prompt, volume.modality, self.model.device)
            tiles, threshold = self._head_score(self.head, frame, vector, check=check), self.head.threshold
        else:
            pair = condition_pair(self.model, prompt, modality=volume.modality, spacing_mm=frame.spacing_mm)
            tiles, threshold = self._fused_score(frame, pair, check=check), UNCONFIRMED
        score = np.clip(frame.to_volume(tiles), 0.0, 1.0).astype(np.float32)
        spacing = volume.geometry.spacing_mm
        return Segmentation(
            mask=fusion.lesions(score, spacing, threshold=threshold, minimum_ml=self.rule.minimum_ml),
            score_map=score,
            case_score=case_level(score, spacing, CASE_ML),
            out_of_distribution=None,
            algorithm=self.algorithm(plain_words(prompt)),
        )

    def _fused_score(self, frame: Frame, pair: ConditionPair, *, check: AbortCheck) -> Tensor:
        """Return the score of every tile ``[n, 1, *size]``: attention, and where it is high, residuals of redrawing."""
        rule, tissue = self.rule, frame.tissue[:, 0].numpy()
        attention = fusion.smoothed(self._attention(frame, pair, check=check), frame.spacing_mm, rule.smoothing_mm)
        attention = fusion.z_scores(attention, tissue)
        region = fusion.grown((attention > rule.suspicious) & tissue, frame.spacing_mm, rule.grown_mm)
        control = tissue & ~region & self._chequerboard(frame)
        rows = np.flatnonzero(region.any(axis=tuple(range(1, region.ndim))))
        pixel, feature = (np.zeros_like(attention) for _ in range(2))
        if len(rows) and rule.redraws:
            found = self._residuals(frame, region, rows, pair, check=check)
            healthy = self._residuals(frame, control, rows, pair, check=check)
            pixel, feature = (
                self._against(part, plain, region, control, rows=rows, spacing_mm=frame.spacing_mm)
                for part, plain in zip(found, healthy, strict=True)
            )
        score = fusion.fused(attention, pixel, feature, rule)
        return torch.from_numpy(np.where(tissue, score, 0.0).astype(np.float32))[:, None]

    def _attention(self, frame: Frame, pair: ConditionPair, *, check: AbortCheck) -> FloatArray:
        def one(images: Tensor, _start: int) -> Tensor:
            latents = self.model.encode(images.to(self.model.device))
            found = suspicion.suspicion(self.model, latents, pair)
            return suspicion.at_full_size(found, tuple(images.shape[2:]))

        return self._in_batches(frame.images, one, check=check)

    def _residuals(
        self, frame: Frame, region: BoolArray, rows: NDArray[np.intp], pair: ConditionPair, *, check: AbortCheck
    ) -> FloatArray:
        """Return pixel and feature residuals of the tiles ``rows``, ``[2, rows, *size]``."""
        regions = torch.from_numpy(region[rows])[:, None]

        def one(images: Tensor, start: int) -> Tensor:
            drawn = residuals.redrawn(self.model, images, regions[start : start + len(images)], pair)
            return torch.cat([drawn.pixel, drawn.feature], dim=1)

        return np.moveaxis(self._in_batches(frame.images[torch.from_numpy(rows)], one, check=check, whole=True), 1, 0)

    def _against(
        self,
        found: FloatArray,
        plain: FloatArray,
        region: BoolArray,
        control: BoolArray,
        *,
        rows: NDArray[np.intp],
        spacing_mm: tuple[float, ...],
    ) -> FloatArray:
        """Return z-scores of a residual within ``region``, against what redrawing healthy tissue changes."""
        both = fusion.smoothed(np.where(region[rows], found, plain), spacing_mm, self.rule.smoothing_mm / 2)
        scores = np.zeros(region.shape, dtype=np.float32)
        scores[rows] = np.where(region[rows], fusion.z_scores(both, control[rows]), 0.0)
        return scores

    def _chequerboard(self, frame: Frame) -> BoolArray:
        side = CONTROL_SIDE * self.model.factor
        fields = np.indices(tuple(frame.images.shape[2:])) // side
        return np.asarray(fields.sum(axis=0) % 2 == 0)

    def _head_score(self, head: Head, frame: Frame, vector: Tensor, *, check: AbortCheck) -> Tensor:
        def one(images: Tensor, _start: int) -> Tensor:
            return head.score(images, self.model.features(images.to(self.model.device)), vector)

        return torch.from_numpy(self._in_batches(frame.images, one, check=check))[:, None]

    def _in_batches(
        self, images: Tensor, run: Callable[[Tensor, int], Tensor], *, check: AbortCheck, whole: bool = False
    ) -> FloatArray:
        """Run tiles in batches; return the first channel, or with ``whole`` all of them."""
        size, parts = BATCH[self.model.spatial_dims], []
        for start in range(0, len(images), size):
            check()
            parts.append(run(images[start : start + size], start).float().cpu())
        joined = torch.cat(parts)
        result: FloatArray = (joined if whole else joined[:, 0]).numpy()
        return result

    def algorithm(self, words: str) -> Algorithm:
        """Return the names of code and weights, and every parameter that the result depends on."""
        parameters = {
            "model": self.model.card.name,
            "kind": self.model.card.kind.value,
            "options": dict(self.model.card.options),
            "prompt": words,
            "dtype": str(self.dtype),
            "head": None if self.head is None else self.head.threshold,
            "rule": asdict(self.rule),
            "attention": {"signals": suspicion.SIGNALS, "draws": suspicion.DRAWS, "seed": suspicion.NOISE_SEED},
            "redrawing": {"steps": residuals.STEPS, "start": residuals.START, "guidance": residuals.GUIDANCE},
        }
        return Algorithm(NAME, VERSION, self.model.sha256, json.dumps(parameters, sort_keys=True))
