"""Words that a command takes for a state; a wrong one is a usage error that lists the right ones."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TypeVar

import typer

Choice = TypeVar("Choice", bound=StrEnum)


def chosen(kind: type[Choice], text: str | None) -> Choice | None:
    """Return the member with this value, None for None; BadParameter for anything else."""
    if text is None:
        return None
    try:
        return kind(text)
    except ValueError as error:
        known = ", ".join(member.value for member in kind)
        raise typer.BadParameter(f"{text!r} is not one of {known}") from error


def all_chosen(kind: type[Choice], texts: Sequence[str] | None) -> list[Choice]:
    """Return the members with these values; none for None."""
    return [member for text in texts or () if (member := chosen(kind, text)) is not None]
