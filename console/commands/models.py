"""`oncue models`: the weights that workers load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from console.installation import Installation
    from storage.site_models import SiteModel
    from workers.foundation.card import Bounds
    from workers.foundation.folders import Inspection

ModelFolder = Annotated[
    Path, typer.Argument(metavar="FOLDER", file_okay=False, exists=True, help="Folder of a foundation model.")
]

_MOST_LABELS, _DIGEST = 3, 12
"""What tables show of the labels and the digest, so that rows stay whole in a terminal; --json has all of both."""

app = typer.Typer(
    no_args_is_help=True,
    help="Models: those that ship and those that a site adds, whether they are intact, and what they find.",
)


@app.command("list")
def show_models(state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the weights that ship and the models that the site added, with kind, licence, size and digest.

    Example: oncue models list
    """
    from console.installation import open_installation
    from console.site_models.listing import form_of, shipped_forms

    installation = open_installation(state, file=config)
    _write([*shipped_forms(installation), *map(form_of, _installed(installation))], as_json=as_json)


@app.command("verify")
def verify_models(state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Hash every file of every model and compare it with what is on record; exit code 1 names the first that differs.

    Example: oncue models verify
    """
    from console.installation import open_installation
    from console.site_models.listing import form_of, shipped_forms
    from storage import site_models
    from workers.site_models.file_digests import require_unchanged

    installation = open_installation(state, file=config)
    shipped, added = shipped_forms(installation, verified=True), _installed(installation)
    for model in added:
        require_unchanged(site_models.folder(installation.state, model.name), model.files)
    _write([*shipped, *map(form_of, added)], as_json=as_json)


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


def _installed(installation: Installation) -> tuple[SiteModel, ...]:
    """Return the models that the site added; none where nothing was ever prepared here."""
    from storage import site_models
    from storage.errors import ConfigurationError

    try:
        with installation.read() as session:
            return site_models.installed(session)
    except ConfigurationError:
        return ()


def _write(forms: list[dict[str, Any]], *, as_json: bool) -> None:
    from console.terminal.output import write_json, write_table

    if as_json:
        write_json(forms)
        return
    headers = ("name", "kind", "version", "MB", "licence", "modalities", "labels", "sha256")
    write_table("Models", headers, [_row(form) for form in forms], empty="no weights")


def _row(form: dict[str, Any]) -> tuple[object, ...]:
    names, more = [label["name"] for label in form["labels"]], len(form["labels"]) - _MOST_LABELS
    labels = ", ".join(names[:_MOST_LABELS]) + (f" and {more} more" if more > 0 else "")
    size, modalities, digest = f"{form['bytes'] / 1e6:.1f}", ", ".join(form["modalities"]), form["sha256"][:_DIGEST]
    return form["name"], form["kind"], form["version"], size, form["licence"], modalities, labels, digest
