"""`oncue models`: the weights that workers load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from workers.foundation.card import Bounds
    from workers.foundation.folders import Inspection
    from workers.weights import Manifest

ModelFolder = Annotated[
    Path, typer.Argument(metavar="FOLDER", file_okay=False, exists=True, help="Folder of a foundation model.")
]

app = typer.Typer(no_args_is_help=True, help="Model weights: what is installed, and whether it is intact.")


@app.command("list")
def show_models(state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the installed weights with version, size, licence and the digest of their manifest.

    Example: oncue models list
    """
    from workers.weights import read_manifest

    found = [(folder, read_manifest(folder)) for folder in _folders(state, config)]
    _write(found, as_json=as_json)


@app.command("verify")
def verify_models(state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Hash every weight file and compare it with its manifest; exit code 1 names the first that differs.

    Example: oncue models verify
    """
    from workers.weights import verify

    found = [(folder, verify(folder)) for folder in _folders(state, config)]
    _write(found, as_json=as_json)


@app.command("inspect")
def inspect_model(folder: ModelFolder, *, as_json: AsJson = False) -> None:
    """Say what foundation model lies in a folder: kind, licence, field of view, parameters, files with their sha256.

    Every file is hashed and compared with the manifest, if there is one; a pickle or a changed file is an error. What
    the folder's backbone.json does not say is "unknown". The networks are not built.

    Example: oncue models inspect ./models/segmentation-lgg-small
    """
    from console.terminal.output import write_json, write_table
    from workers.foundation.folders import inspect_folder

    found = inspect_folder(folder)
    facts, files = _facts(found), [(file.path, file.bytes, file.sha256) for file in found.inventory.files]
    if as_json:
        write_json(facts | {"files": [dict(zip(("path", "bytes", "sha256"), file, strict=True)) for file in files]})
        return
    write_table(
        "Model",
        ("what", "value"),
        [(name, _words(value)) for name, value in facts.items() if name != "axes" or value],
        empty="",
    )
    write_table("Files", ("path", "bytes", "sha256"), files, empty="no files")


def _facts(found: Inspection) -> dict[str, Any]:
    card, view = found.card, found.card.field_of_view
    return {
        "name": card.name,
        "kind": card.kind.value,
        "licence": card.licence,
        "commercial_use": card.commercial_use,
        "modalities": list(card.modalities),
        "field_of_view": view and {"extent_mm": _limits(view.extent_mm), "spacing_mm": _limits(view.spacing_mm)},
        "value_range": [card.value_range.low, card.value_range.high],
        "axes": card.axes,
        "conditioning": card.conditioning.value,
        "text": found.takes_text,
        "parameters": found.parameters,
        "manifest": found.inventory.manifested,
        "sha256": found.inventory.sha256,
    }


def _limits(bounds: Bounds | None) -> dict[str, list[float]] | None:
    return {"low": list(bounds.low), "high": list(bounds.high)} if bounds else None


def _words(value: Any) -> str:
    """Write a fact for people: what nobody has said is "unknown", limits that are not set are "any"."""
    match value:
        case None:
            return "unknown"
        case bool():
            return "yes" if value else "no"
        case {"low": low, "high": high}:
            return " x ".join(f"{least:g}..{greatest:g}" for least, greatest in zip(low, high, strict=True))
        case dict():
            return ", ".join(f"{name} {_words(limits) if limits else 'any'}" for name, limits in value.items())
        case list():
            return ", ".join(f"{item:g}" if isinstance(item, float) else str(item) for item in value) or "any"
    return str(value)


def _folders(state: Path, config: Path | None) -> list[Path]:
    from console.config import read
    from workers.errors import WeightsMismatch
    from workers.weights import MANIFEST_NAME

    root = read(state, file=config).settings.worker.models_folder()
    folders = sorted(manifest.parent for manifest in root.glob(f"*/{MANIFEST_NAME}"))
    if not folders:
        raise WeightsMismatch(f"no weights in {root}; set worker.models to the folder that holds them")
    return folders


def _write(found: list[tuple[Path, Manifest]], *, as_json: bool) -> None:
    from console.terminal.output import write_json, write_table

    rows = [
        {
            "name": manifest.name,
            "version": manifest.version,
            "bytes": sum(file.bytes for file in manifest.files),
            "files": len(manifest.files),
            "licence": manifest.licence,
            "sha256": manifest.sha256,
            "folder": str(folder),
        }
        for folder, manifest in found
    ]
    if as_json:
        write_json(rows)
        return
    write_table("Models", list(rows[0]) if rows else (), [list(row.values()) for row in rows], empty="no weights")
