"""`oncue models add` and `oncue models backbones`: the image encoders that classification may use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from workers.fewshot.contracts import BackboneCard

Folder = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER", exists=True, file_okay=False, help="Folder with config.json and safetensors, as published."
    ),
]
Name = Annotated[str | None, typer.Option("--name", metavar="NAME", help="What to call it; default: as the folder.")]
Licence = Annotated[str, typer.Option("--licence", metavar="SPDX", help="Licence of the weights, as on their card.")]
Commercial = Annotated[
    bool, typer.Option("--commercial/--non-commercial", help="Whether the licence allows commercial use.")
]


def add_backbone(
    folder: Folder,
    state: State = DEFAULT_STATE,
    *,
    licence: Licence,
    config: ConfigFile = None,
    name: Name = None,
    commercial: Commercial = False,
    as_json: AsJson = False,
) -> None:
    """Check an image encoder, copy it to the models, write down the digest of every file, and register it.

    Example: oncue models add ./clip-vit-base-patch32 --licence MIT --commercial
    """
    from console.config import read
    from workers.fewshot.registry import NewBackbone, register

    models = read(state, file=config).settings.worker.models_folder()
    entry = NewBackbone(name or folder.resolve().name.lower(), licence, commercial)
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
