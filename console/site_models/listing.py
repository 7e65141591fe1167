"""What lists say of models: those that ship, and those that a site added."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from console.installation import Installation
from storage.site_models import SiteModel
from workers.errors import WeightsMismatch
from workers.site_models.card import SiteModelCard
from workers.weights import MANIFEST_NAME, Manifest, read_manifest, verify

SHIPPED = "shipped"
"""Kind of the weights that come with oncue, or that were put into ``worker.models``."""


def shipped_forms(installation: Installation, *, verified: bool = False) -> list[dict[str, Any]]:
    """Return the weight folders of the models folder as JSON lists have them, hashed anew where ``verified``.

    WeightsMismatch where there is none, or where one differs from its manifest.
    """
    root = installation.settings.worker.models_folder()
    folders = sorted(manifest.parent for manifest in root.glob(f"*/{MANIFEST_NAME}"))
    if not folders:
        raise WeightsMismatch(f"no weights in {root}; set worker.models to the folder that holds them")
    return [_shipped(folder, verify(folder) if verified else read_manifest(folder)) for folder in folders]


def _shipped(folder: Path, manifest: Manifest) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "version": manifest.version,
        "bytes": sum(file.bytes for file in manifest.files),
        "files": len(manifest.files),
        "licence": manifest.licence,
        "sha256": manifest.sha256,
        "folder": str(folder),
        "kind": SHIPPED,
        "modalities": [],
        "labels": [],
        "runs_code": [],
    }


def form_of(model: SiteModel) -> dict[str, Any]:
    """Return a model as JSON lists have it: the keys of shipped weights, and what its card says."""
    card = SiteModelCard.from_json(model.card)
    return {
        "name": model.name,
        "version": card.version,
        "bytes": sum(file.bytes for file in model.files),
        "files": len(model.files),
        "licence": card.licence,
        "sha256": model.sha256,
        "kind": model.kind,
        "modalities": list(card.modalities),
        "labels": [
            {"value": entry.value, "name": entry.name, "role": entry.role.value, "code": entry.concept.value}
            for entry in card.labels
        ],
        "runs_code": list(card.runs_code),
        "added_at": model.added_at.isoformat(),
        "added_by": model.added_by,
    }
