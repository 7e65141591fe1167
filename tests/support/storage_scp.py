"""A storage SCP of pynetdicom that answers as a test wants."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pydicom
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context

from tests.support.peers import free_port


@contextlib.contextmanager
def scp(
    sop_class_uids: tuple[str, ...], *, statuses: tuple[int, ...] = (), syntaxes: tuple[str, ...] = ()
) -> Iterator[tuple[int, list[pydicom.Dataset]]]:
    """Run a storage SCP that answers with ``statuses`` in turn and then with success."""
    received: list[pydicom.Dataset] = []
    left = list(statuses)

    def store(event: evt.Event) -> int:
        received.append(event.dataset)
        return left.pop(0) if left else 0x0000

    entity = AE(ae_title="SCP")
    entity.supported_contexts = [
        build_context(uid, list(syntaxes) or ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]) for uid in sop_class_uids
    ]
    port = free_port()
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    try:
        yield port, received
    finally:
        server.shutdown()
