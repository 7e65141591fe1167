"""Which jobs a worker takes on beside the one that has its device, and which it leaves to the queue."""

from __future__ import annotations

from dataclasses import dataclass

from storage import job_lists, job_places
from storage.database import Database, utc_now
from storage.errors import DatabaseUnavailable, RecordMissing
from storage.job_places import Better
from storage.states import JobState
from workers.device_turns import DeviceTurns
from workers.errors import OutOfDeviceMemory


class BetterElsewhere(Exception):
    """A job that waits here is better off in the queue; it ends the wait and is no fault."""

    def __init__(self, reason: Better) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Company:
    """The rules for the second job of a worker, which goes by the name of ``owner``."""

    database: Database
    owner: str
    turns: DeviceTurns

    def is_open(self, job_id: int) -> bool:
        """Say whether a job is still to be done."""
        job = self._find(job_id)
        return job is not None and job.state is JobState.QUEUED

    def must_be_alone(self, job_id: int) -> bool:
        """Say whether a job may have no other beside it: its worker died of it, perhaps, or it took all the memory.

        Whoever was beside it loses one attempt at most that way.
        """
        job = self._find(job_id)
        return job is not None and job.attempts > 0 and job.code in (None, OutOfDeviceMemory.code)

    def wait_until_wanted(self, job_id: int) -> None:
        """Wait while this worker is busy and an idle one could do a job: the relay sends its message again for that."""
        while self.turns.is_occupied and self._better_place(job_id) is Better.IDLE_WORKER:
            self.turns.pause()

    def look_around(self, job_id: int) -> None:
        """Raise BetterElsewhere where a held job that waits for the device should go back to the queue."""
        better = self._better_place(job_id)
        if better is not None:
            raise BetterElsewhere(better)

    def _better_place(self, job_id: int) -> Better | None:
        try:
            with self.database.read() as session:
                return job_places.better_place(session, job_id, owner=self.owner, now=utc_now())
        except DatabaseUnavailable:
            return None  # to wait here is never wrong

    def _find(self, job_id: int) -> job_lists.Job | None:
        with self.database.read() as session:
            try:
                return job_lists.find(session, job_id)
            except RecordMissing:
                return None
