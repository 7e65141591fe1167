"""What is asked of the holdings: a level, keys, and which page of the answers (PS3.4 C.4.1, PS3.18 8.3.4)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from storage.attributes import Attributes

LIMIT = 100
"""Answers of a page where nobody says how many."""


class Level(StrEnum):
    """The levels of the query information models (PS3.4 C.6); patients are asked for by their studies."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


@dataclass(frozen=True, slots=True)
class HoldingsQuestion:
    """Keys that answers of one level must match; an empty key matches anything, and is answered.

    UIDs of the levels above stand among the keys. ``included`` are further attributes to answer, by tag; with
    ``includes_all`` every one that is kept.
    """

    level: Level
    keys: Attributes
    limit: int | None = LIMIT
    offset: int = 0
    included: frozenset[str] = frozenset()
    includes_all: bool = False
