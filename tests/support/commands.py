"""The `oncue` command line inside the test's own process, with what it printed and its exit code."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from dataclasses import dataclass
from typing import Any

from console.cli import main


@dataclass(frozen=True, slots=True)
class Ran:
    """What one command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON; it must be nothing else."""
        return json.loads(self.out)


def oncue(*arguments: object) -> Ran:
    """Run one command as its entry point would."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = ["oncue", *map(str, arguments)]
    code: object = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = before
    return Ran(code if isinstance(code, int) else 0 if code is None else 1, out.getvalue(), err.getvalue())
