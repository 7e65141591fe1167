"""What a DICOMweb service is shown of ours: the header that a file of credentials stands for."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

from storage.errors import DestinationInvalid, FileUnusable

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_LONGEST_BYTES = 16_384
_BEARER = "Bearer "


def authorization(path: str | Path | None) -> str | None:
    """Return the Authorization header of a file: its first line is ``USER:PASSWORD`` or ``Bearer TOKEN``.

    Basic authentication is RFC 7617, a bearer token RFC 6750. None for None. The file is read each time, so that one
    that is changed counts at once. Raises FileUnusable where it cannot be read or others can, DestinationInvalid where
    it holds neither.
    """
    if path is None:
        return None
    line = _first_line(Path(path))
    if line.startswith(_BEARER):
        return line
    user, colon, _ = line.partition(":")
    if not user or not colon:
        raise DestinationInvalid(
            f"{path} holds no credentials: write USER:PASSWORD or `Bearer TOKEN` into its first line"
        )
    return f"Basic {base64.b64encode(line.encode()).decode()}"


def _first_line(path: Path) -> str:
    try:
        if path.stat().st_mode & _OTHERS:
            raise FileUnusable(f"others than its owner can read {path}: chmod 600 {path}")
        with path.open("rb") as file:
            text = file.read(_LONGEST_BYTES).decode()
    except OSError as error:
        raise FileUnusable(f"the credentials in {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise DestinationInvalid(f"{path} holds no text") from None
    line = text.partition("\n")[0].strip()
    if not line.isprintable():
        raise DestinationInvalid(f"the first line of {path} has characters that cannot be printed")
    return line
