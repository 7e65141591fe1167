"""Announcements as e-mail: one message for each group, by SMTP with TLS, and a verdict for each recipient."""

from __future__ import annotations

import re
import smtplib
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from dicom_gateway.announcing.announcement import TAKEN, Announcement, Answer, Channel, Verdict
from dicom_gateway.announcing.mail_connection import MailCalling, MailLogin, conversation
from dicom_gateway.announcing.mail_message import addresses, mail_message
from dicom_gateway.announcing.options import MailOptions, MailSecurity
from dicom_gateway.announcing.receiver_address import read_address
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.announcing.tables import ChannelKind
from storage.errors import ChannelInvalid, OncueError

_OK, _CLOSING = 250, 421
_TRANSIENT, _PERMANENT = range(400, 500), range(500, 600)
_ENHANCED = re.compile(rb"\b[45]\.\d{1,3}\.\d{1,3}\b")  # RFC 3463
_GROUPS_IN_MIND = 256

Replies = Mapping[str, int]
"""What was answered of each recipient: 250, or the code that it was turned down with."""


class SettledRecipients:
    """Who has got the mail of a group, and who never will: sent again it goes to the others alone.

    Of the newest groups of this process. After a restart a mail goes to all of them once more, as the same one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_group: OrderedDict[tuple[str, str], dict[str, int]] = OrderedDict()

    def of(self, group: tuple[str, str]) -> Replies:
        """Return the recipients of a group that are done with."""
        with self._lock:
            return dict(self._by_group.get(group, {}))

    def add(self, group: tuple[str, str], replies: Replies) -> None:
        """Note what was answered for good; what may go better later is not."""
        with self._lock:
            known = self._by_group.setdefault(group, {})
            known.update({one: code for one, code in replies.items() if code == _OK or code in _PERMANENT})
            self._by_group.move_to_end(group)
            while len(self._by_group) > _GROUPS_IN_MIND:
                self._by_group.popitem(last=False)


@dataclass(frozen=True, slots=True)
class MailSender:
    """Brings groups of announcements to mailboxes; ``tls`` is how certificates are verified."""

    tls: DestinationTls | None = None
    settled: SettledRecipients = field(default_factory=SettledRecipients)

    def send(self, channel: Channel, announcements: Sequence[Announcement], group_key: str) -> Answer:
        """Send a group in one message.

        Failed where a recipient is turned down for now (4yz), or no conversation comes about; refused where every
        recipient, the sender or the message is for good (5yz); else taken, with a code where some are.
        """
        if not announcements:
            return TAKEN
        group, is_heard = (channel.name, group_key), False
        try:
            options = _options(channel)
            message = mail_message(channel, options, announcements, group_key).as_bytes()
            settled = self.settled.of(group)
            left = [one for one in addresses(options)[1] if one not in settled]
            if left:
                with conversation(_calling(channel, options, self.tls)) as smtp:
                    is_heard = True
                    replies = _sent(smtp, _return_path(options), left, message)
                self.settled.add(group, replies)
                settled = {**settled, **replies}
        except (OncueError, smtplib.SMTPException, OSError) as error:
            return replace(_failure(error), reached=is_heard)
        return _summed(settled)

    def probe(self, channel: Channel) -> Answer:
        """Go through a conversation up to the recipients, and take it back: no message is sent."""
        try:
            options = _options(channel)
            with conversation(_calling(channel, options, self.tls)) as smtp:
                _begin(smtp, _return_path(options))
                replies = {one: smtp.rcpt(one)[0] for one in addresses(options)[1]}
                smtp.rset()
        except (OncueError, smtplib.SMTPException, OSError) as error:
            return _failure(error)
        return _summed({one: _OK if code // 10 == _OK // 10 else code for one, code in replies.items()})


def login_of(text: str | None) -> MailLogin | None:
    """Return the login of a file of credentials, one line ``user:password``; None where the channel has no file.

    ChannelInvalid where the file holds something else.
    """
    if text is None:
        return None
    user, colon, password = text.strip().partition(":")
    if not colon or not user or not password or any(map(str.isspace, user)) or "\n" in password:
        raise ChannelInvalid("the credentials of a mail server are one line, user:password")
    return MailLogin(user, password)


def _options(channel: Channel) -> MailOptions:
    if not isinstance(channel.options, MailOptions):
        raise ChannelInvalid(f"channel {channel.name} has no options of e-mail: add it anew")
    return channel.options


def _calling(channel: Channel, options: MailOptions, tls: DestinationTls | None) -> MailCalling:
    """Return how a channel's server is called; ChannelInvalid where secrets or patients would travel in clear."""
    server, login = read_address(ChannelKind.MAIL, channel.address, security=options.security), login_of(channel.secret)
    if options.security is MailSecurity.PLAIN and not server.is_here:
        if channel.patient_data:
            raise ChannelInvalid(f"{server} would be told of patients in clear: use security=starttls or security=tls")
        if login is not None:
            raise ChannelInvalid(f"{server} would be shown a password in clear: use security=starttls or security=tls")
    own_name = options.sender.rpartition("@")[2]
    return MailCalling(server, options.security, login, own_name, channel.seconds, tls)


def _return_path(options: MailOptions) -> str:
    """Where bounces go: to the sender, or nowhere (RFC 5321 4.5.5)."""
    return "" if options.null_return_path else options.sender


def _begin(smtp: smtplib.SMTP, return_path: str) -> None:
    code, words = smtp.mail(return_path)
    if code != _OK:
        raise smtplib.SMTPSenderRefused(code, words, return_path)


def _sent(smtp: smtplib.SMTP, return_path: str, recipients: Sequence[str], message: bytes) -> dict[str, int]:
    """Send a message and return what was answered of each recipient; SMTPException where it went to none."""
    try:
        refused = smtp.sendmail(return_path, recipients, message)
    except smtplib.SMTPRecipientsRefused as error:
        codes = {one: code for one, (code, _) in error.recipients.items()}
        # Where the server hung up at one of them (421), those before it have not got it either.
        return {one: codes.get(one, _CLOSING) for one in recipients}
    return {one: refused[one][0] if one in refused else _OK for one in recipients}


def _summed(replies: Replies) -> Answer:
    """Return the answer to a message from those of its recipients."""
    taken = sum(code == _OK for code in replies.values())
    turned_down = sorted({code for code in replies.values() if code != _OK})
    if not turned_down:
        return TAKEN
    later = [code for code in turned_down if code not in _PERMANENT]
    told = f"taken for {taken} of {len(replies)} recipients; turned down with {', '.join(map(str, turned_down))}"
    if later:
        return Answer(Verdict.FAILED, f"smtp_{later[0]}", told)
    return Answer(Verdict.TAKEN if taken else Verdict.REFUSED, f"smtp_{turned_down[0]}", told)


def _failure(error: Exception) -> Answer:
    """Return what an error means; words of a server are not repeated, for they may repeat what it was sent."""
    if isinstance(error, OncueError):
        return Answer(Verdict.FAILED, error.code, str(error))
    if not isinstance(error, smtplib.SMTPException) or isinstance(error, smtplib.SMTPServerDisconnected):
        return Answer(Verdict.FAILED, "peer_unreachable", "the mail server broke the conversation off, or fell silent")
    if not isinstance(error, smtplib.SMTPResponseException):
        told = "the mail server takes no login that is known here: take the credentials out, or use another port"
        return Answer(Verdict.FAILED, "peer_answer_invalid", told)
    code, words = error.smtp_code, error.smtp_error
    if code not in _TRANSIENT and code not in _PERMANENT:
        return Answer(Verdict.FAILED, "peer_answer_invalid", "the mail server does not answer in SMTP")
    found = _ENHANCED.search(words if isinstance(words, bytes) else words.encode("ascii", "replace"))
    what = _STEPS.get(type(error), "the conversation")
    told = f"the mail server turns down {what} with {code}{f' {found[0].decode()}' if found else ''}"
    is_for_good = code in _PERMANENT and isinstance(error, smtplib.SMTPSenderRefused | smtplib.SMTPDataError)
    return Answer(Verdict.REFUSED if is_for_good else Verdict.FAILED, f"smtp_{code}", told)


_STEPS: Mapping[type[smtplib.SMTPResponseException], str] = {
    smtplib.SMTPConnectError: "the connection",
    smtplib.SMTPHeloError: "our name",
    smtplib.SMTPAuthenticationError: "user and password",
    smtplib.SMTPSenderRefused: "the sender",
    smtplib.SMTPDataError: "the message",
}
