"""What is announced, to whom, and what a receiver said: the words between the outbox and the senders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Protocol

from storage.announcing.tables import AnnouncementLevel, ChannelKind
from storage.care_settings import CareSetting
from storage.domain import Code, Presence, Priority


@dataclass(frozen=True, slots=True)
class AnnouncedFinding:
    """One finding as receivers are told of it; ``confidence`` is in 0..1, sizes are 0 where none are known."""

    number: int
    concept: Code
    presence: Presence
    confidence: float
    volume_ml: float
    longest_diameter_mm: float
    tracking_uid: str
    label: str | None


@dataclass(frozen=True, slots=True)
class AnnouncedPatient:
    """Whose study it is, for channels that are allowed to know. Text is as DICOM has it; what is not known is empty."""

    patient_id: str
    issuer: str
    name: str
    birth_date: date | None
    sex: str


@dataclass(frozen=True, slots=True)
class AnnouncedObject:
    """A DICOM object that holds the result: where a receiver finds more."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True)
class Announcement:
    """One fact for one receiver.

    ``key`` is the same however often it is sent, and differs for every other fact. ``priority`` is None where a later
    result took it away, and then ``findings`` is empty; ``previous`` is what the receiver was told before. ``setting``
    is where the patient is cared for, as the policy saw it, None where that is not known. ``patient`` and
    ``accession_number`` are None unless the channel may have patient data. ``page`` is the address of the study in the
    console, where that has one.
    """

    key: str
    level: AnnouncementLevel
    study_instance_uid: str
    revision: int
    route: str
    priority: Priority | None
    previous: Priority | None
    rule: str
    policy_sha256: str
    algorithm: str
    arrived_at: datetime
    analysed_at: datetime
    announced_at: datetime
    findings: tuple[AnnouncedFinding, ...] = ()
    objects: tuple[AnnouncedObject, ...] = ()
    modalities: tuple[str, ...] = ()
    setting: CareSetting | None = None
    study_date: date | None = None
    patient: AnnouncedPatient | None = None
    accession_number: str | None = None
    page: str | None = None


@dataclass(frozen=True, slots=True)
class Channel:
    """One receiver, ready to be used. ``options`` are of its kind; ``secret`` is what its file of credentials holds."""

    name: str
    kind: ChannelKind
    address: str
    patient_data: bool
    private_network: bool
    options: ChannelOptions
    secret: str | None
    seconds: float
    """How long to wait for a connection, and for an answer."""


class Verdict(StrEnum):
    """What became of a message. FAILED may go better later; REFUSED will not, whoever sends it again."""

    TAKEN = "taken"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver said: a coded reason, and words without patient data for people. Both empty where all is well.

    ``retry_after`` is how many seconds a receiver asked to be left alone, None where it said nothing of it. One that
    took a message for some recipients and not for all has taken it, and says so. ``reached`` is False where it is
    certain that nothing of the message came to the receiver, as without a connection.
    """

    verdict: Verdict
    code: str = ""
    reason: str = ""
    retry_after: float | None = None
    reached: bool = True


TAKEN = Answer(Verdict.TAKEN)


class ChannelOptions:
    """What a channel of one kind may be told besides; each kind has its own, a frozen dataclass."""

    __slots__ = ()


class Sender(Protocol):
    """Brings announcements to a channel of one kind; a receiver's faults are answers and never raised."""

    def send(self, channel: Channel, announcements: Sequence[Announcement], group_key: str) -> Answer:
        """Send announcements in one message (all of one group), or one after the other where the form has no groups.

        ``group_key`` is the same when the same group is sent again.
        """
        ...

    def probe(self, channel: Channel) -> Answer:
        """Say whether the receiver would take something, without telling it anything."""
        ...
