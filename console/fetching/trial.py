"""Whether a source answers: it is asked for the studies that are wanted of it, and none is fetched."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from console.installation import Installation
from dicom_gateway.fetching.clients import SourceClients
from dicom_gateway.fetching.source_client import SourceClient
from dicom_gateway.inlets.inlet import Inlet
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.database import utc_now
from storage.errors import OncueError
from storage.fetching.sources import FetchSource

_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class AskedSource:
    """Whether a source answered, and with how many studies; or why not."""

    passed: bool
    studies: int = 0
    code: str | None = None
    reason: str | None = None


def ask_source(source: FetchSource, installation: Installation) -> AskedSource:
    """Ask a source for what is wanted of it."""
    try:
        found = client_of(source, installation).studies(source.wanted.at(utc_now()))
    except OncueError as error:
        return AskedSource(passed=False, code=error.code, reason=str(error))
    return AskedSource(passed=True, studies=len(found))


def client_of(source: FetchSource, installation: Installation) -> SourceClient:
    """Return a client that only asks: nothing comes in by its inlet, which is never started."""
    settings = installation.settings.gateway
    inlet = Inlet(
        installation.database, installation.objects, settings, process_id=f"asking-{uuid.uuid4().hex}", clock=utc_now
    )
    return SourceClients(settings.aet, _SECONDS, DestinationTls(settings), inlet).client(source)
