"""Where checkpoints go so that whoever owns the database cannot take them back: a file, a second database, a witness.

Each keeps the newest checkpoint that it saw. A log that was cut, forked or rebuilt no longer agrees with one of them.
"""

from __future__ import annotations

import contextlib
import http.client
import secrets
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from sqlalchemy import Column, DateTime, Engine, MetaData, String, Table, Text, create_engine, insert, select
from sqlalchemy.exc import SQLAlchemyError

from storage.history.checkpoint_text import parse_checkpoint
from storage.history.errors import WitnessDisagrees, WitnessUnavailable
from storage.history.exact_text import as_base64
from storage.history.notes import parse_note, parse_signatures

_TIMEOUT_SECONDS = 10.0
_CONFLICT = 409
_MOST_BYTES = 1 << 16

ProveGrowth = Callable[[int, int], tuple[bytes, ...]]
"""Gives the proof that the tree over the first so many leaves grew into the one over the second so many."""


class Witness(Protocol):
    """One place outside the log that keeps its newest checkpoint."""

    @property
    def name(self) -> str:
        """What it is, as messages say it."""
        ...

    def publish(self, note: str, prove: ProveGrowth, *, now: datetime) -> str:
        """Keep a checkpoint and return it, with the witness's own signature where it signs.

        Raises WitnessUnavailable where it does not answer, WitnessDisagrees where it knows another history.
        """
        ...

    def newest(self) -> str | None:
        """Return the newest checkpoint that it keeps, None where it has none or does not tell."""
        ...


@dataclass(frozen=True, slots=True)
class FileWitness:
    """A file that holds the newest checkpoint; best on another machine's disk, or in a backup of its own."""

    path: Path
    name: str = "checkpoint file"

    def publish(self, note: str, prove: ProveGrowth, *, now: datetime) -> str:
        """Put the checkpoint in the place of the one before in one step."""
        del prove, now
        written = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            written.write_text(note, encoding="utf-8")
            written.replace(self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                written.unlink(missing_ok=True)
            raise WitnessUnavailable(f"the {self.name} {self.path} cannot be written: {error.strerror}") from error
        return note

    def newest(self) -> str | None:
        """Return what the file holds."""
        try:
            return self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise WitnessUnavailable(f"the {self.name} {self.path} cannot be read: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class DatabaseWitness:
    """A second database that keeps every checkpoint it is given, under the log's origin."""

    url: str
    origin: str
    name: str = "second database"

    def publish(self, note: str, prove: ProveGrowth, *, now: datetime) -> str:
        """Add the checkpoint, where this size is not there yet."""
        del prove
        checkpoint = parse_checkpoint(parse_note(note).text)
        row = {"origin": checkpoint.origin, "size": f"{checkpoint.size:020}", "note": note, "kept_at": now}
        try:
            engine = self._engine()
            with engine.begin() as connection:
                known = select(_KEPT.c.size).where(_KEPT.c.origin == row["origin"], _KEPT.c.size == row["size"])
                if connection.execute(known).one_or_none() is None:
                    connection.execute(insert(_KEPT), row)
            engine.dispose()
        except SQLAlchemyError as error:
            raise WitnessUnavailable(f"the {self.name} did not take a checkpoint ({type(error).__name__})") from error
        return note

    def newest(self) -> str | None:
        """Return the largest checkpoint that it keeps of this log."""
        try:
            engine = self._engine()
            with engine.connect() as connection:
                mine = select(_KEPT.c.note).where(_KEPT.c.origin == self.origin)
                found = connection.scalar(mine.order_by(_KEPT.c.size.desc()).limit(1))
            engine.dispose()
        except SQLAlchemyError as error:
            raise WitnessUnavailable(f"the {self.name} did not answer ({type(error).__name__})") from error
        return None if found is None else str(found)

    def _engine(self) -> Engine:
        engine = create_engine(self.url)
        _KEPT.metadata.create_all(engine)
        return engine


@dataclass(slots=True)
class HttpWitness:
    """A witness over HTTP as c2sp.org/tlog-witness describes: it checks that the log only grew, and signs."""

    url: str
    size: int = 0
    """How large the log was when the witness last signed; it says so itself where this is wrong."""
    name: str = "HTTP witness"

    def publish(self, note: str, prove: ProveGrowth, *, now: datetime) -> str:
        """Have the checkpoint signed; a witness that knows another size than we think is asked once more."""
        del now
        size = parse_checkpoint(parse_note(note).text).size
        for _ in range(2):
            status, body = self._ask(_request_body(note, self.size, prove(self.size, size) if self.size else ()))
            if status != _CONFLICT:
                break
            known = _known_size(body)
            if known > size:
                raise WitnessDisagrees(
                    f"the {self.name} signed this log at {known} events, it has {size}: its end was cut off"
                )
            self.size = known
        if status != http.client.OK:
            raise WitnessDisagrees(
                f"the {self.name} did not sign the checkpoint of {size} events (HTTP {status}): it knows another "
                "history of this log, or not its key"
            )
        self.size = size
        return str(parse_note(note).with_signatures(parse_signatures(body)))

    def newest(self) -> str | None:
        """Return None: a witness is asked to sign, it does not tell."""
        return None

    def _ask(self, body: bytes) -> tuple[int, bytes]:
        request = urllib.request.Request(  # noqa: S310 - the site's own setting, held to http and https
            urllib.parse.urljoin(self.url.rstrip("/") + "/", "add-checkpoint"), data=body, method="POST"
        )
        if request.type not in ("http", "https"):
            raise WitnessUnavailable(f"audit.witness_url: {request.type} is neither http nor https")
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - checked above
                return answer.status, answer.read(_MOST_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(_MOST_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise WitnessUnavailable(f"the {self.name} did not answer ({type(error).__name__})") from error


_KEPT = Table(
    "audit_checkpoints_kept",
    MetaData(),
    Column("origin", String(255), primary_key=True),
    Column("size", String(20), primary_key=True),
    Column("note", Text, nullable=False),
    Column("kept_at", DateTime(timezone=True), nullable=False),
)
"""The one table of a second database; sizes are written with leading zeros, so that their order is that of numbers."""


def _request_body(note: str, old: int, proof: tuple[bytes, ...]) -> bytes:
    lines = (f"old {old}", *map(as_base64, proof), "", note)
    return "\n".join(lines).encode()


def _known_size(body: bytes) -> int:
    try:
        return int(body)
    except ValueError as error:
        raise WitnessUnavailable("the HTTP witness answered with a conflict and no size") from error
