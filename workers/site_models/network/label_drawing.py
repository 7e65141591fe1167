"""From probabilities on a network's grid to labels on the volume's: plane by plane, so that few are held at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy import float32, uint8

from workers.errors import UnsuitableVolume
from workers.site_models.network.placing import neighbours, resized

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workers.site_models.network.output_channels import OutputChannels
    from workers.site_models.network.placing import Placement

    FloatArray = NDArray[float32]


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """What a network drew on a volume's own grid ``[z, y, x]``: labels, and how likely a lesion is, 0..1."""

    labels: NDArray[uint8]
    lesion: FloatArray


def draw(outputs: Iterable[FloatArray], placement: Placement, channels: OutputChannels) -> Drawing:
    """Return the labels for what a network put out, ``[channels, b, c]`` for each plane of its grid, in order.

    Probabilities are brought back, linearly, and labels chosen then: nothing is lost by rounding to the coarser grid.
    UnsuitableVolume where the network put out something that is no number.
    """
    labels, lesion = np.zeros(placement.turned, dtype=uint8), np.zeros(placement.turned, dtype=float32)
    along = neighbours(placement.turned[0], of=placement.shape[0])
    previous: FloatArray | None = None
    for number, output in enumerate(outputs):
        current = channels.probabilities(_finite(output))
        for place in np.flatnonzero(along.upper == number):
            mixed = _between(previous, current, float(along.weight[place])) if along.lower[place] < number else current
            plane = resized(mixed, placement.turned[1:])
            labels[place], lesion[place] = channels.labels(plane), channels.lesion(plane)
        previous = current
    return Drawing(placement.to_volume(labels), placement.to_volume(lesion))


def _finite(output: FloatArray) -> FloatArray:
    if not np.isfinite(output).all():
        raise UnsuitableVolume("the network puts out values for this volume that are no numbers: nothing can be drawn")
    return output


def _between(previous: FloatArray | None, current: FloatArray, weight: float) -> FloatArray:
    if previous is None:
        return current
    return np.asarray(previous * float32(1 - weight) + current * float32(weight), dtype=float32)
