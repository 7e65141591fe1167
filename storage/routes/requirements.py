"""What a route asks of the volume or image that is built of a series: how much it covers, and how finely."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from storage.routes.conditions import Unmet
from storage.volumes import Extent, Volume


class Requirements(BaseModel):
    """Limits on geometry, checked by the worker before anything is sought; what it does not name, it does not look at.

    Coverage is the thickness of the whole stack, slice distance times slices; spacing is the largest of the three. Of
    an image without a known pixel size, millimetres cannot be asked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    minimum_coverage_mm: float | None = Field(default=None, gt=0)
    minimum_field_mm: float | None = Field(default=None, gt=0)
    maximum_spacing_mm: float | None = Field(default=None, gt=0)
    minimum_pixels: int | None = Field(default=None, ge=1)

    def unmet(self, volume: Volume) -> tuple[Unmet, ...]:
        """Return every limit that a volume or image does not keep."""
        slices, *plane = volume.voxels.shape
        deep, *pixel = volume.geometry.spacing_mm
        field = min(count * size for count, size in zip(plane, pixel, strict=True))
        flat, depth = volume.extent is Extent.UNKNOWN, volume.extent is Extent.VOLUME
        coarsest = max((deep, *pixel) if depth else pixel)
        checks = (
            _least("minimum_coverage_mm", self.minimum_coverage_mm, slices * deep if depth else None),
            _least("minimum_field_mm", self.minimum_field_mm, None if flat else field),
            _most("maximum_spacing_mm", self.maximum_spacing_mm, None if flat else coarsest),
            _least("minimum_pixels", self.minimum_pixels, float(min(plane))),
        )
        return tuple(failed for failed in checks if failed is not None)


def _least(name: str, wanted: float | None, found: float | None) -> Unmet | None:
    if wanted is None or (found is not None and found >= wanted):
        return None
    return Unmet(name, f"at least {wanted:g}", "unknown" if found is None else f"{found:.4g}")


def _most(name: str, wanted: float | None, found: float | None) -> Unmet | None:
    if wanted is None or (found is not None and found <= wanted):
        return None
    return Unmet(name, f"at most {wanted:g}", "unknown" if found is None else f"{found:.4g}")
