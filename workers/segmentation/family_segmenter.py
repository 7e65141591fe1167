"""Segment a volume with its family's network: frame it, score it, draw the mask, and bring that back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file

from storage.domain import Algorithm, Segmentation
from storage.errors import ConfigurationError
from workers import devices, weights
from workers.config import FAMILIES_FOLDER
from workers.errors import WeightsMismatch
from workers.segmentation.ends import cut_ends
from workers.segmentation.families import Family, family_named
from workers.segmentation.family_calibration import FamilyCalibration, read_calibration
from workers.segmentation.framing import FramedStack, frame, neighbours
from workers.segmentation.halfway import halfway
from workers.segmentation.likeness import LIKENESS, TrainingLikeness, describe, read_likeness
from workers.segmentation.mask import case_level, kept_components, smooth_across
from workers.segmentation.prompts import PromptEncoder, TextEncoder, plain_words
from workers.segmentation.unet import UNet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from storage.volumes import Volume
    from workers.segmentation.prompts import PromptPair

    FloatArray = NDArray[np.float32]

NAME = "oncue-family"
VERSION = "1"
ANYTHING = "tumor"
"""The prompt of those who name none."""
BATCH_PIXELS = 2**18
"""Pixels of all slices that are scored at once."""


def unheard(_done: int, _total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class FamilyNetworks:
    """The networks of one family, whose scores are averaged, on one device; ``asked [384]`` is what they look for.

    A family that is not prompted is asked for nothing.
    """

    family: Family
    networks: tuple[UNet, ...]
    device: torch.device
    dtype: torch.dtype
    asked: torch.Tensor | None = None

    def looking_for(self, prompt: PromptPair) -> FamilyNetworks:
        """Return the networks as they look for what a prompt names."""
        return replace(self, asked=prompt.difference)

    @torch.inference_mode()
    def scores(self, stack: FramedStack, *, on_progress: Callable[[int, int], None] = unheard) -> FloatArray:
        """Return the probability of a lesion at each pixel, the mean over networks and over the mirrored stack too."""
        images, depth = stack.images, len(stack.images)
        seen = neighbours(depth, stack.spacing_mm[0], self.family)
        size = max(1, BATCH_PIXELS // images[0].size)
        found = np.zeros_like(images)
        for start in range(0, depth, size):
            batch = torch.from_numpy(images[seen[start : start + size]]).to(self.device)
            found[start : start + size] = self.of_stacks(batch).cpu().numpy()
            on_progress(min(depth, start + size), depth)
        return found * stack.body

    @torch.inference_mode()
    def of_stacks(self, stacks: torch.Tensor) -> torch.Tensor:
        """Return the probability at each pixel of the middle slices of ``[n, slices, y, x]``: ``[n, y, x]``."""
        total = torch.zeros_like(stacks[:, 0])
        asked = None if self.asked is None else self.asked.expand(len(stacks), -1)
        for mirrored in (False, True):
            shown = (stacks.flip(-1) if mirrored else stacks).contiguous(memory_format=torch.channels_last)
            for network in self.networks:
                with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32):
                    logits = network(shown, asked)[:, 0]
                score = logits.float().sigmoid()
                total += score.flip(-1) if mirrored else score
        return total / (2 * len(self.networks))


@dataclass(frozen=True, slots=True, eq=False)
class ScoredStack:
    """A framed volume with its score, float32 ``[z, side, side]`` in 0..1, smoothed across slices, spread if wanted.

    ``words`` is what was looked for, None where the family takes no prompt.
    """

    stack: FramedStack
    score: FloatArray
    words: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FamilySegmenter:
    """A family's networks with what was fixed for their scores beforehand, loaded once and kept warm.

    ``prompts`` encodes what is looked for, None where the family takes no prompt.
    """

    networks: FamilyNetworks
    calibration: FamilyCalibration
    likeness: TrainingLikeness
    weights_sha256: str
    prompts: PromptEncoder | None = None

    @property
    def family(self) -> Family:
        """The family that is segmented."""
        return self.networks.family

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        named: str | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> FamilySegmenter:
        """Check the manifest and load everything; device and dtype are measured where not given.

        Raises WeightsMismatch where a file is missing, changed or does not fit, or the folder is not that of the family
        ``named``.
        """
        manifest = weights.verify(folder)
        device = device or devices.choose_device()
        dtype = dtype or devices.choose_dtype(device)
        calibration = read_calibration(folder)
        family = calibration.family
        if named is not None and named != family.name:
            raise WeightsMismatch(f"{folder.name} holds weights of {family.name}, not of {named}")
        networks = tuple(devices.frozen(load_network(file, family), device) for file in network_files(folder))
        prompts = PromptEncoder(TextEncoder.load(), device) if family.prompted else None
        trained = FamilyNetworks(family, networks, device, dtype)
        return cls(trained, calibration, read_likeness(folder), manifest.sha256, prompts)

    def segment(
        self, volume: Volume, *, prompt: str = ANYTHING, on_progress: Callable[[int, int], None] = unheard
    ) -> Segmentation:
        """Return where a lesion is found, on the volume's own grid; the mask is empty where nothing was found.

        Only a prompted family looks for what ``prompt`` names. Raises UnsuitableVolume for a volume of another
        modality, or one that cannot be analysed, and ConfigurationError for a prompt that is empty or overlong.
        """
        return self.conclude(self.score(volume, prompt=prompt, on_progress=on_progress))

    def score(
        self, volume: Volume, *, prompt: str = ANYTHING, on_progress: Callable[[int, int], None] = unheard
    ) -> ScoredStack:
        """Return the score of a volume; raises as ``segment`` does. ``on_progress`` is called after each batch."""
        stack, networks, words = frame(volume, self.family), self.networks, None
        if self.prompts is not None:
            networks = networks.looking_for(self.prompts.pair(prompt, volume.modality))
            words = plain_words(prompt)
        found = networks.scores(stack, on_progress=on_progress)
        smooth = smooth_across(found, stack.spacing_mm[0], self.calibration.rule.smoothing_mm)
        own = self.calibration.own
        score = smooth if own is None else own.spread(smooth, stack.images, stack.spacing_mm)
        return ScoredStack(stack, score, words)

    def conclude(self, scored: ScoredStack) -> Segmentation:
        """Return the mask of a scored stack, how sure it is, and how unlike the training images the stack is."""
        stack, case = scored.stack, self.calibration.case
        rule, own = self.calibration.rule, self.calibration.own
        on_volume = stack.to_volume(scored.score)
        if own is not None:
            rule = own.rule(rule, scored.score, stack.spacing_mm, top=float(on_volume.max()))
        labels = kept_components(on_volume, stack.orientation.spacing_mm, rule)
        described = describe(self.networks.networks[0], stack, self.family)
        labels = cut_ends(labels, on_volume, self.calibration.end_share)
        return Segmentation(
            mask=stack.to_stored(self._edged(labels, stack)),
            score_map=stack.to_stored(np.clip(on_volume, 0.0, 1.0)),
            case_score=case.score(case_level(scored.score, stack.spacing_mm, case.volume_ml)),
            out_of_distribution=self.likeness.excess(described),
            algorithm=self.algorithm(scored.words),
        )

    def _edged(self, labels: NDArray[np.int32], stack: FramedStack) -> NDArray[np.bool_]:
        """Return the mask of labels on the volume's grid, with edges halfway where the family has such."""
        reach_mm = self.calibration.edge_mm
        if reach_mm <= 0:
            return labels > 0
        grey, body = stack.to_volume((stack.images + 1.0) / 2.0), stack.to_volume(stack.body.astype(np.float32))
        spacing_mm = stack.orientation.spacing_mm
        return halfway(labels, grey, body > 0.5, spacing_mm=spacing_mm, reach_mm=reach_mm)  # noqa: PLR2004 - nearest

    def algorithm(self, words: str | None = None) -> Algorithm:
        """Return the names of code and weights, and every parameter that the result depends on."""
        known = self.calibration
        parameters: dict[str, Any] = {
            "family": self.family.name,
            "dtype": str(self.networks.dtype),
            **asdict(known.rule),
            "end_share": known.end_share,
            **({} if words is None else {"prompt": words}),
        }
        if known.own is not None:
            parameters |= {"own_level": asdict(known.own), "edge_mm": known.edge_mm}
        return Algorithm(NAME, VERSION, self.weights_sha256, json.dumps(parameters, sort_keys=True))


def installed_family(models: Path, name: str) -> Path:
    """Return where the weights of a family lie; ConfigurationError where there is none, or they are not installed."""
    folder = models / FAMILIES_FOLDER / family_named(name).name
    if not folder.is_dir():
        raise ConfigurationError(
            f"no weights of the family {name} under {FAMILIES_FOLDER}/: install or train them, or name their folder"
        )
    return folder


def network_files(folder: Path) -> list[Path]:
    """Return the files of a family's networks, in the order in which they are loaded."""
    return sorted(file for file in folder.glob("*.safetensors") if file.name != LIKENESS)


def load_network(file: Path, family: Family) -> UNet:
    """Return a network with the weights of a file; raises WeightsMismatch where they do not fit the family."""
    network = UNet(family.slices, prompted=family.prompted)
    try:
        network.load_state_dict(load_file(file))
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsMismatch(f"{file.name} does not fit a network of {family.name}: restore the file") from error
    return network
