"""Values of keys as conditions on columns: texts, names, dates, times, UIDs and numbers (PS3.4 C.2.2.2)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sqlalchemy import Boolean, ColumnElement, and_, or_, true
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from storage import matching
from storage.errors import QuestionInvalid

Text = InstrumentedAttribute[str]
Number = InstrumentedAttribute[int | None]
Match = Callable[[tuple[str, ...]], ColumnElement[bool]]
"""Returns the condition that one of some values, none of them empty, matches."""

_BEHIND_ALL_TEXT = "\U0010ffff"
_BEHIND_ALL_DIGITS = "~"
_DATE = re.compile(r"\d{8}")
_TIME = re.compile(r"\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?")
_BIGGEST = 2**31 - 1


def text(column: Text) -> Match:
    """Match single values and wildcards, with regard to case (PS3.4 C.2.2.2.1, C.2.2.2.4)."""
    return lambda values: or_(*(_is_text(column, value) for value in values))


def name(alphabetic: Text, *others: Text) -> Match:
    """Match component groups of names, folded; one of nothing but ASCII is looked for in the alphabetic one alone."""

    def match(value: str) -> ColumnElement[bool]:
        groups = [group for group in map(matching.folded, value.split("=")) if group]
        if not groups:
            return true()
        return or_(
            *(
                _is_text(column, group)
                for group in groups
                for column in (alphabetic, *(() if group.isascii() else others))
            )
        )

    return lambda values: or_(*(match(value) for value in values))


def date(column: Text) -> Match:
    """Match dates and ranges of them; QuestionInvalid for anything else. No date matches none."""
    return lambda values: or_(*(_is_within(column, value.replace(".", ""), _DATE) for value in values))


def time(column: Text) -> Match:
    """Match times, as precise as they are, and ranges of them; QuestionInvalid for anything else."""
    return lambda values: or_(*(_is_within(column, value.replace(":", ""), _TIME) for value in values))


def uid(column: Text) -> Match:
    """Match UIDs of a list (PS3.4 C.2.2.2.2)."""
    return column.in_


def number(column: Number) -> Match:
    """Match integers; QuestionInvalid for anything else."""
    return lambda values: column.in_([_number(value) for value in values])


def _is_text(column: Text, value: str) -> ColumnElement[bool]:
    if not matching.is_pattern(value):
        return column == value
    prefix = re.split(r"[*?]", value, maxsplit=1)[0]
    wildcards = _Wildcards(column, _like(value), _glob(value))
    if not prefix:
        return wildcards
    # What stands before the first wildcard is a range of the column's index.
    return and_(column >= prefix, column < prefix + _BEHIND_ALL_TEXT, wildcards)


def _is_within(column: Text, value: str, form: re.Pattern[str]) -> ColumnElement[bool]:
    earliest, latest = matching.bounds(value)
    if any(end and form.fullmatch(end) is None for end in (earliest, latest)):
        raise QuestionInvalid("a date is YYYYMMDD, a time HHMMSS.FFFFFF or its beginning, a range FROM-UNTIL")
    lower = column >= _shortest(earliest) if earliest else column != ""
    return and_(lower, column <= _shortest(latest) + _BEHIND_ALL_DIGITS) if latest else lower


def _shortest(value: str) -> str:
    """Return a time without zeros at the end of its fraction."""
    return value.rstrip("0").rstrip(".") if "." in value else value


def _number(value: str) -> int:
    try:
        found = int(value)
    except ValueError:
        raise QuestionInvalid("a key of an integer holds something else") from None
    return max(min(found, _BIGGEST), -_BIGGEST)


class _Wildcards(FunctionElement[bool]):
    """A text matches wildcards: by LIKE, and in SQLite, whose LIKE takes no regard to case, by GLOB."""

    type = Boolean()
    name = "wildcards"
    inherit_cache = True


@compiles(_Wildcards)
def _by_like(element: _Wildcards, compiler: SQLCompiler, **options: Any) -> str:
    column, like, _ = element.clauses
    return f"{compiler.process(column, **options)} LIKE {compiler.process(like, **options)}"


@compiles(_Wildcards, "sqlite")
def _by_glob(element: _Wildcards, compiler: SQLCompiler, **options: Any) -> str:
    column, _, glob = element.clauses
    return f"{compiler.process(column, **options)} GLOB {compiler.process(glob, **options)}"


def _like(pattern: str) -> str:
    escaped = re.sub(r"([\\%_])", r"\\\1", pattern)
    return re.sub(r"\*+", "%", escaped).replace("?", "_")


def _glob(pattern: str) -> str:
    return re.sub(r"\*+", "*", pattern).replace("[", "[[]")
