"""Images in a gateway's journal: durable and acknowledged, with no ledger that registers them."""

from __future__ import annotations

from pydicom.dataset import Dataset

from dicom_gateway.receiving.buffers import Buffers
from dicom_gateway.receiving.elements import ElementWalks
from dicom_gateway.receiving.journal_slots import SlotPool
from dicom_gateway.receiving.spool import KeptFile, Spool, SpoolPlace
from dicom_gateway.receiving.store_request import StoreRequest
from storage.arrivals import Origin
from storage.database import utc_now
from storage.journals import Journal
from storage.objects import ObjectStore
from tests.support.senders import encoded


def put_into_journal(objects: ObjectStore, journal: Journal, image: Dataset, *, calling_aet: str = "CT") -> KeptFile:
    """Receive an image as a gateway does, up to the moment in which it would answer."""
    place = SpoolPlace(objects, SlotPool(journal, objects).take, Buffers(), ElementWalks(), maximum_bytes=1 << 30)
    spool = Spool(
        place,
        StoreRequest(str(image.SOPClassUID), str(image.SOPInstanceUID), str(image.file_meta.TransferSyntaxUID)),
    )
    content = encoded(image)
    spool.write(content[:1000])
    spool.write(content[1000:])
    kept = spool.keep(str(image.StudyInstanceUID), Origin(calling_aet, None), received_at=utc_now())
    spool.discard()
    return kept
