"""The registry of backbones: those that packages ship, and folders that were checked, hashed and copied."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workers.errors import BackboneMissing, BackboneUnusable
from workers.fewshot import dinov2
from workers.fewshot.contracts import BackboneCard, Framing, Interpolation, Preprocessing
from workers.fewshot.families import FAMILIES, Family, family_of, load_network
from workers.fewshot.frozen_backbone import TorchBackbone, frozen
from workers.fewshot.preprocessing import from_processor
from workers.weights import Manifest, verify, write_manifest

DEFAULT_BACKBONE = dinov2.NAME
SPECIFICATION_NAME = "backbone.json"
"""Everything beside the weights that decides the vectors of a registered folder."""
_FORMAT = 1
FOLDER_PREFIX = "backbone-"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class NewBackbone:
    """What the one who registers a folder says of it."""

    name: str
    licence: str
    commercial_use: bool


@dataclass(frozen=True, slots=True)
class Specification:
    """What the registry wrote down when it took a folder in."""

    name: str
    commercial_use: bool
    preprocessing: Preprocessing
    dimensions: int
    grid_channels: int


def installed(models: Path) -> list[str]:
    """Name every backbone that can be opened: the packaged one first, then registered folders."""
    folders = sorted(path.parent.name for path in models.glob(f"{FOLDER_PREFIX}*/{SPECIFICATION_NAME}"))
    return [dinov2.NAME, *(name.removeprefix(FOLDER_PREFIX) for name in folders)]


def cards(models: Path) -> list[BackboneCard]:
    """Return the card of every installed backbone; WeightsMismatch where a registered folder has changed."""
    return [dinov2.CARD if name == dinov2.NAME else _registered(models, name) for name in installed(models)]


def _registered(models: Path, name: str) -> BackboneCard:
    folder = models / f"{FOLDER_PREFIX}{name}"
    family = family_of(_config(folder), folder=folder.name)
    return _card(family, verify(folder), read_specification(folder))


def open_backbone(
    name: str, *, models: Path, device: torch.device, dtype: torch.dtype = torch.float32
) -> TorchBackbone:
    """Load a backbone by name after checking every digest.

    BackboneMissing names what is installed; WeightsMismatch names the file that differs.
    """
    if name == dinov2.NAME:
        return dinov2.open_dinov2(device, dtype)
    folder = models / f"{FOLDER_PREFIX}{name}"
    if not _NAME.fullmatch(name) or not (folder / SPECIFICATION_NAME).is_file():
        known = ", ".join(installed(models))
        raise BackboneMissing(f"no backbone {name!r}; installed are {known}; add one with `oncue models add`")
    manifest, specification = verify(folder), read_specification(folder)
    family, encoder = _encoder(folder)
    card = _card(family, manifest, specification)
    return TorchBackbone(card, frozen(encoder, device=device, dtype=dtype), device, dtype)


def register(folder: Path, entry: NewBackbone, *, models: Path) -> BackboneCard:
    """Check a folder, copy what is safe of it under ``models``, try it on a picture, and write manifest and card.

    Only safetensors and JSON are copied. Raises BackboneUnusable where the name is taken, the family is not known,
    the weights are pickled or the vectors are not finite; the copy is then removed.
    """
    target = models / f"{FOLDER_PREFIX}{entry.name}"
    if not _NAME.fullmatch(entry.name) or entry.name == dinov2.NAME or target.exists():
        raise BackboneUnusable(f"the name {entry.name!r} is taken or no name: use small letters, digits, dots, dashes")
    config = _config(folder)
    family_of(config, folder=folder.name)
    try:
        _copy(folder, target)
        specification = _tried(target, entry)
        write_specification(target, specification)
        manifest = write_manifest(target, name=target.name, version="1", licence=entry.licence)
    except BaseException:  # a half-registered folder must not stay, whatever stopped it; raised again
        shutil.rmtree(target, ignore_errors=True)
        raise
    return _card(family_of(config, folder=folder.name), manifest, specification)


def _copy(folder: Path, target: Path) -> None:
    files = [path for path in sorted(folder.iterdir()) if path.suffix in {".safetensors", ".json"} and path.is_file()]
    if not any(path.suffix == ".safetensors" for path in files):
        raise BackboneUnusable(
            f"{folder.name} holds no safetensors: pickled weights are not loaded, convert them first"
        )
    target.mkdir(parents=True)
    for path in files:
        shutil.copyfile(path, target / path.name)
    (target / SPECIFICATION_NAME).unlink(missing_ok=True)
    (target / "manifest.json").unlink(missing_ok=True)


def _tried(folder: Path, entry: NewBackbone) -> Specification:
    """Embed one noisy picture in float32: it shows the sizes, and that nothing is NaN."""
    family, encoder = _encoder(folder)
    preprocessing = _preprocessing(folder, family)
    cpu = torch.device("cpu")
    blank = Specification(entry.name, entry.commercial_use, preprocessing, 0, 0)
    card = _card(family, Manifest("", "", entry.licence, (), ""), blank)
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    seen = TorchBackbone(card, frozen(encoder, device=cpu, dtype=torch.float32), cpu, torch.float32).embed([picture])
    return Specification(entry.name, entry.commercial_use, preprocessing, seen.pooled.shape[1], seen.grid.shape[3])


def _encoder(folder: Path) -> tuple[Family, torch.nn.Module]:
    config = _config(folder)
    family = family_of(config, folder=folder.name)
    return family, family.encode(load_network(family, folder), config)


def _preprocessing(folder: Path, family: Family) -> Preprocessing:
    fallback, processor = family.preprocessing(_config(folder)), folder / "preprocessor_config.json"
    if not processor.is_file():
        return fallback
    published = from_processor(_json(processor), fallback=fallback)
    # Position embeddings fit one size only: that of the configuration, whatever the processor was made for.
    return replace(published, size=fallback.size)


def _card(family: Family, manifest: Manifest, specification: Specification) -> BackboneCard:
    kind = next(kind for kind, known in FAMILIES.items() if known is family)
    return BackboneCard(
        specification.name,
        kind,
        manifest.sha256,
        f"{specification.name}:{manifest.sha256[:16]}",
        manifest.licence,
        specification.commercial_use,
        specification.dimensions,
        specification.grid_channels,
        family.has_text,
        specification.preprocessing,
    )


def _config(folder: Path) -> Mapping[str, Any]:
    published = folder / "open_clip_config.json"
    return _json(published if published.is_file() else folder / "config.json")


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BackboneUnusable(f"{path.name} of {path.parent.name} is missing or damaged") from error
    if not isinstance(content, dict):
        raise BackboneUnusable(f"{path.name} of {path.parent.name} is not a JSON object")
    return content


def write_specification(folder: Path, specification: Specification) -> None:
    """Write it as JSON, with sorted keys: the same specification always gives the same bytes."""
    content = json.dumps({"format": _FORMAT, **asdict(specification)}, indent=2, sort_keys=True)
    (folder / SPECIFICATION_NAME).write_text(content + "\n", encoding="utf-8")


def read_specification(folder: Path) -> Specification:
    """Read it; BackboneUnusable where it is missing or not understood."""
    try:
        content = json.loads((folder / SPECIFICATION_NAME).read_text(encoding="utf-8"))
        if content.pop("format") != _FORMAT:
            raise ValueError("another format")  # noqa: TRY301 - one way out for everything that is wrong with the file
        stored = content.pop("preprocessing")
        preprocessing = Preprocessing(
            int(stored["size"]),
            tuple(stored["mean"]),
            tuple(stored["std"]),
            Interpolation(stored["interpolation"]),
            Framing(stored["fit"]),
        )
        return Specification(preprocessing=preprocessing, **content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackboneUnusable(
            f"{SPECIFICATION_NAME} of {folder.name} is missing or damaged: register the folder with `oncue models add`"
        ) from error
