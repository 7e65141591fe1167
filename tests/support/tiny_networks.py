"""A small U-Net trained once per test run to find liver and tumour in drawn abdomens, as ONNX and as TorchScript."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tests.support.ct_phantoms import CtPhantom, ct_phantom
from tests.support.trained_once import trained_once

WINDOW_HU = (-160.0, 240.0)
PATCH = (16, 40, 40)
_CROP = (8, 32, 32)
HELD_OUT = (1001, 1002, 1003, 1004)
"""Seeds of phantoms that were not trained on."""
_TRAINED = range(24)
_STEPS = 200
_CLASS_WEIGHTS = (1.0, 1.0, 2.0)
_ONNX_OPSET = 18

MODEL_TOML = """\
format = 1
kind = "{kind}"
version = "1"
licence = "Apache-2.0"
modalities = ["CT"]
file = "{file}"
[input]
spacing_mm = [4.0, 2.5, 2.5]
orientation = "LPS"
intensity = "window"
range = [-160.0, 240.0]
patch = [16, 40, 40]
overlap = 0.5
[output]
activation = "softmax"
[[labels]]
value = 1
name = "liver"
role = "organ"
[[labels]]
value = 2
name = "liver tumour"
role = "lesion"
"""


@dataclass(frozen=True, slots=True)
class TinyNetworks:
    """Folders of the same trained network as two kinds of model."""

    onnx: Path
    torchscript: Path


def trained_networks(factory: pytest.TempPathFactory) -> TinyNetworks:
    """Return the networks of this test run; whichever process comes first trains them, the others wait."""
    folder = trained_once(factory, "tiny-networks", train_both)
    return TinyNetworks(folder / "onnx", folder / "torchscript")


class TinyUnet(nn.Module):
    """Two levels: background, liver and tumour of one image, ``[n, 1, z, y, x]`` to logits ``[n, 3, z, y, x]``."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(_block(1, 16, side=1), _block(16, 8))
        self.coarse = nn.Sequential(nn.Conv3d(8, 12, 2, stride=2), nn.LeakyReLU(0.1), _block(12, 12))
        self.up = nn.ConvTranspose3d(12, 8, 2, stride=2)
        self.last = nn.Sequential(_block(16, 12, side=1), nn.Conv3d(12, 3, 1))

    def forward(self, image: Tensor) -> Tensor:
        fine = self.fine(4 * image - 2)
        made: Tensor = self.last(torch.cat([fine, self.up(self.coarse(fine))], dim=1))
        return made


def _block(channels: int, made: int, *, side: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv3d(channels, made, side, padding=side // 2), nn.LeakyReLU(0.1))


def train_both(folder: Path) -> None:
    """Train a network on drawn abdomens for some seconds, and save it as both kinds of model."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save(_fit(TinyUnet()), folder)


def _fit(network: TinyUnet) -> TinyUnet:
    phantoms = [ct_phantom(seed, tumour=seed % 4 > 0) for seed in _TRAINED]
    rng, weight = np.random.default_rng(0), torch.tensor(_CLASS_WEIGHTS)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-2, total_steps=_STEPS)
    for step in range(_STEPS):
        images, labels = _crop(phantoms[step % len(phantoms)], rng)
        logits = network(images)
        loss = functional.cross_entropy(logits, labels, weight=weight)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        optimizer.step()
        schedule.step()
    return network.eval()


def _crop(phantom: CtPhantom, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return a box around a voxel of one label, each label as often."""
    low, high = WINDOW_HU
    middle = rng.choice(np.argwhere(phantom.labels == rng.choice(np.unique(phantom.labels))))
    ends = np.array(phantom.labels.shape) - _CROP
    starts = np.clip(middle - np.array(_CROP) // 2, 0, ends)
    box = tuple(slice(start, start + side) for start, side in zip(starts, _CROP, strict=True))
    scaled = np.clip((phantom.voxels[box] - low) / (high - low), 0, 1)
    return torch.from_numpy(scaled)[None, None], torch.from_numpy(phantom.labels[box].astype(np.int64))[None]


def save(network: nn.Module, folder: Path) -> None:
    """Save a network as both kinds of model, each in a folder of its own."""
    for kind, file in (("onnx", "model.onnx"), ("torchscript", "model.ts")):
        (folder / kind).mkdir(parents=True)
        (folder / kind / "model.toml").write_text(MODEL_TOML.format(kind=kind, file=file))
    image = torch.zeros(1, 1, *PATCH)
    save_torchscript(network, image, folder / "torchscript" / "model.ts")
    save_onnx(network, image, folder / "onnx" / "model.onnx")


def save_torchscript(network: nn.Module, image: Tensor, path: Path) -> None:
    """Trace and save a network."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.* is deprecated", category=DeprecationWarning)
        torch.jit.save(torch.jit.trace(network.eval(), image, strict=False), path)  # type: ignore[no-untyped-call]  # torch has no types here


def save_onnx(network: nn.Module, image: Tensor, path: Path) -> None:
    """Export a network for images of one shape; its weights lie in a file beside it, as torch's exporter has it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own use of what torch deprecates
        torch.onnx.export(
            network.eval(), (image,), path, input_names=["image"], output_names=["logits"],
            opset_version=_ONNX_OPSET, dynamo=True, verbose=False,
        )  # fmt: skip # reads by its lines


def dice(found: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> float:
    """Return twice the overlap over the sum of both."""
    return 2 * float((found & wanted).sum()) / max(1.0, float(found.sum() + wanted.sum()))
