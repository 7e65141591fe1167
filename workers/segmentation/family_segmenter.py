"""Segment a volume with its family's network: frame it, score it, draw the mask, and bring that back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file

from storage.domain import Algorithm, Segmentation
from storage.errors import ConfigurationError
from workers import devices, weights
from workers.errors import WeightsMismatch
from workers.segmentation.families import Family, family_named, family_of
from workers.segmentation.framing import FramedStack, frame, neighbours
from workers.segmentation.mask import MaskRule, case_level, smooth_across, to_mask
from workers.segmentation.unet import UNet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from storage.volumes import Volume

    FloatArray = NDArray[np.float32]

FOLDER = "families"
"""Where the families' weights lie among the installed models, a folder for each."""
NAME = "oncue-family"
VERSION = "1"
CALIBRATION = "calibration.json"
FORMAT = 1
BATCH_PIXELS = 2**18
"""Pixels of all slices that are scored at once."""
CASE_ML = 1.0
"""The score of a case is the mean of the highest scores that together fill this volume."""


def unheard(_done: int, _total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class FamilyNetworks:
    """The networks of one family, whose scores are averaged, on one device."""

    family: Family
    networks: tuple[UNet, ...]
    device: torch.device
    dtype: torch.dtype

    @torch.inference_mode()
    def scores(self, stack: FramedStack, *, on_progress: Callable[[int, int], None] = unheard) -> FloatArray:
        """Return the probability of a lesion at each pixel, the mean over networks and over the mirrored stack too."""
        images, depth = stack.images, len(stack.images)
        seen = neighbours(depth, stack.spacing_mm[0], self.family)
        size = max(1, BATCH_PIXELS // images[0].size)
        found = np.zeros_like(images)
        for start in range(0, depth, size):
            batch = torch.from_numpy(images[seen[start : start + size]]).to(self.device)
            found[start : start + size] = self._batch(batch).cpu().numpy()
            on_progress(min(depth, start + size), depth)
        return found * stack.body

    def _batch(self, stacks: torch.Tensor) -> torch.Tensor:
        total = torch.zeros_like(stacks[:, 0])
        for mirrored in (False, True):
            shown = (stacks.flip(-1) if mirrored else stacks).contiguous(memory_format=torch.channels_last)
            for network in self.networks:
                with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32):
                    logits = network(shown)[:, 0]
                score = logits.float().sigmoid()
                total += score.flip(-1) if mirrored else score
        return total / (2 * len(self.networks))


@dataclass(frozen=True, slots=True, eq=False)
class FamilySegmenter:
    """A family's networks with the rule that was fixed for their scores beforehand, loaded once and kept warm."""

    networks: FamilyNetworks
    rule: MaskRule
    weights_sha256: str

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
        family, rule = read_calibration(folder)
        if named is not None and named != family.name:
            raise WeightsMismatch(f"{folder.name} holds weights of {family.name}, not of {named}")
        files = sorted(folder.glob("*.safetensors"))
        networks = tuple(devices.frozen(load_network(file, family), device) for file in files)
        return cls(FamilyNetworks(family, networks, device, dtype), rule, manifest.sha256)

    def segment(self, volume: Volume, *, on_progress: Callable[[int, int], None] = unheard) -> Segmentation:
        """Return where a lesion is found, on the volume's own grid; the mask is empty where nothing was found.

        Raises UnsuitableVolume for a volume of another modality, or one that cannot be analysed.
        """
        stack = frame(volume, self.family)
        found = self.networks.scores(stack, on_progress=on_progress)
        score = smooth_across(found, stack.spacing_mm[0], self.rule.smoothing_mm)
        on_volume = stack.to_volume(score)
        mask = to_mask(on_volume, stack.orientation.spacing_mm, self.rule)
        return Segmentation(
            mask=stack.to_stored(mask),
            score_map=stack.to_stored(np.clip(on_volume, 0.0, 1.0)),
            case_score=case_level(score, stack.spacing_mm, CASE_ML),
            out_of_distribution=None,
            algorithm=self.algorithm(),
        )

    def algorithm(self) -> Algorithm:
        """Return the names of code and weights, and every parameter that the result depends on."""
        parameters = {"family": self.family.name, "dtype": str(self.networks.dtype), **asdict(self.rule)}
        return Algorithm(NAME, VERSION, self.weights_sha256, json.dumps(parameters, sort_keys=True))


def family_folder(models: Path, modality: str, name: str | None = None) -> Path | None:
    """Return where the weights of a family lie: of the one ``name``d, or of the modality's where they are installed.

    Raises ConfigurationError where there is no family of that name, or its weights are not installed.
    """
    family = family_of(modality) if name is None else family_named(name)
    if family is None:
        return None
    folder = models / FOLDER / family.name
    if folder.is_dir():
        return folder
    if name is None:
        return None
    raise ConfigurationError(
        f"no weights of the family {name} under {FOLDER}/: install or train them, or name their folder"
    )


def load_network(file: Path, family: Family) -> UNet:
    """Return a network with the weights of a file; raises WeightsMismatch where they do not fit the family."""
    network = UNet(family.slices)
    try:
        network.load_state_dict(load_file(file))
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsMismatch(f"{file.name} does not fit a network of {family.name}: restore the file") from error
    return network


def read_calibration(folder: Path) -> tuple[Family, MaskRule]:
    """Return which family a folder's networks are of, and their rule; raises WeightsMismatch."""
    try:
        content = json.loads((folder / CALIBRATION).read_text(encoding="utf-8"))
        known = content["format"] == FORMAT
        family, rule = family_named(str(content["family"])), MaskRule(**content["rule"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsMismatch(f"{CALIBRATION} of {folder.name} does not fit this version of oncue: {error}") from error
    if not known:
        raise WeightsMismatch(f"{CALIBRATION} of {folder.name} has another format than {FORMAT}")
    return family, rule


def write_calibration(folder: Path, family: Family, rule: MaskRule) -> None:
    """Write which family a folder's networks are of, and their rule."""
    content = {"format": FORMAT, "family": family.name, "rule": asdict(rule)}
    (folder / CALIBRATION).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
