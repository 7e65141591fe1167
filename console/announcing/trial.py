"""Whether a channel would take something now, without telling it anything of a study."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_gateway.announcing.announcement import Verdict
from dicom_gateway.announcing.announcer import ready_channel
from dicom_gateway.announcing.senders import Senders
from dicom_gateway.config import GatewaySettings
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.announcing.channels import ChannelEntry
from storage.errors import OncueError


@dataclass(frozen=True, slots=True)
class ChannelTrial:
    """What came of asking a channel; the fields are the keys of ``oncue channels test --json``."""

    name: str
    kind: str
    address: str
    passed: bool
    code: str | None
    reason: str | None


def try_channel(entry: ChannelEntry, settings: GatewaySettings) -> ChannelTrial:
    """Ask the receiver of a channel whether it is there and lets us in; a fault is an answer."""
    try:
        channel = ready_channel(entry, seconds=settings.announcing_seconds)
        answer = Senders(DestinationTls(settings))(entry.kind).probe(channel)
    except OncueError as error:
        return _trial(entry, passed=False, code=error.code, reason=str(error))
    return _trial(entry, passed=answer.verdict is Verdict.TAKEN, code=answer.code, reason=answer.reason)


def _trial(entry: ChannelEntry, *, passed: bool, code: str, reason: str) -> ChannelTrial:
    return ChannelTrial(entry.name, entry.kind.value, entry.shown_address, passed, code or None, reason or None)
