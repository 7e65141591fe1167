"""Probes of the processes that write a heartbeat into the database."""

from __future__ import annotations

from collections.abc import Iterator

from console.doctor.parts import ExaminedPart, PartHealth
from console.installation import Installation
from console.supervision.lock import is_held
from console.supervision.site import Endpoints
from storage import processes
from storage.database import utc_now


def probe_gateway(installation: Installation) -> Iterator[ExaminedPart]:
    """Look whether a gateway was at work lately."""
    yield _at_work(installation, "gateway")


def probe_relay(installation: Installation) -> Iterator[ExaminedPart]:
    """Look whether a relay was at work lately."""
    yield _at_work(installation, "relay")


def probe_worker(installation: Installation) -> Iterator[ExaminedPart]:
    """Look whether a worker was at work lately."""
    yield _at_work(installation, "worker")


def count_alive(installation: Installation, kind: str) -> int:
    """Return how many processes of a kind were at work lately."""
    now = utc_now()
    with installation.read() as session:
        return sum(process.is_alive(now) for process in processes.running(session, kind=kind))


def current_endpoints(installation: Installation) -> Endpoints:
    """Return where a running `oncue up` answers, or where the settings say that it would."""
    noted = Endpoints.read(installation.state) if is_held(installation.state) else None
    return noted or Endpoints.of(installation.settings)


def _at_work(installation: Installation, kind: str) -> ExaminedPart:
    alive = count_alive(installation, kind)
    if not alive:
        return ExaminedPart(kind, PartHealth.REMARK, "none at work")
    return ExaminedPart(kind, PartHealth.FINE, f"{alive} at work")
