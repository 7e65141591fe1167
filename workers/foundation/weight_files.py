"""Weight files of other makers: a folder's files with their digests, and weights read without running anything."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from workers.errors import PickleRefused, WeightsMismatch
from workers.silence import no_warnings
from workers.weights import MANIFEST_NAME, UNLISTED, WeightFile, digest, verify

SAFE = ".safetensors"
TORCH_FILES = frozenset({".pt", ".pth", ".bin", ".ckpt"})
"""Pickled archives: read as plain tensors or not at all."""
WEIGHTS = TORCH_FILES | {SAFE}
LOADABLE = WEIGHTS | {".json", ".txt", ".model"}
"""Suffixes that a manifest may list: weights, configurations and what tokenizers are made of."""
HEAD_FOLDER = "head"
"""Folder beside a model's files that holds adapters and a head trained on its features."""
HEAD_CARD = "head.json"
HEAD_WEIGHTS = "head.safetensors"
HEAD_FILES = frozenset(f"{HEAD_FOLDER}/{name}" for name in (HEAD_CARD, HEAD_WEIGHTS))
"""Not counted among a model's own files: they came later, have a manifest of their own, and name the model's digest."""
WRAPPERS = ("unet_state_dict", "autoencoder_state_dict", "state_dict", "model_state_dict", "model")
SCALE_FACTOR = "scale_factor"


@dataclass(frozen=True, slots=True)
class Inventory:
    """What lies in a folder; ``sha256`` stands for all of it, ``manifested`` says whether a manifest vouches for it."""

    files: tuple[WeightFile, ...]
    sha256: str
    manifested: bool


def take_inventory(folder: Path) -> Inventory:
    """Return the files of a folder without ``HEAD_FILES``; WeightsMismatch where they differ from its manifest."""
    if (folder / MANIFEST_NAME).is_file():
        manifest = verify(folder, loadable=frozenset(LOADABLE), apart=HEAD_FILES)
        return Inventory(manifest.files, manifest.sha256, manifested=True)
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in UNLISTED)
    named = [(path.relative_to(folder).as_posix(), path) for path in paths]
    files = tuple(WeightFile(name, path.stat().st_size, digest(path)) for name, path in named if name not in HEAD_FILES)
    listing = "".join(f"{file.sha256}  {file.path}\n" for file in files)
    return Inventory(files, hashlib.sha256(listing.encode()).hexdigest(), manifested=False)


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A network's weights by name, on the processor, and the factor of its latents where the file holds one."""

    weights: Mapping[str, Tensor]
    scale_factor: float | None = None


def read_checkpoint(path: Path) -> Checkpoint:
    """Return what a weight file holds; PickleRefused unless it is tensors alone, WeightsMismatch where broken."""
    if path.suffix == SAFE:
        return _unwrapped(_safe_tensors(path), path)
    if path.suffix not in TORCH_FILES:
        raise PickleRefused(f"{path.name} is neither {SAFE} nor a file of plain tensors and is not loaded: convert it")
    return _unwrapped(_plain_tensors(path), path)


def _safe_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsMismatch(f"{path.name} is missing or broken: restore the file") from error


def _plain_tensors(path: Path) -> dict[str, Any]:
    try:
        with no_warnings():  # doubts about the file's pickle protocol end in a refusal
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise PickleRefused(
            f"{path.name} holds more than plain tensors and could run code: convert it to {SAFE} where it was trained"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise WeightsMismatch(f"{path.name} is missing or broken: restore the file") from error
    if not isinstance(content, dict):
        raise PickleRefused(f"{path.name} does not map names to tensors and is not loaded: convert it to {SAFE}")
    return content


def _unwrapped(content: dict[str, Any], path: Path) -> Checkpoint:
    scale = content.pop(SCALE_FACTOR, None)
    inner = next((content[name] for name in WRAPPERS if isinstance(content.get(name), dict)), content)
    weights = {name: value for name, value in inner.items() if isinstance(value, Tensor)}
    if not weights:
        raise WeightsMismatch(f"{path.name} holds no weights: restore the file")
    return Checkpoint(weights, None if scale is None else float(scale))
