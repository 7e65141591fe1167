"""The grey scale in which a foundation model is shown a volume: what its card says, else by DICOM Modality."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from workers.errors import ModelUnsuitable, UnsuitableVolume

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from workers.foundation.card import ModelCard, ValueRange

    FloatArray = NDArray[np.float32]

CT_HU = (-1000.0, 1000.0)
PERCENTILES = (0.5, 99.5)


class GreyScale(StrEnum):
    """What the two numbers of a card's ``range`` are."""

    WINDOW = "window"
    PERCENTILES = "percentiles"


def black_and_white(card: ModelCard, voxels: FloatArray, *, modality: str) -> tuple[float, float]:
    """Return the values of a volume that are shown as black and as white.

    The card's options ``intensity`` (``window`` or ``percentiles``) and ``range`` say so; without them CT is windowed to
    -1000 to 1000 HU, anything else runs from its 0.5th to its 99.5th percentile. UnsuitableVolume where both are one.
    """
    default = (GreyScale.WINDOW, CT_HU) if modality == "CT" else (GreyScale.PERCENTILES, PERCENTILES)
    try:
        kind = GreyScale(card.options.get("intensity", default[0]))
        low, high = (float(value) for value in card.options.get("range", default[1]))
        if kind is GreyScale.PERCENTILES:
            low, high = (float(value) for value in np.percentile(voxels, (low, high)))
    except (ValueError, TypeError) as error:
        raise ModelUnsuitable(
            f"intensity or range in the options of {card.name} cannot be read: "
            "write window or percentiles, and two numbers"
        ) from error
    if not high > low:
        raise UnsuitableVolume(f"{card.name} would see one grey alone: the volume has no contrast on its grey scale")
    return low, high


def shown(shares: Tensor, values: ValueRange) -> Tensor:
    """Return greys 0 (black) to 1 (white), clipped, in a model's own range of values."""
    return shares.clamp(0.0, 1.0) * (values.high - values.low) + values.low
