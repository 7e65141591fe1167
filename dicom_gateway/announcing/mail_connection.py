"""A connection to a mail server, secured before anything is said on it, and bounded in time and in what it says."""

from __future__ import annotations

import contextlib
import smtplib
from collections.abc import Iterator
from dataclasses import dataclass
from socket import socket
from typing import BinaryIO

from dicom_gateway.announcing import own_network
from dicom_gateway.announcing.options import MailSecurity
from dicom_gateway.announcing.receiver_address import ReceiverAddress
from dicom_gateway.config import GatewaySettings
from dicom_gateway.errors import PeerUntrusted
from dicom_gateway.http_exchange import Deadline
from dicom_gateway.tls.destination_handshake import DestinationTls

_MOST_REPLY_BYTES = 256 << 10
"""More than all replies of a server to a mail with as many recipients as there may be."""
_ANSWERS = 16
"""So many times the patience for one answer, a whole conversation is given up."""
_READY, _OK = 220, 250


@dataclass(frozen=True, slots=True)
class MailLogin:
    """Who we are to a mail server, from a file of one line, ``user:password``."""

    user: str
    password: str


@dataclass(frozen=True, slots=True)
class MailCalling:
    """How a mail server is called: how secured, as whom, under which name, and for how long an answer is waited for."""

    server: ReceiverAddress
    security: MailSecurity
    login: MailLogin | None
    own_name: str
    seconds: float
    tls: DestinationTls | None = None


class _Conversation(smtplib.SMTP):
    """SMTP over a connection that is there already; the library would make its own."""

    def __init__(self, connection: socket, calling: MailCalling) -> None:
        super().__init__(local_hostname=calling.own_name, timeout=calling.seconds)
        self.take_over(connection)

    def take_over(self, connection: socket) -> None:
        """Go on over a connection; what was said on another one is forgotten (RFC 3207 4.2)."""
        self.sock = connection
        self.file = _BoundedReplies(connection.makefile("rb"))
        self.helo_resp = self.ehlo_resp = None
        self.esmtp_features = {}
        self.does_esmtp = False

    def greet(self) -> None:
        """Wait for the server's greeting."""
        code, words = self.getreply()
        if code != _READY:
            raise smtplib.SMTPConnectError(code, words)

    def introduce(self) -> None:
        """Say who we are, and learn what the server can do."""
        code, words = self.ehlo()
        if code != _OK:
            raise smtplib.SMTPHeloError(code, words)


class _BoundedReplies:
    """The lines that a server says, up to a number of bytes: one that never ends would fill the memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = _MOST_REPLY_BYTES

    def readline(self, limit: int = -1) -> bytes:
        """Return the next line; OSError where the server says more than any would."""
        line = self._file.readline(limit)
        self._left -= len(line)
        if self._left < 0:
            raise OSError("the server says more than a mail server has to say")
        return line

    def close(self) -> None:
        """End reading."""
        self._file.close()


@contextlib.contextmanager
def conversation(calling: MailCalling) -> Iterator[smtplib.SMTP]:
    """Call a mail server, and end the connection afterwards; secured and logged in before it is handed out.

    Raises PeerUnreachable where nobody answers, PeerUntrusted where the server offers no TLS or its certificate does
    not hold, SMTPException for what it answers, OSError where the connection ends.
    """
    plain = own_network.connect(calling.server.host, calling.server.port, private_network=True, seconds=calling.seconds)
    with contextlib.ExitStack() as stack:
        stack.callback(plain.close)
        plain.settimeout(calling.seconds)
        connection: socket = _secured(plain, calling) if calling.security is MailSecurity.TLS else plain
        smtp = _Conversation(connection, calling)
        stack.callback(smtp.close)
        with Deadline(calling.seconds * _ANSWERS).ending(connection):
            smtp.greet()
            smtp.introduce()
            if calling.security is MailSecurity.STARTTLS:
                _ask_for_tls(smtp, calling)
        if calling.security is MailSecurity.STARTTLS:
            connection = _secured(plain, calling)
            smtp.take_over(connection)
        with Deadline(calling.seconds * _ANSWERS).ending(connection):
            if calling.security is MailSecurity.STARTTLS:
                smtp.introduce()
            if calling.login is not None:
                smtp.login(calling.login.user, calling.login.password)
            yield smtp
            with contextlib.suppress(smtplib.SMTPException, OSError):
                smtp.quit()


def _ask_for_tls(smtp: smtplib.SMTP, calling: MailCalling) -> None:
    """Ask for TLS; a server that offers none, or whose offer somebody on the way took out, is told nothing."""
    if not smtp.has_extn("starttls"):
        raise PeerUntrusted(
            f"{calling.server} offers no STARTTLS, and nothing was sent in clear: use another port, or `--option "
            "security=tls`"
        )
    code, words = smtp.docmd("STARTTLS")
    if code != _READY:
        raise smtplib.SMTPResponseException(code, words)


def _secured(plain: socket, calling: MailCalling) -> socket:
    tls = calling.tls or DestinationTls(GatewaySettings())
    return tls.secure(plain, calling.server)
