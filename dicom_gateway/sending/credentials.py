"""What a DICOMweb service is shown to know us: a bearer token, or a user with a password, from a file."""

from __future__ import annotations

import base64
import stat
from dataclasses import dataclass, field
from pathlib import Path

from dicom_gateway.errors import CredentialsInvalid
from storage.errors import FileUnusable

_MOST_BYTES = 16 << 10
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_FORM = "write one line, user:password or a token"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The value of the Authorization header, which its text does not show; whether others may read the file."""

    authorization: str = field(repr=False)
    is_exposed: bool = False


def read_credentials(path: Path) -> Credentials:
    """Read a file of one line: ``user:password`` (RFC 7617), or a bearer token (RFC 6750), which has no colon.

    FileUnusable where it cannot be read, or holds something else.
    """
    try:
        with path.open("rb") as file:
            is_exposed = bool(stat.S_IMODE(path.stat().st_mode) & _OTHERS)
            content = file.read(_MOST_BYTES)
        text = content.decode("utf-8")
    except OSError as error:
        raise FileUnusable(f"the credentials file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise _no_credentials(path) from None
    try:
        return Credentials(authorization(text), is_exposed)
    except CredentialsInvalid:
        raise _no_credentials(path) from None


def authorization(text: str) -> str:
    """Return the value of the Authorization header that one line of text stands for; CredentialsInvalid."""
    first, *others = text.split("\n")
    line = first.strip()
    if not line or any(other.strip() for other in others):
        raise CredentialsInvalid(f"these are no credentials: {_FORM}")
    if ":" in line:
        return f"Basic {base64.b64encode(line.encode()).decode('ascii')}"
    token = line.removeprefix("Bearer ").strip()
    if not token or not (token.isascii() and token.isprintable()) or " " in token:
        raise CredentialsInvalid(f"these are no credentials: {_FORM}")
    return f"Bearer {token}"


def _no_credentials(path: Path) -> FileUnusable:
    return FileUnusable(f"the credentials file {path} holds no credentials: {_FORM}")
