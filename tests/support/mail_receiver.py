"""A mail server that takes what a test lets it: aiosmtpd on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

_SECONDS = 10.0


@dataclass
class Mail:
    """One mail as it was taken: envelope and bytes, and whether it came by TLS."""

    sender: str | None
    recipients: tuple[str, ...]
    content: bytes
    by_tls: bool

    @property
    def message(self) -> EmailMessage:
        """The mail, read by the standard library."""
        message = email.message_from_bytes(self.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        return message


@dataclass
class MailReceiver:
    """What a server answers, and what it took. ``answers`` are to recipients, others are taken."""

    answers: dict[str, str] = field(default_factory=dict)
    to_sender: str = "250 OK"
    to_message: str = "250 OK"
    password: str = "secret of the server"  # noqa: S105 - of this server alone
    port: int = 0
    mails: list[Mail] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    """Every recipient that was named, in order."""

    async def handle_MAIL(  # noqa: N802 - named by aiosmtpd, as the others
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take a sender."""
        del server, session
        if self.to_sender.startswith("250"):
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return self.to_sender

    async def handle_RCPT(  # noqa: N802 - as aiosmtpd has it
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take a recipient, or turn it down."""
        del server, session, options
        self.recipients.append(address)
        answer = self.answers.get(address, "250 OK")
        if answer.startswith("25"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - as aiosmtpd has it
        """Take a message."""
        del server
        if self.to_message.startswith("250"):
            content = envelope.content
            assert isinstance(content, bytes)
            by_tls = session.ssl is not None
            self.mails.append(Mail(envelope.mail_from, tuple(envelope.rcpt_tos), content, by_tls))
        return self.to_message

    def authenticate(self, _server: SMTP, _session: Session, _envelope: Envelope, _way: str, data: Any) -> AuthResult:
        """Let in who knows the password."""
        known = isinstance(data, LoginPassword) and data.password == self.password.encode()
        return AuthResult(success=known, handled=False)


@contextlib.contextmanager
def mail_receiver(
    receiver: MailReceiver,
    *,
    starttls: ssl.SSLContext | None = None,
    tls: ssl.SSLContext | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[MailReceiver]:
    """Run a server until the block ends; ``settings`` are of aiosmtpd's SMTP."""
    loop, is_ready = asyncio.new_event_loop(), threading.Event()

    def protocol() -> SMTP:
        return SMTP(receiver, tls_context=starttls, authenticator=receiver.authenticate, loop=loop, **(settings or {}))

    async def serve() -> asyncio.Server:
        return await loop.create_server(protocol, "127.0.0.1", 0, ssl=tls)

    def run() -> None:
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(serve())
        receiver.port = server.sockets[0].getsockname()[1]
        is_ready.set()
        loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert is_ready.wait(_SECONDS)
    try:
        yield receiver
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_SECONDS)
