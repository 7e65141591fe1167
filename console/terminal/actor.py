"""Who acts: what the audit trail writes down for a person at the command line."""

from __future__ import annotations

import getpass

_LONGEST = 80


def command_line_actor() -> str:
    """Return ``cli:USER``; a user id without a name, as in a container, still counts."""
    import os

    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return f"cli:{name}"[:_LONGEST]
