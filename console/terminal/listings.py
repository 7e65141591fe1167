"""A listing: the same items as JSON for programs, or as a table for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from console.installation import open_installation
from console.terminal.output import write_forms, write_line, write_table

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel
    from sqlalchemy.orm import Session

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Listing(Generic[Item]):
    """How one kind of item is listed; ``empty`` is the sentence where there is none.

    ``cursor`` gives the place behind an item, for lists that come in pages.
    """

    title: str
    headers: Sequence[str]
    row: Callable[[Item], Sequence[object]]
    form: Callable[[Item], BaseModel]
    empty: str
    cursor: Callable[[Item], str | None] | None = None

    def show(
        self,
        read: Callable[[Session], Sequence[Item]],
        state: Path,
        *,
        config: Path | None,
        as_json: bool,
        limit: int | None = None,
    ) -> None:
        """Read the items of an installation and write them to standard output; behind a full page, how to go on."""
        with open_installation(state, file=config).read() as session:
            items = read(session)
        if as_json:
            write_forms([self.form(item) for item in items])
            return
        write_table(self.title, self.headers, [self.row(item) for item in items], empty=self.empty)
        if self.cursor is not None and items and len(items) == limit:
            write_line(f"there may be more: --after {self.cursor(items[-1])}")
