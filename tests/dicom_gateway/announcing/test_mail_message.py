"""What stands in an e-mail, and that nothing in it can be made to stand elsewhere."""

from __future__ import annotations

import email
import email.policy
from dataclasses import replace
from datetime import timedelta, timezone
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any

import pytest

from dicom_gateway.announcing.announcement import Announcement, Channel
from dicom_gateway.announcing.mail_message import mail_message
from dicom_gateway.announcing.options import MailOptions, MailSecurity
from storage.announcing.tables import AnnouncementLevel, ChannelKind
from storage.domain import Code, Priority
from storage.errors import ChannelInvalid
from tests.support.announced import ARRIVED, FINDING, GROUP_KEY, PATIENT, PATIENT_WORDS, announced, channel_to

OPTIONS = MailOptions(sender="oncue@hospital.example", recipients=("reading-room@hospital.example",))
HEADERS = {
    "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "X-Auto-Response-Suppress", "Precedence",
    "Importance", "X-Priority", "MIME-Version", "Content-Type",
}  # fmt: skip # a list of names


def channel(**changes: Any) -> Channel:
    return channel_to(ChannelKind.MAIL, "smtp://mail.hospital.example:587", OPTIONS, **changes)


def read(*announcements: Announcement, options: MailOptions = OPTIONS, **changes: Any) -> EmailMessage:
    """Return a message as somebody else's parser reads its bytes."""
    content = mail_message(channel(**changes), options, announcements, GROUP_KEY).as_bytes()
    assert max(map(len, content.split(b"\r\n"))) <= 998
    assert b"\n" not in content.replace(b"\r\n", b"")
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert message.defects == []
    return message


def text_of(message: EmailMessage, kind: str = "plain") -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content())


class Shown(HTMLParser):
    """The text that a page shows, and its tags with their links."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[str] = []
        self.links: list[str | None] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_it_says_what_there_is_to_read_in_text_and_as_a_page() -> None:
    message = read(announced(Priority.HIGH, 1), announced(Priority.STAT, 2))
    assert message["Subject"] == "[oncue] STAT: 1 study, HIGH: 1 study"
    page = Shown(text_of(message, "html"))
    for shown in (text_of(message), page.text):
        assert shown.index("STAT") < shown.index("HIGH")
        assert "Lesion, high-grade glioma, present, 12.3 ml, 31 mm (certainty 88%)" in shown
        assert "2026-03-01 08:00:00 UTC" in shown
        assert "large lesion (route head-mr)" in shown
        assert "2.25.1002, MR" in shown
        assert "read by no person" in shown
    assert page.links == [f"https://oncue.hospital.example/studies/{number}" for number in (2, 1)]


def test_robots_are_told_not_to_answer_and_the_message_is_known_again() -> None:
    one, again = read(announced()), read(announced())
    assert one["Auto-Submitted"] == "auto-generated"
    assert one["X-Auto-Response-Suppress"] == "All"
    assert one["Precedence"] == "bulk"
    assert one["Date"].datetime == announced().announced_at
    assert one["Message-ID"].endswith("@hospital.example>")
    assert one.as_bytes() == again.as_bytes()
    other = mail_message(channel(), OPTIONS, [announced()], "00" * 32)
    assert other["Message-ID"] != one["Message-ID"]
    assert mail_message(channel(name="day"), OPTIONS, [announced()], GROUP_KEY)["Message-ID"] != one["Message-ID"]


@pytest.mark.parametrize(("priority", "importance"), [(Priority.STAT, "high"), (Priority.HIGH, None), (None, None)])
def test_what_is_to_be_read_at_once_is_marked(priority: Priority | None, importance: str | None) -> None:
    assert read(announced(priority))["Importance"] == importance


@pytest.mark.parametrize(
    ("changes", "subject", "told"),
    [
        (
            {"priority": None, "previous": Priority.STAT, "level": AnnouncementLevel.CHANGE, "findings": ()},
            "withdrawn: 1 study",
            "The priority is withdrawn: a later result took it away. It was announced as STAT.",
        ),
        (
            {"priority": Priority.HIGH, "previous": Priority.STAT, "level": AnnouncementLevel.CHANGE},
            "HIGH: 1 study",
            "A later result changed the priority. It was announced as STAT.",
        ),
        (
            {"level": AnnouncementLevel.ESCALATION},
            "STAT: 1 study (1 not opened in time)",
            "Nobody has opened this study in time.",
        ),
    ],
)
def test_it_says_why_it_was_written(changes: dict[str, Any], subject: str, told: str) -> None:
    message = read(replace(announced(), **changes))
    assert message["Subject"] == f"[oncue] {subject}"
    assert told in text_of(message)


def test_patients_are_named_only_where_they_may_be() -> None:
    def everything(message: EmailMessage) -> str:
        return "\n".join([str(message["Subject"]), text_of(message), text_of(message, "html")])

    without = everything(read(announced()))
    assert [word for word in PATIENT_WORDS if word in without] == []
    with_it = text_of(read(announced(), patient_data=True))
    assert "Patient: Größe, Zoë; PATIENT-17 (HOSPITAL); born 1961-07-04; F" in with_it
    assert "Accession: ACC-99" in with_it


def test_an_address_that_came_with_the_images_is_no_link() -> None:
    lure = "https://evil.example/sign-in"
    announcement = announced(accession_number=lure, rule=lure, patient=replace(PATIENT, name=lure))
    message = read(announcement, patient_data=True)
    assert lure in text_of(message)
    assert Shown(text_of(message, "html")).links == [announcement.page]


EVIL = "x\r\nBcc: thief@evil.example\r\n\r\n<script>alert(1)</script>\u2028\u202e\x00\ud800"


def test_no_text_becomes_a_header_a_line_or_a_tag() -> None:
    finding = replace(FINDING, label=EVIL, concept=Code("1", "SCT", EVIL))
    announcement = announced(
        rule=EVIL,
        route=EVIL,
        algorithm=EVIL,
        findings=(finding,),
        modalities=(EVIL,),
        page=f"https://oncue.example/{EVIL}",
        accession_number=EVIL,
        patient=replace(PATIENT, name=EVIL, patient_id=EVIL, issuer=EVIL, sex=EVIL),
    )
    options = replace(OPTIONS, subject_prefix=EVIL)
    message = read(announcement, options=options, patient_data=True)
    assert set(message.keys()) <= HEADERS
    assert message["Bcc"] is None
    assert not any(line.startswith("Bcc:") for line in text_of(message).splitlines())
    assert "script" not in Shown(text_of(message, "html")).tags
    assert all(link is not None and " " in link for link in Shown(text_of(message, "html")).links)


def test_a_page_that_is_no_address_is_no_link() -> None:
    message = read(announced(page="javascript:alert(1)"))
    assert Shown(text_of(message, "html")).links == []


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nobody",
        "a@b@c",
        "a b@c.example",
        "a@c.example\r\nBcc: x@y",
        "ä@c.example",
        "a@ü.example",
        "@c.example",
        "a@",
    ],
)
@pytest.mark.parametrize("where", ["sender", "recipients"])
def test_what_is_no_address_is_in_no_mail(address: str, where: str) -> None:
    value: object = address if where == "sender" else (OPTIONS.recipients[0], address)
    options = replace(OPTIONS, **{where: value})  # type: ignore[arg-type]  # a value of either type
    with pytest.raises(ChannelInvalid):
        mail_message(channel(), options, [announced()], GROUP_KEY)


def test_a_group_of_many_is_still_one_mail() -> None:
    message = read(*(announced(Priority.HIGH, number) for number in range(200)))
    assert message["Subject"] == "[oncue] HIGH: 200 studies"
    assert text_of(message).count("Rule: ") == 200


def test_findings_beyond_five_are_counted() -> None:
    findings = tuple(replace(FINDING, number=number, volume_ml=float(number)) for number in range(1, 9))
    text = text_of(read(announced(findings=findings)))
    assert text.count("certainty 88%") == 5
    assert "8.0 ml" in text
    assert "and 3 more" in text


def test_a_tiny_lesion_is_not_said_to_have_no_volume() -> None:
    text = text_of(read(announced(findings=(replace(FINDING, volume_ml=0.035),))))
    assert "0.04 ml" in text  # 0.035 is a little more in binary


def test_times_are_in_utc_whatever_they_came_in() -> None:
    elsewhere = ARRIVED.astimezone(timezone(timedelta(hours=9)))
    assert "Last image: 2026-03-01 08:00:00 UTC" in text_of(read(announced(arrived_at=elsewhere)))


def test_the_security_of_the_channel_is_no_part_of_the_message() -> None:
    plain = replace(OPTIONS, security=MailSecurity.PLAIN)
    assert read(announced(), options=plain).as_bytes() == read(announced()).as_bytes()
