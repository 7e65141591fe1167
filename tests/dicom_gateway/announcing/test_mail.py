"""E-mail, to a server that takes, turns down, and breaks off."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dicom_gateway.announcing.announcement import Answer, Channel, Verdict
from dicom_gateway.announcing.mail import MailSender, login_of
from dicom_gateway.announcing.options import MailOptions, MailSecurity
from dicom_gateway.config import GatewaySettings
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.announcing.tables import ChannelKind
from storage.domain import Priority
from storage.errors import ChannelInvalid
from tests.support.announced import GROUP_KEY, announced, channel_to
from tests.support.certificates import Authority
from tests.support.mail_receiver import MailReceiver, mail_receiver

READING_ROOM, NIGHT, CHIEF = (f"{name}@hospital.example" for name in ("reading-room", "night", "chief"))
PLAIN = MailOptions(
    sender="oncue@hospital.example", recipients=(READING_ROOM, NIGHT, CHIEF), security=MailSecurity.PLAIN
)
SECURE = MailOptions(sender="oncue@hospital.example", recipients=(READING_ROOM,))


def channel_at(receiver: MailReceiver, options: MailOptions = PLAIN, **changes: Any) -> Channel:
    return channel_to(ChannelKind.MAIL, f"smtp://127.0.0.1:{receiver.port}", options, **changes)


def sent(receiver: MailReceiver, sender: MailSender | None = None, **changes: Any) -> Answer:
    return (sender or MailSender()).send(channel_at(receiver, **changes), [announced()], GROUP_KEY)


def test_a_group_is_one_mail_to_all_recipients() -> None:
    with mail_receiver(MailReceiver()) as receiver:
        group = [announced(Priority.HIGH, 1), announced(Priority.STAT, 2), announced(Priority.STAT, 3)]
        assert MailSender().send(channel_at(receiver), group, GROUP_KEY) == Answer(Verdict.TAKEN)
    [mail] = receiver.mails
    assert (mail.sender, mail.recipients) == (PLAIN.sender, PLAIN.recipients)
    assert mail.message["Subject"] == "[oncue] STAT: 2 studies, HIGH: 1 study"
    assert mail.message["To"] == ", ".join(PLAIN.recipients)


def test_bounces_go_nowhere_where_that_is_wanted() -> None:
    options = MailOptions(PLAIN.sender, PLAIN.recipients, security=MailSecurity.PLAIN, null_return_path=True)
    with mail_receiver(MailReceiver()) as receiver:
        assert sent(receiver, options=options) == Answer(Verdict.TAKEN)
    [mail] = receiver.mails
    assert mail.sender == "<>"
    assert PLAIN.sender in mail.message["From"]


def test_who_is_turned_down_for_now_gets_it_later_and_the_others_once() -> None:
    sender = MailSender()
    with mail_receiver(MailReceiver({NIGHT: "450 4.2.1 busy"})) as receiver:
        first = sent(receiver, sender)
        assert (first.verdict, first.code) == (Verdict.FAILED, "smtp_450")
        assert first.reason == "taken for 2 of 3 recipients; turned down with 450"
        receiver.answers.clear()
        assert sent(receiver, sender) == Answer(Verdict.TAKEN)
        assert sent(receiver, sender) == Answer(Verdict.TAKEN)
    assert [mail.recipients for mail in receiver.mails] == [(READING_ROOM, CHIEF), (NIGHT,)]
    first_id, second_id = (mail.message["Message-ID"] for mail in receiver.mails)
    assert first_id == second_id


def test_who_is_turned_down_for_good_is_said_and_does_not_keep_the_others_from_it() -> None:
    sender = MailSender()
    with mail_receiver(MailReceiver({NIGHT: "550 5.1.1 no such mailbox", CHIEF: "451 later"})) as receiver:
        assert sent(receiver, sender).verdict is Verdict.FAILED
        receiver.answers[CHIEF] = "250 OK"
        answer = sent(receiver, sender)
    assert (answer.verdict, answer.code) == (Verdict.TAKEN, "smtp_550")
    assert answer.reason == "taken for 2 of 3 recipients; turned down with 550"
    assert receiver.recipients.count(NIGHT) == 1


@pytest.mark.parametrize(
    ("code", "verdict"), [(450, Verdict.FAILED), (452, Verdict.FAILED), (550, Verdict.REFUSED), (554, Verdict.REFUSED)]
)
def test_with_every_recipient_turned_down_it_is_for_nobody(code: int, verdict: Verdict) -> None:
    with mail_receiver(MailReceiver(dict.fromkeys(PLAIN.recipients, f"{code} no"))) as receiver:
        answer = sent(receiver)
    assert (answer.verdict, answer.code, receiver.mails) == (verdict, f"smtp_{code}", [])


def test_a_server_that_closes_in_the_middle_has_given_it_to_nobody() -> None:
    sender = MailSender()
    with mail_receiver(MailReceiver({NIGHT: "421 4.3.2 going down"})) as receiver:
        answer = sent(receiver, sender)
        assert (answer.verdict, answer.code, receiver.mails) == (Verdict.FAILED, "smtp_421", [])
        receiver.answers.clear()
        assert sent(receiver, sender) == Answer(Verdict.TAKEN)
    assert [mail.recipients for mail in receiver.mails] == [PLAIN.recipients]


@pytest.mark.parametrize(
    ("answers", "verdict", "told"),
    [
        ({"to_sender": "450 4.7.1 not now"}, Verdict.FAILED, "the sender with 450 4.7.1"),
        ({"to_sender": "550 5.7.1 not you"}, Verdict.REFUSED, "the sender with 550 5.7.1"),
        ({"to_message": "452 4.3.1 disk full"}, Verdict.FAILED, "the message with 452 4.3.1"),
        ({"to_message": "554 5.6.0 no"}, Verdict.REFUSED, "the message with 554 5.6.0"),
    ],
)
def test_a_server_may_turn_down_the_sender_or_the_message(answers: dict[str, str], verdict: Verdict, told: str) -> None:
    with mail_receiver(MailReceiver(**answers)) as receiver:  # type: ignore[arg-type]  # answers alone
        answer = sent(receiver)
    assert (answer.verdict, answer.reason) == (verdict, f"the mail server turns down {told}")
    assert answer.reached


def test_words_of_the_server_are_not_repeated() -> None:
    with mail_receiver(MailReceiver(to_message="554 5.6.0 Zoe PATIENT-17 is no subject")) as receiver:
        assert "PATIENT-17" not in sent(receiver).reason


def by_tls(authority: Authority, *, name: str = "localhost", address: str | None) -> tuple[MailSender, ssl.SSLContext]:
    issued = authority.issue(name, address=address)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(issued.certificate, issued.key)
    return MailSender(DestinationTls(GatewaySettings(tls_destinations_ca=authority.certificate))), server


@pytest.mark.parametrize("security", [MailSecurity.STARTTLS, MailSecurity.TLS])
def test_by_tls_either_way(security: MailSecurity, tmp_path: Path) -> None:
    sender, server = by_tls(Authority(tmp_path), address="127.0.0.1")
    options = MailOptions(SECURE.sender, SECURE.recipients, security=security)
    how: dict[str, Any] = {"starttls": server} if security is MailSecurity.STARTTLS else {"tls": server}
    with mail_receiver(MailReceiver(), **how) as receiver:
        assert sent(receiver, sender, options=options, patient_data=True) == Answer(Verdict.TAKEN)
    [mail] = receiver.mails
    assert security is MailSecurity.TLS or mail.by_tls
    assert "PATIENT-17" in mail.content.decode()


@pytest.mark.parametrize("security", [MailSecurity.STARTTLS, MailSecurity.TLS])
@pytest.mark.parametrize("wrong", ["name", "authority"])
def test_a_certificate_that_does_not_hold_ends_it(security: MailSecurity, wrong: str, tmp_path: Path) -> None:
    name, address = ("mail.other.example", None) if wrong == "name" else ("localhost", "127.0.0.1")
    sender, server = by_tls(Authority(tmp_path), name=name, address=address)
    if wrong == "authority":
        stranger = Authority(tmp_path, "stranger").certificate
        sender = MailSender(DestinationTls(GatewaySettings(tls_destinations_ca=stranger)))
    options = MailOptions(SECURE.sender, SECURE.recipients, security=security)
    how: dict[str, Any] = {"starttls": server} if security is MailSecurity.STARTTLS else {"tls": server}
    with mail_receiver(MailReceiver(), **how) as receiver:
        answer = sent(receiver, sender, options=options)
    assert (answer.verdict, answer.code) == (Verdict.FAILED, "peer_untrusted")
    assert receiver.recipients == []


def test_a_server_without_starttls_is_told_nothing() -> None:
    with mail_receiver(MailReceiver()) as receiver:
        answer = sent(receiver, options=SECURE)
    assert (answer.verdict, answer.code) == (Verdict.FAILED, "peer_untrusted")
    assert "offers no STARTTLS" in answer.reason
    assert receiver.recipients == []


@pytest.mark.parametrize(("password", "verdict"), [("secret of the server", Verdict.TAKEN), ("no", Verdict.FAILED)])
def test_a_login_is_shown(password: str, verdict: Verdict, tmp_path: Path) -> None:
    sender, server = by_tls(Authority(tmp_path), address="127.0.0.1")
    with mail_receiver(MailReceiver(), starttls=server, settings={"auth_required": True}) as receiver:
        answer = sent(receiver, sender, options=SECURE, secret=f"oncue:{password}\n")
    assert answer.verdict is verdict
    if verdict is Verdict.FAILED:
        assert (answer.code, receiver.mails) == ("smtp_535", [])
        assert "user and password" in answer.reason


def test_a_server_that_takes_no_login_is_not_one_that_is_down(tmp_path: Path) -> None:
    sender, server = by_tls(Authority(tmp_path), address="127.0.0.1")
    none = {"auth_exclude_mechanism": ["LOGIN", "PLAIN"]}
    with mail_receiver(MailReceiver(), starttls=server, settings=none) as receiver:
        answer = sent(receiver, sender, options=SECURE, secret="oncue:secret")  # noqa: S106 - of nobody
    assert (answer.verdict, answer.code) == (Verdict.FAILED, "peer_answer_invalid")


@pytest.mark.parametrize("changes", [{"patient_data": True}, {"secret": "user:password"}])
def test_neither_patients_nor_passwords_travel_in_clear(changes: dict[str, Any]) -> None:
    channel = channel_to(ChannelKind.MAIL, "smtp://mail.invalid:25", PLAIN, **changes)
    answer = MailSender().send(channel, [announced()], GROUP_KEY)
    assert (answer.verdict, answer.code) == (Verdict.FAILED, "channel_invalid")
    assert "in clear" in answer.reason


@pytest.mark.parametrize("recipient", [PLAIN.sender, "ONCUE@Hospital.example", "oncue+alerts@hospital.example"])
def test_nobody_writes_to_itself(recipient: str) -> None:
    options = MailOptions(PLAIN.sender, (READING_ROOM, recipient), security=MailSecurity.PLAIN)
    with mail_receiver(MailReceiver()) as receiver:
        answer = sent(receiver, options=options)
    assert (answer.verdict, answer.code, receiver.recipients) == (Verdict.FAILED, "channel_invalid", [])
    assert "write to itself" in answer.reason


@pytest.mark.parametrize(
    ("answers", "verdict"),
    [
        ({}, Verdict.TAKEN),
        (dict.fromkeys(PLAIN.recipients, "550 no"), Verdict.REFUSED),
        ({CHIEF: "450 later"}, Verdict.FAILED),
    ],
)
def test_a_trial_goes_up_to_the_recipients_and_sends_nothing(answers: dict[str, str], verdict: Verdict) -> None:
    with mail_receiver(MailReceiver(answers)) as receiver:
        assert MailSender().probe(channel_at(receiver)).verdict is verdict
    assert (receiver.recipients, receiver.mails) == (list(PLAIN.recipients), [])


@contextmanager
def saying(talk: Callable[[socket.socket], None]) -> Iterator[MailReceiver]:
    """Run a server that talks as a test wants, to one caller."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                try:
                    talk(connection)
                except OSError:
                    return  # the caller has hung up

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield MailReceiver(port=server.getsockname()[1])
        thread.join(10.0)


def silent(connection: socket.socket) -> None:
    connection.recv(1)


def hanging_up(connection: socket.socket) -> None:
    connection.sendall(b"220 hello\r\n")


def garbage(connection: socket.socket) -> None:
    connection.sendall(b"\x00\x01HTTP/1.1 400 Bad Request\r\n\r\n")
    connection.recv(1)


def endless(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"220-" + b"x" * 1000 + b"\r\n")


def dripping(connection: socket.socket) -> None:
    connection.settimeout(0.05)
    while True:
        connection.sendall(b"220-x\r\n")
        try:
            if not connection.recv(1):
                return
        except TimeoutError:
            continue


def busy(connection: socket.socket) -> None:
    connection.sendall(b"554 5.3.2 no service here\r\n")
    connection.recv(1)


@pytest.mark.parametrize(
    ("talk", "code"),
    [
        (silent, "peer_unreachable"),
        (hanging_up, "peer_unreachable"),
        (garbage, "peer_answer_invalid"),
        (endless, "peer_unreachable"),
        (dripping, "peer_unreachable"),
        (busy, "smtp_554"),
    ],
)
def test_a_conversation_that_does_not_come_about_is_a_failure(talk: Callable[[socket.socket], None], code: str) -> None:
    with saying(talk) as receiver:
        answer = sent(receiver, seconds=0.3)
    assert (answer.verdict, answer.code, answer.reached) == (Verdict.FAILED, code, False)
    assert answer.reason


def test_words_before_the_handshake_do_not_count_behind_it(tmp_path: Path) -> None:
    """What somebody on the way puts behind the answer to STARTTLS must not be heard as the server's (RFC 3207 5)."""
    sender, server = by_tls(Authority(tmp_path), address="127.0.0.1")
    heard: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        connection.sendall(b"220 hello\r\n")
        connection.recv(1000)
        connection.sendall(b"250-hello\r\n250 STARTTLS\r\n")
        connection.recv(1000)
        connection.sendall(b"220 go\r\n250 injected\r\n")
        with server.wrap_socket(connection, server_side=True) as secured:
            heard.append(secured.recv(1000))
            secured.sendall(b"550 not you\r\n")
            heard.append(secured.recv(1000))

    with saying(talk) as receiver:
        answer = sent(receiver, sender, options=SECURE)
    assert answer.verdict is Verdict.FAILED
    assert not any(words.lower().startswith(b"mail") for words in heard)


@pytest.mark.parametrize("text", ["user", ":password", "user:", "a b:password", "user:one\nuser:two"])
def test_what_is_no_login_is_said(text: str) -> None:
    with pytest.raises(ChannelInvalid, match="user:password"):
        login_of(text)
