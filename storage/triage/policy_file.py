"""A triage policy as a file (TOML): read, checked for contradictions, and known by its digest."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from storage.domain import Priority
from storage.errors import PolicyInvalid
from storage.triage.policy import NAME_LENGTH, OneLine, Policy, Rule, hidden_rules, on_one_line

SHIPPED = Path(__file__).with_name("triage-policy.toml")
_BYTE_ORDER_MARK = "\ufeff"
MOST_BYTES = 1_000_000
"""A policy is written by people: a file beyond this is something else."""
MOST_RULES = 500
"""Each rule is held against all before it, so that the time grows with the square of their number."""


class _Default(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: OneLine
    priority: Priority


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: OneLine | None = None
    time_zone: str = "UTC"
    default: _Default
    rules: tuple[Rule, ...] = ()

    @field_validator("time_zone")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (LookupError, ValueError, OSError):
            raise ValueError(f'{value!r} is no time zone that is known here; write it as "Europe/Berlin"') from None
        return value


@dataclass(frozen=True, slots=True)
class RulePlaces:
    """Where the rules of a file stand, so that what is wrong with one can be found."""

    lines: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> RulePlaces:
        """Look at the lines of a file."""
        return cls(tuple(text.removeprefix(_BYTE_ORDER_MARK).splitlines()))

    def line(self, index: int, key: str = "") -> int:
        """Return the line, from 1, of a key of a rule, else of the rule; 1 where it is not written as ``[[rules]]``."""
        start, end = self._block(index)
        keyed = (number for number in range(start, end) if key and self._names(number, key))
        return next(keyed, start) + 1

    def of_key(self, key: str) -> int:
        """Return the line, from 1, of a key outside the rules; 1 where it is not there."""
        return next((number + 1 for number in range(len(self.lines)) if self._names(number, key)), 1)

    def where(self, index: int, key: str = "", name: str = "") -> str:
        """Return the place of a rule, or of a key of it, in words."""
        called = f" «{name}»" if name else ""
        place = f"rule {index + 1}{called} (line {self.line(index, key)})"
        return f"{place}, {key}" if key else place

    def _names(self, number: int, key: str) -> bool:
        return re.match(rf"\s*\[*\s*\"?{re.escape(key)}\b", self.lines[number]) is not None

    def _block(self, index: int) -> tuple[int, int]:
        starts = [number for number, line in enumerate(self.lines) if re.match(r"\s*\[\[\s*rules\s*\]\]", line)]
        bounds: Sequence[int] = (*starts, len(self.lines))
        return (bounds[index], bounds[index + 1]) if index < len(starts) else (0, 0)


def load_policy(path: Path | None = None) -> Policy:
    """Read a policy file, by default the one that ships. PolicyInvalid names the line and the rule at fault."""
    source = path or SHIPPED
    try:
        with source.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise PolicyInvalid(f"the triage policy {source.name} cannot be read: {error.strerror}") from error
    return parse_policy(content, name=source.name)


def parse_policy(content: bytes, *, name: str, called: str | None = None) -> Policy:
    """Build a policy from the bytes of a TOML file called ``name``; PolicyInvalid names line and rule at fault.

    The policy is ``called`` so, or else as its file says, or else as the file is without its ending.
    """
    if len(content) > MOST_BYTES:
        raise PolicyInvalid(f"{name}: more than {MOST_BYTES} bytes are no policy")
    policy = read_recorded(content, name=name, called=called)
    if len(policy.rules) > MOST_RULES:
        raise PolicyInvalid(f"{name}: {len(policy.rules)} rules are more than the {MOST_RULES} that a policy may have")
    try:
        on_one_line(policy.name)
    except ValueError as error:
        raise PolicyInvalid(f"{name}: the policy's name {policy.name!r}: {error}") from error
    first = next(_contradictions(policy), None)
    if first is not None:
        raise PolicyInvalid(f"{name}: {first}")
    return policy


def read_recorded(content: bytes, *, name: str, called: str | None = None) -> Policy:
    """Build a policy whose contradictions were looked for when it was put on record; PolicyInvalid."""
    try:
        text = content.decode()
        document = _Document.model_validate(tomllib.loads(text.removeprefix(_BYTE_ORDER_MARK)))
    except ValidationError as error:
        raise PolicyInvalid(f"{name}: {_complaint(error, text)}") from error
    except RecursionError as error:
        raise PolicyInvalid(f"{name}: tables or arrays lie too deep in each other") from error
    except ValueError as error:  # TOMLDecodeError, UnicodeDecodeError, and a number of thousands of digits
        raise PolicyInvalid(f"{name}: not valid TOML: {error}") from error
    return Policy(
        name=called or document.name or _stem(name),
        rules=document.rules,
        default_name=document.default.name,
        default_priority=document.default.priority,
        time_zone=ZoneInfo(document.time_zone),
        content=text,
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _stem(name: str) -> str:
    return (name.removesuffix(".toml") or name)[:NAME_LENGTH]


def _contradictions(policy: Policy) -> Iterator[str]:
    """Yield what a policy contradicts itself in, each with its place: in the order of the file."""
    places = RulePlaces.of(policy.content)
    yield from _same_names(policy, places)
    for index, rule in enumerate(policy.rules):
        for key, reason in rule.contradictions():
            yield f"{places.where(index, key, rule.name)}: {reason}; the rule can never hold"
    for index, earlier in hidden_rules(policy.rules):
        where = places.where(index, name=policy.rules[index].name)
        yield f"{where}: it never decides, for rule «{earlier.name}» before it holds wherever this one does"


def _same_names(policy: Policy, places: RulePlaces) -> Iterator[str]:
    reason = "another one has this name; decisions name their rule, so names must differ"
    seen = {policy.default_name}
    for index, rule in enumerate(policy.rules):
        if rule.name in seen:
            yield f"{places.where(index, 'name', rule.name)}: {reason}"
        seen.add(rule.name)


def _complaint(error: ValidationError, text: str) -> str:
    """Return the first thing wrong: rule, line of the key where it stands there, and the reason."""
    found = error.errors(include_url=False)
    # A misspelt key is both an unknown one and a missing one; the unknown one is what the reader can see.
    first = next((item for item in found if item["type"] == "extra_forbidden"), found[0])
    place, reason, places = first["loc"], _reason(first["type"], first["msg"]), RulePlaces.of(text)
    if place[:1] == ("rules",) and len(place) > 1 and isinstance(place[1], int):
        key = next((part for part in place[2:] if isinstance(part, str)), "")
        return f"{places.where(place[1], key)}: {reason}"
    keys = [str(part) for part in place]
    return f"{'.'.join(keys)} (line {places.of_key(keys[-1])}): {reason}" if keys else f"the file: {reason}"


def _reason(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "there is no such key; docs/triage.md has every one"
    return "this key is missing" if kind == "missing" else message.removeprefix("Value error, ")
