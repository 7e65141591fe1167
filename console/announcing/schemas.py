"""The JSON objects of `oncue channels` and `oncue announcements`."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from console.record_schema import IsoTime, RecordSchema
from dicom_gateway.announcing.options import kept_options, option_words
from storage import circuits
from storage.announcing import announcement_lists, channels
from storage.announcing.channels import RecordedChannel
from storage.announcing.tables import AnnouncementLevel, AnnouncementState, ChannelKind
from storage.circuits import Circuit
from storage.domain import Priority


class ChannelForm(RecordSchema):
    """One channel. ``address`` is without a query, which may hold a secret; ``credentials`` is the path of a file.

    ``code`` says why it could not be told something last, ``left_alone_until`` is set while it cannot be reached.
    """

    name: str
    kind: ChannelKind
    address: str
    paused: bool
    priorities: list[Priority]
    routes: list[str] | None
    escalation_minutes: int | None
    patient_data: bool
    private_network: bool
    credentials: str | None
    options: dict[str, str]
    group_seconds: int
    per_hour: int | None
    waiting: int
    refused: int
    sent: int
    last_sent_at: IsoTime | None
    code: str | None
    left_alone_until: IsoTime | None
    added_by: str
    added_at: IsoTime
    changed_at: IsoTime


class AnnouncementForm(RecordSchema):
    """One fact on its way to one channel; ``key`` is the same however often it is sent.

    ``priority`` is null where a later result took it away. ``reached`` says that the receiver may have got it.
    """

    id: int
    key: str
    channel: str
    study_id: int
    study_instance_uid: str
    revision: int
    job_id: int | None
    level: AnnouncementLevel
    priority: Priority | None
    previous: Priority | None
    state: AnnouncementState
    attempts: int
    opened_at: IsoTime
    next_attempt_at: IsoTime
    reached: bool
    code: str | None
    reason: str | None
    announced_at: IsoTime | None
    cursor: str


def channel_forms(session: Session, *, now: datetime) -> list[ChannelForm]:
    """Return every channel by name."""
    known = {circuit.destination: circuit for circuit in circuits.listed(session, now=now)}
    last = announcement_lists.last_sent(session)
    return [
        _form(session, one, known.get(channels.circuit_of(one.entry.name)), last.get(one.entry.name))
        for one in channels.listed(session)
    ]


def channel_form(session: Session, name: str, *, now: datetime) -> ChannelForm:
    """Return one channel; RecordMissing where there is none of this name."""
    channels.find(session, name)
    return next(form for form in channel_forms(session, now=now) if form.name == name)


def _form(
    session: Session, recorded: RecordedChannel, circuit: Circuit | None, last_sent_at: datetime | None
) -> ChannelForm:
    entry = recorded.entry
    numbers = channels.count_by_state(session, entry.name)
    names = ChannelForm.model_fields.keys() & entry.__dataclass_fields__.keys()
    return ChannelForm.model_validate(
        {
            **{name: getattr(entry, name) for name in names},
            "address": entry.shown_address,
            "options": dict(option_words(kept_options(entry.kind, entry.options))),
            "waiting": numbers.get(AnnouncementState.PENDING, 0) + numbers.get(AnnouncementState.SENDING, 0),
            "refused": numbers.get(AnnouncementState.REFUSED, 0),
            "sent": numbers.get(AnnouncementState.SENT, 0),
            "last_sent_at": last_sent_at,
            "code": circuit.fault.code if circuit is not None and circuit.fault is not None else None,
            "left_alone_until": circuit.open_until if circuit is not None else None,
            "added_by": recorded.added_by,
            "added_at": recorded.added_at,
            "changed_at": recorded.changed_at,
        }
    )
