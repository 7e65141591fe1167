"""Settings that there were once and that stand elsewhere now: whoever still has one is told what to do instead."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from storage.errors import ConfigurationError

PEERS = ("allowed_aets", "lanes")
"""Keys of the section «gateway» that said who may send; each peer has an entry in the database instead."""

_NOT_OF_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


def refuse_moved(gateway: Mapping[str, Any], *, where: str) -> None:
    """Raise ConfigurationError where a section «gateway» says who may send, with the commands that say it now."""
    present = [key for key in PEERS if key in gateway]
    if not present:
        return
    keys = " and ".join(f"gateway.{key}" for key in present)
    titles, lanes = gateway.get("allowed_aets") or (), gateway.get("lanes") or {}
    commands = _commands(titles, lanes) or "`oncue peers add NAME --aet AET` for each peer"
    raise ConfigurationError(
        f"{keys} in {where}: peers are entries in the database now, and without one nobody beyond this machine may "
        f"send. Take {'them' if len(present) > 1 else 'it'} out, start oncue, then {commands} (docs/peers.md)"
    )


def read_variable(text: str) -> Any:
    """Return what a variable holds: JSON, or a list with commas."""
    try:
        return json.loads(text)
    except ValueError:
        return [part.strip() for part in text.split(",") if part.strip()]


def _commands(titles: object, lanes: object) -> str:
    known = lanes if isinstance(lanes, Mapping) else {}
    named = [str(title) for title in titles] if isinstance(titles, Iterable) and not isinstance(titles, str) else []
    return "; ".join(_command(title, known.get(title)) for title in dict.fromkeys((*named, *map(str, known))))


def _command(title: str, lane: object) -> str:
    name = _NOT_OF_NAMES.sub("-", title).lstrip("._-") or "peer"
    chosen = f" --lane {lane}" if lane else ""
    return f"`oncue peers add {name} --aet {shlex.quote(title)}{chosen}`"
