"""What a site's model says of itself: kind, licence, labels with their codes, and which inputs it excludes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum

from storage.domain import Code, LabelEntry, LabelRole, Site
from storage.volumes import Volume
from workers.errors import FieldOfViewMismatch

UNKNOWN = "unknown"
ROUNDING_MM = 1e-3
_AXES = ("z", "y", "x")


class SiteModelKind(StrEnum):
    """What a model folder holds, and so who loads it."""

    FOUNDATION = "foundation"
    NNUNET = "nnunet"
    MONAI_BUNDLE = "monai-bundle"
    ONNX = "onnx"
    TORCHSCRIPT = "torchscript"


@dataclass(frozen=True, slots=True)
class Bound:
    """Inclusive limits along z, y, x, in millimetres; None where there is none."""

    low: tuple[float, float, float] | None = None
    high: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Which inputs a model excludes, and how long it may take over one (None: as long as the worker's own limit)."""

    spacing_mm: Bound = Bound()
    extent_mm: Bound = Bound()
    time_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class SiteModelCard:
    """One model's card. ``modalities`` are values of Modality, empty for any.

    ``labels`` is empty for models that draw one kind of lesion without a table. ``runs_code`` names each file, or key
    of a file, that would run code of the model's: such a model needs ``worker.allow_code``.
    """

    kind: SiteModelKind
    version: str = UNKNOWN
    licence: str = UNKNOWN
    modalities: tuple[str, ...] = ()
    labels: tuple[LabelEntry, ...] = ()
    limits: Limits = Limits()
    runs_code: tuple[str, ...] = ()

    def require(self, volume: Volume, *, name: str) -> None:
        """Refuse an input that the card excludes: FieldOfViewMismatch says what it has and what is asked for."""
        if self.modalities and volume.modality not in self.modalities:
            trained = " or ".join(self.modalities)
            raise FieldOfViewMismatch(f"{name} is for {trained}, not {volume.modality}: route something else to it")
        spacing = volume.geometry.spacing_mm
        _require_within(self.limits.spacing_mm, spacing, f"the spacing for {name}")
        z, y, x = (count * step for count, step in zip(volume.voxels.shape, spacing, strict=True))
        _require_within(self.limits.extent_mm, (z, y, x), f"the extent for {name}")

    def to_json(self) -> str:
        """Return the card as canonical JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> SiteModelCard:
        """Return the card that ``to_json`` wrote."""
        content = json.loads(text)
        limits = content["limits"]
        return cls(
            kind=SiteModelKind(content["kind"]),
            version=content["version"],
            licence=content["licence"],
            modalities=tuple(content["modalities"]),
            labels=tuple(map(_label, content["labels"])),
            limits=Limits(_bound(limits["spacing_mm"]), _bound(limits["extent_mm"]), limits["time_seconds"]),
            runs_code=tuple(content["runs_code"]),
        )


def _require_within(bound: Bound, values: tuple[float, float, float], what: str) -> None:
    for number, (axis, value) in enumerate(zip(_AXES, values, strict=True)):
        if bound.low is not None and value < bound.low[number] - ROUNDING_MM:
            raise FieldOfViewMismatch(f"{what} must be at least {bound.low[number]:g} mm along {axis}, not {value:g}")
        if bound.high is not None and value > bound.high[number] + ROUNDING_MM:
            raise FieldOfViewMismatch(f"{what} must be at most {bound.high[number]:g} mm along {axis}, not {value:g}")


def _bound(content: dict[str, list[float] | None]) -> Bound:
    low, high = content["low"], content["high"]
    return Bound(_three(low) if low else None, _three(high) if high else None)


def _three(values: list[float]) -> tuple[float, float, float]:
    z, y, x = values
    return z, y, x


def _label(content: dict[str, object]) -> LabelEntry:
    site = content["site"]
    return LabelEntry(
        value=int(str(content["value"])),
        name=str(content["name"]),
        role=LabelRole(str(content["role"])),
        concept=_required_code(content["concept"]),
        laterality=_code(content["laterality"]),
        site=Site(_required_code(site["concept"]), _code(site["laterality"])) if isinstance(site, dict) else None,
    )


def _code(content: object) -> Code | None:
    return Code(**content) if isinstance(content, dict) else None


def _required_code(content: object) -> Code:
    if not isinstance(content, dict):
        raise TypeError("a code is an object of value, scheme and meaning")
    return Code(**content)
