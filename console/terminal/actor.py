"""The actor that the audit trail names for a person at the command line."""

from __future__ import annotations

import getpass
import os

_LONGEST = 80


def command_line_actor() -> str:
    """Return ``cli:USER``, or ``cli:UID`` where the user id has no name, as in a container; at most 80 characters."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return f"cli:{name}"[:_LONGEST]
