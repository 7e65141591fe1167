"""How a person at the command line is called: as an actor of the audit trail, and as the owner of a token."""

from __future__ import annotations

import getpass
import os
import re

_LONGEST = 80
_LONGEST_TOKEN_NAME = 32
_NOT_IN_TOKEN_NAMES = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)


def command_line_actor() -> str:
    """Return ``cli:USER``, or ``cli:UID`` where the user id has no name, as in a container; at most 80 characters."""
    return f"cli:{_user()}"[:_LONGEST]


def token_name() -> str:
    """Return the user's name in the form of a token's, ``console`` where it has no letter to begin with."""
    plain = _NOT_IN_TOKEN_NAMES.sub("-", _user()).strip("-")[:_LONGEST_TOKEN_NAME]
    return plain if plain[:1].isalpha() else "console"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
