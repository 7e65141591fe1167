"""Where in the body something lies, as JSON text in the rows of findings and structures."""

from __future__ import annotations

import json
from dataclasses import asdict

from storage.domain import Code, Site


def write(site: Site) -> str:
    """Return a site as canonical JSON."""
    return json.dumps(asdict(site), sort_keys=True)


def read(text: str) -> Site:
    """Return the site that ``write`` wrote."""
    content = json.loads(text)
    side = content["laterality"]
    return Site(Code(**content["concept"]), Code(**side) if side else None)
