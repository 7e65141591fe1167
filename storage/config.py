"""Settings of everything durable."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class StorageSettings(BaseModel):
    """Where the records and the objects are kept, and how much disk is held back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database_url: SecretStr = Field(
        default=SecretStr(""),
        description="SQLAlchemy URL; empty means SQLite in the state folder. PostgreSQL: postgresql+psycopg://user@host/db",
    )
    object_root: Path | None = Field(default=None, description="Folder of the object store; default: STATE/objects")
    reserve_megabytes: int = Field(
        default=1024, ge=0, description="Free disk space that is never used: below it, images are refused with 0xA700"
    )

    def url(self, state: Path) -> str:
        """Return the database URL, with SQLite below ``state`` as the default."""
        return self.database_url.get_secret_value() or f"sqlite:///{state / 'oncue.sqlite'}"

    def objects_folder(self, state: Path) -> Path:
        """Return the object store's root folder."""
        return self.object_root or state / "objects"
