"""Values of a file of routes that are of another kind than their keys: a text for a number, a number for yes or no.

Pydantic reads "20" as 20 and "yes" as true. What is on record was read so and stays readable; a file is held to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel

Mistyped = tuple[tuple[str | int, ...], str]
"""Where in a route, key by key, and what is wrong there."""

_YES_OR_NO = "give true or false, without quotes"
_NUMBER = "give a number, without quotes"


def mistyped(said: Mapping[str, object], read: BaseModel) -> Iterator[Mistyped]:
    """Yield the keys of a table of TOML whose values were read as those of another kind."""
    for key, value in said.items():
        yield from ((((key, *where)), why) for where, why in _between(value, getattr(read, key, None)))


def _between(said: object, read: object) -> Iterator[Mistyped]:
    if isinstance(read, BaseModel) and isinstance(said, Mapping):
        yield from mistyped(said, read)
    elif isinstance(read, tuple) and isinstance(said, Sequence) and not isinstance(said, str):
        for index, (one, made) in enumerate(zip(said, read, strict=False)):
            yield from (((index, *where), why) for where, why in _between(one, made))
    elif isinstance(read, bool):
        if not isinstance(said, bool):
            yield (), f"{_quoted(said)} {'is a text' if isinstance(said, str) else 'is no answer'}: {_YES_OR_NO}"
    elif isinstance(read, int | float) and (isinstance(said, bool) or not isinstance(said, int | float)):
        yield (), f"{_quoted(said)} {'is a text' if isinstance(said, str) else 'is no number'}: {_NUMBER}"


def _quoted(said: object) -> str:
    return json.dumps(said, ensure_ascii=False, default=str)
