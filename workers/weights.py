"""Frozen weights on disk: a folder with a model card and a manifest that names every file and its digest.

Nothing is loaded before the manifest has been checked, and nothing but safetensors and JSON is ever loaded.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.errors import WeightsMismatch

MANIFEST_NAME = "manifest.json"
MANIFEST_FORMAT = 1
UNLISTED = frozenset({MANIFEST_NAME, "README.md"})
"""Files of a weight folder that the manifest does not list: itself, and the card, which may be reworded."""
LOADABLE = frozenset({".safetensors", ".json"})


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One listed file: path relative to the folder (forward slashes), size in bytes, digest."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a weight folder says it holds; ``sha256`` is the digest of the manifest file itself."""

    name: str
    version: str
    licence: str
    files: tuple[WeightFile, ...]
    sha256: str


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest without checking the files; raises WeightsMismatch where it is missing or cannot be read."""
    try:
        text = (folder / MANIFEST_NAME).read_bytes()
        content = json.loads(text)
        files = tuple(WeightFile(entry["path"], entry["bytes"], entry["sha256"]) for entry in content["files"])
        known = content["format"] == MANIFEST_FORMAT
        manifest = Manifest(
            content["name"], content["version"], content["licence"], files, hashlib.sha256(text).hexdigest()
        )
    except FileNotFoundError as error:
        raise WeightsMismatch(f"no {MANIFEST_NAME} in {folder.name}: name a folder under models/") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsMismatch(f"{MANIFEST_NAME} of {folder.name} cannot be read: restore the folder") from error
    if not known:
        raise WeightsMismatch(f"{MANIFEST_NAME} of {folder.name} has another format than {MANIFEST_FORMAT}")
    return manifest


def verify(folder: Path, *, loadable: frozenset[str] = LOADABLE, apart: frozenset[str] = frozenset()) -> Manifest:
    """Return the manifest after checking every listed file, and that no unlisted file lies beside them.

    ``loadable`` are the suffixes that may be listed; files of ``apart`` have a manifest of their own and need not be
    listed. Raises WeightsMismatch that names the first file which differs.
    """
    manifest = read_manifest(folder)
    for file in manifest.files:
        _verify_file(folder, file, loadable)
    stray = _present(folder) - {file.path for file in manifest.files} - apart
    if stray:
        raise WeightsMismatch(f"{min(stray)} is not listed in {MANIFEST_NAME} of {folder.name}: remove it")
    return manifest


def _verify_file(folder: Path, file: WeightFile, loadable: frozenset[str]) -> None:
    place = folder / file.path
    if not place.resolve().is_relative_to(folder.resolve()):
        raise WeightsMismatch(f"{MANIFEST_NAME} of {folder.name} names a file outside the folder")
    if place.suffix not in loadable:
        raise WeightsMismatch(f"{file.path} of {folder.name} is neither safetensors nor JSON and is not loaded")
    if not place.is_file() or place.stat().st_size != file.bytes:
        raise WeightsMismatch(f"{file.path} of {folder.name} is missing or has another size: restore the file")
    if digest(place) != file.sha256:
        raise WeightsMismatch(f"{file.path} of {folder.name} does not hash to its manifest: restore the file")


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path, *, name: str, version: str, licence: str) -> Manifest:
    """Write and return a new manifest that lists every file of the folder with size and digest."""
    entries: list[dict[str, Any]] = [
        {"path": path, "bytes": (folder / path).stat().st_size, "sha256": digest(folder / path)}
        for path in sorted(_present(folder))
    ]
    content = {"format": MANIFEST_FORMAT, "name": name, "version": version, "licence": licence, "files": entries}
    (folder / MANIFEST_NAME).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return read_manifest(folder)


def _present(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in UNLISTED
    }
