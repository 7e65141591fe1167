"""The loop that seals: run by every process that stays, at work in the one that holds the lease."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog

from storage.changes import Changes
from storage.database import Database, utc_now
from storage.errors import OncueError
from storage.history import sealing, tiles
from storage.history.note_keys import SigningKey
from storage.history.upkeep import Upkeep
from storage.history.witnesses import Witness

_ROUND_SECONDS = 0.5
_GATHER_SECONDS = 0.25
_AGAIN_SECONDS = 15.0
_LONGEST_PAUSE_SECONDS = 30.0
_REMOTE_PAUSE = timedelta(seconds=60)

log = structlog.get_logger(__name__)


class Sealer:
    """Seals what was committed, at most a second behind, and hands checkpoints to the witnesses.

    ``near`` get every checkpoint; ``far`` the newest one once a minute, and the last one when it stops.
    """

    def __init__(
        self,
        database: Database,
        key: SigningKey,
        *,
        owner: str,
        near: Sequence[Witness] = (),
        far: Sequence[Witness] = (),
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._key = key
        self._owner = owner
        self._near = near
        self._far = far
        self._clock = clock
        self._upkeep = Upkeep(database, actor=owner, clock=clock)
        self._unpublished: str | None = None
        self._far_due: datetime | None = None

    def run(self, stop: threading.Event) -> None:
        """Seal until told to stop; then seal the rest and let the next process have the lease."""
        # Asking the tables twice a second would cost more than all else that an idle system does.
        changes = Changes(self._database, poll_seconds=_ROUND_SECONDS)
        failures = 0
        while not stop.is_set():
            try:
                self.round()
                failures = 0
                changes.wait(stop, _AGAIN_SECONDS)
            except OncueError as error:
                failures += 1
                log.warning("audit.not_sealed", code=error.code, reason=str(error))
            except Exception:  # edge: a fault in one round must not end sealing for good
                failures += 1
                log.exception("audit.not_sealed", code="unexpected_error")
            # Where something was committed more often follows: one batch takes it all.
            stop.wait(min(_GATHER_SECONDS * 2 ** min(failures, 10), _LONGEST_PAUSE_SECONDS))
        changes.close()
        try:
            self.seal_once()
        except OncueError as error:
            log.warning("audit.not_sealed", code=error.code, reason=str(error))

    def seal_once(self) -> int:
        """Seal what is unsealed now, tell every witness, and let the next process have the lease."""
        events = self.round()
        self._publish_far()
        with self._database.write() as session:
            sealing.release(session, owner=self._owner)
        return events

    def round(self) -> int:
        """Seal all that is unsealed now, unless another process does; return how many events that were."""
        events = 0
        while self._is_due():
            with self._database.write() as session:
                sealed = sealing.seal(session, self._key, owner=self._owner, now=self._clock())
            if sealed is None:
                break
            events += sealed.events
            self._unpublished = sealed.note
            self._publish(self._near, sealed.note)
        if self._unpublished is not None and (self._far_due is None or self._clock() >= self._far_due):
            self._publish_far()
        if events:
            self._upkeep.round()
        return events

    def _is_due(self) -> bool:
        with self._database.read() as session:
            return sealing.is_due(session, owner=self._owner, now=self._clock())

    def _publish_far(self) -> None:
        note, self._unpublished = self._unpublished, None
        if note is not None:
            self._publish(self._far, note)
            self._far_due = self._clock() + _REMOTE_PAUSE

    def _publish(self, witnesses: Sequence[Witness], note: str) -> None:
        for witness in witnesses:
            try:
                signed = witness.publish(note, self._prove, now=self._clock())
                if signed != note:
                    self._keep_signatures(signed)
            except OncueError as error:
                # What a witness missed, the next checkpoint vouches for, too.
                log.warning("audit.witness_failed", witness=witness.name, code=error.code, reason=str(error))

    def _keep_signatures(self, signed: str) -> None:
        """Keep what a witness signed where people look for it: with the log, and in the file."""
        with self._database.write() as session:
            sealing.keep_signatures(session, signed)
        for witness in self._near:
            witness.publish(signed, self._prove, now=self._clock())

    def _prove(self, first: int, second: int) -> tuple[bytes, ...]:
        with self._database.read() as session:
            return tiles.consistency_proof(first, second, sealing.read_tile(session))
