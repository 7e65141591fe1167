"""A command whose repeatable options take several values at once: ``--share 5 10`` means ``--share 5 --share 10``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from typer.core import TyperCommand

if TYPE_CHECKING:
    from typer._click import Context


class VariadicCommand(TyperCommand):
    """Repeat an option's name before each of its further values; the command itself takes no positional arguments."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Return what is left of the arguments once the options are parsed."""
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
