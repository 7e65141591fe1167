"""Which file of routes holds: the one that a command names, the setting's, the state folder's, or the shipped one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from console.installation import Installation
from storage.routes.file import SHIPPED, Routes, load_routes
from storage.routes.in_force import RoutesInForce

FILE_NAME = "routes.toml"


class RoutesOrigin(StrEnum):
    """Why a file of routes holds."""

    NAMED = "named here"
    SETTING = "gateway.routes"
    STATE = "state folder"
    SHIPPED = "shipped"


@dataclass(frozen=True, slots=True)
class RoutesFile:
    """A file of routes that was read, and why it is this one."""

    path: Path
    origin: RoutesOrigin
    routes: Routes


def read_routes(installation: Installation, *, named: Path | None = None) -> RoutesFile:
    """Read the file of routes that is in force, or the one that is named instead; RoutesInvalid."""
    path, origin = (named, RoutesOrigin.NAMED) if named is not None else _in_force(installation)
    return RoutesFile(path, origin, load_routes(path))


def routes_of_site(installation: Installation) -> RoutesInForce:
    """Return the routes that hold for an installation and follow their file; RoutesInvalid where it is wrong.

    A configured file must be there; without one, routes.toml of the state folder holds as soon as it appears.
    """
    configured = installation.settings.gateway.routes
    return RoutesInForce(configured or installation.state / FILE_NAME, required=configured is not None)


def _in_force(installation: Installation) -> tuple[Path, RoutesOrigin]:
    configured = installation.settings.gateway.routes
    own = installation.state / FILE_NAME
    if configured is not None:
        return configured, RoutesOrigin.SETTING
    return (own, RoutesOrigin.STATE) if own.exists() else (SHIPPED, RoutesOrigin.SHIPPED)
