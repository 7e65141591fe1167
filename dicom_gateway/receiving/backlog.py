"""What is acknowledged and not registered yet, in the order in which it came, and how much of it there may be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from dicom_gateway.errors import OutOfResources
from dicom_gateway.receiving.store_request import Identity, StoreRequest
from storage.arrivals import Arrival, Origin
from storage.domain import StoredInstance
from storage.receipts import Receipt

_MOST_NOTES = 2_000


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An image whose sender was told that it is safe: its file in the journal, and all that its row needs."""

    path: Path
    arrival: Arrival

    @property
    def digest(self) -> str:
        """Name of the file in the object store."""
        return self.arrival.instance.digest


@dataclass(frozen=True, slots=True)
class Note:
    """Something else to be written in its turn: that an association was opened, for one.

    It is lost with the process. ``ahead`` says that it comes before the images of its batch and not after them.
    """

    write: Callable[[Session], object]
    ahead: bool = False
    then: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Images and notes of one transaction."""

    images: tuple[Acknowledged, ...] = ()
    notes: tuple[Note, ...] = ()

    def __len__(self) -> int:
        return len(self.images) + len(self.notes)

    def singles(self) -> Iterator[Batch]:
        """Return a batch for each of them, in the order in which one transaction writes them."""
        yield from (Batch(notes=(note,)) for note in self.notes if note.ahead)
        yield from (Batch(images=(image,)) for image in self.images)
        yield from (Batch(notes=(note,)) for note in self.notes if not note.ahead)


@dataclass(slots=True)
class Backlog:
    """Counts what waits, under the lock of its owner."""

    most_images: int
    most_bytes: int
    images: int = 0
    bytes: int = 0
    notes: int = 0

    def add(self, image: Acknowledged) -> None:
        """Count an image in."""
        self.images += 1
        self.bytes += image.arrival.instance.size_bytes

    def take_out(self, batch: Batch) -> None:
        """Count out what is done with."""
        self.images -= len(batch.images)
        self.bytes -= sum(image.arrival.instance.size_bytes for image in batch.images)
        self.notes -= len(batch.notes)

    def takes_note(self) -> bool:
        """Count a note in, unless there are as many as may be."""
        if self.notes >= _MOST_NOTES:
            return False
        self.notes += 1
        return True

    def require_room(self) -> None:
        """Raise OutOfResources where no further image may wait."""
        if self.images >= self.most_images or self.bytes >= self.most_bytes:
            raise OutOfResources(
                f"{self.images} images ({self.bytes >> 20} MB) wait to be recorded; see whether the database answers "
                "(`oncue doctor`), then send it again"
            )


def arrival(request: StoreRequest, identity: Identity, receipt: Receipt) -> Arrival:
    """Return what the row of a received file says, by its request, its elements and its receipt."""
    instance = StoredInstance(
        study_instance_uid=identity.study_instance_uid,
        series_instance_uid=identity.series_instance_uid,
        sop_instance_uid=request.sop_instance_uid,
        sop_class_uid=request.sop_class_uid,
        transfer_syntax_uid=request.transfer_syntax_uid,
        modality=identity.modality,
        digest=receipt.digest,
        content_sha256=receipt.digest,
        size_bytes=receipt.size_bytes,
    )
    origin = Origin(receipt.calling_aet, receipt.association_id, receipt.lane)
    return Arrival(instance, identity.facts, origin, receipt.received_at)
