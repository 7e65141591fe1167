"""Which sender brings announcements to channels of which kind; each is loaded when the first channel needs it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import cast

from dicom_gateway.announcing.announcement import Sender
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.announcing.tables import ChannelKind

SENDERS: Mapping[ChannelKind, tuple[str, str]] = MappingProxyType(
    {
        ChannelKind.HL7: ("hl7_sender", "Hl7Sender"),
        ChannelKind.FHIR: ("fhir_sender", "FhirSender"),
        ChannelKind.WEBHOOK: ("webhook", "WebhookSender"),
        ChannelKind.MAIL: ("mail", "MailSender"),
    }
)
"""The module of this package and the class in it, by kind. Their libraries weigh tens of megabytes, and most sites use
one kind or none: nothing of them is imported before."""


class Senders:
    """The senders that were needed so far."""

    def __init__(self, tls: DestinationTls) -> None:
        self._tls = tls
        self._loaded: dict[ChannelKind, Sender] = {}

    def __call__(self, kind: ChannelKind) -> Sender:
        """Return the sender of a kind."""
        if kind not in self._loaded:
            module, name = SENDERS[kind]
            made = getattr(import_module(f"{__package__}.{module}"), name)(self._tls)
            self._loaded.setdefault(kind, cast("Sender", made))
        return self._loaded[kind]
