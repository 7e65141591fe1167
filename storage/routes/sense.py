"""What a file of routes may say and nobody means: what no series can meet, and what asks for nothing.

Files that are on record were read before some of these rules: they stay readable, so no rule here is one of the form.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from pydantic import BaseModel

from storage.routes.conditions import Conditions
from storage.routes.modalities import TERMS
from storage.routes.regions import matches
from storage.routes.route import Route
from storage.uids import is_uid

Doubt = tuple[tuple[str | int, ...], str]
"""Where in a route, key by key, and what is wrong there."""

_LONGEST_NAME = 16
"""Characters of an AE title and of StationName (PS3.5 6.2, AE and SH)."""
_ONE_OF = re.compile(r"\[!?\]?[^\]]*\]")
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]")
_PAST_THE_ENDS = re.compile(r"(?<!\\)[a-z0-9]\^|(?<!\\)\$[a-z0-9]", re.IGNORECASE)
_NOTHING, _NONSENSE = "", "\x01"
"""Two texts that no condition on descriptions means to meet both."""
_EVERYTHING = "every description meets this, an empty one too: leave the key or the empty alternative out"


def doubts(route: Route) -> Iterator[Doubt]:
    """Yield what a route says in vain, in the order of its keys."""
    for name in ("analyser", "prompt", "task"):
        if getattr(route, name) is not None and not getattr(route, name).strip():
            yield (name,), "this is blank: name it, or leave the key out"
    yield from ((("match", *where), why) for where, why in _of_conditions(route.match))
    yield from ((("require", *where), why) for where, why in _of_numbers(route.require))
    for key, parts in (("wait_for", route.wait_for), ("prefer", route.prefer)):
        for index, part in enumerate(parts):
            found = _of_conditions(part) if isinstance(part, Conditions) else _of_values(part)
            yield from (((key, index, *where), why) for where, why in found)
    yield from _of_numbers(route)


def _of_conditions(asked: Conditions) -> Iterator[Doubt]:
    for unknown in (part for part in asked.modality if part not in TERMS):
        yield ("modality",), f"{unknown!r} is no modality of DICOM (PS3.3 C.7.3.1.1.1), as CT, MR, PT, DX or US are"
    for wrong in (part for part in asked.sop_class if not is_uid(part)):
        yield ("sop_class",), f"{wrong!r} is no UID, as 1.2.840.10008.5.1.4.1.1.4 of MR images is"
    for name in ("sop_class", "body_part", "calling_aet", "station"):
        if name in asked.model_fields_set and not getattr(asked, name):
            yield (name,), "an empty list asks for nothing: leave the key out"
    for name in ("calling_aet", "station"):
        for wrong in (part for part in getattr(asked, name) if not 1 <= _shortest(part) <= _LONGEST_NAME):
            yield (name,), f"{wrong!r} is like no name: those have 1 to {_LONGEST_NAME} characters"
    if not asked.body_part and not asked.body_part_unknown:
        yield ("body_part_unknown",), "it says nothing without body_part: every region passes, known or not"
    yield from _of_values(asked)


def _of_values(asked: BaseModel) -> Iterator[Doubt]:
    yield from _of_patterns(asked)
    yield from _of_numbers(asked)


def _of_patterns(asked: BaseModel) -> Iterator[Doubt]:
    for name in ("description", "not_description", "study_description"):
        pattern = getattr(asked, name, None)
        if pattern is None:
            continue
        if _PAST_THE_ENDS.search(_CLASS.sub("", pattern)):
            yield (name,), "^ is the beginning of a description and $ its end, so nothing stands before or behind them"
        elif matches(pattern, _NOTHING) and matches(pattern, _NONSENSE):
            yield (name,), _EVERYTHING


def _of_numbers(asked: BaseModel) -> Iterator[Doubt]:
    for name, value in asked:
        if isinstance(value, float) and not math.isfinite(value):
            yield (name,), f"{value} is no limit: give a number, or leave the key out"


def _shortest(pattern: str) -> int:
    """Return how many characters a name has at least that is like a pattern, 0 for blanks, 1 for ``*``."""
    return max(1, len(_ONE_OF.sub("?", pattern).replace("*", ""))) if pattern.strip() else 0
