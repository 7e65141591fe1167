"""The doctor's look at what is kept: disk, database, and the processes that beat in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from console.doctor.examination import Finding, Verdict
from console.installation import Installation
from storage import migrate, processes
from storage.database import utc_now

_MEGABYTE = 1_000_000
_LOW_FACTOR = 5


def check_disk(installation: Installation) -> Iterator[Finding]:
    """Look at the object store's folder and the space left beyond the reserve."""
    root = installation.objects.root
    existing = next(folder for folder in (root, *root.parents) if folder.is_dir())
    if not os.access(existing, os.W_OK):
        yield Finding("disk", Verdict.BROKEN, f"{existing} cannot be written to")
        return
    free = shutil.disk_usage(existing).free // _MEGABYTE
    reserve = installation.settings.storage.reserve_megabytes
    verdict = Verdict.BROKEN if free <= reserve else Verdict.REMARK if free < reserve * _LOW_FACTOR else Verdict.FINE
    yield Finding("disk", verdict, f"{free} MB free in {existing}, {reserve} MB of it are kept in reserve")


def check_database(installation: Installation) -> Iterator[Finding]:
    """Look whether the database answers and has the schema of this version."""
    installation.require()
    migrate.check(installation.database)
    yield Finding("database", Verdict.FINE, f"{installation.database.engine.dialect.name}, schema is this version's")


def check_gateway(installation: Installation) -> Iterator[Finding]:
    """Look whether a gateway was at work lately."""
    yield _at_work(installation, "gateway")


def check_relay(installation: Installation) -> Iterator[Finding]:
    """Look whether a relay was at work lately."""
    yield _at_work(installation, "relay")


def check_worker(installation: Installation) -> Iterator[Finding]:
    """Look whether a worker was at work lately."""
    yield _at_work(installation, "worker")


def _at_work(installation: Installation, kind: str) -> Finding:
    now = utc_now()
    with installation.read() as session:
        alive = sum(process.is_alive(now) for process in processes.running(session, kind=kind))
    return Finding(kind, Verdict.FINE if alive else Verdict.REMARK, f"{alive} at work" if alive else "none at work")
