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


class AuditSettings(BaseModel):
    """How the audit trail is sealed, where its checkpoints go, and whom it is told to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    origin: str = Field(
        default="oncue",
        pattern=r"^[^\s+]{1,200}$",
        description="Name of the log in its checkpoints; unlike any other log's that the same witness sees",
    )
    key_file: Path | None = Field(
        default=None,
        description="Private key that checkpoints are signed with, made where there is none; default: STATE/audit/key",
    )
    checkpoint_file: Path | None = Field(
        default=None, description="File that holds the newest checkpoint; default: STATE/audit/checkpoint"
    )
    witness_url: str = Field(
        default="", description="HTTP witness (C2SP tlog-witness) that is to sign each checkpoint too"
    )
    witness_database_url: SecretStr = Field(
        default=SecretStr(""), description="SQLAlchemy URL of a second database that keeps checkpoints"
    )
    witness_syslog: bool = Field(default=False, description="Send checkpoints to audit.syslog, too")
    syslog: str = Field(
        default="",
        description="Server for DICOM audit messages: tls://host:6514, tcp://host:port or udp://host:514; empty: none",
    )
    syslog_ca: Path | None = Field(
        default=None, description="Certificates that the server's is held against; default: the system's"
    )
    syslog_certificate: Path | None = Field(default=None, description="Certificate that oncue shows to the server")
    syslog_key: Path | None = Field(default=None, description="Private key of audit.syslog_certificate")
    keep_months: int = Field(
        default=0,
        ge=0,
        description="Whole months of events that stay in PostgreSQL; older ones may be archived; 0: all",
    )

    def key_path(self, state: Path) -> Path:
        """Return where the private key lies."""
        return self.key_file or state / "audit" / "key"

    def checkpoint_path(self, state: Path) -> Path:
        """Return where the newest checkpoint lies."""
        return self.checkpoint_file or state / "audit" / "checkpoint"
