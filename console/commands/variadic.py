"""A command whose repeatable options also take several values: ``--share 5 10`` as ``--share 5 --share 10``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from typer.core import TyperCommand

if TYPE_CHECKING:
    from typer._click import Context


class VariadicCommand(TyperCommand):
    """Spreads the values before the options are parsed; the command itself takes no arguments."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Parse the spread arguments."""
        names = {name for one in self.params if getattr(one, "multiple", False) for name in one.opts}
        return super().parse_args(ctx, list(_spread(args, names)))


def _spread(args: Sequence[str], names: set[str]) -> Iterator[str]:
    """Repeat an option's name before each further value."""
    current, fed = "", False
    for word in args:
        if word.startswith("-"):
            current, fed = (word if word in names else ""), False
        elif current and fed:
            yield current
        else:
            fed = bool(current)
        yield word
