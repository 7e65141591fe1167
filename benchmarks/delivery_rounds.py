"""How long a round of the dispatcher takes with many deliveries on record: looking, claiming, handing to threads."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import insert, text

from benchmarks.history.postgresql import embedded
from dicom_gateway.receivers import Receiver, addressed
from dicom_gateway.sending.associations import PeerTimeouts
from dicom_gateway.sending.delivery import Dispatch, Dispatcher
from dicom_gateway.sending.delivery_batch import Caller
from dicom_gateway.sending.limits import Pace
from dicom_gateway.sending.outcomes import Report
from dicom_gateway.sending.outgoing import Outgoing
from storage import circuits, due_deliveries, migrate
from storage.backoff import no_jitter
from storage.circuits import Fault, Signal
from storage.database import Database, connect, utc_now
from storage.delivery_tables import DeliveryRow
from storage.models import StudyRow
from storage.objects import ObjectStore
from storage.result_tables import ResultObjectRow

ROUNDS = 50
_DESTINATIONS = 10
_ROWS_AT_ONCE = 5000
_SR = "1.2.840.10008.5.1.4.1.1.88.33"
_CONTENT = b"an object of the benchmark"
_claimed: list[float] = []


@dataclass(frozen=True, slots=True)
class RoundTimes:
    """Milliseconds that rounds took, and until the last of their batches had been claimed and could be sent."""

    database: str
    pending: int
    sent: int
    what: str
    median: float
    p95: float
    claimed_median: float
    claimed_p95: float


class _Idle(Caller):
    """Sends nothing: what it is given goes back, so that every round finds as much as the one before."""

    def send(self, objects: Sequence[Outgoing], receiver: Receiver, pace: Pace, on_outcome: Report) -> None:
        """Note the time; the batch waits until all of the round have been claimed."""
        del objects, receiver, pace, on_outcome
        _claimed.append(time.perf_counter())


def measured(kind: str, *, pending: int, sent: int) -> Iterator[RoundTimes]:
    """Fill a database of a kind and time rounds: with everything shut, with one destination free, and with all."""
    with tempfile.TemporaryDirectory(prefix="oncue-rounds-") as name, _database(kind, Path(name)) as database:
        store = ObjectStore(Path(name) / "objects")
        store.prepare()
        _fill(database, store.put(_CONTENT), pending, sent)
        names = [_name(number) for number in range(_DESTINATIONS)]
        for what, free in (("nothing may be sent", 0), ("one destination is free", 1), ("all are free", len(names))):
            _shut_off(database, names[free:])
            times = _timed(database, store, {one: addressed(one) for one in names})
            yield RoundTimes(kind, pending, sent, what, *_of(times[0]), *_of(times[1]))


def _timed(database: Database, store: ObjectStore, known: Mapping[str, Receiver]) -> tuple[list[float], list[float]]:
    """Return the milliseconds of each round, and until its last batch was claimed."""
    rounds, claims = [], []
    caller = _Idle("ONCUE", PeerTimeouts())
    dispatcher = Dispatcher(database, store, Dispatch("benchmark", 600.0, utc_now, no_jitter), caller, lambda _: known)
    for _ in range(ROUNDS):
        _claimed.clear()
        started = time.perf_counter()
        dispatcher.send_due()
        ended = time.perf_counter()
        dispatcher.join(60)
        rounds.append((ended - started) * 1000.0)
        claims.append((max(_claimed, default=ended) - started) * 1000.0)
    return rounds, claims


def _of(times: Sequence[float]) -> tuple[float, float]:
    return statistics.median(times), statistics.quantiles(times, n=20)[-1]


def _fill(database: Database, digest: str, pending: int, sent: int) -> None:
    """Put deliveries on record: those that are pending of all ranks, a third of them due only later."""
    now, dice = utc_now(), random.Random(1)
    with database.write() as session:
        study_id = session.execute(insert(StudyRow).returning(StudyRow.id), [_study(now)]).scalar_one()
    for begin in range(0, pending + sent, _ROWS_AT_ONCE):
        numbers = range(begin + 1, min(begin + _ROWS_AT_ONCE, pending + sent) + 1)
        with database.write() as session:
            session.execute(insert(ResultObjectRow), [_object(number, study_id, digest, now) for number in numbers])
            rows = [_delivery(number, dice, now, is_sent=number > pending) for number in numbers]
            session.execute(insert(DeliveryRow), rows)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def _study(now: datetime) -> dict[str, object]:
    values: dict[str, object] = {
        column.name: "" for column in StudyRow.__table__.columns if not column.nullable and column.name != "id"
    }
    times = {name: now for name in values if name.endswith("_at")}
    return {**values, **times, "study_instance_uid": "2.25.1", "revision": 1, "lane": "routine"}


def _object(number: int, study_id: int, digest: str, now: datetime) -> dict[str, object]:
    return {
        "id": number,
        "study_id": study_id,
        "kind": "SR",
        "sop_instance_uid": f"2.25.{number}",
        "sop_class_uid": _SR,
        "series_instance_uid": "2.25.1",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "digest": digest,
        "size_bytes": len(_CONTENT),
        "written_at": now,
    }


def _delivery(number: int, dice: random.Random, now: datetime, *, is_sent: bool) -> dict[str, object]:
    later = timedelta(hours=1) if number % 3 == 0 else -timedelta(seconds=dice.randrange(3600))
    return {
        "object_id": number,
        "destination": _name(number % _DESTINATIONS),
        "rank": dice.choice(due_deliveries.RANKS),
        "state": "sent" if is_sent else "pending",
        "attempts": int(is_sent),
        "next_attempt_at": now + later,
    }


def _shut_off(database: Database, names: Sequence[str]) -> None:
    """Leave the circuits of some destinations open, and no others."""
    fault, now = Fault("peer_unreachable", "no answer"), utc_now() + timedelta(hours=1)
    with database.write() as session:
        for number in range(_DESTINATIONS):
            circuits.release(session, _name(number), actor="benchmark", now=now)
        for name in names:
            circuits.failed(session, name, Signal.UNREACHABLE, fault, draw=no_jitter, now=now)


def _name(number: int) -> str:
    return f"PACS{number}@10.0.0.{number + 1}:104"


@contextmanager
def _database(kind: str, folder: Path) -> Iterator[Database]:
    if kind == "SQLite":
        database = connect(f"sqlite:///{folder / 'oncue.sqlite'}")
        migrate.upgrade(database)
        yield database
        database.dispose()
        return
    with embedded(folder) as url:
        database = connect(url)
        migrate.upgrade(database)
        yield database
        database.dispose()
