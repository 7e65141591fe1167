"""Zero-shot segmentation of one volume: place it on the model's grid, score it, draw the mask, and bring that back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from storage.domain import Algorithm, Segmentation
from storage.errors import ConfigurationError
from workers import devices, weights
from workers.segmentation import calibration, inpainting, maps, networks, out_of_distribution
from workers.segmentation.calibration import Calibration, Mode
from workers.segmentation.grid import ModelStack, place_on_grid
from workers.segmentation.maps import AnomalyMaps, Models, OnProgress
from workers.segmentation.mask import case_level, draw_mask, smooth_across
from workers.segmentation.model import LatentDiffusion
from workers.segmentation.prompts import PromptEncoder, PromptPair, TextEncoder, plain_words

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from storage.volumes import Volume

    FloatArray = NDArray[np.float32]

NAME = "oncue-diffugts-style"
VERSION = "1"


@dataclass(frozen=True, slots=True, eq=False)
class ScoredVolume:
    """A volume on the model's grid with its maps and its score, before any decision.

    ``score`` is float32 ``[z, 128, 128]`` in 0..1: the maps fused by the mode's weights and smoothed across slices.
    """

    stack: ModelStack
    maps: AnomalyMaps
    score: FloatArray
    prompt: PromptPair
    words: str
    """The prompt as text."""
    mode: Mode


def silent(_done: int, _total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class ZeroShotSegmenter:
    """The frozen models with their calibration, loaded once and kept warm."""

    models: Models
    calibration: Calibration
    prompts: PromptEncoder
    weights_sha256: str

    @classmethod
    def load(
        cls, folder: Path, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> ZeroShotSegmenter:
        """Check the manifest and load everything; device and dtype are measured where not given.

        Raises WeightsMismatch where a file is missing, changed or does not fit.
        """
        manifest = weights.verify(folder)
        device = device or devices.choose_device()
        dtype = dtype or devices.choose_dtype(device)
        diffusion = LatentDiffusion.from_folder(folder, device=device, dtype=dtype)
        trained = tuple(devices.frozen(network, device) for network in networks.load_all(folder))
        known, prompts = calibration.load(folder), PromptEncoder(TextEncoder.load(), device)
        return cls(Models(diffusion, trained), known, prompts, manifest.sha256)

    def segment(
        self, volume: Volume, *, prompt: str = "tumor", mode: str = "balanced", on_progress: OnProgress = silent
    ) -> Segmentation:
        """Return where ``prompt`` is found, on the volume's own grid; the mask is empty where nothing was found.

        Raises UnsuitableVolume for a volume that is empty, constant, not finite, too small or too large, and
        ConfigurationError for an empty or overlong prompt or an unknown mode.
        """
        scored = self.score(volume, prompt=prompt, mode=parse_mode(mode), on_progress=on_progress)
        return self.conclude(scored)

    def score(
        self, volume: Volume, *, prompt: str, mode: Mode, residuals: bool = False, on_progress: OnProgress = silent
    ) -> ScoredVolume:
        """Return the maps and the score of a volume; raises as ``segment`` does.

        ``residuals`` asks for inpainting and for the denoiser's attention even where the mode's score needs neither.
        ``on_progress`` is called after each batch of slices.
        """
        settings, scales = self.calibration.modes[mode], self.calibration.scales
        pair = self.prompts.pair(prompt, volume.modality)
        stack = place_on_grid(volume)
        spacing_z_mm, smoothing_mm = stack.grid.spacing_mm[0], settings.rule.smoothing_mm
        rows = maps.shown_slices(stack.skull)
        count = len(rows)
        found = maps.compute(
            self.models,
            stack.images,
            rows,
            pair,
            spacing_z_mm=spacing_z_mm,
            mirrored=settings.mirrored,
            denoiser_attention=residuals or settings.fusion.cross_attention > 0,
            on_progress=lambda done, _total: on_progress(done, 2 * count),
        )
        if residuals or settings.fusion.uses_residual:
            found = inpainting.inpaint_suspicious(
                self.models.diffusion,
                found,
                stack.images,
                smooth_across(found.head, spacing_z_mm, smoothing_mm) > scales.suspicion,
                prompt=pair,
                settings=settings,
                scales=scales,
                on_progress=lambda done, total: on_progress(count + done * count // total, 2 * count),
            )
        score = smooth_across(found.fused(settings.fusion), spacing_z_mm, smoothing_mm)
        return ScoredVolume(stack, found, score, pair, plain_words(prompt), mode)

    def conclude(self, scored: ScoredVolume) -> Segmentation:
        """Return the mask of a scored volume under the rule of its mode, and how sure it is."""
        rule, grid = self.calibration.modes[scored.mode].rule, scored.stack.grid
        on_volume = grid.to_volume(scored.score)
        level = case_level(scored.score, grid.spacing_mm, self.calibration.case.volume_ml)
        mask = draw_mask(rule, scored.stack, score=scored.score, on_volume=on_volume)
        return Segmentation(
            mask=grid.to_stored(mask),
            score_map=grid.to_stored(np.clip(on_volume, 0.0, 1.0)),
            case_score=self.calibration.case.score(level),
            out_of_distribution=out_of_distribution.excess_distance(
                self.calibration.training, self.models.diffusion, scored.stack
            ),
            algorithm=self.algorithm(prompt=scored.words, mode=scored.mode),
        )

    def algorithm(self, *, prompt: str, mode: Mode) -> Algorithm:
        """Return the names of code and weights, and every parameter that the result depends on."""
        settings = asdict(self.calibration.modes[mode])
        parameters = {"mode": mode.value, "prompt": prompt, "dtype": str(self.models.diffusion.dtype), **settings}
        return Algorithm(NAME, VERSION, self.weights_sha256, json.dumps(parameters, sort_keys=True))


def parse_mode(mode: str) -> Mode:
    """Return the mode of a name; raises ConfigurationError where there is none such."""
    try:
        return Mode(mode)
    except ValueError as error:
        raise ConfigurationError(f"unknown mode {mode!r}: choose one of {', '.join(Mode)}") from error
