"""The routes of a site as a file (TOML): read, checked, and known by its digest."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from storage.errors import RecordMissing, RoutesInvalid
from storage.routes.route import Route
from storage.routes.sense import doubts
from storage.routes.value_types import mistyped

SHIPPED = Path(__file__).with_name("routes.toml")


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1]
    route: tuple[Route, ...] = ()


@dataclass(frozen=True, slots=True)
class Routes:
    """The routes in the order of their file, the digest of that file, and its text."""

    routes: tuple[Route, ...]
    sha256: str
    content: str

    def named(self, name: str) -> Route:
        """Return the route with a name; RecordMissing where the file has none such."""
        for route in self.routes:
            if route.name == name:
                return route
        raise RecordMissing(f"there is no route {name!r}; see `oncue routes list`")


def load_routes(path: Path | None = None) -> Routes:
    """Read a file of routes, by default the one that ships.

    RoutesInvalid names line and rule at fault, also where the rule is sound and no series can meet it.
    """
    source = path or SHIPPED
    try:
        content = source.read_bytes()
    except OSError as error:
        raise RoutesInvalid(f"the routes {source.name} cannot be read: {error.strerror}") from error
    routes = parse_routes(content, name=source.name)
    said = tomllib.loads(routes.content).get("route", ())
    for index, (table, route) in enumerate(zip(said, routes.routes, strict=True)):
        for place, reason in (*mistyped(table, route), *doubts(route)):
            raise RoutesInvalid(f"{source.name}: {_at(routes.content, index, place)}: {reason}")
    return routes


def parse_routes(content: bytes, *, name: str) -> Routes:
    """Build routes from the bytes of a TOML file called ``name``; RoutesInvalid."""
    try:
        text = content.decode("utf-8-sig")
        document = _Document.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RoutesInvalid(f"{name}: not valid TOML: {error}") from error
    except ValidationError as error:
        raise RoutesInvalid(f"{name}: {_complaint(error, text)}") from error
    for twice, count in Counter(route.name for route in document.route).items():
        if count > 1:
            index = max(i for i, route in enumerate(document.route) if route.name == twice)
            raise RoutesInvalid(
                f"{name}: line {_line(text, index)}, route {twice!r}: another route has this name;"
                " results name their route, so names must differ"
            )
    return Routes(document.route, hashlib.sha256(content).hexdigest(), text)


def _complaint(error: ValidationError, text: str) -> str:
    """Return the first thing wrong: line of the key where it stands there, else of its route; the rule; the reason."""
    found = error.errors(include_url=False)
    # A misspelt key is both an unknown one and a missing one; the unknown one is what the reader can see.
    first = next((item for item in found if item["type"] == "extra_forbidden"), found[0])
    place = first["loc"]
    reason = _reason(first["type"], first["msg"])
    if place[:1] != ("route",) or len(place) == 1 or not isinstance(place[1], int):
        return f"{'.'.join(str(part) for part in place) or 'the file'}: {reason}"
    return f"{_at(text, place[1], place[2:])}: {reason}"


def _at(text: str, index: int, place: tuple[str | int, ...]) -> str:
    """Return in words where in a route a key stands: its line, the route's name, the key with those above it."""
    named = [part for part in place if isinstance(part, str)]
    where = f"line {_line(text, index, key=named[-1] if named else None)}, route {_name(text, index)}"
    return f"{where}, {'.'.join(map(str, place))}" if place else where


def _reason(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "there is no such key; docs/routes.md has every one"
    return "this key is missing" if kind == "missing" else message.removeprefix("Value error, ")


def _starts(lines: Sequence[str]) -> list[int]:
    return [number for number, line in enumerate(lines) if re.match(r"\s*\[\[\s*route\s*\]\]", line)]


def _block(text: str, index: int) -> tuple[int, list[str]]:
    """Return where the lines of a route begin, and these lines; the first line of the file where it is not found."""
    lines = text.splitlines()
    starts = [*_starts(lines), len(lines)]
    return (starts[index], lines[starts[index] : starts[index + 1]]) if index + 1 < len(starts) else (0, lines[:1])


def _line(text: str, index: int, *, key: str | None = None) -> int:
    start, lines = _block(text, index)
    for offset, line in enumerate(lines):
        if key is not None and re.match(rf"\s*(?:\[+\s*route\.)?{re.escape(key)}\b", line):
            return start + offset + 1
    return start + 1


def _name(text: str, index: int) -> str:
    _, lines = _block(text, index)
    for line in lines:
        if found := re.match(r"\s*name\s*=\s*(.+?)\s*(?:#.*)?$", line):
            return found[1]
    return f"number {index + 1}"
