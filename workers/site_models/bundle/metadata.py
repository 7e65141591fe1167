"""``configs/metadata.json`` of a MONAI bundle: version, licence, modality, and the labels that it draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.errors import LabelsInvalid, ModelUnsuitable
from workers.site_models.bundle.config import KeyTwice, read_file
from workers.site_models.card import UNKNOWN

METADATA = "configs/metadata.json"
MODALITIES = {"CT": "CT", "MR": "MR", "MRI": "MR", "PT": "PT", "PET": "PT", "US": "US", "MG": "MG", "CR": "CR"}
LICENCES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "docs/LICENSE", "docs/LICENSE.txt")
MOST_LABELS = 255
_LONGEST = 128


@dataclass(frozen=True, slots=True)
class BundleMetadata:
    """What a bundle says of itself.

    ``names`` are its labels by value, without background; the network's channel of a label is its value less
    ``offset``, which is 1 where no channel is kept for background. ``dims`` counts the axes of what it is shown.
    """

    version: str
    licence: str
    modalities: tuple[str, ...]
    input_name: str
    names: Mapping[int, str]
    offset: int
    dims: int | None


def read_metadata(folder: Path) -> BundleMetadata:
    """Return a bundle's metadata; ModelUnsuitable or LabelsInvalid name the key or label that is missing or wrong."""
    try:
        content = read_file(folder / METADATA, METADATA)
    except ModelUnsuitable as error:
        twice = error.__cause__
        if isinstance(twice, KeyTwice) and twice.key.isdecimal():
            raise LabelsInvalid(f"{METADATA}: label {twice.key} stands twice in channel_def") from error
        raise
    layout = _mapping(content, "network_data_format")
    name, image = _one(_mapping(layout, "inputs", "network_data_format"))
    outputs = _mapping(layout, "outputs", "network_data_format")
    pred = _mapping(outputs, "pred", "network_data_format.outputs")
    channels = _channels(pred)
    offset = 0 if channels.get(0, "background").strip().lower() == "background" else 1
    shape = image.get("spatial_shape")
    return BundleMetadata(
        version=_text(content.get("version")),
        licence=_licence(folder, content),
        modalities=_modalities(image),
        input_name=name,
        names=_labels(channels, offset),
        offset=offset,
        dims=len(shape) if isinstance(shape, list) else None,
    )


def _mapping(content: Mapping[str, Any], key: str, place: str = "") -> Mapping[str, Any]:
    value = content.get(key)
    if not isinstance(value, Mapping):
        raise ModelUnsuitable(f"{METADATA} has no {f'{place}.{key}'.lstrip('.')}")
    return value


def _one(inputs: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the one input of the network, which must have one channel: a volume of one series."""
    if len(inputs) != 1:
        raise ModelUnsuitable(f"{METADATA}: the network takes {len(inputs)} inputs, oncue gives it one volume")
    name, image = next(iter(inputs.items()))
    place = f"network_data_format.inputs.{name}"
    if not isinstance(image, Mapping):
        raise ModelUnsuitable(f"{METADATA} has no {place}")
    if (channels := image.get("num_channels", 1)) != 1:
        raise ModelUnsuitable(f"{METADATA}: {place}.num_channels is {channels}, oncue gives it one series")
    return str(name), image


def _channels(pred: Mapping[str, Any]) -> dict[int, str]:
    """Return the names of the output's channels by number."""
    described = _mapping(pred, "channel_def", "network_data_format.outputs.pred")
    channels: dict[int, str] = {}
    for key, name in described.items():
        if not str(key).isdecimal() or not isinstance(name, str) or not name.strip():
            raise LabelsInvalid(f"{METADATA}: label {key} of channel_def needs a number from 0 and a name")
        if int(key) in channels:
            raise LabelsInvalid(f"{METADATA}: label {int(key)} stands twice in channel_def")
        channels[int(key)] = name
    count = pred.get("num_channels")
    if isinstance(count, int) and channels and max(channels) >= count:
        raise LabelsInvalid(f"{METADATA}: label {max(channels)} of channel_def lies beyond the {count} channels")
    return channels


def _labels(channels: Mapping[int, str], offset: int) -> dict[int, str]:
    """Return the labels by value; a name must stand once, or nobody could tell which is meant."""
    names = {channel + offset: name for channel, name in channels.items() if channel + offset > 0}
    seen: dict[str, int] = {}
    for value, name in sorted(names.items()):
        plain = name.strip().lower()
        if plain in seen:
            raise LabelsInvalid(
                f"{METADATA}: label {value} ({name}) stands twice in channel_def, also as {seen[plain]}"
            )
        seen[plain] = value
    if names and max(names) > MOST_LABELS:
        raise LabelsInvalid(f"{METADATA}: label {max(names)} is one too many: {MOST_LABELS} can be told apart")
    return names


def _modalities(image: Mapping[str, Any]) -> tuple[str, ...]:
    named = image.get("modality")
    if not isinstance(named, str) or named.strip().lower() in ("", "n/a", "any"):
        return ()
    known = [MODALITIES.get(part.strip().upper()) for part in named.replace("/", ",").split(",")]
    if None in known:
        raise ModelUnsuitable(f"{METADATA}: modality {named} is none that oncue reads: {', '.join(MODALITIES)}")
    return tuple(dict.fromkeys(name for name in known if name))


def _licence(folder: Path, content: Mapping[str, Any]) -> str:
    """Return what the metadata say, else how the licence file begins, else whose copyright it is."""
    for key in ("license", "licence"):
        if isinstance(content.get(key), str):
            return _text(content[key])
    for name in LICENCES:
        if (folder / name).is_file():
            lines = (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
            return _text(next((line.strip() for line in lines if line.strip()), None))
    return _text(content.get("copyright"))


def _text(value: Any) -> str:
    return str(value).strip()[:_LONGEST] if value else UNKNOWN
