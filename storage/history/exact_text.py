"""Text forms that have one spelling each, so that no byte of a proof can be changed unseen."""

from __future__ import annotations

import base64
import re

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_LIMIT = 1 << 63


def exact_base64(text: str) -> bytes:
    """Return the bytes of an RFC 4648 base64 text. Raises ValueError where it is not the one spelling of them."""
    data = base64.b64decode(text.encode("ascii"), validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError("not the canonical base64 of these bytes")
    return data


def exact_decimal(text: str) -> int:
    """Return the number below 2**63 that ASCII digits without leading zeros spell. Raises ValueError."""
    if not _DECIMAL.fullmatch(text) or int(text) >= _LIMIT:
        raise ValueError("not a decimal number without leading zeros, below 2**63")
    return int(text)


def as_base64(data: bytes) -> str:
    """Return the base64 text of bytes."""
    return base64.b64encode(data).decode()


def decoded(text: str | bytes) -> str:
    """Return what is one line after the other of UTF-8. Raises ValueError at a control character."""
    decoded_text = text.decode() if isinstance(text, bytes) else text
    decoded_text.encode()  # a lone surrogate is no character
    if any(character < " " and character != "\n" for character in decoded_text):
        raise ValueError("a control character stands in it")
    return decoded_text
