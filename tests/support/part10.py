"""DICOM files as bytes, whole and broken, and inlets to bring them to."""

from __future__ import annotations

import contextlib
import io
import uuid
from collections.abc import Iterator
from typing import Any

from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicom_gateway.config import GatewaySettings
from dicom_gateway.inlets.inlet import Inlet, Visitor
from storage.database import Database, utc_now
from storage.objects import ObjectStore
from tests.support.senders import ct_image

VISITOR = Visitor("BROUGHT-BY", "ONCUE", "127.0.0.1")


def part10(
    image: Dataset | None = None, *, preamble: bytes = bytes(128), syntax: UID = ExplicitVRLittleEndian
) -> bytes:
    """Return an image, a small CT by default, as a DICOM file with any preamble."""
    image = image or ct_image()
    image.file_meta.TransferSyntaxUID = syntax
    image.preamble = preamble
    buffer = io.BytesIO()
    dcmwrite(buffer, image, enforce_file_format=True)
    return buffer.getvalue()


@contextlib.contextmanager
def running_inlet(database: Database, objects: ObjectStore, **settings: Any) -> Iterator[Inlet]:
    """Have an inlet until the block ends."""
    chosen = GatewaySettings(**settings)
    inlet = Inlet(database, objects, chosen, process_id=f"inlet-{uuid.uuid4().hex[:8]}", clock=utc_now)
    inlet.start()
    try:
        yield inlet
    finally:
        inlet.stop()
