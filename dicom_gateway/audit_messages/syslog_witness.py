"""Checkpoints of the audit log to the syslog server: its archive becomes a witness of the history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from dicom_gateway.audit_messages.sending import send
from dicom_gateway.audit_messages.syslog import SyslogOrigin, syslog_text
from dicom_gateway.audit_messages.syslog_server import SyslogServer

MESSAGE_ID = "CHECKPOINT"


@dataclass(frozen=True, slots=True)
class SyslogWitness:
    """A syslog server that is sent checkpoints beside the audit messages; it does not give them back."""

    server: SyslogServer
    origin: SyslogOrigin = field(default_factory=SyslogOrigin)
    name: str = "syslog server"

    def publish(self, note: str, prove: Callable[[int, int], tuple[bytes, ...]], *, now: datetime) -> str:
        """Send the checkpoint as one message; line breaks are written as JSON writes them.

        Raises SyslogUnreachable, SyslogUntrusted.
        """
        del prove
        send(self.server, [syslog_text(note.replace("\n", "\\n"), self.origin, message_id=MESSAGE_ID, at=now)])
        return note

    def newest(self) -> str | None:
        """Return None: a syslog server is told, and does not tell."""
        return None
