"""Taking over the journals of gateways that died: what they acknowledged is registered, whatever else is removed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import structlog

from dicom_gateway.receiving import journal_files
from dicom_gateway.receiving.backlog import Acknowledged
from dicom_gateway.receiving.ledger import Ledger
from storage import journals
from storage.errors import OncueError
from storage.journals import Journal
from storage.objects import ObjectStore

_AT_ONCE = 200

logger = structlog.get_logger(__name__)


class Recovery:
    """Hands the images of abandoned journals to this gateway's ledger."""

    def __init__(self, objects: ObjectStore, ledger: Ledger) -> None:
        self._objects = objects
        self._ledger = ledger
        self._has_retried = False
        self._passed_over: set[Path] = set()

    def take_over(self) -> None:
        """Take over every journal whose process is gone; once, also try again what was set aside before."""
        for journal in journals.abandoned(self._objects):
            self._register(journal)
        if not self._has_retried and self._objects.set_aside.is_dir():
            files = journals.set_aside_files(self._objects)
            if files is not None:
                self._has_retried = True
                self._register(files)

    def _register(self, journal: Journal) -> None:
        """Register a journal's images, few at a time: there may be more than memory is meant for."""
        count = 0
        try:
            paths = journal.files()
            while chunk := list(islice(paths, _AT_ONCE)):
                images = list(self._whole(chunk, journal))
                for image in images:
                    self._ledger.submit(image)
                count += len(images)
                if not self._ledger.wait_for(images):
                    return
        finally:
            journal.close()
            if count:
                logger.info("journal.taken_over", journal=journal.folder.name, images=count)

    def _whole(self, paths: list[Path], journal: Journal) -> Iterator[Acknowledged]:
        for path in paths:
            try:
                image = self._read(path, is_set_aside=journal.folder == self._objects.set_aside)
            except OSError as error:
                self._pass_over(path, error)
                continue
            if image is not None:
                yield image

    def _read(self, path: Path, *, is_set_aside: bool) -> Acknowledged | None:
        """Return the image of a file; one that is not whole was never acknowledged, and is removed."""
        receipt = journal_files.whole_receipt(path)
        if receipt is None:
            if not is_set_aside:
                path.unlink()
            return None
        try:
            return journal_files.acknowledged(path, receipt)
        except OncueError as error:
            self._ledger.set_aside(
                path, receipt.digest, calling_aet=receipt.calling_aet, sop_instance_uid="unknown", code=error.code
            )
            return None

    def _pass_over(self, path: Path, error: OSError) -> None:
        """Leave a file that the disk will not give where it is, and go on with those behind it; logged once."""
        if path not in self._passed_over:
            self._passed_over.add(path)
            logger.warning(
                "journal.file_unreadable", code="disk_failure", journal=path.parent.name, reason=error.strerror
            )
