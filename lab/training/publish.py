"""Make a finished training run loadable: calibration, scheduler, index and manifest beside the weights."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import torch

from lab import patients
from lab.patients import Role
from lab.segmentation import plain_unet
from lab.segmentation.plain_unet import PlainNetwork
from lab.training import calibrate, slices
from storage.progress import unheard
from workers import devices, weights
from workers.segmentation import attention, calibration, schedules
from workers.segmentation.backbone import LatentDiffusion, frozen, library
from workers.segmentation.maps import Models
from workers.segmentation.prompts import TextEncoder
from workers.segmentation.segmenter import ZeroShotSegmenter

if TYPE_CHECKING:
    from pathlib import Path

    from lab.training.settings import TrainingSettings
    from storage.progress import OnProgress
    from workers.weights import Manifest

PLAIN_FOLDER = "plain"
"""Where training puts the baseline's network, under the output: it is no part of the model."""
PLAIN_NAME = "synthetic-unet"
LICENCE = "CC-BY-NC-SA-4.0"
"""That of the masks which chose the tumour-free slices and the thresholds; the images are CC BY 3.0."""
VERSION = "7"


def publish(settings: TrainingSettings, on_progress: OnProgress = unheard) -> Manifest:
    """Fix the calibration on the tuning patients and write everything that loading asks for."""
    segmenter = uncalibrated(settings.out, dtype=settings.dtype)
    calibration.save(calibrate.calibrate(segmenter, settings.cases, on_progress=on_progress), settings.out)
    write_layout(settings.out)
    seen = slices.patient_files(settings.cases, Role.TRAIN, Role.TUNE)
    patients.write_seen({patients.named(path.stem) for path in seen}, settings.out)
    publish_plain(settings)
    return weights.write_manifest(settings.out, name=settings.out.name, version=VERSION, licence=LICENCE)


def publish_plain(settings: TrainingSettings) -> Manifest | None:
    """Fix the mask rule of the baseline's network on the same patients; None where it has not been trained."""
    source, folder = settings.out / PLAIN_FOLDER, settings.out.with_name(PLAIN_NAME)
    if not source.is_dir():
        return None
    network = PlainNetwork.of(source, calibrate.PROVISIONAL_RULE)
    rule = calibrate.plain_rule(network, settings.cases)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / plain_unet.WEIGHTS_FILE).write_bytes((source / plain_unet.WEIGHTS_FILE).read_bytes())
    plain_unet.save_rule(rule, folder)
    shutil.rmtree(source)
    return weights.write_manifest(folder, name=PLAIN_NAME, version=VERSION, licence=LICENCE)


def uncalibrated(folder: Path, *, dtype: str = "auto") -> ZeroShotSegmenter:
    """Load freshly trained weights, before there is a manifest, under provisional settings."""
    device = torch.device("cpu")
    backbone = LatentDiffusion.from_folder(folder, device=device, dtype=devices.choose_dtype(device, dtype))
    rounds = tuple(frozen(adapters, device) for adapters in attention.load_rounds(folder))
    return ZeroShotSegmenter(Models(backbone, rounds), calibrate.provisional(), TextEncoder.load(), weights_sha256="")


def write_layout(folder: Path) -> None:
    """Write the scheduler and the index of a diffusers folder, so that diffusers' own classes can sample from it."""
    alpha_bars = schedules.alpha_bars()
    before = torch.cat([torch.ones(1, dtype=alpha_bars.dtype), alpha_bars[:-1]])
    scheduler = library.DDIMScheduler(
        num_train_timesteps=schedules.TRAINING_STEPS,
        trained_betas=(1.0 - alpha_bars / before).tolist(),
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "DiffusionPipeline",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
