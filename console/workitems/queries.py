"""The parameters of a search for workitems (PS3.18 8.3.4, 11.9)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from console.query_keys import page_of, parameters_of
from storage.attributes import Attributes

LIMIT = 100
MOST = 1000


@dataclass(frozen=True, slots=True)
class WorkitemQuery:
    """What is searched for, which page of it, and the attributes that are asked for beside those of every answer."""

    keys: Attributes
    limit: int
    offset: int
    included: frozenset[str]


def query_of(parameters: Iterable[tuple[str, str]]) -> WorkitemQuery:
    """Return what the parameters of a search say; RequestInvalid where one is none.

    Names are matched literally whatever they say of fuzzy matching, as a service may (8.3.4.2).
    """
    given = parameters_of(parameters)
    return WorkitemQuery(given.keys, **page_of(given, default=LIMIT, most=MOST), included=given.included)
