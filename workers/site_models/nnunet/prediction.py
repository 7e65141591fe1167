"""From a volume's array to labels and probabilities, as nnU-Net's own predictor does it, tile by tile.

Two things differ from it. Tiles are cut in this thread, between two of which the job may be given up; and the logits
are brought back to the image's grid one channel at a time, so that memory does not grow with the number of labels.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from numpy import float32, uint8
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor, nn

from workers.errors import ModelUnsuitable
from workers.site_models.kinds import AbortCheck

REGION_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What follows from a result folder: its two descriptions, one configuration, the network, the folds' weights."""

    plans: PlansManager
    configuration: ConfigurationManager
    dataset: dict[str, Any]
    network: nn.Module
    folds: Sequence[Mapping[str, Tensor]]
    mirroring: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Running:
    """Where and how it runs. ``half``: a GPU computes the network in half precision, as nnU-Net itself has it."""

    device: torch.device
    half: bool
    step: float
    """Distance of two tiles as a share of a tile's side."""


class TilePredictor(nnUNetPredictor):  # type: ignore[misc] # nnU-Net ships no types
    """nnU-Net's predictor, which asks ``check`` before each tile and starts no thread that could outlive it."""

    def __init__(self, trained: Trained, running: Running) -> None:
        benchmark = torch.backends.cudnn.benchmark
        with quiet():
            super().__init__(
                tile_step_size=running.step,
                use_mirroring=bool(trained.mirroring),
                perform_everything_on_device=running.device.type == "cuda",
                device=running.device,
                allow_tqdm=False,
            )
        torch.backends.cudnn.benchmark = benchmark  # nnU-Net sets it for every other model of the process too
        self.half = running.half
        self.check: AbortCheck = _go_on
        self.manual_initialization(
            trained.network,
            trained.plans,
            trained.configuration,
            list(trained.folds),
            trained.dataset,
            "nnUNetTrainer",
            trained.mirroring or None,
        )

    def logits(self, data: NDArray[float32], *, check: AbortCheck) -> Tensor:
        """Return the folds' mean logits ``[channel, z, y, x]`` for a preprocessed image ``[1, z, y, x]``."""
        threads = torch.get_num_threads()
        self.check = check
        try:
            with quiet():
                mean: Tensor = self.predict_logits_from_preprocessed_data(torch.from_numpy(data))
        finally:
            self.check = _go_on
            torch.set_num_threads(threads)
        return mean

    def _internal_predict_sliding_window_return_logits(
        self,
        data: Tensor,
        slicers: Sequence[tuple[slice | int, ...]],
        do_on_device: bool = True,  # noqa: FBT001, FBT002 - the library's own signature
    ) -> Tensor:
        """Return the weighted mean of the tiles' logits, in half precision on a GPU as nnU-Net has it."""
        place = self.device if do_on_device else torch.device("cpu")
        kept = torch.half if self.device.type == "cuda" else torch.float32
        data = data.to(place)
        weight = compute_gaussian(
            tuple(self.configuration_manager.patch_size),
            sigma_scale=1.0 / 8,
            value_scaling_factor=10,
            dtype=kept,
            device=place,
        )
        total = torch.zeros((self.label_manager.num_segmentation_heads, *data.shape[1:]), dtype=kept, device=place)
        weights = torch.zeros(data.shape[1:], dtype=kept, device=place)
        for slicer in slicers:
            self.check()
            tile = data[slicer][None].contiguous().to(self.device)
            total[slicer] += self._tile_logits(tile).to(place) * weight
            weights[slicer[1:]] += weight
        total /= weights
        if not bool(torch.isfinite(total).all()):
            raise ModelUnsuitable(
                "the network's output is not finite: its weights do not suit this image, or are damaged"
            )
        return total

    def _tile_logits(self, tile: Tensor) -> Tensor:
        with torch.autocast(self.device.type, dtype=torch.float16, enabled=self.half):
            logits: Tensor = self._internal_maybe_mirror_and_predict(tile)[0]
        return logits


def predict(
    predictor: TilePredictor,
    image: NDArray[float32],
    spacing: Sequence[float],
    *,
    lesions: Collection[int],
    check: AbortCheck,
) -> tuple[NDArray[uint8], NDArray[float32]]:
    """Return labels uint8 and the probability of lesion float32 on the grid of an image ``[z, y, x]``.

    ``spacing`` is in mm along z, y, x. The probability is the sum over the lesion labels of a softmax, and the highest
    of those of lesion regions, which overlap.
    """
    plans, configuration = predictor.plans_manager, predictor.configuration_manager
    preprocessor = configuration.preprocessor_class(verbose=False)
    with quiet():
        data, _, facts = preprocessor.run_case_npy(
            image[None], None, {"spacing": list(spacing)}, plans, configuration, predictor.dataset_json
        )
    check()
    logits = predictor.logits(data, check=check)
    channels = _resampled(logits, facts, plans, configuration, check)
    if predictor.label_manager.has_regions:
        labels, probability = _of_regions(channels, predictor.label_manager.regions_class_order, lesions)
    else:
        labels, probability = _of_labels(channels, lesions)
    return _uncropped(labels, facts, plans), _uncropped(probability, facts, plans)


def _resampled(
    logits: Tensor,
    facts: Mapping[str, Any],
    plans: PlansManager,
    configuration: ConfigurationManager,
    check: AbortCheck,
) -> Iterator[NDArray[float32]]:
    """Yield each channel on the cropped image's grid, resampled as nnU-Net's plans say."""
    shape = facts["shape_after_cropping_and_before_resampling"]
    original = [facts["spacing"][axis] for axis in plans.transpose_forward]
    current = list(configuration.spacing)
    if len(current) < len(shape):
        current = [original[0], *current]  # slice by slice: the distance of the slices stays as it is
    for channel in range(len(logits)):
        check()
        resampled = configuration.resampling_fn_probabilities(logits[channel : channel + 1], shape, current, original)
        yield np.asarray(resampled, dtype=np.float32)[0]


def _of_labels(
    channels: Iterator[NDArray[float32]], lesions: Collection[int]
) -> tuple[NDArray[uint8], NDArray[float32]]:
    """Return the most probable label and the softmax of all lesion labels, in one pass over the channels."""
    highest = next(channels).copy()
    labels = np.zeros(highest.shape, np.uint8)
    total, lesion = np.ones_like(highest), np.zeros_like(highest)
    for value, logits in enumerate(channels, start=1):
        labels[logits > highest] = value
        raised = np.maximum(highest, logits)
        shrink, term = np.exp(highest - raised), np.exp(logits - raised)
        total = total * shrink + term
        lesion = lesion * shrink + (term if value in lesions else 0)
        highest = raised
    return labels, (lesion / total).astype(np.float32, copy=False)


def _of_regions(
    channels: Iterator[NDArray[float32]], values: Sequence[int], lesions: Collection[int]
) -> tuple[NDArray[uint8], NDArray[float32]]:
    """Return the label of the last region that a voxel lies in, and the highest sigmoid of the lesion regions."""
    first = next(channels)
    labels, lesion = np.zeros(first.shape, np.uint8), np.zeros_like(first)
    for value, logits in zip(values, chain([first], channels), strict=True):
        inside = expit(logits)
        labels[inside > REGION_THRESHOLD] = value
        if value in lesions:
            lesion = np.maximum(lesion, inside)
    return labels, lesion


def _uncropped(values: NDArray[Any], facts: Mapping[str, Any], plans: PlansManager) -> NDArray[Any]:
    """Return values as the image lies, with 0 where nnU-Net cut away what is zero."""
    whole = np.zeros(facts["shape_before_cropping"], values.dtype)
    whole[tuple(slice(low, high) for low, high in facts["bbox_used_for_cropping"])] = values
    return whole.transpose(plans.transpose_backward)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what nnU-Net prints of its progress from standard output, which belongs to the command."""
    with redirect_stdout(io.StringIO()):
        yield


def _go_on() -> None:
    """Ask nobody."""
