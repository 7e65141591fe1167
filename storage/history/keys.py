"""The file that holds the log's private key: made once, mode 0600, or brought by the site.

It is an Ed25519 key in PKCS#8 PEM without a password, what ``openssl genpkey -algorithm ed25519`` writes.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from storage.history.errors import AuditKeyExposed, AuditKeyInvalid
from storage.history.note_keys import SigningKey, checked_name

_MODE = 0o600
_FOLDER_MODE = 0o700
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MOST_BYTES = 1 << 16
_HOW = "make one with `openssl genpkey -algorithm ed25519 -out FILE` and `chmod 600 FILE`"


def load_or_make_key(path: Path, name: str) -> SigningKey:
    """Return the key in the file under this name, once it was made where there was none.

    Of processes that make it at once one succeeds, and all return its key. Raises AuditKeyInvalid, AuditKeyExposed.
    """
    try:
        return load_key(path, name)
    except FileNotFoundError:
        _make(path)
    return load_key(path, name)


def load_key(path: Path, name: str) -> SigningKey:
    """Return the key in the file, to sign under this name, which is the log's origin.

    Raises FileNotFoundError, AuditKeyInvalid where it is no such key, AuditKeyExposed where others than the owner
    may read or write it.
    """
    try:
        checked_name(name)
    except ValueError as error:
        raise AuditKeyInvalid(f"audit.origin: {error}") from None
    try:
        private = load_pem_private_key(_owners_own(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise AuditKeyInvalid(f"audit.key_file: {path} holds no private key without a password: {_HOW}") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise AuditKeyInvalid(f"audit.key_file: {path} holds a key that is not Ed25519: {_HOW}")
    return SigningKey(name, private)


def _owners_own(path: Path) -> bytes:
    """Return what the file holds, where nobody but its owner may read or write it."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & _OTHERS:
                raise AuditKeyExposed(
                    f"audit.key_file: others than its owner may use {path} (mode {stat.S_IMODE(mode):04o}): "
                    f"`chmod 600 {path}`, and bring a new key where somebody may have read it"
                )
            return file.read(_MOST_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise AuditKeyInvalid(f"audit.key_file: {path} cannot be read: {error.strerror}") from None


def _make(path: Path) -> None:
    """Put a new key at the path in one step, or leave what another process put there first."""
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    written = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        try:
            _write(written, pem)
            os.link(written, path)  # fails where the path exists, and never shows half a file
        except FileExistsError:
            return
        finally:
            written.unlink(missing_ok=True)
        _make_durable(path.parent)
    except OSError as error:
        raise AuditKeyInvalid(f"audit.key_file: {path} cannot be made: {error.strerror}; {_HOW}") from None


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _make_durable(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
