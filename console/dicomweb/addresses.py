"""Where the services of DICOMweb are."""

from __future__ import annotations

from fastapi import Request

from console.access.asked_host import AskedHost
from console.access.visitor import address_of

BASE = "/dicom-web"
_DEFAULT_PORTS = frozenset({80, 443})


def base_of(request: Request) -> str:
    """Return the address of the services as the client asked for it.

    Some clients leave the port out of the Host header: on the machine itself, with no proxy between, it is ours.
    """
    host, (address, port) = AskedHost.of(request), request.scope.get("server") or ("", None)
    is_ours = not host.port and host.name == address == address_of(request)
    if is_ours and port not in {None, *_DEFAULT_PORTS}:
        return f"{request.url.scheme}://{address}:{port}{BASE}"
    return f"{str(request.base_url).rstrip('/')}{BASE}"
