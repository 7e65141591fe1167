"""Zero-shot segmentation of one volume: from any grid to the model's, and back with a mask."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from storage.domain import Algorithm, Segmentation
from storage.errors import ConfigurationError
from workers import devices, weights
from workers.errors import UnsuitableVolume
from workers.segmentation import (
    attention,
    calibration,
    edges,
    framing,
    maps,
    orientation,
    out_of_distribution,
    prompts,
    spreading,
)
from workers.segmentation.backbone import IMAGE_SIZE, LatentDiffusion, frozen
from workers.segmentation.calibration import Calibration, Mode
from workers.segmentation.edges import Look
from workers.segmentation.maps import AnomalyMaps, Models, OnProgress, PromptPair
from workers.segmentation.mask import case_level, smooth_across, to_mask

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from storage.domain import Vector, Volume
    from workers.segmentation.framing import Framing
    from workers.segmentation.mask import MaskRule
    from workers.segmentation.orientation import Orientation

NAME = "oncue-diffugts-style"
VERSION = "1"
LARGEST_VOXELS = 2**28
"""Above this a volume takes gigabytes before anything is computed; refused."""
LARGEST_VALUE = 1e15
"""No scanner's intensity is beyond this; sums of such values leave the range of float32."""
SPACING_LIMITS_MM = (1e-3, 1e3)
SMALLEST_SIDE = 16
"""Fewest rows and columns of an axial slice that can show a head."""
LONGEST_PROMPT = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Examination:
    """The maps of one volume, with what brings them back onto its grid."""

    maps: AnomalyMaps
    framing: Framing
    orientation: Orientation
    shape: tuple[int, int, int]
    """Shape of the volume in the canonical frame."""
    prompt: str
    mode: Mode

    @property
    def spacing_mm(self) -> Vector:
        """Spacing (z, y, x) of the model's grid."""
        pixel_mm = self.framing.height * self.orientation.spacing_mm[1] / IMAGE_SIZE
        return (self.orientation.spacing_mm[0], pixel_mm, pixel_mm)

    def on_grid(self, stack: NDArray[np.float32]) -> NDArray[np.float32]:
        """Bring a stack from the model's grid onto the canonical grid of the volume."""
        return framing.from_model(stack, self.framing, self.shape)


def look_of(examination: Examination, smoothed: NDArray[np.float32]) -> Look:
    """Tell what an examined volume looks like on the model's grid, where its tissue is what scores nothing."""
    images = examination.maps.images
    return Look((images + 1.0) / 2.0, edges.tissue(images, smoothed))


def spread_on_grid(examination: Examination, smoothed: NDArray[np.float32], look: Look) -> NDArray[np.float32]:
    """Spread a score that is smoothed on the model's grid along the grey, and bring it onto the volume's, upright."""
    return examination.on_grid(spreading.spread(smoothed, look, examination.spacing_mm))


def mask_under(
    rule: MaskRule, examination: Examination, *, smoothed: NDArray[np.float32], on_grid: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Apply a rule to a score that is ``smoothed`` on the model's grid and ``on_grid`` of the volume, upright."""
    if on_grid.max() <= rule.peak:
        return np.zeros(on_grid.shape, dtype=bool)
    spacing_mm, look = examination.orientation.spacing_mm, look_of(examination, smoothed)
    spread = spread_on_grid(examination, smoothed, look) if rule.spread else None
    mask = to_mask(on_grid, spacing_mm, rule, spread=spread)
    if rule.reach_mm <= 0 or not mask.any():
        return mask
    there = replace(look, grey=examination.on_grid(look.grey))
    return edges.follow(mask, on_grid, there, spacing_mm=spacing_mm, reach_mm=rule.reach_mm)


def silent(_done: int, _total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class ZeroShotSegmenter:
    """The frozen model with its calibration, loaded once and kept warm."""

    models: Models
    calibration: Calibration
    encoder: prompts.TextEncoder
    weights_sha256: str
    _prompts: dict[tuple[str, prompts.Subject], PromptPair] = field(default_factory=dict)

    @classmethod
    def load(
        cls, folder: Path, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> ZeroShotSegmenter:
        """Check the manifest and load everything; device and dtype are probed where not given.

        Raises WeightsMismatch where a file is missing, changed or does not fit.
        """
        manifest = weights.verify(folder)
        device = device or devices.choose_device()
        dtype = dtype or devices.choose_dtype(device)
        backbone = LatentDiffusion.from_folder(folder, device=device, dtype=dtype)
        rounds = tuple(frozen(adapters, device) for adapters in attention.load_rounds(folder))
        known = calibration.load(folder)
        return cls(Models(backbone, rounds), known, prompts.TextEncoder.load(), manifest.sha256)

    def segment(
        self,
        volume: Volume,
        *,
        prompt: str = "tumor",
        mode: str = "balanced",
        on_progress: OnProgress | None = None,
    ) -> Segmentation:
        """Segment what ``prompt`` names, on the volume's own grid. The mask is empty where nothing was found.

        Raises UnsuitableVolume for a volume that is empty, constant, not finite, too small or too large, and
        ConfigurationError for an empty or overlong prompt or an unknown mode.
        """
        chosen = parse_mode(mode)
        return self.conclude(self.examine(volume, prompt=prompt, mode=chosen, on_progress=on_progress))

    def conclude(self, examination: Examination) -> Segmentation:
        """Turn the maps of an examination into an answer, under the thresholds of its mode."""
        settings, turn = self.calibration.modes[examination.mode], examination.orientation
        smoothed = self.scores(examination)
        on_grid = examination.on_grid(smoothed)
        mask = mask_under(settings.rule, examination, smoothed=smoothed, on_grid=on_grid)
        return Segmentation(
            mask=np.ascontiguousarray(turn.undo(mask)),
            score_map=np.ascontiguousarray(turn.undo(np.clip(on_grid, 0.0, 1.0))),
            case_score=self._case_score(smoothed, examination),
            out_of_distribution=out_of_distribution.distance(
                self.calibration.familiarity, self.models.backbone, examination.maps.images
            ),
            algorithm=self.algorithm(prompt=examination.prompt, mode=examination.mode),
        )

    def examine(
        self,
        volume: Volume,
        *,
        prompt: str,
        mode: Mode,
        residuals: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Examination:
        """Compute the anomaly maps of a volume without deciding anything.

        ``residuals`` asks for the pseudo-healthy image, its residuals and the denoiser's attention even where the
        mode's score does not use them.
        """
        pair = self.prompt_pair(prompt, volume.modality)
        check(volume)
        turn = orientation.find(volume.geometry)
        voxels = np.ascontiguousarray(turn.apply(volume.voxels), dtype=np.float32)
        found = _frame(voxels, turn, volume.modality)
        computed = maps.compute(
            self.models,
            framing.to_model(voxels, found, IMAGE_SIZE),
            pair,
            settings=self.calibration.modes[mode],
            scales=self.calibration.scales,
            spacing_z_mm=turn.spacing_mm[0],
            redraw_suspicious=residuals or self.calibration.modes[mode].fusion.uses_residual,
            look_twice=residuals or self.calibration.modes[mode].fusion.cross_attention > 0,
            on_progress=on_progress or silent,
        )
        shape = (voxels.shape[0], voxels.shape[1], voxels.shape[2])
        return Examination(computed, found, turn, shape, plain_words(prompt), mode)

    def scores(self, examination: Examination) -> NDArray[np.float32]:
        """Fuse the maps and smooth them across slices: ``[z, 128, 128]`` in 0..1."""
        settings = self.calibration.modes[examination.mode]
        fused = examination.maps.fused(settings.fusion)
        return smooth_across(fused, examination.orientation.spacing_mm[0], settings.rule.smoothing_mm)

    def prompt_pair(self, prompt: str, modality: str = "MR") -> PromptPair:
        """Encode a prompt once a modality; raises ConfigurationError where it is empty or overlong."""
        words = plain_words(prompt)
        if not words or len(words) > LONGEST_PROMPT:
            raise ConfigurationError(f"the prompt has {len(words)} characters: name a finding in 1 to {LONGEST_PROMPT}")
        subject = prompts.SUBJECTS.get(modality, prompts.SUBJECTS["MR"])
        if (words, subject) not in self._prompts:
            self._prompts[words, subject] = encode_prompt(
                self.encoder, words, self.models.backbone.device, subject=subject
            )
        return self._prompts[words, subject]

    def algorithm(self, *, prompt: str, mode: Mode) -> Algorithm:
        """Name code, weights and every parameter that the result depends on."""
        settings = asdict(self.calibration.modes[mode])
        parameters = {"mode": mode.value, "prompt": prompt, "dtype": str(self.models.backbone.dtype), **settings}
        return Algorithm(NAME, VERSION, self.weights_sha256, json.dumps(parameters, sort_keys=True))

    def _case_score(self, smoothed: NDArray[np.float32], examination: Examination) -> float:
        """Map the mean of the highest scores to 0..1, one half where tumour-free tuning stacks end."""
        level = case_level(smoothed, examination.spacing_mm, self.calibration.case.volume_ml)
        half = self.calibration.case.half
        return float(np.clip(0.5 * level / half if level < half else 0.5 + 0.5 * (level - half) / (1.0 - half), 0, 1))


def encode_prompt(
    encoder: prompts.TextEncoder, words: str, device: torch.device, *, subject: prompts.Subject
) -> PromptPair:
    """Encode a finding and its normal counterpart in both forms."""
    normal = torch.stack([encoder.prompt(wording) for wording in prompts.NORMAL_PROMPTS]).mean(dim=0)
    before = prompts.ABNORMAL_CAPTION.format(modality=subject.modality, organ=subject.organ, finding="")
    captions = [f"{before}{words}", prompts.NORMAL_CAPTION.format(modality=subject.modality, organ=subject.organ)]
    tokens = encoder.tokens(captions).to(device)
    start, end = encoder.length(before), encoder.length(captions[0])
    finding = tuple(range(min(start, prompts.TOKENS - 2), max(start + 1, min(end, prompts.TOKENS - 1))))
    places = (prompts.VERDICT_PLACE, *finding)
    return PromptPair(
        encoder.prompt(words).to(device), normal.to(device), tokens[0], tokens[1], places, (prompts.VERDICT_PLACE,)
    )


def plain_words(prompt: str) -> str:
    """Drop what cannot be printed from a prompt (control characters, halves of characters) and fold white space."""
    kept = "".join(character for character in prompt if character.isprintable() or character.isspace())
    return " ".join(kept.split())


def check(volume: Volume) -> None:
    """Refuse what cannot be analysed; raises UnsuitableVolume that says why."""
    voxels = volume.voxels
    if voxels.ndim != 3 or voxels.size == 0:  # noqa: PLR2004 - [z, y, x]
        raise UnsuitableVolume(f"the volume has shape {voxels.shape}: expected slices, rows and columns")
    if voxels.dtype.kind not in "fiub":
        raise UnsuitableVolume(f"the voxels are {voxels.dtype}: expected real numbers")
    if not all(SPACING_LIMITS_MM[0] <= step <= SPACING_LIMITS_MM[1] for step in volume.geometry.spacing_mm):
        raise UnsuitableVolume("the spacing of the volume is not that of an image: expected 0.001 to 1000 mm")
    if voxels.size > LARGEST_VOXELS:
        raise UnsuitableVolume(
            f"the volume has {voxels.size} voxels, more than {LARGEST_VOXELS}: send a coarser series"
        )
    low, high = float(voxels.min()), float(voxels.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UnsuitableVolume("the volume holds values that are not finite: send it again from its source")
    if max(-low, high) > LARGEST_VALUE:
        raise UnsuitableVolume(f"the volume holds values beyond {LARGEST_VALUE:g}: send it again from its source")
    if low == high:
        raise UnsuitableVolume(f"every voxel of the volume has the value {low:g}: there is nothing to see")


def _frame(voxels: NDArray[np.float32], turn: Orientation, modality: str) -> Framing:
    if min(voxels.shape[1:]) < SMALLEST_SIDE:
        raise UnsuitableVolume(
            f"axial slices have {voxels.shape[1]} x {voxels.shape[2]} pixels: too few to see anything"
        )
    found = framing.find(voxels, (turn.spacing_mm[1], turn.spacing_mm[2]), modality=modality)
    if found is None:
        raise UnsuitableVolume("the volume shows no signal above its background")
    return found


def parse_mode(mode: str) -> Mode:
    """Read a mode's name; raises ConfigurationError where there is none such."""
    try:
        return Mode(mode)
    except ValueError as error:
        raise ConfigurationError(f"unknown mode {mode!r}: choose one of {', '.join(Mode)}") from error
