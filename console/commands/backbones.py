"""`oncue models backbones`: the image encoders that classification may use, and how one is added."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from workers.fewshot.contracts import BackboneCard
    from workers.fewshot.registry import NewBackbone


def is_encoder(folder: Path) -> bool:
    """Say whether a folder is an image encoder, as transformers saves them, and no model that analyses studies."""
    try:
        content = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "model_type" in content and not (folder / "model.toml").is_file()


def add_backbone(folder: Path, entry: NewBackbone, *, models: Path, as_json: bool) -> None:
    """Check an image encoder, copy it to the models, write down the digest of every file, and register it."""
    from workers.fewshot.registry import register

    _write([register(folder, entry, models=models)], as_json=as_json)


def list_backbones(state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the image encoders that can be used, with licence and digest; each is checked as it would be for a job.

    Example: oncue models backbones
    """
    from console.config import read
    from workers.fewshot.registry import cards

    models = read(state, file=config).settings.worker.models_folder()
    _write(cards(models), as_json=as_json)


def _write(cards: list[BackboneCard], *, as_json: bool) -> None:
    from console.terminal.output import write_json, write_table

    rows = [
        {
            "name": card.name,
            "family": card.family,
            "dimensions": card.dimensions,
            "pixels": card.preprocessing.size,
            "text": card.has_text,
            "licence": card.licence,
            "commercial_use": card.commercial_use,
            "sha256": card.sha256,
        }
        for card in cards
    ]
    if as_json:
        write_json(rows)
        return
    write_table("Backbones", list(rows[0]) if rows else (), [list(row.values()) for row in rows], empty="no backbone")
