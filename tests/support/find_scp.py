"""A C-FIND SCP of pynetdicom that answers as a test wants: with the truth, with lies, or without an end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import, from a table
    StudyRootQueryRetrieveInformationModelFind,
)

from dicom_gateway.destinations import Destination
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
