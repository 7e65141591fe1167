"""The audit log's key and its witnesses, as an installation's settings name them."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from console.installation import Installation
from dicom_gateway.audit_messages.syslog_server import SyslogServer
from dicom_gateway.audit_messages.syslog_witness import SyslogWitness
from storage import logs
from storage.database import Database
from storage.errors import ConfigurationError
from storage.history import auditors, sealing
from storage.history.errors import AuditKeyInvalid
from storage.history.keys import load_key, load_or_make_key
from storage.history.note_keys import SigningKey
from storage.history.sealer import Sealer
from storage.history.witnesses import DatabaseWitness, FileWitness, HttpWitness, Witness

_JOIN_SECONDS = 30.0

log = structlog.get_logger(__name__)


def signing_key(installation: Installation) -> SigningKey:
    """Return the key that checkpoints are signed with; it is made where the log is new.

    AuditKeyInvalid where the key of a log that has checkpoints is gone: another one would begin another log.
    """
    settings = installation.settings.audit
    path = settings.key_path(installation.state)
    if not path.exists() and not _has_checkpoints(installation.database):
        return load_or_make_key(path, settings.origin)
    try:
        return load_key(path, settings.origin)
    except FileNotFoundError:
        raise AuditKeyInvalid(
            f"audit.key_file: {path} is gone, and this log's checkpoints were signed with it: bring it back from a "
            "backup, or have the processes of one machine alone seal; another key would begin another log"
        ) from None


def key_of_a_command(installation: Installation) -> SigningKey:
    """Return the key as a process does that stays, but make none for whoever that would not belong to.

    The gateway could not read a key that a command made as another user, and nothing would be sealed. Raises
    AuditKeyInvalid.
    """
    path, state = installation.settings.audit.key_path(installation.state), installation.state
    if not path.exists() and not (_belongs_to_us(state) and _may_seal(installation.database)):
        raise AuditKeyInvalid(
            f"audit.key_file: {path} is not there, and is not made for another user than the one that seals: "
            f"the first process of oncue makes it (run this as the owner of {state}); with --key nothing is sealed here"
        )
    return signing_key(installation)


def key_problem(installation: Installation) -> ConfigurationError | None:
    """Return why checkpoints cannot be signed here, None where they can; no key is made."""
    settings = installation.settings.audit
    if not settings.key_path(installation.state).exists() and not _has_checkpoints(installation.database):
        return None
    try:
        signing_key(installation)
    except ConfigurationError as error:
        return error
    return None


def near_witnesses(installation: Installation) -> tuple[Witness, ...]:
    """Return what gets every checkpoint."""
    return (FileWitness(installation.settings.audit.checkpoint_path(installation.state)),)


def far_witnesses(installation: Installation) -> tuple[Witness, ...]:
    """Return what gets a checkpoint now and then: a second database, a witness over HTTP, the syslog server."""
    settings = installation.settings.audit
    found: list[Witness] = []
    if url := settings.witness_database_url.get_secret_value():
        found.append(DatabaseWitness(url, origin=settings.origin))
    if settings.witness_url:
        found.append(HttpWitness(settings.witness_url))
    server = SyslogServer.of(settings) if settings.witness_syslog else None
    if server is not None:
        found.append(SyslogWitness(server))
    return tuple(found)


@contextmanager
def sealing_thread(installation: Installation, kind: str) -> Iterator[None]:
    """Have the log sealed while the block runs, by a thread of this process or by another that has the lease.

    A process without the log's key does its work all the same, and says so: images are not turned away for that.
    """
    try:
        key = signing_key(installation)
    except ConfigurationError as error:
        log.warning("audit.not_sealed", code=error.code, reason=str(error))
        yield
        return
    stop = threading.Event()
    sealer = Sealer(
        installation.database,
        key,
        owner=f"{kind}-{socket.gethostname()[:32]}-{uuid.uuid4().hex[:12]}",
        near=near_witnesses(installation),
        far=far_witnesses(installation),
    )
    thread = threading.Thread(target=sealer.run, args=(stop,), name="sealer", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_JOIN_SECONDS)


def seal_now(installation: Installation) -> int:
    """Seal what is unsealed where no running process does; return how many events that were."""
    logs.configure(level="WARNING")  # to standard error: what a command writes is read by programs
    return Sealer(
        installation.database,
        key_of_a_command(installation),
        owner=f"cli-{uuid.uuid4().hex[:12]}",
        near=near_witnesses(installation),
    ).seal_once()


def _has_checkpoints(database: Database) -> bool:
    with database.read() as session:
        return sealing.newest_checkpoint(session) is not None


def _belongs_to_us(folder: Path) -> bool:
    return folder.exists() and folder.stat().st_uid == os.geteuid()


def _may_seal(database: Database) -> bool:
    with database.read() as session:
        return not auditors.may_only_read(session)
