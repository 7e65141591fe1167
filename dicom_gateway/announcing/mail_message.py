"""The e-mail of a group of announcements: text, the same as a small HTML page, and headers that answer no robot.

The same group gives the same bytes and the same Message-ID, so that a mail that is sent again is known as the same.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Sequence
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from dicom_gateway.announcing.announcement import AnnouncedPatient, Announcement, Channel
from dicom_gateway.announcing.grouping_words import (
    finding_words,
    headline,
    most_urgent_first,
    one_line,
    permitted,
    sentence,
)
from dicom_gateway.announcing.options import MailOptions
from storage.domain import Priority
from storage.errors import ChannelInvalid

_LONGEST_SUBJECT = 160
_CLOSING = (
    "Preliminary results of software, read by no person and not for primary diagnosis. "
    "This message was sent automatically; answers to it are not read."
)
_COLOURS = {Priority.STAT: "#b3261e", Priority.HIGH: "#8a5300", Priority.ROUTINE: "#1d5a8c", Priority.LOW: "#4a4a4a"}
_QUOTED = "quoted-printable"
_PAGE = "Page"
"""The one thing that is a link: addresses that come with images or models are text, and lead nobody anywhere."""


def mail_message(
    channel: Channel, options: MailOptions, announcements: Sequence[Announcement], group_key: str
) -> EmailMessage:
    """Return the message of a group, most urgent first; ChannelInvalid where an address cannot stand in a mail.

    Text of other systems can only be text: line breaks and control characters end no header and no line.
    """
    told = most_urgent_first(permitted(announcements, channel))
    sender, recipients = addresses(options)
    about = headline(told)
    digest = hashlib.sha256(f"{channel.name}/{group_key}".encode()).hexdigest()[:40]
    message = EmailMessage(policy=SMTP)
    message["From"] = Address("oncue", addr_spec=sender)
    message["To"] = [Address(addr_spec=one) for one in recipients]
    message["Subject"] = one_line(f"{options.subject_prefix} {about}", _LONGEST_SUBJECT)
    message["Date"] = format_datetime(max(one.announced_at for one in told).astimezone(UTC))
    message["Message-ID"] = f"<{digest}@{sender.rpartition('@')[2]}>"
    _mark_as_automatic(message, is_urgent=any(one.priority is Priority.STAT for one in told))
    message.set_content(_text(told, about), cte=_QUOTED)
    message.add_alternative(_page(told, about), subtype="html", cte=_QUOTED)
    message.set_boundary(f"oncue-{digest}")
    return message


def addresses(options: MailOptions) -> tuple[str, tuple[str, ...]]:
    """Return sender and recipients; ChannelInvalid where one is no address, or where the sender writes to itself.

    ``name+detail`` is the mailbox ``name`` (RFC 5233): a mail that goes round does so under any of its names.
    """
    for text in (options.sender, *options.recipients):
        _require_address(text)
    own = _mailbox(options.sender)
    if any(_mailbox(one) == own for one in options.recipients):
        raise ChannelInvalid(f"{options.sender} would write to itself, and mails could go round: change the recipients")
    if not options.recipients:
        raise ChannelInvalid("the channel has no recipient: `oncue channels change NAME --option recipients=...`")
    return options.sender, tuple(dict.fromkeys(options.recipients))


def _require_address(text: str) -> None:
    try:
        address = Address(addr_spec=text)
    except (MessageError, ValueError, IndexError):  # the last for an empty one
        raise ChannelInvalid(f"{one_line(text)!r} is no mail address") from None
    if not text.isascii() or not address.username or not address.domain:
        raise ChannelInvalid(f"{one_line(text)!r} is no mail address of ASCII characters: write its domain as xn--...")


def _mailbox(text: str) -> tuple[str, str]:
    name, _, domain = text.casefold().rpartition("@")
    return name.partition("+")[0], domain


def _mark_as_automatic(message: EmailMessage, *, is_urgent: bool) -> None:
    """Say that no person wrote it, to those that answer by themselves (RFC 3834 5, and what came before it)."""
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    message["Precedence"] = "bulk"
    if is_urgent:
        message["Importance"] = "high"
        message["X-Priority"] = "1"


def _text(announcements: Sequence[Announcement], about: str) -> str:
    blocks = [about]
    for one in announcements:
        facts = [f"  {name}: {value}" for name, value in _facts(one)]
        blocks.append("\n".join([f"{_priority(one)} - {sentence(one)}", *facts]))
    return "\n\n".join([*blocks, _CLOSING]) + "\n"


def _page(announcements: Sequence[Announcement], about: str) -> str:
    parts = "".join(map(_section, announcements))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(about)}</title></head>\n"
        '<body style="font-family:sans-serif;color:#1a1a1a;background:#ffffff">\n'
        f'<h1 style="font-size:18px">{html.escape(about)}</h1>\n{parts}'
        f'<p style="font-size:12px;color:#4a4a4a">{html.escape(_CLOSING)}</p>\n</body></html>\n'
    )


def _section(announcement: Announcement) -> str:
    colour = "#4a4a4a" if announcement.priority is None else _COLOURS[announcement.priority]
    rows = "".join(
        f'<tr><th scope="row" style="text-align:left;vertical-align:top;padding-right:12px">{html.escape(name)}</th>'
        f"<td>{_linked(value) if name == _PAGE else html.escape(value)}</td></tr>\n"
        for name, value in _facts(announcement)
    )
    return (
        f'<h2 style="font-size:16px;color:{colour}">{_priority(announcement)}</h2>\n'
        f'<p>{html.escape(sentence(announcement))}</p>\n<table style="font-size:14px">\n{rows}</table>\n'
    )


def _linked(value: str) -> str:
    shown = html.escape(value)
    return f'<a href="{shown}">{shown}</a>' if value.startswith(("https://", "http://")) else shown


def _facts(announcement: Announcement) -> list[tuple[str, str]]:
    """Return names and values, each one line; patient data where it is there."""
    found = [("Finding", words) for words in finding_words(announcement)]
    patient, accession, date = announcement.patient, announcement.accession_number, announcement.study_date
    given = [
        ("Patient", None if patient is None else _patient(patient)),
        ("Accession", accession),
        ("Study date", None if date is None else date.isoformat()),
        *found,
        (_PAGE, announcement.page),
        ("Last image", _moment(announcement.arrived_at)),
        ("Analysed", f"{_moment(announcement.analysed_at)} by {announcement.algorithm}"),
        ("Rule", f"{announcement.rule} (route {announcement.route})" if announcement.route else announcement.rule),
        ("Study", f"{announcement.study_instance_uid}, {'/'.join(announcement.modalities) or 'images'}"),
    ]
    return [(name, one_line(value)) for name, value in given if value]


def _patient(patient: AnnouncedPatient) -> str:
    """Return a patient in one line; of a name (VR PN, PS3.5 6.2.1) the first component group."""
    name = ", ".join(part for part in patient.name.partition("=")[0].split("^") if part)
    issued = f" ({patient.issuer})" if patient.issuer else ""
    born = "" if patient.birth_date is None else f"born {patient.birth_date.isoformat()}"
    return "; ".join(part for part in (name, f"{patient.patient_id}{issued}", born, patient.sex) if part)


def _priority(announcement: Announcement) -> str:
    return "WITHDRAWN" if announcement.priority is None else announcement.priority.value


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
