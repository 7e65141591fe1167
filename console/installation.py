"""One installation: a state folder with its settings, its database and its object store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from console.config import Configuration, Layer, Settings, read
from storage import logs, revisions
from storage.database import Database, connect, utc_now
from storage.errors import ConfigurationError, SchemaMismatch
from storage.objects import ObjectStore

_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Installation:
    """What every command works on; built once per process, in its subcommand."""

    state: Path
    configuration: Configuration
    database: Database
    objects: ObjectStore

    @property
    def settings(self) -> Settings:
        """The settings of all sections."""
        return self.configuration.settings

    def prepare(self) -> None:
        """Make the state folder, readable by its owner alone, and bring the database to this code's schema."""
        from storage.history import partitions
        from storage.roles import script

        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.objects.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.objects.prepare()
        if revisions.current_revision(self.database) != revisions.expected_revision():
            from storage import migrate  # only here: it loads 7 MB, in 0.15 s

            migrate.upgrade(self.database)
        script.grant_anew(self.database)
        partitions.make_ahead(self.database, now=utc_now(), most=partitions.ALL)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session for one reading; ConfigurationError where there is no database yet."""
        self.require()
        with self.using_database(), self.database.read() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open one transaction; ConfigurationError where there is no database yet."""
        self.require()
        with self.using_database(), self.database.write() as session:
            yield session

    @contextmanager
    def using_database(self) -> Iterator[None]:
        """Close the connections behind a command's work, and name the schemas where one that is there is not ours.

        What goes well is not asked which schema it had.
        """
        try:
            yield
        except SchemaMismatch:
            revisions.require_expected(self.database)
            raise
        finally:
            self.database.dispose()

    def require(self) -> None:
        """Raise ConfigurationError where nothing was ever prepared here; SQLite would quietly begin an empty file."""
        file = self.database.engine.url.database
        if self.database.engine.dialect.name == "sqlite" and (file is None or not Path(file).is_file()):
            raise ConfigurationError(
                f"there is no oncue database in {self.state}; give --state DIR, or begin with `oncue up` there"
            )


def open_installation(state: Path, *, file: Path | None = None, flags: Layer | None = None) -> Installation:
    """Read the settings and build the engine and the object store; nothing is created or connected yet.

    Where no log is configured, its lines go to standard error.
    """
    logs.keep_off_standard_output()
    configuration = read(state, file=file, flags=flags)
    storage = configuration.settings.storage
    objects = ObjectStore(storage.objects_folder(state), reserve_bytes=storage.reserve_megabytes * _MEGABYTE)
    return Installation(state, configuration, connect(storage.url(state.resolve())), objects)
