"""``backbone.json`` in a model's folder: what kind of model lies there, under what licence, for which images.

The card is written by whoever installs a model. Without it the kind is guessed from the files, the licence is unknown,
and the field of view cannot be checked.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from workers.errors import ModelUnsuitable
from workers.weights import MANIFEST_NAME, read_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

CARD_NAME = "backbone.json"
CARD_FORMAT = 1
UNKNOWN = "unknown"
NON_COMMERCIAL = "-NC"
"""How the identifiers of Creative Commons licences say that commercial use is excluded."""
NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


class ModelKind(StrEnum):
    """Which loader reads a folder."""

    DIFFUSERS_LATENT = "diffusers-latent"
    MONAI_LATENT = "monai-latent"
    MAISI = "maisi"
    ONCUE = "oncue"


class Conditioning(StrEnum):
    """What a denoiser is told besides the noised latent."""

    NONE = "none"
    TEXT = "text"
    CLASS = "class"
    VECTOR = "vector"
    REGIONS = "regions"
    """Top and bottom body region, and the spacing (MAISI, first version)."""


@dataclass(frozen=True, slots=True)
class ValueRange:
    """The least and the greatest value of an image as the autoencoder takes it."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """Inclusive limits per axis, in millimetres and in the axis order of the images."""

    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class FieldOfView:
    """What a model was trained for: extent (size x spacing) and spacing; None where any will do."""

    extent_mm: Bounds | None
    spacing_mm: Bounds | None


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a folder's card says. ``commercial_use`` is None where nobody has said.

    ``modalities`` are values of the DICOM attribute Modality; empty for any. ``options`` belong to the loader:
    file names, network definitions, noise schedule.
    """

    name: str
    kind: ModelKind
    licence: str = UNKNOWN
    commercial_use: bool | None = None
    modalities: tuple[str, ...] = ()
    value_range: ValueRange = ValueRange(-1.0, 1.0)
    field_of_view: FieldOfView | None = None
    conditioning: Conditioning = Conditioning.NONE
    axes: str | None = None
    """The directions to which a volume's three axes run, first axis first (``RAS``); None in two dimensions."""
    options: Mapping[str, Any] = field(default_factory=lambda: NO_OPTIONS)


def read_card(folder: Path) -> ModelCard:
    """Return a folder's card, or one made from what lies there; ModelUnsuitable where neither is possible.

    The card of one of the project's own folders is completed from its manifest.
    """
    path = folder / CARD_NAME
    if not path.is_file():
        return _completed(_guessed(folder), folder)
    try:
        return _completed(_parsed(json.loads(path.read_bytes())), folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ModelUnsuitable(f"{CARD_NAME} of {folder.name} cannot be read: {reason}") from error


def read_config(path: Path) -> dict[str, Any]:
    """Return a network's or scheduler's JSON configuration; ModelUnsuitable where it is missing or broken."""
    try:
        content: dict[str, Any] = dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise ModelUnsuitable(f"{path.parent.name}/{path.name} is missing or cannot be read") from error
    return content


def _completed(card: ModelCard, folder: Path) -> ModelCard:
    if card.kind is not ModelKind.ONCUE:
        return card
    # Its slices are cropped by their content before they come to the model, so any field of view will do.
    view = card.field_of_view or FieldOfView(None, None)
    if not (folder / MANIFEST_NAME).is_file():
        return replace(card, field_of_view=view)
    manifest = read_manifest(folder)
    commercial = False if NON_COMMERCIAL in manifest.licence else card.commercial_use
    return replace(card, name=manifest.name, licence=manifest.licence, commercial_use=commercial, field_of_view=view)


def _parsed(content: dict[str, Any]) -> ModelCard:
    if content["format"] != CARD_FORMAT:
        raise ValueError(f"its format is not {CARD_FORMAT}")
    low, high = content.get("value_range", (-1.0, 1.0))
    view = content.get("field_of_view")
    return ModelCard(
        name=content["name"],
        kind=ModelKind(content["kind"]),
        licence=content.get("licence", UNKNOWN),
        commercial_use=content.get("commercial_use"),
        modalities=tuple(content.get("modalities", ())),
        value_range=ValueRange(float(low), float(high)),
        field_of_view=view and FieldOfView(_bounds(view.get("extent_mm")), _bounds(view.get("spacing_mm"))),
        conditioning=Conditioning(content.get("conditioning", "none")),
        axes=content.get("axes"),
        options=MappingProxyType(dict(content.get("options", {}))),
    )


def _bounds(content: dict[str, Any] | None) -> Bounds | None:
    if content is None:
        return None
    low, high = (tuple(float(value) for value in content[end]) for end in ("low", "high"))
    if len(low) != len(high) or any(least > greatest for least, greatest in zip(low, high, strict=True)):
        raise ValueError("low and high limits do not fit one another")
    return Bounds(low, high)


def _guessed(folder: Path) -> ModelCard:
    name = folder.name
    if (folder / "calibration.json").is_file() and (folder / "adapters").is_dir():
        return ModelCard(name, ModelKind.ONCUE, conditioning=Conditioning.TEXT)
    if (folder / "vae" / "config.json").is_file() and (folder / "unet" / "config.json").is_file():
        takes_text = _is_network(folder / "unet", "UNet2DConditionModel")
        conditioning = Conditioning.TEXT if takes_text else Conditioning.NONE
        return ModelCard(name, ModelKind.DIFFUSERS_LATENT, conditioning=conditioning)
    raise ModelUnsuitable(
        f"{folder.name} is no diffusers folder and has no {CARD_NAME}: write one as docs/foundation-models.md says"
    )


def _is_network(folder: Path, name: str) -> bool:
    path = folder / "config.json"
    return path.is_file() and read_config(path).get("_class_name") == name
