"""`oncue triage replay` and `compare`: what another policy would have made of history. Nothing is changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal.moments import past
from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from console.triage.replayed_policies import Side
    from storage.triage.kept_decisions import Span
    from storage.triage.replay_tally import ReplayResult, Tally

TriedPolicy = Annotated[
    str, typer.Option("--policy", metavar="FILE", help="The policy to try: a TOML file, or one on record by its name.")
]
OnTrial = Annotated[
    str | None,
    typer.Argument(metavar="POLICY", help="Name or digest of a policy that was on trial; default: the one that is."),
]
Since = Annotated[
    datetime,
    typer.Option(
        "--since",
        metavar="DATE",
        parser=past,
        help="Analysed on this day or at this time (UTC), or later; or a span before now, as 30d.",
    ),
]
Until = Annotated[
    datetime | None,
    typer.Option("--until", metavar="DATE", parser=past, help="Analysed before this day or time (UTC)."),
]
Against = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="live|POLICY",
        help="Compare with the live policy, or another one by file or name; default: with what was decided then.",
    ),
]
Readers = Annotated[int, typer.Option("--readers", metavar="N", min=1, max=1000, help="People who read, in the model.")]
Minutes = Annotated[
    float, typer.Option("--minutes-per-study", metavar="M", min=0.1, max=1440, help="How long each reads one study.")
]
Confidence = Annotated[
    float,
    typer.Option(
        "--positive-from", metavar="C", min=0, max=1, help="Confidence from which a lesion makes a study positive."
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--positive-label", metavar="LABEL", help="A label that makes a study positive, too; may be repeated."
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE", dir_okay=False, help="Draw alarms and waits into this PNG file."),
]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a replay is asked: which history, with which readers, and where its answer goes."""

    span: Span
    tally: Tally
    plot: Path | None
    as_json: bool


def replay_policy(
    policy: TriedPolicy,
    since: Since,
    state: State = DEFAULT_STATE,
    *,
    until: Until = None,
    against: Against = None,
    readers: Readers = 2,
    minutes_per_study: Minutes = 10.0,
    positive_from: Confidence = 0.5,
    positive_label: Labels = None,
    plot: Plot = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Decide every analysis on record again by another policy: what moves, by which rule, alarms a day, and waits.

    Decisions keep all that they looked at, so images and models are not needed, and nothing is changed.

    Example: oncue triage replay --policy ./policy.toml --since 2026-03-01 --plot replay.png
    """
    from console.installation import open_installation
    from console.terminal.progress import progress_bar
    from console.triage.policies import chosen_policy
    from console.triage.replayed_policies import Side, other_policy
    from storage.triage.replay import replay

    asked = _asked(
        since, until, _model(readers, minutes_per_study, positive_from, positive_label), plot, as_json=as_json
    )
    installation = open_installation(state, file=config)
    with progress_bar("analyses") as on_progress, installation.read() as session:
        after = chosen_policy(session, policy)
        before = other_policy(session, against, configured=installation.settings.worker.policy)
        result = replay(session, asked.span, asked.tally, after=after, before=before, on_progress=on_progress)
    _answer(asked, Side.of(before) if before else Side.on_record(), Side.of(after), result)


def compare_policies(
    policy: OnTrial = None,
    state: State = DEFAULT_STATE,
    *,
    since: Since,
    until: Until = None,
    readers: Readers = 2,
    minutes_per_study: Minutes = 10.0,
    positive_from: Confidence = 0.5,
    positive_label: Labels = None,
    plot: Plot = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Hold what a policy on trial said of the analyses that it saw against what was decided, in the same tables.

    Example: oncue triage compare --since 2026-03-01 --state ./oncue-state
    """
    from console.installation import open_installation
    from console.terminal.progress import progress_bar
    from console.triage.replayed_policies import Side, on_trial
    from storage.triage.replay import compare

    asked = _asked(
        since, until, _model(readers, minutes_per_study, positive_from, positive_label), plot, as_json=as_json
    )
    with progress_bar("analyses") as on_progress, open_installation(state, file=config).read() as session:
        tried = on_trial(session, policy)
        result = compare(session, asked.span, asked.tally, shadow_sha256=tried.sha256, on_progress=on_progress)
    _answer(asked, Side.on_record(), Side.recorded(tried), result, on_trial=True)


def _model(readers: int, minutes: float, confidence: float, labels: list[str] | None) -> Tally:
    from storage.triage.queue_model import Reading
    from storage.triage.replay_tally import Positives, Tally

    return Tally(Positives(confidence, frozenset(labels or ())), Reading(readers, minutes))


def _asked(since: datetime, until: datetime | None, tally: Tally, plot: Path | None, *, as_json: bool) -> _Asked:
    """Check what was asked before anything is read: a long replay is not to end at a folder that is not there."""
    from storage.errors import FileUnusable
    from storage.triage.kept_decisions import Span

    span = Span(since, until)
    if span.until is not None and span.until <= span.since:
        raise typer.BadParameter("--until is not after --since: nothing lies between them")
    if plot is not None and plot.suffix.lower() != ".png":
        raise typer.BadParameter(f"--plot writes PNG; give it a name that ends in .png, not {plot.name!r}")
    if plot is not None and not plot.absolute().parent.is_dir():
        raise FileUnusable(
            f"the picture cannot be written to {plot}: there is no such folder; make it, or name another"
        )
    return _Asked(span, tally, plot, as_json)


def _answer(asked: _Asked, before: Side, after: Side, result: ReplayResult, *, on_trial: bool = False) -> None:
    from console.terminal import triage_replay
    from console.terminal.output import write_json, write_line
    from console.triage import replay_plot
    from console.triage.replay_form import form_of

    form = form_of(asked.span, before, after, result)
    is_drawn = asked.plot is not None and form.analyses > 0
    if asked.plot is not None and is_drawn:
        replay_plot.write(asked.plot, form, result)
    if asked.as_json:
        write_json(form.model_dump(mode="json"))
        return
    triage_replay.show(form, on_trial=on_trial)
    if asked.plot is not None:
        write_line(f"the picture is in {asked.plot}" if is_drawn else "there is nothing to draw")
