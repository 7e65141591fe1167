"""Tell the receivers of superseded results to set them aside: a rejection note for each destination that wants one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from dicom_gateway.objects.equipment import Equipment
from storage import deletions, destinations, rejections
from storage.database import Database
from storage.destinations import DestinationEntry
from storage.errors import OncueError
from storage.objects import ObjectStore
from storage.rejections import PendingRejection
from storage.reports import AddressedObject
from storage.written_objects import WrittenObject

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RejectionWriter:
    """Writes rejection notes (IHE RAD IOCM) on superseded results, for the destinations that are to get them.

    These are the entries that say so and the ``addresses`` of the settings. A note names what its receivers have got.
    """

    database: Database
    objects: ObjectStore
    equipment: Equipment
    addresses: tuple[str, ...]
    clock: Callable[[], datetime]

    def write_due(self) -> int:
        """Write every note that is due, oldest first, and return how many were due.

        Where nobody who wants notes has got anything, that is put on record instead.
        """
        with self.database.read() as session:
            due = rejections.due(session, now=self.clock())
        for pending in due:
            self._settle(pending)
        return len(due)

    def _settle(self, pending: PendingRejection) -> None:
        try:
            self._write(pending)
        except OncueError as error:
            self._failed(pending, code=error.code, reason=str(error), retryable=error.retryable)
        except Exception as error:  # edge: one note that breaks a library must not stop the others
            logger.exception("rejection.failed", code="unexpected_error", job=pending.job_id)
            self._failed(pending, code="unexpected_error", reason=type(error).__name__, retryable=True)

    def _write(self, pending: PendingRejection) -> None:
        with self.database.read() as session:
            names = _names_of_receivers(destinations.entries(session), self.addresses)
            got = rejections.got(session, pending.job_id, names)
        groups = _by_what_they_got(got, names)
        if not groups:
            with self.database.write() as session:
                rejections.needless(session, pending.job_id, now=self.clock())
            return
        with self.database.read() as session:
            deletions.require_results(session, pending.job_id)
        from dicom_gateway.objects.writing import write_rejection  # not before it is needed, as in ``report_writer``

        notes = [
            AddressedObject(
                write_rejection(rejected, self.objects, written_at=pending.superseded_at, equipment=self.equipment),
                receivers,
            )
            for rejected, receivers in groups
        ]
        with self.database.write() as session:
            standing = destinations.hold(session, set(names.values()))
            kept = [
                AddressedObject(note.item, tuple(n for n in note.destinations if n in standing or n in self.addresses))
                for note in notes
            ]
            rejections.written_to(session, pending.job_id, kept, now=self.clock())
        logger.info("rejection.written", job=pending.job_id, destinations=sum(len(note.destinations) for note in kept))

    def _failed(self, pending: PendingRejection, *, code: str, reason: str, retryable: bool) -> None:
        logger.warning("rejection.failed", job=pending.job_id, code=code, reason=reason)
        with self.database.write() as session:
            rejections.failed(session, pending.job_id, code=code, reason=reason, retryable=retryable, now=self.clock())


def _names_of_receivers(entries: Sequence[DestinationEntry], addresses: Sequence[str]) -> Mapping[str, str]:
    """Return under which name somebody who wants notes is sent them, by each name that results went there under.

    What went to an address before it had an entry is rejected there under the entry's name; the entry says whether.
    """
    by_address = {entry.address: entry.name for entry in reversed(entries) if entry.rejection_notes}
    known = {entry.address for entry in entries}
    return {
        **{text: text for text in addresses if text not in known},
        **by_address,
        **{entry.name: entry.name for entry in entries if entry.rejection_notes},
    }


def _by_what_they_got(
    got: Mapping[str, tuple[WrittenObject, ...]], names: Mapping[str, str]
) -> list[tuple[tuple[WrittenObject, ...], tuple[str, ...]]]:
    """Group receivers that have got the same objects: one note serves them."""
    objects: dict[str, dict[str, WrittenObject]] = {}
    for known_as, items in got.items():
        objects.setdefault(names[known_as], {}).update((item.sop_instance_uid, item) for item in items)
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in sorted(objects):
        groups.setdefault(tuple(sorted(objects[name])), []).append(name)
    return [(tuple(objects[group[0]].values()), tuple(group)) for group in groups.values()]
