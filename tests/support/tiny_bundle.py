"""A MONAI bundle with a U-Net that is trained in seconds on drawn CT: a body, a liver, and a tumour in it."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.drawn_ct import SPACING_MM, TUMOUR, DrawnCT, dice, draw
from workers.site_models.bundle import kind as monai_bundle
from workers.site_models.bundle.open_bundle import OpenBundle
from workers.site_models.card import SiteModelCard
from workers.site_models.model_file import read_model_file

NAME = "tiny-bundle"
INFERENCE_FILE, METADATA_FILE, WEIGHTS_FILE = "configs/inference.json", "configs/metadata.json", "models/model.pt"
STEPS, BATCH, RATE = 300, 2, 2e-2
PATCH = 32
NEAR, SHIFT = 0.6, 10
"""Share of the patches that lie around a tumour, and by how many voxels they are moved."""
LOW_HU, HIGH_HU = -160.0, 240.0
UNET: Mapping[str, Any] = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [8, 16, 32],
    "strides": [2, 2],
    "num_res_units": 0,
    "norm": "batch",
}
METADATA: Mapping[str, Any] = {
    "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json",
    "version": "0.3.1",
    "changelog": {"0.3.1": "drawn for tests"},
    "monai_version": "1.5.0",
    "pytorch_version": "2.6.0",
    "numpy_version": "2.0.0",
    "required_packages_version": {"nibabel": "5.2.1"},
    "name": "Liver and tumour of drawn CT",
    "task": "Liver and tumour segmentation",
    "description": "Trained on drawn volumes",
    "authors": "oncue",
    "copyright": "Copyright (c) oncue",
    "license": "CC0-1.0",
    "network_data_format": {
        "inputs": {
            "image": {
                "type": "image",
                "format": "hounsfield",
                "modality": "CT",
                "num_channels": 1,
                "spatial_shape": [PATCH, PATCH, PATCH],
                "dtype": "float32",
                "value_range": [0, 1],
                "is_patch_data": True,
                "channel_def": {"0": "image"},
            }
        },
        "outputs": {
            "pred": {
                "type": "image",
                "format": "segmentation",
                "num_channels": 3,
                "spatial_shape": [PATCH, PATCH, PATCH],
                "dtype": "float32",
                "value_range": [0, 1],
                "is_patch_data": True,
                "channel_def": {"0": "background", "1": "liver", "2": "liver tumor"},
            }
        },
    },
}


def transform(name: str, **arguments: Any) -> dict[str, Any]:
    """Write one transform of the image."""
    return {"_target_": name, "keys": "image"} | arguments


PREPROCESSING = [
    transform("LoadImaged", reader="$monai.data.NibabelReader"),
    transform("EnsureChannelFirstd"),
    transform("Orientationd", axcodes="RAS"),
    transform("Spacingd", pixdim="@pixdim", mode="bilinear"),
    transform("ScaleIntensityRanged", a_min=LOW_HU, a_max=HIGH_HU, b_min=0, b_max=1, clip=True),
    transform("EnsureTyped", device="@device"),
]
POSTPROCESSING = [
    {"_target_": "Activationsd", "keys": "pred", "softmax": True},
    {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image", "to_tensor": True},
    {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
    {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir", "output_postfix": "seg"},
]
INFERENCE: Mapping[str, Any] = {
    "imports": ["$import glob", "$import os"],
    "bundle_root": ".",
    "output_dir": "$@bundle_root + '/eval'",
    "dataset_dir": "/data",
    "datalist": "$list(sorted(glob.glob(@dataset_dir + '/imagesTs/*.nii.gz')))",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "pixdim": [SPACING_MM[2], SPACING_MM[1], SPACING_MM[0]],
    "network_def": UNET,
    "network": "$@network_def.to(@device)",
    "preprocessing": {"_target_": "Compose", "transforms": PREPROCESSING},
    "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]", "transform": "@preprocessing"},
    "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 4},
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [PATCH] * 3, "sw_batch_size": 4, "overlap": 0.25},
    "postprocessing": {"_target_": "Compose", "transforms": POSTPROCESSING},
    "handlers": [{"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/model.pt'"}],
    "evaluator": {"_target_": "SupervisedEvaluator", "device": "@device", "network": "@network"},
    "initialize": ["$monai.utils.set_determinism(seed=123)"],
    "run": ["$@evaluator.run()"],
}
"""As MONAI's model zoo writes it: expressions for device, paths and evaluator, none in what a prediction needs."""


def trained(factory: pytest.TempPathFactory) -> Path:
    """Return the bundle's folder, trained once for all processes of a test run."""
    from tests.support.trained_once import trained_once

    return trained_once(factory, NAME, train)


def train(folder: Path) -> None:
    """Train for about ten seconds and write the bundle's folder."""
    write(folder, _train())


def write(folder: Path, weights: Mapping[str, Any]) -> Path:
    """Write a bundle's folder with the weights of its network."""
    import torch

    (folder / "configs").mkdir(parents=True, exist_ok=True)
    (folder / "models").mkdir(exist_ok=True)
    (folder / "configs" / "metadata.json").write_text(json.dumps(METADATA, indent=4))
    (folder / "configs" / "inference.json").write_text(json.dumps(INFERENCE, indent=4))
    torch.save({"model": dict(weights)}, folder / "models" / "model.pt")
    return folder


def change(folder: Path, file: str, **values: Any) -> None:
    """Put values into a configuration file, by their ids with ``__`` for each separator."""
    content = json.loads((folder / file).read_text())
    for key, value in values.items():
        place: Any = content
        *way, last = key.split("__")
        for part in way:
            place = place[int(part)] if isinstance(place, list) else place[part]
        place[int(last) if isinstance(place, list) else last] = value
    (folder / file).write_text(json.dumps(content))


def card_of(folder: Path) -> SiteModelCard:
    """Read a bundle's card."""
    return monai_bundle.read_card(folder, read_model_file(folder))


def opened(folder: Path, *, allow_code: bool = False) -> OpenBundle:
    """Open a bundle on one thread of the processor."""
    import torch

    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    return monai_bundle.open_model(folder, card_of(folder), device=cpu, dtype=torch.float32, allow_code=allow_code)


def nothing() -> None:
    """Let the work go on."""


def tumour_dice(model: OpenBundle, case: DrawnCT) -> float:
    """Return the Dice coefficient of what a bundle finds in a drawn volume."""
    return dice(model.segment(case.volume, prompt=None, check=nothing).mask, case.truth == TUMOUR)


def _network(seed: int) -> Any:
    import torch
    from monai.networks.nets.unet import UNet

    torch.manual_seed(seed)
    return UNet(**{name: value for name, value in UNET.items() if name != "_target_"})


def _train() -> Mapping[str, Any]:
    """Return weights of about ten seconds of training on one thread, on patches in the orientation RAS."""
    import torch
    from monai.losses.dice import DiceCELoss

    cases = [draw(1000 + seed) for seed in range(10)]
    network, picked = _network(0), random.Random(0)  # noqa: S311 - which patch comes next is no secret
    optimiser: Any = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=STEPS)
    measure = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
    for _ in range(STEPS):
        patches = [_patch(picked.choice(cases), picked) for _ in range(BATCH)]
        image, truth = (torch.cat(parts) for parts in zip(*patches, strict=True))
        optimiser.zero_grad()
        loss: Any = measure(network(image), truth)
        loss.backward()
        optimiser.step()
        schedule.step()
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _patch(case: DrawnCT, picked: random.Random) -> tuple[Any, Any]:
    """Return one patch ``[1, 1, x, y, z]`` in the orientation RAS, and its labels."""
    import torch

    middle = (
        np.argwhere(case.truth == TUMOUR).mean(axis=0) if picked.random() < NEAR else np.array(case.truth.shape) / 2
    )
    corner = [
        min(max(0, round(centre) - PATCH // 2 + picked.randint(-SHIFT, SHIFT)), size - PATCH)
        for centre, size in zip(middle.tolist(), case.truth.shape, strict=True)
    ]
    cut = tuple(slice(first, first + PATCH) for first in corner)
    scaled = ((case.volume.voxels[cut] - LOW_HU) / (HIGH_HU - LOW_HU)).clip(0, 1)
    image, truth = (part.transpose(2, 1, 0)[::-1, ::-1].copy() for part in (scaled, case.truth[cut]))
    return torch.from_numpy(image)[None, None], torch.from_numpy(truth.astype(np.int64))[None, None]
