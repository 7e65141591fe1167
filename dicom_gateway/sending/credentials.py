"""What a DICOMweb service is shown to know us: a bearer token, or a user with a password, from a file."""

from __future__ import annotations

import base64
import stat
from dataclasses import dataclass, field
from pathlib import Path

from storage.errors import FileUnusable

_MOST_BYTES = 16 << 10
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


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
        lines = content.decode("utf-8").split("\n")
    except OSError as error:
        raise FileUnusable(f"the credentials file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise _no_credentials(path) from None
    line = lines[0].strip()
    if not line or any(other.strip() for other in lines[1:]):
        raise _no_credentials(path)
    if ":" in line:
        return Credentials(f"Basic {base64.b64encode(line.encode()).decode('ascii')}", is_exposed)
    token = line.removeprefix("Bearer ").strip()
    if not token or not (token.isascii() and token.isprintable()) or " " in token:
        raise _no_credentials(path)
    return Credentials(f"Bearer {token}", is_exposed)


def _no_credentials(path: Path) -> FileUnusable:
    return FileUnusable(f"the credentials file {path} holds no credentials: write one line, user:password or a token")
