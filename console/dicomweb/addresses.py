"""Where the services of DICOMweb are, and the form that they answer in where it is no file."""

from __future__ import annotations

from fastapi import Request

from console.access.asked_host import AskedHost
from console.access.visitor import address_of

BASE = "/dicom-web"
DICOM_JSON = "application/dicom+json"
JSON_TYPES = (DICOM_JSON, "application/json")
_DEFAULT_PORTS = frozenset({80, 443})


def base_of(request: Request) -> str:
    """Return the address of the services as the client asked for it.

    Some clients leave the port out of the Host header: on the machine itself, with no proxy between, it is ours.
    """
    host, server = AskedHost.of(request), request.scope.get("server")
    is_ours = server is not None and host.name == server[0] == address_of(request)
    if is_ours and not host.port and server[1] not in {None, *_DEFAULT_PORTS}:
        return f"{request.url.scheme}://{server[0]}:{server[1]}{BASE}"
    return f"{str(request.base_url).rstrip('/')}{BASE}"
