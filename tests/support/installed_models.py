"""Models on record with files that nothing could run, for tests of what happens around them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from storage import site_models
from storage.database import Database
from storage.site_models import SiteModel
from workers.site_models.card import SiteModelCard, SiteModelKind
from workers.site_models.file_digests import digest_all, take_files

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def install_model(database: Database, state: Path, name: str, content: bytes = b"weights") -> SiteModel:
    """Put a model on record with its files; nothing could run it, for it has no network in it."""
    folder = site_models.folder(state, name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.pt").write_bytes(content)
    files = take_files(folder)
    card = SiteModelCard(SiteModelKind.TORCHSCRIPT, runs_code=("model.pt",))
    model = SiteModel(name, card.kind.value, digest_all(files), files, card.to_json(), "cli:test", NOW)
    with database.write() as session:
        site_models.add(session, model, now=NOW)
    return model


def remove_model(database: Database, name: str) -> None:
    with database.write() as session:
        site_models.remove(session, name, actor="cli:test", now=NOW)
