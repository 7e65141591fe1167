"""A running gateway for tests, and what it has written."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from dicom_gateway.completeness.assembly import Assembly, Stored
from dicom_gateway.completeness.rules import Rules
from dicom_gateway.completeness.sources import QueryAddress, Sources, no_address
from dicom_gateway.config import GatewaySettings
from dicom_gateway.gateway import Gateway
from storage import audit, studies
from storage.database import Database, utc_now
from storage.domain import StoredInstance
from storage.models import JobRow, StudyRow
from storage.objects import ObjectStore
from storage.routes.in_force import RoutesInForce

ANY_ROUTE = Path(__file__).with_name("any-route.toml")
_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway that is up, with its database and its objects."""

    gateway: Gateway
    database: Database
    objects: ObjectStore

    @property
    def port(self) -> int:
        return self.gateway.port

    def instances(self) -> tuple[StoredInstance, ...]:
        """Return every current instance of every study, those just acknowledged among them."""
        self.gateway.drain(_PATIENCE_SECONDS)
        with self.database.read() as session:
            ids = session.scalars(select(StudyRow.id).order_by(StudyRow.id)).all()
            return tuple(item for study_id in ids for item in studies.instances_of(session, study_id))

    def jobs(self) -> list[tuple[int, int]]:
        """Return (study, revision) of every job, oldest first."""
        with self.database.read() as session:
            return [(row.study_id, row.revision) for row in session.scalars(select(JobRow).order_by(JobRow.id))]

    def events(self, tag: str) -> list[str]:
        """Return the details of the audit events with a tag, oldest first, those of what just arrived among them."""
        self.gateway.drain(_PATIENCE_SECONDS)
        with self.database.read() as session:
            return [event.details for event in audit.history(session, tag=tag, limit=1000)]


def half_received(objects: ObjectStore) -> list[Path]:
    """Return the files that something was received into and that are not yet objects; slots in reserve are empty."""
    found = []
    # Not rglob, which fails over the journal of a dead gateway that is removed meanwhile.
    for folder, _, names in os.walk(objects.incoming):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                if (path := Path(folder, name)).stat().st_size:
                    found.append(path)
    return found


@contextlib.contextmanager
def running_gateway(
    database: Database,
    objects: ObjectStore,
    *,
    query_address: QueryAddress = no_address,
    clock: Callable[[], datetime] = utc_now,
    **settings: Any,
) -> Iterator[Running]:
    """Run a gateway on a free loopback port until the block ends; it closes studies only when told to be quick."""
    chosen = GatewaySettings(**({"port": 0, "quiet_seconds": 600, "drain_seconds": 0, **settings}))
    routes = RoutesInForce(chosen.routes or ANY_ROUTE)
    gateway = Gateway(chosen, database, objects, routes=routes, query_address=query_address, clock=clock)
    gateway.start()
    try:
        yield Running(gateway, database, objects)
    finally:
        gateway.stop()


def assembly(
    database: Database,
    objects: ObjectStore,
    routes: Path = ANY_ROUTE,
    *,
    rules: Rules | None = None,
    clock: Callable[[], datetime] = utc_now,
    query_address: QueryAddress = no_address,
) -> Assembly:
    """Return what closes the studies of a database; by default whatever is there at once."""
    sources = Sources(query_address, calling_aet="ONCUE", seconds=5)
    return Assembly(Stored(database, objects, RoutesInForce(routes)), rules or Rules(quiet_seconds=0), sources, clock)


def until(condition: Callable[[], bool], what: str, *, seconds: float = _PATIENCE_SECONDS) -> None:
    """Wait for what another thread or process writes into the database; it tells nobody, so ask again and again."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:.0f} s: {what}")
        pause.wait(0.02)
