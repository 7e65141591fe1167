"""A plain convolutional network on single slices: what the evaluation compares the method with.

It sees pixels alone: no text, no frozen features, no neighbouring slices, no residuals. It is trained on the same
painted lesions for about twenty minutes, and its mask rule is fixed on the same tuning patients.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from workers import devices, weights
from workers.errors import WeightsMismatch
from workers.segmentation.mask import MaskRule
from workers.segmentation.unet import UNet

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FOLDER = "synthetic-unet"
"""Where the network lies among the installed models."""
WEIGHTS_FILE = "plain.safetensors"
RULE_FILE = "calibration.json"
BATCH = 8


class PlainUNet(UNet):
    """A U-shaped network from one slice ``[n, 1, y, x]`` in -1..1 to logits of "lesion" of the same size."""


@dataclass(frozen=True, slots=True, eq=False)
class PlainNetwork:
    """The trained network and its mask rule."""

    module: PlainUNet
    rule: MaskRule
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def installed(cls, models: Path) -> PlainNetwork | None:
        """Load the network from the folder of all models; None where it is not there. Raises WeightsMismatch."""
        folder = models / FOLDER
        return cls.load(folder) if folder.is_dir() else None

    @classmethod
    def load(cls, folder: Path) -> PlainNetwork:
        """Check the manifest and load; raises WeightsMismatch where a file is missing, changed or does not fit."""
        weights.verify(folder)
        try:
            rule = MaskRule(**json.loads((folder / RULE_FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise WeightsMismatch(f"{RULE_FILE} of {folder.name} does not fit this version of oncue") from error
        return cls.of(folder, rule)

    @classmethod
    def of(cls, folder: Path, rule: MaskRule) -> PlainNetwork:
        """Load weights that have no manifest yet."""
        module = PlainUNet()
        try:
            module.load_state_dict(load_file(folder / WEIGHTS_FILE))
        except RuntimeError as error:
            raise WeightsMismatch(f"{WEIGHTS_FILE} of {folder.name} does not fit this version of oncue") from error
        device = devices.choose_device()
        frozen = devices.channels_last(module.to(device)).eval().requires_grad_(requires_grad=False)
        return cls(frozen, rule, device, devices.choose_dtype(device))

    @torch.inference_mode()
    def scores(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score framed slices ``[z, 128, 128]`` in -1..1: the probability of a lesion at each pixel."""
        found = np.zeros_like(images)
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(images[start : start + BATCH, None]).to(self.device)
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32):
                logits = self.module(batch.contiguous(memory_format=torch.channels_last))
            found[start : start + BATCH] = logits.float().sigmoid()[:, 0].cpu().numpy()
        return found


def save(module: PlainUNet, folder: Path) -> None:
    """Write the network's weights."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in module.state_dict().items()}, folder / WEIGHTS_FILE)


def save_rule(rule: MaskRule, folder: Path) -> None:
    """Write the mask rule beside the weights."""
    (folder / RULE_FILE).write_text(json.dumps(asdict(rule), indent=1, sort_keys=True) + "\n", encoding="utf-8")
