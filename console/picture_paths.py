"""Where the console serves the pictures of a result."""

from __future__ import annotations


def overlay_path(job_id: int, digest: str) -> str:
    """Return the address of an overlay picture."""
    return f"/jobs/{job_id}/overlays/{digest}.png"


def panel_path(job_id: int, digest: str) -> str:
    """Return the address of a finding's panel."""
    return f"/jobs/{job_id}/panels/{digest}.png"
