"""A volume as a foundation model is shown it, and the way back. Tiles are slices in 2D and windows in 3D."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy import ndimage

from storage.volumes import Extent
from workers.errors import FieldOfViewMismatch, FieldOfViewUnknown

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from storage.volumes import Volume
    from workers.foundation.card import ModelCard

    FloatArray = NDArray[np.float32]
    BoolArray = NDArray[np.bool_]

SIGNAL = 0.12
"""Grey, from black 0 to white 1, above which a place is taken for the patient."""


class Frame(Protocol):
    """Where the tiles that a model is shown lie in a volume."""

    @property
    def images(self) -> Tensor:
        """Return the tiles, float32 ``[n, 1, *size]`` in the model's range of values and its axis order."""
        ...

    @property
    def tissue(self) -> Tensor:
        """Return which places of the tiles show the patient, bool of the same shape."""
        ...

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        """Return the spacing of the tiles in the model's axis order, of slices in the plane alone."""
        ...

    def to_volume(self, maps: Tensor) -> FloatArray:
        """Return maps ``[n, 1, *size]`` on the volume's own grid ``[z, y, x]``; 0 where no tile lies."""
        ...


def require_known_extent(card: ModelCard, volume: Volume) -> None:
    """Refuse a model without a field of view, and an image without a pixel spacing where the card has limits in mm."""
    view = card.field_of_view
    if view is None:
        raise FieldOfViewUnknown(f"the card of {card.name} does not say what field of view it was trained for: add it")
    limited = view.extent_mm is not None or view.spacing_mm is not None
    if limited and volume.extent is Extent.UNKNOWN:
        raise FieldOfViewMismatch(
            f"{card.name} was trained for a field of view in mm, and the image does not say its pixel spacing: "
            "choose a model for any field of view"
        )


def tissue_of(shares: FloatArray) -> BoolArray:
    """Return what lies in the patient, slice by slice: places with signal, and what they enclose."""
    planes = [ndimage.binary_fill_holes(ndimage.gaussian_filter(plane, 1.0) > SIGNAL) for plane in shares]
    return np.array(planes, dtype=bool).reshape(shares.shape)
