"""Where a site's routes stand: the configured file, or ``routes.toml`` of the state folder where there is one."""

from __future__ import annotations

from pathlib import Path

from dicom_gateway.config import GatewaySettings
from storage.routes.in_force import RoutesInForce

FILE_NAME = "routes.toml"


def routes_of_site(state: Path, settings: GatewaySettings) -> RoutesInForce:
    """Return the routes that hold for an installation; RoutesInvalid names line and rule of a file that is wrong.

    A configured file must be there; without one, routes.toml of the state folder holds as soon as it appears.
    """
    return RoutesInForce(settings.routes or state / FILE_NAME, required=settings.routes is not None)
