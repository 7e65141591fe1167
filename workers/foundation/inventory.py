"""The files of a model's folder with their digests, checked against the manifest where there is one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers.foundation.checkpoint import SAFE, TORCH_FILES
from workers.weights import MANIFEST_NAME, UNLISTED, WeightFile, digest, verify

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = TORCH_FILES | {SAFE}
LOADABLE = WEIGHTS | {".json", ".txt", ".model"}
"""Suffixes that a manifest may list: weights, configurations and what tokenizers are made of."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What lies in a folder; ``sha256`` stands for all of it, ``manifested`` says whether a manifest vouches for it."""

    files: tuple[WeightFile, ...]
    sha256: str
    manifested: bool


def take(folder: Path) -> Inventory:
    """Digest every file of a folder; WeightsMismatch where its manifest says otherwise."""
    if (folder / MANIFEST_NAME).is_file():
        manifest = verify(folder, loadable=frozenset(LOADABLE))
        return Inventory(manifest.files, manifest.sha256, manifested=True)
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in UNLISTED)
    files = tuple(WeightFile(path.relative_to(folder).as_posix(), path.stat().st_size, digest(path)) for path in paths)
    listing = "".join(f"{file.sha256}  {file.path}\n" for file in files)
    return Inventory(files, hashlib.sha256(listing.encode()).hexdigest(), manifested=False)
