"""Syslog messages (RFC 5424) that carry DICOM audit messages, as PS3.15 A.6 and A.7 ask for, and their framing."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime

from dicom_gateway.audit_messages.codes import Indicator
from dicom_gateway.audit_messages.message import AuditMessage
from dicom_gateway.audit_messages.xml_form import as_xml

APPLICATION = "oncue"
MESSAGE_ID = "DICOM+RFC3881"

_SECURITY = 10
_NOTICE, _WARNING = 5, 4
_VERSION = 1
_BOM = b"\xef\xbb\xbf"
_NIL = "-"
_LONGEST_HOST = 255
_NOT_PRINTED = re.compile(r"[^\x21-\x7e]")


@dataclass(frozen=True, slots=True)
class SyslogOrigin:
    """The machine and the process that syslog messages come from."""

    host: str = field(default_factory=socket.gethostname)
    process: str = field(default_factory=lambda: str(os.getpid()))


def syslog_message(message: AuditMessage, origin: SyslogOrigin) -> bytes:
    """Return one syslog message: facility 10, severity «notice», or «warning» for what failed (PS3.15 A.6)."""
    severity = _NOTICE if message.outcome is Indicator.SUCCESS else _WARNING
    return _header(message.at, origin, MESSAGE_ID, severity) + _BOM + as_xml(message).encode()


def syslog_text(text: str, origin: SyslogOrigin, *, message_id: str, at: datetime) -> bytes:
    """Return one syslog message of plain text, severity «notice»."""
    moment = at.astimezone(UTC).isoformat(timespec="microseconds")
    return _header(moment, origin, message_id, _NOTICE) + _BOM + text.encode()


def _header(at: str, origin: SyslogOrigin, message_id: str, severity: int) -> bytes:
    host = _NOT_PRINTED.sub("", origin.host)[:_LONGEST_HOST] or _NIL
    priority = f"<{_SECURITY * 8 + severity}>{_VERSION}"
    return f"{priority} {at} {host} {APPLICATION} {origin.process} {message_id} {_NIL} ".encode("ascii")


def framed(message: bytes) -> bytes:
    """Return a message with its length before it, as it goes over a stream (RFC 5425 4.3, RFC 6587 3.4.1)."""
    return b"%d %s" % (len(message), message)
