"""The models that a site has added: what each is, and the digest of every file, so that a change on disk is seen.

The files themselves lie in a folder of the state (``folder``); the row says what they were when they were added.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage import audit
from storage.errors import RecordExists, RecordMissing
from storage.result_tables import SiteModelRow


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model: path relative to its folder (forward slashes), size in bytes, digest."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SiteModel:
    """One installed model. ``card`` is the JSON text that its kind wrote when it was added."""

    name: str
    kind: str
    sha256: str
    files: tuple[ModelFile, ...]
    card: str
    added_by: str
    added_at: datetime


def folder(state: Path, name: str) -> Path:
    """Return where the files of a model lie."""
    return state / "models" / name


def add(session: Session, model: SiteModel, *, now: datetime) -> None:
    """Record a model; RecordExists where its name is taken."""
    _take_name(session, model.name)
    require_free(session, model.name)
    session.add(
        SiteModelRow(
            name=model.name,
            kind=model.kind,
            sha256=model.sha256,
            files=json.dumps([asdict(file) for file in model.files]),
            card=model.card,
            added_by=model.added_by,
            added_at=now,
            removed_at=None,
        )
    )
    audit.record(
        session,
        "model:added",
        f"model/{model.name}",
        actor=model.added_by,
        now=now,
        details={"kind": model.kind, "sha256": model.sha256, "files": len(model.files)},
    )


def require_free(session: Session, name: str) -> None:
    """Raise RecordExists where a model of that name is installed."""
    if _row(session, name) is not None:
        raise RecordExists(f"there is a model {name} already: remove it, or choose another name")


def remove(session: Session, name: str, *, actor: str, now: datetime) -> None:
    """Record that a model is no longer installed; RecordMissing where it is not."""
    _take_name(session, name)
    row = _row(session, name)
    if row is None:
        raise _missing(name)
    row.removed_at = now
    audit.record(session, "model:removed", f"model/{name}", actor=actor, now=now, details={"sha256": row.sha256})


def find(session: Session, name: str) -> SiteModel:
    """Return an installed model; RecordMissing where there is none of that name."""
    row = _row(session, name)
    if row is None:
        raise _missing(name)
    return _model(row)


def installed(session: Session) -> tuple[SiteModel, ...]:
    """Return all installed models by name."""
    rows = session.scalars(select(SiteModelRow).where(SiteModelRow.removed_at.is_(None)).order_by(SiteModelRow.name))
    return tuple(map(_model, rows))


def names(session: Session) -> Sequence[str]:
    """Return the names of all installed models, sorted."""
    query = select(SiteModelRow.name).where(SiteModelRow.removed_at.is_(None)).order_by(SiteModelRow.name)
    return session.scalars(query).all()


def _row(session: Session, name: str) -> SiteModelRow | None:
    query = select(SiteModelRow).where(SiteModelRow.name == name, SiteModelRow.removed_at.is_(None))
    return session.scalars(query).one_or_none()


def _take_name(session: Session, name: str) -> None:
    """Wait until nobody else adds or removes a model of that name: where none is installed there is no row to lock."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"site model {name}", 0))))


def _missing(name: str) -> RecordMissing:
    return RecordMissing(f"there is no model {name}; `oncue models list` shows those that are installed")


def _model(row: SiteModelRow) -> SiteModel:
    files = tuple(ModelFile(**entry) for entry in json.loads(row.files))
    return SiteModel(row.name, row.kind, row.sha256, files, row.card, row.added_by, row.added_at)
