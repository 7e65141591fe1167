"""Messages reach a real syslog server over TLS, TCP and UDP, and none is taken for sent that was not read."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicom_gateway.audit_messages.message import message_of
from dicom_gateway.audit_messages.sending import reach, send
from dicom_gateway.audit_messages.syslog import SyslogOrigin, syslog_message
from dicom_gateway.audit_messages.syslog_server import SyslogServer, Transport
from dicom_gateway.audit_messages.syslog_witness import SyslogWitness
from dicom_gateway.errors import SyslogUnreachable, SyslogUntrusted
from storage.config import AuditSettings
from storage.errors import ConfigurationError
from tests.support.audit_events import SOURCE, event, message_schema
from tests.support.certificates import Authority
from tests.support.peers import free_port
from tests.support.syslog_receiver import Received, syslog_receiver

ORIGIN = SyslogOrigin("gateway.example", "4711")


def message(tag: str = "instance:stored", *, actor: str = "CT1") -> bytes:
    made = message_of(event(tag, "instance/1.2.3", actor=actor), SOURCE)
    assert made is not None
    return syslog_message(made, ORIGIN)


def server(port: int, transport: Transport = Transport.TLS, **files: Path) -> SyslogServer:
    return SyslogServer(transport, "127.0.0.1", port, **files)


def texts(received: Sequence[Received]) -> list[str]:
    return [item.text for item in received]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_the_header_is_that_of_rfc_5424_with_the_facility_and_the_message_id_of_dicom() -> None:
    header, mark, _ = message().partition(b"\xef\xbb\xbf")
    assert header == b"<85>1 2026-11-28T21:40:00.000123+00:00 gateway.example oncue 4711 DICOM+RFC3881 - "
    assert mark
    assert message("delivery:refused").startswith(b"<84>1 ")


def test_messages_arrive_over_tls_in_order_and_are_valid(authority: Authority) -> None:
    identity = authority.issue("localhost", address="127.0.0.1")
    with syslog_receiver(identity=identity) as receiver:
        send(server(receiver.port, ca=authority.certificate), [message(), message(actor="Grüße 東京")])
        first, second = receiver.next(), receiver.next()
    assert (first.priority, first.application, first.message_id) == (85, "oncue", "DICOM+RFC3881")
    for received in (first, second):
        message_schema().validate(received.text)
    assert "Grüße 東京" in second.text


def test_a_server_of_another_authority_gets_nothing(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger").issue("localhost", address="127.0.0.1")
    with syslog_receiver(identity=stranger) as receiver:
        with pytest.raises(SyslogUntrusted, match=r"audit\.syslog_ca"):
            send(server(receiver.port, ca=authority.certificate), [message()])
        with pytest.raises(SyslogUntrusted, match="not trusted"):
            send(server(receiver.port), [message()])  # the system trusts neither
    assert receiver.all_so_far() == []


def test_a_server_with_another_name_gets_nothing(authority: Authority) -> None:
    with syslog_receiver(identity=authority.issue("syslog.example")) as receiver:
        named = server(receiver.port, ca=authority.certificate)
        with pytest.raises(SyslogUntrusted, match=r"127\.0\.0\.1"):
            send(named, [message()])
    assert receiver.all_so_far() == []


def test_a_server_that_asks_for_our_certificate_takes_the_right_one_alone(authority: Authority, tmp_path: Path) -> None:
    identity = authority.issue("localhost", address="127.0.0.1")
    ours, strange = authority.issue("gateway"), Authority(tmp_path, "stranger").issue("gateway")
    with syslog_receiver(identity=identity, client_ca=authority.certificate) as receiver:
        with pytest.raises((SyslogUntrusted, SyslogUnreachable)):
            send(server(receiver.port, ca=authority.certificate), [message()])
        with pytest.raises((SyslogUntrusted, SyslogUnreachable)):
            send(
                server(receiver.port, ca=authority.certificate, certificate=strange.certificate, key=strange.key),
                [message()],
            )
        assert receiver.all_so_far() == []
        send(server(receiver.port, ca=authority.certificate, certificate=ours.certificate, key=ours.key), [message()])
        assert receiver.next().message_id == "DICOM+RFC3881"


@pytest.mark.parametrize("many", [3, 400])
@pytest.mark.parametrize("secured", [True, False])
def test_what_a_dying_server_left_unread_is_not_taken_for_sent(
    authority: Authority, *, secured: bool, many: int
) -> None:
    identity = authority.issue("localhost", address="127.0.0.1") if secured else None
    with syslog_receiver(identity=identity, keeps=2) as receiver:
        transport = Transport.TLS if secured else Transport.TCP
        files = {"ca": authority.certificate} if secured else {}
        with pytest.raises(SyslogUnreachable):
            send(server(receiver.port, transport, **files), [message()] * many)
        assert len(receiver.all_so_far()) == 2


def test_messages_arrive_over_plain_tcp_and_over_udp() -> None:
    with syslog_receiver() as receiver:
        send(server(receiver.port, Transport.TCP), [message(), message("delivery:sent")])
        assert texts([receiver.next(), receiver.next()])[0] == message().partition(b"\xef\xbb\xbf")[2].decode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(10)
        send(server(listening.getsockname()[1], Transport.UDP), [message()])
        assert Received.parse(listening.recv(65536)).priority == 85


def test_a_checkpoint_reaches_the_server_whole() -> None:
    note = "oncue\n7\nAAAA\n\n\u2014 oncue BBBB\n"
    with syslog_receiver() as receiver:
        SyslogWitness(server(receiver.port, Transport.TCP)).publish(note, lambda *_: (), now=datetime.now(UTC))
        received = receiver.next()
    assert (received.priority, received.message_id) == (85, "CHECKPOINT")
    assert received.text.replace("\\n", "\n") == note


def test_a_server_that_is_not_there_is_named() -> None:
    absent = server(free_port(), Transport.TCP)
    with pytest.raises(SyslogUnreachable, match=f"{absent} cannot be reached"):
        reach(absent)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("tls://logs.example:6515", "tls://logs.example:6515"),
        ("tls://logs.example", "tls://logs.example:6514"),
        ("udp://[::1]", "udp://[::1]:514"),
        ("tcp://10.0.0.1:601/", "tcp://10.0.0.1:601"),
    ],
)
def test_an_address_has_a_transport_and_by_default_its_port(text: str, found: str) -> None:
    assert str(SyslogServer.of(AuditSettings(syslog=text))) == found


@pytest.mark.parametrize("text", ["logs.example:6514", "https://logs.example", "tls://", "tls://h:99999", "tls://h/x"])
def test_an_address_that_is_none_is_refused_with_the_forms_that_are(text: str) -> None:
    with pytest.raises(ConfigurationError, match="write tls://HOST:PORT"):
        SyslogServer.of(AuditSettings(syslog=text))


def test_certificates_without_tls_and_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="uses no certificates"):
        SyslogServer.of(AuditSettings(syslog="udp://h", syslog_ca=tmp_path / "ca.pem"))
    with pytest.raises(ConfigurationError, match=r"ca\.pem cannot be used"):
        server(6514, ca=tmp_path / "ca.pem").tls_context()
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(ConfigurationError, match=r"ca\.pem cannot be used"):
        server(6514, ca=tmp_path / "ca.pem").tls_context()
