"""`oncue classification task`: the questions that adapters answer."""

from __future__ import annotations

from typing import Annotated

import typer

from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

app = typer.Typer(no_args_is_help=True, help="Tasks: one question each, with its classes and what it is for.")

Name = Annotated[str, typer.Argument(metavar="TASK", help="The task's name.")]
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


@app.command("create")
def create_task(
    name: Name,
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
