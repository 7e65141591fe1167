"""A loaded MONAI bundle: shows a volume to its network as its transforms ask, and brings labels back in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import uint8
from numpy.typing import NDArray

from storage.domain import Algorithm, LabelEntry, LabelRole, Segmentation
from storage.volumes import Volume
from workers.errors import LabelsInvalid, ModelUnsuitable
from workers.site_models.bundle.grid import Drawn, Reading, as_loaded, draw, ras_affine
from workers.site_models.conclusion import conclude

if TYPE_CHECKING:
    import torch

    from workers.site_models.kinds import AbortCheck

Transform = Callable[[Any], Any]
CHANNEL = "EnsureChannelFirst"


@dataclass(frozen=True, slots=True, eq=False)
class OpenBundle:
    """The parts of a bundle, made. The keys are those of its dictionaries, None where its transforms are for arrays."""

    network: torch.nn.Module
    preprocessing: Sequence[Transform]
    inferer: Callable[..., Any]
    reading: Reading
    after: Sequence[Transform]
    input_key: str | None
    output_key: str | None
    table: tuple[LabelEntry, ...]
    algorithm: Algorithm
    device: torch.device
    dtype: torch.dtype

    @property
    def megabytes(self) -> float:
        """Memory of the weights, in 10^6 bytes."""
        tensors = (*self.network.parameters(), *self.network.buffers())
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6

    def segment(self, volume: Volume, *, prompt: str | None, check: AbortCheck) -> Segmentation:
        """Return what the network draws; ``check`` is asked before each window.

        ModelUnsuitable where its transforms cannot be applied to the volume, or its output does not lie on its input.
        """
        del prompt
        check()
        image = self._prepared(volume)
        check()
        probabilities = self._probabilities(image, check)
        drawn = self._drawn(probabilities, image, volume)
        labels = self._finished(drawn.labels, volume)
        check()
        return conclude(volume, labels, drawn.lesion, table=self.table, algorithm=self.algorithm)

    def _prepared(self, volume: Volume) -> Any:
        """Return the volume as the preprocessing leaves it, a MetaTensor ``[1, i, j, k]``."""
        loaded = as_loaded(volume, channel_first=not _adds_channel(self.preprocessing))
        image = self._applied(self.preprocessing, loaded, self.input_key, "preprocessing")
        if image.ndim != 4 or image.shape[0] != 1:  # noqa: PLR2004 - channel and three directions
            raise ModelUnsuitable(f"preprocessing of {self.algorithm.name} makes {tuple(image.shape)} of one volume")
        return image

    def _applied(self, transforms: Sequence[Transform], data: Any, key: str | None, section: str) -> Any:
        import torch

        held = data if key is None else {key: data}
        for transform in transforms:
            try:
                held = transform(held)
            except (MemoryError, torch.OutOfMemoryError):
                raise
            except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
                if "can't allocate memory" in str(error):  # torch gives this no type of its own on a processor
                    raise
                raise ModelUnsuitable(
                    f"{section} of {self.algorithm.name} cannot be applied: {type(transform).__name__} failed "
                    f"({type(error).__name__})"
                ) from error
        return held if key is None else held[key]

    def _probabilities(self, image: Any, check: AbortCheck) -> torch.Tensor:
        """Return probabilities float32 ``[channel, i, j, k]`` of an image, window by window."""
        import torch

        low = self.dtype is not torch.float32
        number_format = torch.autocast(self.device.type, dtype=self.dtype) if low else nullcontext()

        def shown(window: torch.Tensor, *others: Any, **named: Any) -> Any:
            check()
            return _first(self.network(window, *others, **named))

        shape = tuple(image.shape[1:])
        with torch.inference_mode(), number_format:
            try:
                output = self.inferer(image.as_tensor().float()[None].to(self.device), shown)
            except (ValueError, TypeError, IndexError) as error:
                raise ModelUnsuitable(f"inferer of {self.algorithm.name} cannot be used: {error}") from error
        if output.ndim != 5 or tuple(output.shape[2:]) != shape:  # noqa: PLR2004 - batch, channel and three directions
            raise ModelUnsuitable(f"the network of {self.algorithm.name} draws {tuple(output.shape)} on {shape}")
        drawn: torch.Tensor = output[0].float()
        return drawn.softmax(dim=0) if self.reading.softmax else drawn.sigmoid()

    def _drawn(self, probabilities: torch.Tensor, image: Any, volume: Volume) -> Drawn:
        highest = max(entry.value for entry in self.table)
        if highest - self.reading.offset >= len(probabilities):
            raise LabelsInvalid(f"the network draws {len(probabilities)} channels, none for label {highest}")
        lesions = [entry.value for entry in self.table if entry.role is LabelRole.LESION]
        affine = image.affine.cpu().numpy()
        return draw(probabilities, affine, volume=volume, reading=self.reading, lesions=lesions)

    def _finished(self, labels: NDArray[uint8], volume: Volume) -> NDArray[uint8]:
        """Return labels after whatever the postprocessing does to them, and without values that mean nothing."""
        if self.after:
            labels = self._changed(labels, volume)
        known = [0, *(entry.value for entry in self.table)]
        strange = sorted(set(np.unique(labels).tolist()) - set(known))
        if strange and self.after:
            raise LabelsInvalid(f"postprocessing gives label {strange[0]}, which channel_def does not have")
        return np.where(np.isin(labels, known), labels, uint8(0))

    def _changed(self, labels: NDArray[uint8], volume: Volume) -> NDArray[uint8]:
        import torch
        from monai.data.meta_tensor import MetaTensor

        placed = torch.from_numpy(ras_affine(volume.geometry))
        grid = MetaTensor(torch.from_numpy(labels.transpose(2, 1, 0).copy())[None], affine=placed)
        changed = self._applied(self.after, grid, self.output_key, "postprocessing")
        if tuple(changed.shape) != tuple(grid.shape):
            raise ModelUnsuitable(f"postprocessing of {self.algorithm.name} changes the shape of the labels")
        return np.ascontiguousarray(changed.cpu().numpy()[0].transpose(2, 1, 0).astype(uint8))


def _adds_channel(transforms: Sequence[Transform]) -> bool:
    """Say whether one of the transforms makes the channel, which LoadImage was asked for otherwise."""
    parts = [part for transform in transforms for part in getattr(transform, "transforms", (transform,))]
    return any(type(part).__name__.startswith(CHANNEL) for part in parts)


def _first(output: Any) -> Any:
    """Return the full output of networks that also give those of deeper stages."""
    if isinstance(output, dict):
        output = next(iter(output.values()))
    return output[0] if isinstance(output, tuple | list) else output
