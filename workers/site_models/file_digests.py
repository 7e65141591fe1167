"""The files of a model folder with their digests: taken when a model is added, compared each time it is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from storage.site_models import ModelFile
from workers.errors import ModelUnsuitable, WeightsMismatch
from workers.weights import digest


def take_files(folder: Path) -> tuple[ModelFile, ...]:
    """Return every file below a folder, by path; hidden files and folders are passed over.

    ModelUnsuitable where there is none, or where a link leads out of the folder.
    """
    paths = sorted(_present(folder))
    if not paths:
        raise ModelUnsuitable(f"{folder.name} holds no files: name the folder of a model")
    root = folder.resolve()
    for path in paths:
        if not (folder / path).resolve().is_relative_to(root):
            raise ModelUnsuitable(f"{path} of {folder.name} is a link out of the folder: put the file itself there")
    return tuple(ModelFile(path, (folder / path).stat().st_size, digest(folder / path)) for path in paths)


def digest_all(files: Iterable[ModelFile]) -> str:
    """Return the digest that stands for all files of a model."""
    listing = "".join(f"{file.sha256}  {file.path}\n" for file in files)
    return hashlib.sha256(listing.encode()).hexdigest()


def require_unchanged(folder: Path, files: Sequence[ModelFile]) -> None:
    """Hash every file again; WeightsMismatch names the first that is missing, changed, or was not there before."""
    for file in files:
        path = folder / file.path
        if not path.is_file():
            raise WeightsMismatch(f"{file.path} of model {folder.name} is missing: restore it, or add the model anew")
        if path.stat().st_size != file.bytes or digest(path) != file.sha256:
            raise WeightsMismatch(
                f"{file.path} of model {folder.name} was changed since the model was added: "
                "restore the file, or remove the model and add it anew"
            )
    stray = _present(folder) - {file.path for file in files}
    if stray:
        raise WeightsMismatch(f"{min(stray)} of model {folder.name} was not there when it was added: remove the file")


def _present(folder: Path) -> set[str]:
    relative = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in relative if not any(part.startswith(".") for part in path.parts)}
