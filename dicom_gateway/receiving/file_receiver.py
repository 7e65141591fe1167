"""A small storage SCP that keeps what it is sent as files: the PACS of a demonstration, not of a hospital."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pynetdicom import AE, evt

from dicom_gateway.contexts import accepted_contexts
from dicom_gateway.status import Status


@dataclass(frozen=True, slots=True)
class Receiver:
    """A running receiver: where it listens, and the folder that it writes to."""

    ae_title: str
    port: int
    folder: Path

    def files(self) -> tuple[Path, ...]:
        """Return the Part 10 files that it has received so far."""
        return tuple(sorted(self.folder.glob("*.dcm")))


@contextmanager
def running_receiver(folder: Path, *, ae_title: str = "PACS") -> Iterator[Receiver]:
    """Receive on a free loopback port until the block ends; a file appears only when it is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    ae = AE(ae_title=ae_title)
    ae.supported_contexts = accepted_contexts()
    ae.require_called_aet = True

    def store(event: evt.Event) -> int:
        # The name is a digest: identifiers from outside never become part of a path.
        content = event.encoded_dataset()
        place = folder / f"{hashlib.sha256(content).hexdigest()}.dcm"
        partial = place.with_suffix(".part")
        partial.write_bytes(content)
        partial.rename(place)
        return Status.SUCCESS

    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    if server is None:  # only for a blocking server
        raise RuntimeError("the receiver did not start")
    try:
        yield Receiver(ae_title, server.server_address[1], folder)
    finally:
        server.shutdown()
