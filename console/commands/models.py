"""`oncue models`: the weights that workers load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from console.commands.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from workers.weights import Manifest

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
    from console.commands.output import write_json, write_table

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
