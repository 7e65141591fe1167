"""The history at scale: fills a state folder with studies and events, then measures what people ask of them.

Run: ``python -m benchmarks.history --state DIR --studies N --events M [--database-url URL] [--json]``. Without a URL
the database is SQLite in the folder; ``embedded`` is a PostgreSQL server that runs in the folder as long as the
benchmark does. A database of a hundredth of the size is filled beside it, for the ratio. Both stay: a second run with
the same numbers only measures. What is measured is slower than the least that is asked of it where its row says so.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.history import filling, lists, measures, postgresql, rates, samples, trail
from benchmarks.history.filling import Size
from benchmarks.history.measures import REPEATS, Question
from benchmarks.history.rates import DAY_STUDIES, Rate
from benchmarks.history.results import Compared, Results
from console.terminal.progress import progress_bar
from storage import migrate
from storage.config import AuditSettings
from storage.database import Database, connect
from storage.history.keys import load_or_make_key
from storage.history.note_keys import SigningKey
from storage.objects import ObjectStore

_PART = 100
_FULL, _HUNDREDTH, _WRITTEN = "history", "history_hundredth", "history_writers"


def main() -> None:
    """Fill, measure and print."""
    options = _options()
    options.state.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    with _server(options.database_url, options.state) as url:
        full = _open(postgresql.beside(url, _FULL))
        hundredth = _open(postgresql.beside(url, _HUNDREDTH))
        found = _measured(full, hundredth, Size(options.studies, options.events), options.state, load=load)
        if full.engine.dialect.name == "postgresql":
            found = replace(found, rates=(*found.rates, *_written(postgresql.beside(url, _WRITTEN))))
        for database in (full, hundredth):
            database.dispose()
    print(json.dumps(found.as_json()) if options.json else "\n".join(found.lines()))


def _measured(full: Database, hundredth: Database, size: Size, state: Path, *, load: float) -> Results:
    objects = ObjectStore(state / "objects")
    objects.prepare()
    settings = AuditSettings()
    key = load_or_make_key(settings.key_path(state), settings.origin)
    small = Size(max(1, size.studies // _PART), max(1, size.events // _PART))
    done = [*_filled(hundredth, objects, small, key), *_filled(full, objects, size, key)]
    figures = [measures.measure(database, _questions(database)) for database in (hundredth, full)]
    done += rates.prove(full, key, events_of_a_day=DAY_STUDIES * size.events // size.studies)
    return Results(
        kind=full.engine.dialect.name,
        size=size,
        settings=postgresql.settings(full),
        load_before=load,
        compared=[Compared(large, little) for little, large in zip(*figures, strict=True)],
        rates=done,
        ingest=rates.ingest_share(hundredth, objects),
    )


def _written(url: str) -> list[Rate]:
    _open(url).dispose()
    return rates.write(url)


def _questions(database: Database) -> Iterator[Question]:
    with database.read() as session:
        taken = samples.take(session, REPEATS)
    yield from trail.trail(taken)
    yield from lists.questions(taken)


def _filled(database: Database, objects: ObjectStore, size: Size, key: SigningKey) -> list[Rate]:
    """Fill and seal a database unless that was done; return how fast that was."""
    had = filling.size_of(database)
    if not filling.is_filled(had, size):
        if had.studies:
            raise SystemExit(f"the database has {had.studies:,} studies already: choose another folder or database")
        with progress_bar(f"{size.studies:,} studies") as on_progress:
            seconds = measures.timed(lambda: filling.fill(database, objects, size, on_progress=on_progress))
        return [Rate("filling, events", size.events, seconds), rates.seal(database, key)]
    rates.seal(database, key)
    return []


@contextmanager
def _server(url: str, state: Path) -> Iterator[str]:
    if url == postgresql.EMBEDDED:
        with postgresql.embedded(state) as found:
            yield found
    else:
        yield url or f"sqlite:///{state / 'oncue.sqlite'}"


def _open(url: str) -> Database:
    database = connect(url)
    migrate.upgrade(database)
    return database


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--state", type=Path, required=True, help="folder of the databases, the objects and the key")
    parser.add_argument("--studies", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--database-url", default="", help="SQLAlchemy URL, or «embedded» for PostgreSQL in the folder")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.studies < filling.FEWEST_STUDIES or options.events < options.studies:
        parser.error(f"at least {filling.FEWEST_STUDIES} studies, and as many events")
    return options


if __name__ == "__main__":
    main()
