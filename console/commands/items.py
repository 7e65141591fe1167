"""`oncue classification items`: labelled pictures of a task, each patient in one split only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.commands.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from console.installation import Installation

app = typer.Typer(no_args_is_help=True, help="Items: labelled pictures, each patient in one split only.")

TaskName = Annotated[str, typer.Argument(metavar="TASK", help="The task's name.")]
Folder = Annotated[
    Path,
    typer.Argument(metavar="FOLDER", exists=True, file_okay=False, help="Folder with images.csv and its pictures."),
]
InSplit = Annotated[
    str | None,
    typer.Option("--split", metavar="SPLIT", help="support, calibration or evaluation; default: drawn by patient."),
]
BackboneName = Annotated[
    str | None, typer.Option("--backbone", metavar="NAME", help="Frozen encoder; default: oncue's.")
]
Prompt = Annotated[
    str, typer.Option("--prompt", metavar="MODE", help="How the mask guides the encoder: crop, none ...")
]
ItemId = Annotated[int, typer.Argument(metavar="ITEM", min=1, help="The item's number.")]
NewLabel = Annotated[
    str | None, typer.Option("--label", metavar="LABEL", help="The new label; without it the item goes out of use.")
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; stays on record.")]


@app.command("list")
def show_items(
    task: TaskName,
    state: State = DEFAULT_STATE,
    *,
    split: InSplit = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List the items in use, with the label that counts now.

    Example: oncue classification items list brain-flair --split support --state ./oncue-state
    """
    from console.commands.choices import chosen
    from console.commands.output import write_forms, write_table
    from console.fewshot.schemas import ItemForm
    from console.installation import open_installation
    from storage.fewshot import items, tasks
    from storage.fewshot.items import Split

    wanted = chosen(Split, split)
    with open_installation(state, file=config).read() as session:
        found = items.in_use(session, tasks.find(session, task), wanted)
    if as_json:
        write_forms([ItemForm.model_validate(item) for item in found])
        return
    rows = [(i.id, i.label, i.split.value, i.patient_key[:12], i.sex, i.age_band, i.site, i.source) for i in found]
    headers = ("item", "label", "split", "patient key", "sex", "age", "site", "source")
    write_table("Items", headers, rows, empty="no items yet")


@app.command("add")
def add_items(
    task: TaskName,
    folder: Folder,
    state: State = DEFAULT_STATE,
    *,
    split: InSplit = None,
    backbone: BackboneName = None,
    prompt: Prompt = "crop",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Take a folder of labelled pictures into a task, and embed them. All are added, or none.

    images.csv has the columns image, class, patient, and where known mask, sex, age_band, site. Patients are kept as
    salted hashes, pictures are not kept. A patient or picture of another split is refused by name.

    Example: oncue classification items add lesion ./pictures --prompt crop --state ./oncue-state
    """
    from console.commands.actors import command_line_actor
    from console.commands.choices import chosen
    from console.commands.output import write_json, write_line
    from console.installation import open_installation
    from storage.database import utc_now
    from storage.fewshot import items, tasks
    from storage.fewshot.items import Split
    from workers.fewshot.folder_items import new_items, read_entries
    from workers.fewshot.pictures import PictureSource

    wanted, installation = chosen(Split, split), open_installation(state, file=config)
    entries = read_entries(PictureSource(folder))
    with installation.write() as session:
        found = tasks.find(session, task)
        new = new_items(found, entries, split=wanted)
        items.add(session, found, new, actor=command_line_actor(), now=utc_now())
    vectors = _embed(task, folder, open_installation(state, file=config), backbone=backbone, prompt=prompt)
    if as_json:
        write_json({"items": len(new), "vectors": vectors})
        return
    write_line(f"{len(new)} items added, {vectors} vectors")


@app.command("embed")
def embed_items(
    task: TaskName,
    folder: Folder,
    state: State = DEFAULT_STATE,
    *,
    backbone: BackboneName = None,
    prompt: Prompt = "crop",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Embed items that are on record once more, with another encoder or prompt; needs their pictures again.

    Example: oncue classification items embed lesion ./pictures --prompt global+crop --state ./oncue-state
    """
    from console.commands.output import write_json, write_line
    from console.installation import open_installation

    vectors = _embed(task, folder, open_installation(state, file=config), backbone=backbone, prompt=prompt)
    if as_json:
        write_json({"vectors": vectors})
        return
    write_line(f"{vectors} vectors added")


@app.command("relabel")
def relabel_item(
    task: TaskName,
    item: ItemId,
    state: State = DEFAULT_STATE,
    *,
    label: NewLabel = None,
    reason: Reason,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Correct an item's label, or take the item out of use; earlier labels stay on record.

    Example: oncue classification items relabel lesion 12 --label benign --reason "biopsy" --state ./oncue-state
    """
    from dataclasses import asdict

    from console.commands.actors import command_line_actor
    from console.commands.output import write_json, write_table
    from console.installation import open_installation
    from storage.database import utc_now
    from storage.fewshot import items, tasks

    with open_installation(state, file=config).write() as session:
        found = tasks.find(session, task)
        items.relabel(session, item, label, task=found, labeller=command_line_actor(), reason=reason, now=utc_now())
        history = items.label_history(session, item)
    if as_json:
        write_json([asdict(event) | {"labelled_at": event.labelled_at.isoformat()} for event in history])
        return
    rows = [(f"{event.labelled_at:%Y-%m-%d %H:%M}", event.label, event.labeller, event.reason) for event in history]
    write_table(f"Labels of item {item}", ("at", "label", "by", "reason"), rows, empty="")


def _embed(task: str, folder: Path, installation: Installation, *, backbone: str | None, prompt: str) -> int:
    from console.commands.choices import chosen
    from storage.database import utc_now
    from storage.fewshot import tasks
    from workers.devices import choose_device
    from workers.fewshot.contracts import PromptMode
    from workers.fewshot.folder_items import embed_entries, read_entries
    from workers.fewshot.lesion_views import InstalledEncoders
    from workers.fewshot.pictures import PictureSource
    from workers.fewshot.registry import DEFAULT_BACKBONE

    mode = chosen(PromptMode, prompt) or PromptMode.CROP
    settings = installation.settings.worker
    encoders = InstalledEncoders(settings.models_folder(), choose_device(settings.device))
    with installation.read() as session:
        found = tasks.find(session, task)
    return embed_entries(
        installation.database,
        found,
        read_entries(PictureSource(folder)),
        backbone=encoders.backbone(backbone or DEFAULT_BACKBONE),
        mode=mode,
        now=utc_now(),
    )
