"""How results are written: JSON for programs, tables for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from pydantic import BaseModel
    from rich.console import Console

_PIPED_COLUMNS = 240


def write_json(value: object) -> None:
    """Write one JSON document to standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_forms(forms: Sequence[DataclassInstance | BaseModel]) -> None:
    """Write a listing as one JSON array."""
    from pydantic_core import to_jsonable_python

    write_json([to_jsonable_python(form) for form in forms])


def write_line(text: str) -> None:
    """Write one line to standard output at once, also into a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def write_table(title: str, headers: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """Write a table, or one sentence where there are no rows."""
    from rich import box
    from rich.table import Table

    if not rows:
        write_line(empty)
        return
    table = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    terminal().print(table)


def terminal() -> Console:
    """Return a console for standard output; into a pipe it is wide enough to keep rows whole."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=_PIPED_COLUMNS)


def _cell(value: object) -> str:
    from rich.markup import escape

    if value is None:
        return "-"
    return escape(f"{value:.3g}" if isinstance(value, float) else str(value))
