"""The probe of the channels: whether each would take an announcement, and what keeps announcements from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from console.announcing.schemas import ChannelForm, channel_forms
from console.announcing.trial import try_channel
from console.doctor.parts import ExaminedPart, PartHealth
from console.installation import Installation
from console.routes.routes_file import read_routes
from dicom_gateway.announcing.secrets import is_exposed
from storage.announcing import channels
from storage.announcing.channels import ChannelEntry
from storage.database import utc_now


def probe_channels(installation: Installation) -> Iterator[ExaminedPart]:
    """Ask the receiver of each channel whether it is there and lets us in; it is told of no study."""
    with installation.read() as session:
        entries = channels.entries(session)
        forms = {form.name: form for form in channel_forms(session, now=utc_now())}
    if not entries:
        detail = "none: nobody is told of urgent studies; oncue channels add NAME KIND ADDRESS"
        yield ExaminedPart("channels", PartHealth.FINE, detail)
        return
    known = {route.name for route in read_routes(installation).routes.routes}
    for entry in entries:
        subject = f"channel {entry.name}"
        remarks = [*_standing(forms[entry.name]), *_oddities(entry, known)]
        yield from (ExaminedPart(subject, PartHealth.REMARK, remark) for remark in remarks)
        if not entry.paused:
            yield _asked(entry, installation)
    if all(entry.escalation_minutes is not None for entry in entries):
        detail = "every channel waits for studies to lie unopened: nobody is told at once"
        yield ExaminedPart("channels", PartHealth.REMARK, detail)


def _asked(entry: ChannelEntry, installation: Installation) -> ExaminedPart:
    found = try_channel(entry, installation.settings.gateway)
    if found.passed:
        return ExaminedPart(f"channel {entry.name}", PartHealth.FINE, f"{found.address} would take announcements")
    return ExaminedPart(f"channel {entry.name}", PartHealth.BROKEN, f"[{found.code}] {found.reason}")


def _standing(form: ChannelForm) -> Iterator[str]:
    """Say what keeps announcements from a channel that its receiver does not know of."""
    if form.paused:
        yield f"paused; {form.waiting} announcements wait: oncue channels resume {form.name}"
    if form.left_alone_until is not None:
        waiting = f"{form.waiting} announcements wait"
        yield f"[{form.code}] left alone until {form.left_alone_until[11:19]} (UTC); {waiting}"
    if form.refused:
        yield f"{form.refused} announcements were refused: oncue announcements list --in refused --channel {form.name}"


def _oddities(entry: ChannelEntry, known_routes: set[str]) -> Iterator[str]:
    gone = [name for name in entry.routes or () if name not in known_routes]
    if gone:
        yield f"no route is called {', '.join(gone)}: oncue channels change {entry.name} --routes"
    if entry.address.startswith("mllp://"):
        yield "patient data go there without TLS: use mllps:// where the receiver can"
    file = None if entry.credentials is None else Path(entry.credentials)
    if file is not None and file.is_file() and is_exposed(file):
        yield f"others than its owner can read {file}: chmod 600 {file}"
