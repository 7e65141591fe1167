"""What an open association answers, whom it gives way to, and how its end is recorded; over real connections."""

from __future__ import annotations

import contextlib
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from socket import create_connection, socket
from typing import Any

import psutil
import pytest
from pydicom.uid import CTImageStorage, MRImageStorage
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import, from a table

from dicom_gateway.config import GatewaySettings
from dicom_gateway.errors import GatewayError, OutOfResources
from dicom_gateway.receiving.admission import Admitted, Caller, Refused
from dicom_gateway.receiving.listener import Listener
from dicom_gateway.receiving.peer_admission import PeerAdmission
from dicom_gateway.status import Status
from dicom_gateway.tls.doors import Door, Secured
from storage import audit, processes
from storage.database import Database, utc_now
from storage.objects import ObjectStore
from storage.peers import Service
from tests.support.certificates import Authority
from tests.support.gateways import Running, half_received, running_gateway, until
from tests.support.senders import LOOPBACK, RawSender, associate_request, association, ct_image, echoes, encoded, store

_IMAGE = ct_image()
_UID, _CONTENT = str(_IMAGE.SOPInstanceUID), encoded(_IMAGE)
_ECHO, _FIND, _CANCEL = 0x0030, 0x0020, 0x0FFF
_NO_DATA_SET = 0x0101
_CONTEXT_ID_AT = 103  # behind the fixed fields and the application context

pytestmark = pytest.mark.slow


@pytest.fixture
def running(sqlite_database: Database, objects: ObjectStore) -> Iterator[Running]:
    with running_gateway(sqlite_database, objects) as gateway:
        yield gateway


@contextlib.contextmanager
def idle_associations(port: int, count: int, *, calling_aet: str = "MODALITY") -> Iterator[list[RawSender]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(RawSender(port, calling_aet=calling_aet)) for _ in range(count)]


def is_established(port: int, calling_aet: str) -> bool:
    with association(port, calling_aet=calling_aet) as opened:
        return opened.is_established


def ends(running: Running) -> list[str]:
    return running.events("association:closed")


def test_idle_associations_of_one_peer_keep_no_other_out(running: Running) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(32):
            with contextlib.suppress(ConnectionError):
                stack.enter_context(RawSender(running.port, calling_aet="GREEDY"))
        assert echoes(running.port)
        assert store(running.port, ct_image()) == [Status.SUCCESS]


def test_the_longest_idle_association_gives_way_with_an_abort_and_is_recorded_as_displaced(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    with (
        running_gateway(sqlite_database, objects, maximum_associations=2, reserved_associations=0) as running,
        idle_associations(running.port, 2) as (first, second),
    ):
        until(lambda: is_established(running.port, "NEWCOMER"), "a place for the newcomer")
        assert first.is_aborted()
        assert second.store(_UID, _CONTENT) == Status.SUCCESS
        until(lambda: '{"how":"displaced"}' in ends(running), "the record of the displaced association")


def test_an_association_that_works_does_not_give_way(sqlite_database: Database, objects: ObjectStore) -> None:
    with (
        running_gateway(sqlite_database, objects, maximum_associations=1) as running,
        RawSender(running.port) as busy,
    ):
        busy.send_command(_UID)
        busy.send_fragment(_CONTENT[:100], control=0)
        assert not is_established(running.port, "NEWCOMER")
        busy.send_fragment(_CONTENT[100:], control=0b10)
        assert busy.read_status() == Status.SUCCESS


@pytest.mark.parametrize("field", [_FIND, 0x0140, 0x0777], ids=["C-FIND", "N-CREATE", "none"])
def test_a_request_that_is_not_served_is_answered_so_and_the_association_goes_on(running: Running, field: int) -> None:
    with RawSender(running.port) as sender:
        sender.send_command(_UID, field=field)
        sender.send_fragment(_CONTENT, control=0b10)
        assert sender.read_status() == Status.UNRECOGNIZED_OPERATION
        sender.send_command(_UID, field=field, data_set=_NO_DATA_SET)
        assert sender.read_status() == Status.UNRECOGNIZED_OPERATION
        assert sender.store(_UID, _CONTENT) == Status.SUCCESS


def test_a_cancel_of_nothing_is_not_answered(running: Running) -> None:
    with RawSender(running.port) as sender:
        sender.send_command(_UID, field=_CANCEL, data_set=_NO_DATA_SET)
        sender.send_command(_UID, field=_ECHO, data_set=_NO_DATA_SET)
        assert sender.read_status() == Status.SUCCESS


def test_a_message_in_a_context_that_was_not_accepted_is_an_abort(running: Running) -> None:
    with RawSender(running.port) as sender:
        content = struct.pack(">LBB", 2, 77, 0b11)
        sender.socket.sendall(struct.pack(">BBL", 0x04, 0, len(content)) + content)
        assert sender.is_aborted()


@pytest.mark.parametrize(
    "kind", [0x01, 0x02, 0x03, 0x06], ids=["A-ASSOCIATE-RQ", "A-ASSOCIATE-AC", "A-ASSOCIATE-RJ", "A-RELEASE-RP"]
)
def test_a_pdu_out_of_turn_is_an_abort(running: Running, kind: int) -> None:
    with RawSender(running.port) as sender:
        sender.socket.sendall(struct.pack(">BBL", kind, 0, 4) + bytes(4))
        assert sender.is_aborted()


def test_a_release_in_the_middle_of_an_image_is_granted_and_leaves_nothing_behind(
    running: Running, objects: ObjectStore
) -> None:
    with RawSender(running.port) as sender:
        sender.send_command(_UID)
        sender.send_fragment(_CONTENT[:200], control=0)
        sender.socket.sendall(struct.pack(">BBL", 0x05, 0, 4) + bytes(4))
        assert sender.read_pdu() == (0x06, bytes(4))
        assert sender.socket.recv(1) == b""
    until(lambda: ends(running) == ['{"how":"released"}'], "the end of the association")
    assert half_received(objects) == []
    assert running.instances() == ()


@pytest.mark.parametrize(("goodbye", "how"), [(b"\x07\0\0\0\0\4\0\0\0\0", "aborted"), (b"", "lost")])
def test_how_an_association_ended_is_on_record(running: Running, goodbye: bytes, how: str) -> None:
    with RawSender(running.port) as sender:
        assert sender.store(_UID, _CONTENT) == Status.SUCCESS
        sender.socket.sendall(goodbye)
    until(lambda: ends(running) == [f'{{"how":"{how}"}}'], "the end of the association")


def changed(request: bytes, at: int, value: bytes) -> bytes:
    return request[:at] + value + request[at + len(value) :]


@pytest.mark.parametrize(
    ("request_bytes", "answer"),
    [
        (changed(associate_request(), 6, b"\0\2"), b"\x03\0\0\0\0\4\0\1\2\2"),
        (associate_request().replace(b"1.2.840.10008.3.1.1.1", b"1.2.840.10008.3.1.1.9"), b"\x03\0\0\0\0\4\0\1\1\2"),
        (changed(associate_request(), _CONTEXT_ID_AT, b"\2"), b"\x07\0\0\0\0\4\0\0\2\6"),
        (struct.pack(">BBL", 1, 0, 68) + bytes(68), b"\x07\0\0\0\0\4\0\0\2\6"),
        (struct.pack(">BBL", 4, 0, 4) + bytes(4), b"\x07\0\0\0\0\4\0\0\2\2"),
        (struct.pack(">BBL", 1, 0, 1 << 20), b"\x07\0\0\0\0\4\0\0\2\6"),
    ],
    ids=["protocol version", "application context", "even context id", "no contexts", "data first", "1 MiB"],
)
def test_a_request_that_is_none_is_told_why(running: Running, request_bytes: bytes, answer: bytes) -> None:
    with create_connection((LOOPBACK, running.port), timeout=20) as connection:
        connection.sendall(request_bytes)
        assert connection.recv(100) == answer
        assert connection.recv(1) == b""
    assert echoes(running.port)


def test_health_checks_that_connect_and_leave_cost_nothing(running: Running) -> None:
    process = psutil.Process()
    assert echoes(running.port)

    def held() -> tuple[int, int]:
        """Return threads and sockets; the journal opens and closes files of its own meanwhile."""
        return threading.active_count(), len(process.net_connections(kind="all"))

    threads, sockets = held()
    for _ in range(500):
        create_connection((LOOPBACK, running.port), timeout=20).close()
    until(lambda: all(now <= then for now, then in zip(held(), (threads, sockets), strict=True)), "the end of them all")
    assert echoes(running.port)


class Restricted(PeerAdmission):
    """Admits as entries and settings say, but with what a test allows."""

    def __init__(
        self, database: Database, restrict: Callable[[Admitted], Admitted], quota: GatewayError | None
    ) -> None:
        super().__init__(database, GatewaySettings(), utc_now)
        self._restrict = restrict
        self._quota = quota

    def admit(self, caller: Caller) -> Admitted | Refused:
        admitted = super().admit(caller)
        return admitted if isinstance(admitted, Refused) else self._restrict(admitted)

    def still_allows(self, admitted: Admitted, service: Service) -> bool:
        return service in admitted.services

    def charge(self, _admitted: Admitted, _size_bytes: int) -> GatewayError | None:
        return self._quota


@contextlib.contextmanager
def listening(
    database: Database,
    objects: ObjectStore,
    *,
    restrict: Callable[[Admitted], Admitted] = lambda admitted: admitted,
    quota: GatewayError | None = None,
    doors: list[Door] | None = None,
    **settings: object,
) -> Iterator[Listener]:
    objects.prepare()
    with database.write() as session:
        processes.start(session, "gateway-1", "gateway", now=utc_now())
    chosen = GatewaySettings.model_validate({"port": 0, "drain_seconds": 0, **settings})
    admission = Restricted(database, restrict, quota)
    listener = Listener(
        chosen, database, objects, process_id="gateway-1", clock=utc_now, admission=admission, doors=doors
    )
    listener.start()
    try:
        yield listener
    finally:
        listener.stop()


_ONLY_ECHO: dict[str, Any] = {"services": frozenset({Service.VERIFICATION})}
_ONLY_CT: dict[str, Any] = {"services": frozenset({Service.STORAGE}), "sop_classes": frozenset({CTImageStorage})}


@pytest.mark.parametrize(("allowed", "accepted"), [(_ONLY_ECHO, {Verification}), (_ONLY_CT, {CTImageStorage})])
def test_a_peer_gets_only_the_services_and_classes_that_it_may_use(
    sqlite_database: Database, objects: ObjectStore, allowed: dict[str, Any], accepted: set[str]
) -> None:
    proposed = [build_context(sop_class) for sop_class in (CTImageStorage, MRImageStorage, Verification)]
    with (
        listening(sqlite_database, objects, restrict=lambda admitted: replace(admitted, **allowed)) as listener,
        association(listener.port, proposed) as opened,
    ):
        assert {context.abstract_syntax for context in opened.accepted_contexts} == accepted


def test_an_image_beyond_the_quota_is_refused_for_now_and_nothing_of_it_stays(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    quota = OutOfResources("the peer's quota is used up")
    with listening(sqlite_database, objects, quota=quota) as listener:
        assert store(listener.port, ct_image()) == [Status.OUT_OF_RESOURCES]
    assert list(objects.incoming.iterdir()) == []


def test_an_association_over_tls_serves_and_gives_way_with_an_abort(
    sqlite_database: Database, objects: ObjectStore, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue("oncue", address=LOOPBACK)
    server, client = (
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        ssl.create_default_context(cafile=str(authority.certificate)),
    )
    server.load_cert_chain(issued.certificate, issued.key)

    def secure(connection: socket) -> Secured:
        return Secured(server.wrap_socket(connection.dup(), server_side=True), ("scanner",))

    doors = [Door(LOOPBACK, 0), Door(LOOPBACK, 0, secure)]
    with listening(sqlite_database, objects, doors=doors, maximum_associations=1) as listener:
        plain, protected = listener.ports
        raw = client.wrap_socket(create_connection((LOOPBACK, protected), timeout=20), server_hostname=LOOPBACK)
        with RawSender(protected, connection=raw) as sender:
            assert sender.store(_UID, _CONTENT) == Status.SUCCESS
            assert sender.store(_UID, _CONTENT * 1) == Status.SUCCESS
            until(lambda: is_established(plain, "NEWCOMER"), "a place for the newcomer")
            assert sender.is_aborted()


def test_stopping_aborts_what_is_open_after_the_time_to_finish(sqlite_database: Database, objects: ObjectStore) -> None:
    with listening(sqlite_database, objects, drain_seconds=0.1) as listener, RawSender(listener.port) as sender:
        assert sender.store(_UID, _CONTENT) == Status.SUCCESS
        listener.stop()
        assert sender.is_aborted()
    with sqlite_database.read() as session:
        (ended,) = audit.history(session, tag="association:closed")
    assert ended.details == '{"how":"aborted"}'


def test_a_peer_that_opens_and_leaves_again_and_again_fills_no_records(running: Running) -> None:
    for _ in range(80):
        with RawSender(running.port) as sender:
            sender.socket.sendall(b"\x07\0\0\0\0\4\0\0\0\0")
    until(lambda: len(ends(running)) == 50, "the record of the first fifty")
    assert echoes(running.port)
    assert len(ends(running)) == 50


def test_a_sender_that_repeats_a_refused_image_is_answered_each_time_and_recorded_up_to_a_bound(
    running: Running,
) -> None:
    with RawSender(running.port) as sender:
        assert {sender.store(_UID, _CONTENT[:-1]) for _ in range(120)} == {Status.CANNOT_UNDERSTAND}
        assert sender.store(_UID, _CONTENT) == Status.SUCCESS
    assert len(running.events("instance:refused")) == 50


def test_a_data_set_without_end_is_cut(sqlite_database: Database, objects: ObjectStore) -> None:
    with (
        running_gateway(sqlite_database, objects, maximum_instance_megabytes=1) as running,
        RawSender(running.port) as endless,
    ):
        endless.send_command(_UID)
        with contextlib.suppress(OSError):
            for _ in range(1000):
                endless.send_fragment(bytes(60_000), control=0)
            pytest.fail("sixty megabytes of one megabyte at most were taken")
        assert echoes(running.port)
    assert list(objects.incoming.iterdir()) == []
