"""Announcements to an HL7 v2 receiver over MLLP, each acknowledged before it counts as sent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

import hl7

from dicom_gateway.announcing.announcement import TAKEN, Announcement, Answer, Channel, Verdict
from dicom_gateway.announcing.hl7_answer import judged
from dicom_gateway.announcing.hl7_fields import codec, encoded
from dicom_gateway.announcing.hl7_message import order_message, result_message
from dicom_gateway.announcing.mllp import connected, exchange
from dicom_gateway.announcing.one_by_one import told_one_by_one
from dicom_gateway.announcing.options import Hl7Options
from dicom_gateway.announcing.receiver_address import read_address
from dicom_gateway.errors import GatewayError
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.announcing.tables import ChannelKind
from storage.errors import ConfigurationError

_NEEDS_PATIENT = Answer(
    Verdict.REFUSED,
    "channel_needs_patient_data",
    "HL7 results are filed under a patient: allow the channel patient data (--patient-data)",
    reached=False,
)
_NO_PATIENT_ID = Answer(
    Verdict.REFUSED,
    "patient_unidentified",
    "the images hold no patient id, which an HL7 result is filed under",
    reached=False,
)
_NO_ORDER = Answer(
    Verdict.TAKEN, "order_unidentified", "the images hold no accession number: the order's priority was not sent"
)


class Hl7Sender:
    """Sends ORU^R01, and ORM^O01 behind it where the channel's options ask for order updates."""

    def __init__(self, tls: DestinationTls | None = None) -> None:
        self._tls = tls

    def send(self, channel: Channel, announcements: Sequence[Announcement], group_key: str) -> Answer:
        """Send announcements one after the other, for HL7 has no groups; a repeat has the same control ids."""
        del group_key  # each message has a control id of its own
        return told_one_by_one(announcements, partial(self._told, channel))

    def probe(self, channel: Channel) -> Answer:
        """Connect, with TLS up to the end of the handshake, and send nothing: HL7 has no question without a message."""
        try:
            connected(read_address(ChannelKind.HL7, channel.address), seconds=channel.seconds, tls=self._tls).close()
        except (GatewayError, ConfigurationError) as error:
            return _not_sent(error)
        return TAKEN

    def _told(self, channel: Channel, announcement: Announcement) -> Answer:
        """Send what one announcement says, and return the first answer that is not well."""
        options = cast("Hl7Options", channel.options)
        if announcement.patient is None:
            return _NEEDS_PATIENT
        if not announcement.patient.patient_id.strip():
            return _NO_PATIENT_ID
        for at, message in enumerate(_messages(announcement, options)):
            answer = self._acknowledged(channel, message, options)
            if answer.verdict is not Verdict.TAKEN:
                return replace(answer, reached=answer.reached or at > 0)
        return _NO_ORDER if options.order_updates and not announcement.accession_number else TAKEN

    def _acknowledged(self, channel: Channel, message: hl7.Message, options: Hl7Options) -> Answer:
        """Send a message over a connection of its own, so that what a receiver says late is of no other message."""
        content = encoded(message, options.character_set)
        try:
            address = read_address(ChannelKind.HL7, channel.address)
            connection = connected(address, seconds=channel.seconds, tls=self._tls)
        except (GatewayError, ConfigurationError) as error:
            return _not_sent(error)
        with contextlib.closing(connection):
            try:
                answer = exchange(connection, address, content, seconds=channel.seconds)
            except GatewayError as error:
                return Answer(Verdict.FAILED, error.code, str(error))
        return judged(answer, str(message["MSH.F10"]), codec=codec(options.character_set))


def _messages(announcement: Announcement, options: Hl7Options) -> Iterator[hl7.Message]:
    yield result_message(announcement, options)
    if options.order_updates and announcement.accession_number:
        yield order_message(announcement, options)


def _not_sent(error: GatewayError | ConfigurationError) -> Answer:
    """Return what an error means: what is configured wrongly may be put right, and is sent then."""
    return Answer(Verdict.FAILED, error.code, str(error), reached=False)
