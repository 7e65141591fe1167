"""Probes of what is kept: the object store's disk and the database."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from console.doctor.parts import ExaminedPart, PartHealth
from console.installation import Installation
from storage import journals, migrate

_MEGABYTE = 1_000_000
_LOW_FACTOR = 5


def probe_disk(installation: Installation) -> Iterator[ExaminedPart]:
    """Look at the object store's folder and the space left beyond the reserve."""
    root = installation.objects.root
    existing = next(folder for folder in (root, *root.parents) if folder.is_dir())
    if not os.access(existing, os.W_OK):
        yield ExaminedPart("disk", PartHealth.BROKEN, f"{existing} cannot be written to")
        return
    free = shutil.disk_usage(existing).free // _MEGABYTE
    reserve = installation.settings.storage.reserve_megabytes
    yield ExaminedPart(
        "disk", _space_health(free, reserve), f"{free} MB free in {existing}, {reserve} MB of it are kept in reserve"
    )


def probe_incoming(installation: Installation) -> Iterator[ExaminedPart]:
    """Look whether received images wait for their rows, and whether the database refused any."""
    objects = installation.objects
    set_aside = journals.set_aside_count(objects)
    studies = len(journals.unregistered_studies(objects))
    if set_aside:
        yield ExaminedPart(
            "incoming",
            PartHealth.BROKEN,
            f"{set_aside} images that were acknowledged are not on record: the database refused them; see the events "
            f"`instance:failed`. Their files are in {objects.set_aside}, and are tried again when a gateway starts",
        )
        return
    yield ExaminedPart("incoming", PartHealth.FINE, f"images of {studies} studies wait to be put on record")


def probe_database(installation: Installation) -> Iterator[ExaminedPart]:
    """Look whether the database answers and has the schema of this version."""
    installation.require()
    migrate.check(installation.database)
    yield ExaminedPart(
        "database", PartHealth.FINE, f"{installation.database.engine.dialect.name}, schema is this version's"
    )


def _space_health(free: int, reserve: int) -> PartHealth:
    if free <= reserve:
        return PartHealth.BROKEN
    return PartHealth.REMARK if free < reserve * _LOW_FACTOR else PartHealth.FINE
