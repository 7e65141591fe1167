"""`oncue classification task` and `items`: the questions that adapters answer, and their labelled pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from console.installation import Installation

tasks_app = typer.Typer(no_args_is_help=True, help="Tasks: one question each, with its classes and what it is for.")
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
NewTask = Annotated[str, typer.Argument(metavar="TASK", help="The task's name.")]
Classes = Annotated[list[str], typer.Option("--class", metavar="LABEL", help="A class; give the option for each.")]
Positive = Annotated[str, typer.Option("--positive", metavar="LABEL", help="The class that must not be missed.")]
Modality = Annotated[str, typer.Option("--modality", metavar="MR", help="Modality that it applies to; empty: any.")]
BodyPart = Annotated[str, typer.Option("--body-part", metavar="BRAIN", help="BodyPartExamined; empty: any.")]
Use = Annotated[str, typer.Option("--use", metavar="TEXT", help="What it is meant for; stands on the model card.")]
NotFor = Annotated[str, typer.Option("--not-for", metavar="TEXT", help="What it must not be used for.")]
Alpha = Annotated[
    float, typer.Option("--alpha", min=0.001, max=0.5, help="Share of cases whose class the set may miss.")
]
Floor = Annotated[float, typer.Option("--sensitivity-floor", min=0, max=1, help="Least sensitivity in every subgroup.")]


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
    from console.fewshot.schemas import ItemForm
    from console.installation import open_installation
    from console.terminal.options import chosen
    from console.terminal.output import write_forms, write_table
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
    from console.installation import open_installation
    from console.terminal.actor import command_line_actor
    from console.terminal.options import chosen
    from console.terminal.output import write_json, write_line
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
    from console.installation import open_installation
    from console.terminal.output import write_json, write_line

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

    from console.installation import open_installation
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_json, write_table
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
    from console.terminal.options import chosen
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


@tasks_app.command("list")
def show_tasks(state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the tasks with the adapter that each predicts with.

    Example: oncue classification task list --state ./oncue-state
    """
    from console.fewshot.views import task_forms
    from console.installation import open_installation
    from console.terminal.output import write_forms, write_table

    with open_installation(state, file=config).read() as session:
        forms = task_forms(session)
    if as_json:
        write_forms(forms)
        return
    rows = [(form.name, ", ".join(form.classes), form.positive_class, form.modality, form.predicting) for form in forms]
    write_table("Tasks", ("task", "classes", "positive", "modality", "adapter"), rows, empty="no task yet")


@tasks_app.command("create")
def create_task(
    name: NewTask,
    state: State = DEFAULT_STATE,
    *,
    classes: Classes,
    positive: Positive,
    use: Use,
    not_for: NotFor,
    modality: Modality = "",
    body_part: BodyPart = "",
    alpha: Alpha = 0.1,
    floor: Floor = 0.5,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Put a task on record. It cannot be changed afterwards: another question is another task.

    Example: oncue classification task create lesion --class benign --class malignant --positive malignant
    --modality US --use "Second look at marked lesions." --not-for "Screening." --state ./oncue-state
    """
    from console.fewshot.views import task_form
    from console.installation import open_installation
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_forms, write_line
    from storage.database import utc_now
    from storage.fewshot import tasks

    draft = tasks.TaskDraft(name, tuple(classes), positive, modality, body_part, use, not_for, alpha, floor)
    with open_installation(state, file=config).write() as session:
        task = tasks.create(session, draft, actor=command_line_actor(), now=utc_now())
        form = task_form(session, task)
    if as_json:
        write_forms([form])
        return
    write_line(f"task {name} is on record; add items with `oncue classification items add {name} FOLDER`")
