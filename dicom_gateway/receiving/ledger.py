"""The thread that puts acknowledged images on record: batch after batch, in one transaction each.

A sender is answered when its image is in the journal, not when this is done, so a slow or locked database slows no
sender until too many images wait. Steps of a batch, each of which may be the last before a crash: files get their
digests as names, rows are committed, names are made durable, receipts are blanked, files leave the journal. Whoever
finds the journal begins again at the first; each step done twice is as good as once.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from pathlib import Path

import structlog
from sqlalchemy.orm import Session

from dicom_gateway.receiving import journal_files
from dicom_gateway.receiving.backlog import Acknowledged, Backlog, Batch, Note
from storage import instance_events, registering
from storage.database import Database
from storage.domain import StoredInstance
from storage.errors import OncueError, SchemaMismatch
from storage.objects import ObjectStore
from storage.registering import Registration

_GATHER_SECONDS = 0.1
_GATHER_MORE_SECONDS = 0.2
_MANY = 16
_MOST_IN_BATCH = 256
_UNSETTLED_SECONDS = 5.0
_MOST_UNSETTLED = 1_024
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0

logger = structlog.get_logger(__name__)


class Ledger:
    """Registers what is submitted, in that order as far as batches go, for as long as it takes."""

    def __init__(
        self, database: Database, objects: ObjectStore, backlog: Backlog, *, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._objects = objects
        self._backlog = backlog
        self._clock = clock
        self._changed = threading.Condition()
        self._images: deque[Acknowledged] = deque()
        self._notes: deque[Note] = deque()
        self._open: set[str] = set()
        self._unsettled: list[Acknowledged] = []
        self._unsettled_since = 0.0
        self._marked = 0
        self._hurried = 0
        self._failures = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    def start(self) -> None:
        """Begin to register."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Register what there is, as far as the database answers and the time goes, and end."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(seconds)
        if self._backlog.images:
            logger.warning("ledger.left_over", code="not_registered", images=self._backlog.images)

    @property
    def waiting(self) -> int:
        """How many images wait to be registered."""
        return self._backlog.images

    def require_room(self) -> None:
        """Raise OutOfResources where too many images wait for the database."""
        with self._changed:
            self._backlog.require_room()

    def submit(self, image: Acknowledged) -> None:
        """Have an image registered whose file is durable."""
        with self._changed:
            self._backlog.add(image)
            self._open.add(image.name)
            self._images.append(image)
            # The thread gathers: it is woken by the first image, and by the one that fills a batch.
            if len(self._images) in (1, _MOST_IN_BATCH):
                self._changed.notify_all()

    def note(
        self, write: Callable[[Session], object], *, ahead: bool = False, then: Callable[[], None] | None = None
    ) -> bool:
        """Have something else written, and ``then`` called; say False where too much waits to take it as well."""
        with self._changed:
            if not self._backlog.takes_note():
                return False
            self._notes.append(Note(write, ahead, then))
            self._changed.notify_all()
        return True

    def drain(self, seconds: float) -> bool:
        """Wait until nothing waits any more, and say whether that is so; no longer than until the database fails."""
        with self._changed, self._hurry():
            self._changed.wait_for(lambda: self._is_done() or self._failures > 0, timeout=seconds)
            return self._is_done()

    def wait_for(self, images: Collection[Acknowledged]) -> bool:
        """Wait until images are registered or set aside; False where the thread is stopped before that."""
        names = {image.name for image in images}
        with self._changed, self._hurry():
            self._changed.wait_for(lambda: self._stopping or names.isdisjoint(self._open))
            return names.isdisjoint(self._open)

    def set_aside(self, path: Path, digest: str, *, calling_aet: str, sop_instance_uid: str, code: str) -> None:
        """Keep a file that cannot be registered where it is not tried again and again, and say so; never drop it."""
        try:
            journal_files.set_aside(self._objects, path, digest)
        except OSError:
            # It stays in the journal, and is tried again by whoever takes that over.
            logger.exception("instance.not_set_aside", code=code, calling_aet=calling_aet)
            return
        logger.error("instance.set_aside", code=code, calling_aet=calling_aet, digest=digest)
        self.note(
            lambda session: instance_events.record_failed(
                session,
                calling_aet=calling_aet,
                sop_instance_uid=sop_instance_uid,
                code=code,
                digest=digest,
                now=self._clock(),
            )
        )

    def _is_done(self) -> bool:
        return not (self._open or self._backlog.notes)

    def _run(self) -> None:
        while not (self._stopping and (self._failures or not (self._images or self._notes))):
            parts = deque([self._gather()])
            try:
                while parts:
                    self._carry_out(parts)
            except Exception as error:  # noqa: BLE001 - edge: whatever it is, acknowledged images are tried again
                self._put_back(parts)
                self._pause(error)
            else:
                self._succeeded()
            self._settle_due()

    def _gather(self) -> Batch:
        """Wait for work, then a little for more of it."""
        with self._changed:
            again = _LONGEST_PAUSE_SECONDS if self._unsettled else None
            self._changed.wait_for(lambda: self._stopping or self._images or self._notes, timeout=again)
            self._gather_until(lambda: len(self._images) >= _MOST_IN_BATCH, seconds=_GATHER_SECONDS)
            if len(self._images) >= _MANY:
                # Then more are on their way: a large batch costs little more than a small one of as many studies.
                self._gather_until(lambda: len(self._images) >= _MOST_IN_BATCH, seconds=_GATHER_MORE_SECONDS)
            images = tuple(self._images.popleft() for _ in range(min(len(self._images), _MOST_IN_BATCH)))
            notes = tuple(self._notes)
            self._notes.clear()
        return Batch(images, notes)

    @contextlib.contextmanager
    def _hurry(self) -> Iterator[None]:
        """Have nothing gathered while somebody waits; the lock is held."""
        self._hurried += 1
        self._changed.notify_all()
        try:
            yield
        finally:
            self._hurried -= 1

    def _gather_until(self, is_enough: Callable[[], bool], *, seconds: float) -> None:
        self._changed.wait_for(lambda: self._stopping or self._hurried or is_enough(), timeout=seconds)

    def _put_back(self, parts: deque[Batch]) -> None:
        with self._changed:
            self._images.extendleft(reversed([image for part in parts for image in part.images]))
            self._notes.extendleft(reversed([note for part in parts for note in part.notes]))

    def _pause(self, error: Exception) -> None:
        """Wait before the next try; of an outage the beginning is logged, and its end."""
        if self._failures == 0:
            code = _code_of(error)
            logger.warning("ledger.waiting", code=code, images=self._backlog.images, error=type(error).__name__)
        with self._changed:
            self._failures += 1
            self._changed.notify_all()
            pause = min(_FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures, 10), _LONGEST_PAUSE_SECONDS)
            self._changed.wait_for(lambda: self._stopping, timeout=pause)

    def _succeeded(self) -> None:
        if self._failures:
            logger.info("ledger.caught_up", tries=self._failures)
            self._failures = 0

    def _carry_out(self, parts: deque[Batch]) -> None:
        """Write the first batch. Where the database refuses it for good, part it, so that none pays for another."""
        batch = parts[0]
        if not len(batch):
            parts.popleft()
            return
        try:
            outcomes = self._register(batch)
        except Exception as error:  # edge: what one image provokes must not keep the others from their rows
            if _will_pass(error):
                raise
            parts.popleft()
            if len(batch) > 1:
                parts.extendleft(reversed(list(batch.singles())))
            else:
                self._give_up(batch, error)
            return
        parts.popleft()
        self._registered(batch, outcomes)

    def _register(self, batch: Batch) -> tuple[Registration, ...]:
        self._link(batch.images)
        with self._database.write() as session:
            now = self._clock()
            for note in batch.notes:
                if note.ahead:
                    note.write(session)
            outcomes = registering.register_instances(
                session, [image.arrival for image in batch.images], now=now, content_of=self._content_of
            )
            for note in batch.notes:
                if not note.ahead:
                    note.write(session)
        return outcomes

    def _link(self, images: Collection[Acknowledged]) -> None:
        for image in images:
            self._objects.link(image.path, image.digest)

    def _content_of(self, instance: StoredInstance) -> str:
        return journal_files.content_digest(self._objects, instance)

    def _registered(self, batch: Batch, outcomes: tuple[Registration, ...]) -> None:
        for image, outcome in zip(batch.images, outcomes, strict=True):
            if outcome is Registration.CHANGED:
                origin = image.arrival.origin
                logger.warning("instance.changed", calling_aet=origin.calling_aet, digest=image.digest)
        if batch.images:
            logger.debug("ledger.registered", images=len(batch.images))
        with self._changed:
            if not self._unsettled:
                self._unsettled_since = time.monotonic()
            self._unsettled += batch.images
            self._backlog.take_out(batch)
            self._changed.notify_all()
        for note in batch.notes:
            if note.then is not None:
                note.then()

    def _settle_due(self) -> None:
        """Take registered files out of the journal: at once where nothing waits, else many together."""
        is_old = time.monotonic() - self._unsettled_since > _UNSETTLED_SECONDS
        can_wait = self._images and not is_old and len(self._unsettled) < _MOST_UNSETTLED
        try:
            if can_wait:
                journal_files.mark_registered(self._unsettled[self._marked :])
                self._marked = len(self._unsettled)
                return
            if self._unsettled:
                journal_files.settle(self._objects, self._unsettled)
        except OSError as error:
            # They are registered, so nothing is lost: they leave the journal with those that come after them.
            logger.warning("ledger.not_settled", code="disk_failure", reason=error.strerror)
            return
        with self._changed:
            self._open.difference_update(image.name for image in self._unsettled)
            self._unsettled, self._marked = [], 0
            self._changed.notify_all()

    def _give_up(self, batch: Batch, error: Exception) -> None:
        code = _code_of(error)
        for image in batch.images:
            self.set_aside(
                image.path,
                image.digest,
                calling_aet=image.arrival.origin.calling_aet,
                sop_instance_uid=image.arrival.instance.sop_instance_uid,
                code=code,
            )
        if batch.notes:
            logger.error("ledger.note_refused", code=code, error=type(error).__name__)
        with self._changed:
            self._backlog.take_out(batch)
            self._open.difference_update(image.name for image in batch.images)
            self._changed.notify_all()


def _will_pass(error: Exception) -> bool:
    """Say whether a failure is one of the moment, or of the site: it ends without anything done to the image."""
    if isinstance(error, OncueError):
        return error.retryable or isinstance(error, SchemaMismatch)
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError)


def _code_of(error: Exception) -> str:
    if isinstance(error, OSError):
        return "disk_failure"
    return error.code if isinstance(error, OncueError) else "unexpected_error"
