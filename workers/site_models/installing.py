"""Add a model: recognise it, copy its files into the state, open it once from there, and put it on record."""

from __future__ import annotations

import fcntl
import re
import shutil
from collections.abc import Collection
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage import site_models
from storage.database import utc_now
from storage.errors import ConfigurationError, StorageFull
from storage.site_models import SiteModel
from workers.site_models.file_digests import digest_all, require_unchanged, take_files
from workers.site_models.kinds import recognise
from workers.site_models.loading import open_checked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import torch

    from storage.database import Database
    from storage.site_models import ModelFile
    from workers.site_models.card import SiteModelCard

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_MAKING, _LOCK = ".adding", ".lock"
"""Neither can be the name of a model."""


@dataclass(frozen=True, slots=True)
class ModelPlace:
    """Where models are installed, on what they are tried, and whether they may run code of their own."""

    state: Path
    database: Database
    device: torch.device
    dtype: torch.dtype
    allow_code: bool = False
    taken: Collection[str] = ()
    """Names that routes know already for other analysers."""


def add_model(place: ModelPlace, source: Path, name: str, *, actor: str) -> SiteModel:
    """Add the model of a folder under a name, and return it.

    It is opened once from the copy in the state, so that what is on record has been loaded. Raises ConfigurationError
    for a name that cannot be, RecordExists where it is taken, ModelUnsuitable, LabelsInvalid, CodeRefused or
    WeightsMismatch for what is wrong with the folder; nothing is left behind then.
    """
    _require_name(place, name)
    card, files = recognise(source), take_files(source)
    model = SiteModel(name, card.kind.value, digest_all(files), files, card.to_json(), actor, utc_now())
    target = site_models.folder(place.state, name)
    with _one_at_a_time(place.state), _copied(place, source, target, files) as copy:
        _open_once(place, copy, card, name)
        shutil.rmtree(target, ignore_errors=True)  # of a model that was removed, or of an attempt that was cut off
        with place.database.write() as session:
            site_models.add(session, model, now=model.added_at)
            copy.rename(target)
    return model


def remove_model(state: Path, database: Database, *, name: str, actor: str) -> None:
    """Take a model off the record and delete its files; RecordMissing where there is none of that name.

    A worker that has it loaded drops it at its next beat; results that it gave stay.
    """
    with _one_at_a_time(state):
        with database.write() as session:
            site_models.remove(session, name, actor=actor, now=utc_now())
        shutil.rmtree(site_models.folder(state, name), ignore_errors=True)


def _require_name(place: ModelPlace, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"{name!r} is no model name: use a-z, 0-9 and -, at most 64 characters")
    if name in place.taken:
        raise ConfigurationError(f"routes know {name} already as another analyser: choose another name")


def _open_once(place: ModelPlace, folder: Path, card: SiteModelCard, name: str) -> None:
    open_checked(folder, card, name=name, device=place.device, dtype=place.dtype, allow_code=place.allow_code)


@contextmanager
def _one_at_a_time(state: Path) -> Iterator[None]:
    """Wait until nobody else adds or removes a model here: two would delete each other's files.

    The kernel drops the lock with the process, however it dies.
    """
    models = site_models.folder(state, _LOCK).parent
    models.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (models / _LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _copied(place: ModelPlace, source: Path, target: Path, files: tuple[ModelFile, ...]) -> Iterator[Path]:
    """Copy a model's files beside their target and check them there; what is left when the block ends is deleted.

    The copy goes by the model's name, for messages name the folder. RecordExists where the name is taken.
    """
    with place.database.read() as session:
        site_models.require_free(session, target.name)
    making = target.parent / _MAKING
    shutil.rmtree(making, ignore_errors=True)
    try:
        _require_space(target.parent, sum(file.bytes for file in files))
        for file in files:
            path = making / target.name / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / file.path, path)
        require_unchanged(making / target.name, files)
        yield making / target.name
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _require_space(folder: Path, wanted: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise StorageFull(f"the model needs {wanted // 1_000_000} MB, {free // 1_000_000} MB are free: make room")
