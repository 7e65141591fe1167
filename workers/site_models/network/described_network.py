"""A network that its ``model.toml`` describes: what ONNX and TorchScript models share from volume to segmentation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy import float32

from storage.domain import Algorithm, Segmentation
from storage.volumes import Volume
from workers.errors import ModelUnsuitable, UnsuitableVolume
from workers.site_models.card import SiteModelCard, SiteModelKind
from workers.site_models.conclusion import conclude
from workers.site_models.file_digests import digest_all, take_files
from workers.site_models.label_codes import code_labels
from workers.site_models.model_file import MODEL_FILE, InputSection, ModelDescription, read_model_file
from workers.site_models.network.intensity import grey_scale
from workers.site_models.network.label_drawing import Drawing, draw
from workers.site_models.network.output_channels import OutputChannels, output_channels
from workers.site_models.network.placing import place
from workers.site_models.network.sliding_window import Windows, patch_on, slide

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    FloatArray = NDArray[float32]

Compute = Callable[["FloatArray"], "FloatArray"]
"""A network: ``[1, 1, *spatial]`` to what it puts out, ``[1, channels, *spatial]``."""

_TRIED_SIDE = 32
"""Side of the patch that a network without one is tried with, rounded up to its ``multiple``."""


@dataclass(frozen=True, slots=True)
class DescribedNetwork:
    """An opened network with all that its ``model.toml`` says of input and output."""

    wanted: InputSection
    channels: OutputChannels
    algorithm: Algorithm
    compute: Compute
    megabytes: float

    def segment(self, volume: Volume, *, prompt: str | None, check: Callable[[], None]) -> Segmentation:
        """Return what the network draws; such networks take no prompt.

        Memory: beside the volume about 10 bytes for each of its voxels, 4 for each of the network's grid, and what
        ``sliding_window`` says. UnsuitableVolume where values are not finite, or have no contrast to scale by.
        """
        del prompt
        if not (np.isfinite(volume.voxels.min()) and np.isfinite(volume.voxels.max())):
            raise UnsuitableVolume("the volume holds values that are not finite: send it again from its source")
        drawing = self._draw(volume, check)
        check()
        return conclude(volume, drawing.labels, drawing.lesion, table=self.channels.table, algorithm=self.algorithm)

    def _draw(self, volume: Volume, check: Callable[[], None]) -> Drawing:
        depth, rows, columns = volume.voxels.shape
        scale = grey_scale(volume.voxels, self.wanted)
        placement = place(volume.geometry, (depth, rows, columns), self.wanted)
        check()
        grid = scale.apply(placement.to_network(volume.voxels))
        windows = Windows(patch_on(placement.shape, self.wanted), self.wanted.overlap, scale.outside)
        return draw(slide(grid, self._run, windows, check=check), placement, self.channels)

    def _run(self, patch: FloatArray) -> FloatArray:
        return run_patch(self.compute, patch, self.wanted, name=self.algorithm.name)


def open_network(
    folder: Path, card: SiteModelCard, description: ModelDescription, *, compute: Compute, megabytes: float
) -> DescribedNetwork:
    """Return a network after one try on an empty patch.

    ModelUnsuitable where it does not take the patch or puts out another shape, LabelsInvalid where its channels are not
    those of the labels.
    """
    wanted = description.input
    side = -(-_TRIED_SIDE // wanted.multiple) * wanted.multiple
    patch = np.zeros(patch_on((side, side, side), wanted), dtype=float32)
    count = len(run_patch(compute, patch, wanted, name=folder.name))
    channels = output_channels(count, description.output, card.labels, name=folder.name)
    return DescribedNetwork(wanted, channels, _algorithm(folder, card, description), compute, megabytes)


def run_patch(compute: Compute, patch: FloatArray, wanted: InputSection, *, name: str) -> FloatArray:
    """Return what a network puts out for a patch ``[a, b, c]``, ``[channels, a, b, c]``; 2D ones get one plane.

    ModelUnsuitable where it is of another shape.
    """
    spatial = patch.shape[-len(wanted.axes) :]
    output = compute(patch.reshape(1, 1, *spatial))
    if output.shape[:1] != (1,) or output.shape[2:] != spatial:
        raise ModelUnsuitable(
            f"{name} puts out {_by(output.shape)} for an input of 1 x 1 x {_by(spatial)}: "
            f"1 x channels x {_by(spatial)} is needed (output.name or output.index of {MODEL_FILE} choose another)"
        )
    return np.asarray(output, dtype=float32).reshape(output.shape[1], *patch.shape)


def described_card(
    folder: Path, described: ModelDescription | None, *, kind: SiteModelKind, runs_code: tuple[str, ...] = ()
) -> SiteModelCard:
    """Return the card that ``model.toml`` gives; ModelUnsuitable where there is none, LabelsInvalid for its labels."""
    if described is None:
        raise ModelUnsuitable(f"{folder.name} has no {MODEL_FILE}, which says what a model of kind {kind.value} needs")
    names = {section.value: section.name for section in described.labels}
    return SiteModelCard(
        kind=kind,
        version=described.version,
        licence=described.licence,
        modalities=described.modalities,
        labels=code_labels(names, described.labels),
        limits=described.limits.limits(),
        runs_code=runs_code,
    )


def required_description(folder: Path) -> ModelDescription:
    """Return a folder's ``model.toml``; ModelUnsuitable where it has none."""
    description = read_model_file(folder)
    if description is None:
        raise ModelUnsuitable(f"{folder.name} has no {MODEL_FILE}")
    return description


def _algorithm(folder: Path, card: SiteModelCard, description: ModelDescription) -> Algorithm:
    parameters = description.model_dump_json(include={"input", "output"})
    return Algorithm(folder.name, card.version, digest_all(take_files(folder)), parameters)


def _by(sides: tuple[int, ...]) -> str:
    return " x ".join(map(str, sides))
