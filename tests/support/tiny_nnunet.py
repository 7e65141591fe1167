"""A small nnU-Net, really trained on drawn abdomens, and saved as nnU-Net v2 saves what it trained."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.support.ct_phantoms import LIVER, SPACING_MM, TUMOUR, ct_phantom
from tests.support.trained_once import trained_once

CONFIGURATION = "3d_fullres"
FOLDER = f"Dataset901_Abdomen/nnUNetTrainer__nnUNetPlans__{CONFIGURATION}"
DATASET: Mapping[str, Any] = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "liver": LIVER, "liver_tumor": TUMOUR},
    "numTraining": 10,
    "file_ending": ".nii.gz",
    "licence": "CC0-1.0",
    "release": "1.0",
}
PATCH = (16, 32, 32)
STEPS = 150
_TRAINING = range(10)
_ARCHITECTURE = {
    "n_stages": 3,
    "features_per_stage": [8, 16, 32],
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "kernel_sizes": [[3, 3, 3]] * 3,
    "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
    "n_conv_per_stage": [1, 1, 1],
    "n_conv_per_stage_decoder": [1, 1],
    "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-05, "affine": True},
    "dropout_op": None,
    "dropout_op_kwargs": None,
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}
_RESAMPLING = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}


def trained_nnunet(factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a trained nnU-Net, the same for all processes of one test run: nobody may write to it."""
    return trained_once(factory, "tiny-nnunet", train)


def train(folder: Path) -> None:
    """Train on ten drawn abdomens and write the result folder: some seconds on one thread."""
    cases = [ct_phantom(seed) for seed in _TRAINING]
    plans = _plans(np.concatenate([case.voxels[case.labels > 0] for case in cases]))
    network = build(plans)
    _fit(network, list(_preprocessed(plans)))
    write(folder / FOLDER, plans, network.state_dict())


def write(
    folder: Path,
    plans: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    dataset: Mapping[str, Any] = DATASET,
    *,
    fold: str = "0",
    **noted: object,
) -> None:
    """Write a result folder of one fold; ``noted`` goes into the checkpoint beside what nnU-Net's trainer writes."""
    (folder / f"fold_{fold}").mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(dataset, indent=4))
    (folder / "plans.json").write_text(json.dumps(plans, indent=4))
    fingerprint = {"spacings": [list(SPACING_MM)], "shapes_after_crop": [[24, 56, 56]]}
    (folder / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    checkpoint = {
        "network_weights": dict(weights),
        "optimizer_state": {"state": {}, "param_groups": [{"lr": 1e-3}]},
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float64(0.5), np.float32(0.6)], "epoch_start_timestamps": [1.0]},
        "_best_ema": np.float64(0.6),
        "current_epoch": 1,
        "init_args": {"configuration": CONFIGURATION, "fold": fold, "device": torch.device("cuda")},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    torch.save(checkpoint | noted, folder / f"fold_{fold}" / "checkpoint_final.pth")


def build(plans: Mapping[str, Any], heads: int = 3) -> nn.Module:
    """Return the untrained network of the plans, with the same weights at each call."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    described = plans["configurations"][CONFIGURATION]["architecture"]
    torch.manual_seed(0)
    network: nn.Module = get_network_from_plans(
        described["network_class_name"],
        described["arch_kwargs"],
        described["_kw_requires_import"],
        1,
        heads,
        deep_supervision=False,
    )
    return network


def _plans(foreground: NDArray[np.float32]) -> dict[str, Any]:
    low, high = np.percentile(foreground, (0.5, 99.5))
    greys = {"mean": foreground.mean(), "std": foreground.std(), "percentile_00_5": low, "percentile_99_5": high}
    configuration = {
        "data_identifier": f"nnUNetPlans_{CONFIGURATION}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(PATCH),
        "median_image_size_in_voxels": [24.0, 35.0, 35.0],
        "spacing": [4.0, 4.0, 4.0],
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": _RESAMPLING | {"order": 3},
        "resampling_fn_seg_kwargs": _RESAMPLING | {"is_seg": True},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": _RESAMPLING,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": _ARCHITECTURE,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "batch_dice": False,
    }
    return {
        "dataset_name": "Dataset901_Abdomen",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(SPACING_MM),
        "original_median_shape_after_transp": [24, 56, 56],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {CONFIGURATION: configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": {key: float(value) for key, value in greys.items()}},
    }


def _preprocessed(plans: Mapping[str, Any]) -> Iterator[tuple[Tensor, Tensor]]:
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(dict(plans))
    for case in map(ct_phantom, _TRAINING):
        image, labels, _ = DefaultPreprocessor(verbose=False).run_case_npy(
            case.voxels[None],
            case.labels[None].astype(np.int8),
            {"spacing": list(SPACING_MM)},
            manager,
            manager.get_configuration(CONFIGURATION),
            dict(DATASET),
        )
        yield torch.from_numpy(image), torch.from_numpy(labels).clamp(min=0).long()


def _fit(network: nn.Module, cases: list[tuple[Tensor, Tensor]]) -> None:
    draw = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=STEPS)
    network.train()
    for _ in range(STEPS):
        picked = [_patch(*cases[draw.integers(len(cases))], draw) for _ in range(2)]
        images, labels = (torch.stack(parts) for parts in zip(*picked, strict=True))
        loss: Any = _loss(network(images), labels[:, 0])  # torch's backward carries no types
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()


def _patch(image: Tensor, labels: Tensor, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
    corner = [draw.integers(0, side - length + 1) for side, length in zip(image.shape[1:], PATCH, strict=True)]
    window = (slice(None), *(slice(low, low + length) for low, length in zip(corner, PATCH, strict=True)))
    return image[window], labels[window]


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    truth = nn.functional.one_hot(labels, logits.shape[1]).movedim(-1, 1).float()
    drawn = logits.softmax(dim=1)
    overlap, sizes = ((values.sum(dim=(0, 2, 3, 4))[1:]) for values in (drawn * truth, drawn + truth))
    return nn.functional.cross_entropy(logits, labels) - (2 * overlap / (sizes + 1e-5)).mean()
