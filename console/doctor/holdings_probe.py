"""The probe of what is searched: of how many studies headers are still to be read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from console.doctor.parts import ExaminedPart, PartHealth
from console.installation import Installation
from storage.database import utc_now
from storage.holdings import headers

_SOON = timedelta(minutes=10)


def probe_holdings(installation: Installation) -> Iterator[ExaminedPart]:
    """Say how many studies wait for their headers to be read; those that came minutes ago are no remark."""
    with installation.read() as session:
        due = headers.count_due(session)
        late = headers.count_due(session, arrived_before=utc_now() - _SOON)
    if not due:
        yield ExaminedPart("search", PartHealth.FINE, "the header of every object that is held was read")
        return
    detail = f"headers of {due} studies are still read; until then they are found by patient ID, accession and UIDs"
    yield ExaminedPart("search", PartHealth.REMARK if late else PartHealth.FINE, detail)
