"""C-FIND SCPs that answer as a test wants: with the truth, with lies, without an end, or with bytes that are none."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import, from a table
    StudyRootQueryRetrieveInformationModelFind,
)

from dicom_gateway.destinations import Destination
from dicom_gateway.protocol import pdus as ours
from dicom_gateway.protocol.pdus import ContextAnswer, ContextResult, Identification
from tests.support import pdus
from tests.support.peers import free_port

Answers = Callable[[Dataset], Iterable[tuple[int, Dataset | None]]]


@contextlib.contextmanager
def find_scp(answers: Answers) -> Iterator[Destination]:
    """Run an SCP that answers each query with what ``answers`` makes of it: statuses and identifiers."""

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        yield from answers(event.identifier)

    entity = AE(ae_title="SOURCE")
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    port = free_port()
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_FIND, find)])
    assert server is not None
    try:
        yield Destination("SOURCE", "127.0.0.1", port)
    finally:
        server.shutdown()


@contextlib.contextmanager
def raw_find_scp(identifier: bytes) -> Iterator[Destination]:
    """Run an SCP that answers one query, in explicit VR, with these bytes as a match."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.recv(65_536)
                    answer = ContextAnswer(1, ContextResult.ACCEPTANCE, pdus.EXPLICIT)
                    about = Identification(16_384, "1.2.3", "RAW")
                    connection.sendall(
                        ours.associate_accept(bytes(64), ours.DICOM_APPLICATION_CONTEXT, [answer], about)
                    )
                    connection.recv(65_536)
                    pieces = [pdus.fragment(1, pdus.COMMAND | pdus.LAST, _PENDING), *_fragments(identifier)]
                    connection.sendall(b"".join(map(pdus.p_data, pieces)))
                    while not connection.recv(65_536).endswith(ours.release_request()):
                        pass
                    connection.sendall(ours.release_response())

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield Destination("SOURCE", "127.0.0.1", server.getsockname()[1])
    thread.join(10)


_PENDING = pdus.command_set(
    pdus.element(0x0100, b"\x20\x80"),
    pdus.element(0x0120, b"\x01\x00"),
    pdus.element(0x0800, b"\x01\x00"),
    pdus.element(0x0900, b"\x00\xff"),
)


def _fragments(content: bytes) -> list[bytes]:
    room = 16_000
    pieces = [content[at : at + room] for at in range(0, len(content), room)] or [b""]
    return [pdus.fragment(1, 0, piece) for piece in pieces[:-1]] + [pdus.fragment(1, pdus.LAST, pieces[-1])]


def series_answer(query: Dataset, number: int, *, instances: object, modality: str = "CT") -> Dataset:
    """Return an answer at the SERIES level; ``instances`` may be what no number is."""
    answer = Dataset()
    answer.QueryRetrieveLevel = "SERIES"
    answer.StudyInstanceUID = query.StudyInstanceUID
    answer.SeriesInstanceUID = f"1.2.3.{number}"
    answer.Modality = modality
    if instances is not None:
        answer.add_new(0x00201209, "LO", str(instances))
    return answer
