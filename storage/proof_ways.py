"""How a destination shows that it keeps what it took."""

from __future__ import annotations

from enum import StrEnum


class ProofWay(StrEnum):
    """How a destination is asked: not at all, by storage commitment, or by C-FIND or QIDO-RS."""

    NONE = "none"
    COMMITMENT = "commitment"
    QUERY = "query"
