"""`oncue classification`: fit, evaluate, promote and roll back the adapters that label findings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from console.commands import classification_items
from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from console.fewshot.schemas import EvaluationForm, TaskDetailForm

app = typer.Typer(no_args_is_help=True, help="Few-shot labels: tasks, items, and adapters behind a gate.")
app.add_typer(classification_items.tasks_app, name="task")
app.add_typer(classification_items.app, name="items")

TaskName = Annotated[str, typer.Argument(metavar="TASK", help="The task's name.")]
AdapterId = Annotated[int, typer.Argument(metavar="ADAPTER", min=1, help="The adapter's number.")]
HeadKind = Annotated[
    str | None, typer.Option("--head", metavar="HEAD", help="prototypes, logistic, logistic-tuned, tip-adapter.")
]
BackboneName = Annotated[str | None, typer.Option("--backbone", metavar="NAME", help="Frozen encoder of the items.")]
Prompt = Annotated[
    str | None, typer.Option("--prompt", metavar="MODE", help="Prompt that the items were embedded under.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Same items and seed give the same bytes.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--override", metavar="CHECK=REASON", help="Let one INSUFFICIENT check pass, with a reason."),
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; stays on record.")]


@app.command("show")
def show_task(
    task: TaskName, state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Show a task: its items, adapters, decisions, and what the gate said of the adapter that predicts.

    Example: oncue classification show brain-flair --state ./oncue-state
    """
    from console.fewshot.views import task_detail
    from console.installation import open_installation
    from console.terminal.output import write_forms

    with open_installation(state, file=config).read() as session:
        form = task_detail(session, task)
    if as_json:
        write_forms([form])
        return
    _write_task(form)


@app.command("fit")
def fit_adapter(
    task: TaskName,
    state: State = DEFAULT_STATE,
    *,
    head: HeadKind = None,
    backbone: BackboneName = None,
    prompt: Prompt = None,
    seed: Seed = 0,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Fit an adapter on the support items and calibrate it on the calibration items that are in use now.

    What is not given is as in the task's newest adapter; in its first one it is oncue's own choice.

    Example: oncue classification fit lesion --head logistic --state ./oncue-state
    """
    from console.fewshot.views import adapter_form
    from console.installation import open_installation
    from console.terminal.actor import command_line_actor
    from console.terminal.options import chosen
    from console.terminal.output import write_forms, write_line
    from storage.database import utc_now
    from workers.fewshot.contracts import PromptMode
    from workers.fewshot.fitting import Wanted, fit, newest_recipe, recipe_for
    from workers.fewshot.heads import HeadName

    installation = open_installation(state, file=config)
    with installation.read() as session:
        before = newest_recipe(session, task)
    wanted = Wanted(backbone, chosen(PromptMode, prompt), chosen(HeadName, head), seed)
    recipe = recipe_for(installation.settings.worker, wanted, before=before)
    adapter = fit(installation.database, task, recipe, actor=command_line_actor(), now=utc_now())
    with installation.read() as session:
        form = adapter_form(session, adapter.id)
    if as_json:
        write_forms([form])
        return
    write_line(f"adapter {form.id}, version {form.version}, sha256 {form.artefact_sha256}")
    write_line(f"next: oncue classification evaluate {form.id}")


@app.command("evaluate")
def evaluate_adapter(
    adapter: AdapterId, state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Run every check of the gate on the evaluation patients, and write the model card.

    Example: oncue classification evaluate 2 --state ./oncue-state
    """
    from console.fewshot.schemas import EvaluationForm
    from console.installation import open_installation
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_forms
    from storage.database import utc_now
    from workers.fewshot.evaluating import evaluate

    installation = open_installation(state, file=config)
    installation.require()
    form = EvaluationForm.model_validate(
        evaluate(installation.database, adapter, actor=command_line_actor(), now=utc_now())
    )
    installation.database.dispose()
    if as_json:
        write_forms([form])
        return
    _write_checks(form)


@app.command("promote")
def promote_adapter(
    task: TaskName,
    adapter: AdapterId,
    state: State = DEFAULT_STATE,
    *,
    override: Overrides = None,
    reason: Reason = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Let an adapter label findings from the next study on, where the gate allows it; exit code 1 where it does not.

    A refusal is recorded too. A check that FAILs cannot be overridden.

    Example: oncue classification promote lesion 2 --override "subgroups:site=one hospital" --state ./oncue-state
    """
    from console.fewshot.schemas import PromotionForm
    from console.installation import open_installation
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_forms, write_line
    from storage.database import utc_now
    from storage.fewshot import adapters, promotions, tasks
    from storage.fewshot.errors import PromotionRefused

    with open_installation(state, file=config).write() as session:
        found = tasks.find(session, task)
        decided = promotions.promote(
            session,
            found,
            adapters.find(session, adapter),
            overrides=[promotions.Override(*_pair(text)) for text in override or ()],
            reason=reason,
            actor=command_line_actor(),
            now=utc_now(),
        )
    if as_json:
        write_forms([PromotionForm.model_validate(decided)])
    if decided.decision is promotions.Decision.REFUSED:
        raise PromotionRefused(f"adapter {adapter} is not promoted: {decided.reason}")
    if not as_json:
        write_line(f"adapter {adapter} labels findings of {task} from the next study on")


@app.command("rollback")
def roll_back(
    task: TaskName, state: State = DEFAULT_STATE, *, reason: Reason, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Let the adapter predict again that did before the current one.

    Example: oncue classification rollback lesion --reason "too many false alarms" --state ./oncue-state
    """
    from console.fewshot.schemas import PromotionForm
    from console.installation import open_installation
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_forms, write_line
    from storage.database import utc_now
    from storage.fewshot import promotions, tasks

    with open_installation(state, file=config).write() as session:
        found = tasks.find(session, task)
        decided = promotions.roll_back(session, found, reason=reason, actor=command_line_actor(), now=utc_now())
    if as_json:
        write_forms([PromotionForm.model_validate(decided)])
        return
    write_line(f"adapter {decided.adapter_id} labels findings of {task} again")


def _write_task(form: TaskDetailForm) -> None:
    """Write a task with its items, adapters, decisions and checks."""
    from console.terminal.output import write_line, write_table

    task = form.task
    write_line(f"{task.name}: {', '.join(task.classes)} (positive: {task.positive_class})")
    write_line(f"for: {task.intended_use}")
    write_line(f"not for: {task.not_for}\n")
    rows = [(split, label, count) for split, labels in form.items.items() for label, count in labels.items()]
    write_table("Items", ("split", "label", "items"), rows, empty="no items yet")
    adapters = [
        (
            one.id,
            one.version,
            "predicts" if one.id == task.predicting else "",
            one.head,
            one.prompt,
            one.backbone,
            one.verdict,
        )
        for one in form.adapters
    ]
    headers = ("adapter", "version", "now", "head", "prompt", "backbone", "verdict")
    write_table("Adapters", headers, adapters, empty="no adapter was fitted yet")
    decisions = [(one.decided_at[:19], one.decision, one.adapter, one.actor, one.reason) for one in form.promotions]
    write_table("Decisions", ("at", "decision", "adapter", "by", "reason"), decisions, empty="nothing was decided yet")
    if form.evaluation:
        _write_checks(form.evaluation)


def _write_checks(form: EvaluationForm) -> None:
    """Write what the gate said, check by check."""
    from console.terminal.output import write_table

    rows = [
        (one.name, one.verdict, one.value, one.bound, "" if one.blocks else "no", one.reason) for one in form.checks
    ]
    title = f"Gate: adapter {form.adapter} {form.verdict.value}"
    write_table(title, ("check", "verdict", "value", "bound", "blocks", "what was found"), rows, empty="no checks")


def _pair(text: str) -> tuple[str, str]:
    name, sign, reason = text.partition("=")
    if not sign:
        raise typer.BadParameter(f"{text!r} is not CHECK=REASON")
    return name.strip(), reason.strip()
