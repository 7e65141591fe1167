"""`oncue audit query`, `timeline`, `who-saw`: what people ask of the history."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal.event_formats import Format
from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from console.history.asking import Asked
    from storage.history.timeline import Timeline


def _filter(name: str, metavar: str, text: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(f"--{name}", metavar=metavar, help=text)
    return option


Study = Annotated[str, typer.Argument(metavar="STUDY", help="Its number on the pages, or its Study Instance UID.")]
Patient = Annotated[str | None, _filter("patient", "ID", "Patient ID; only its key is looked for and recorded.")]
OfStudy = Annotated[str | None, _filter("study", "STUDY", "Study Instance UID, or its number on the pages.")]
OfSeries = Annotated[str | None, _filter("series", "UID", "Series Instance UID.")]
OfObject = Annotated[str | None, _filter("object", "NAME", "What it happened to: job/3, model/x, or a UID.")]
Actor = Annotated[str | None, _filter("actor", "NAME", "Who did it: a person, an AE title, a process.")]
Action = Annotated[str | None, _filter("action", "TAG", "What was done: job:failed; `study:` is all of studies.")]
Result = Annotated[str | None, _filter("outcome", "WORD", "How it ended: success, refused or failed.")]
Route = Annotated[str | None, _filter("route", "NAME", "The route.")]
Model = Annotated[str | None, _filter("model", "NAME", "The model.")]
Weights = Annotated[str | None, _filter("weights", "DIGEST", "The weights: their SHA-256, or its beginning.")]
Since = Annotated[str | None, _filter("since", "TIME", "From then on: 2026-11-28, 2026-11-28T08:30, 7d, 2h.")]
Until = Annotated[str | None, _filter("until", "TIME", "Before then.")]
Text = Annotated[str | None, _filter("text", "WORDS", "Words that the details hold, all of them.")]
OldestFirst = Annotated[bool, typer.Option("--oldest-first", help="The oldest first.")]
WithFacets = Annotated[bool, typer.Option("--facets", help="Count by action, actor and day too.")]
Most = Annotated[int, typer.Option("--limit", metavar="N", min=0, help="Most events; 0: all (jsonl and csv).")]
After = Annotated[str | None, typer.Option("--after", metavar="CURSOR", help="What follows the page that ended there.")]
As = Annotated[Format, typer.Option("--format", help="How to write the events.")]


def query_events(
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    patient: Patient = None,
    study: OfStudy = None,
    series: OfSeries = None,
    object_: OfObject = None,
    actor: Actor = None,
    action: Action = None,
    outcome: Result = None,
    route: Route = None,
    model: Model = None,
    weights: Weights = None,
    since: Since = None,
    until: Until = None,
    text: Text = None,
    oldest_first: OldestFirst = False,
    facets: WithFacets = False,
    limit: Most = 200,
    after: After = None,
    form: As = Format.TABLE,
) -> None:
    """Ask the history: events that pass every filter, the newest first, in pages; the asking goes on record.

    Example: oncue audit query --action job:failed --since 7d --facets
    """
    from console.history.asking import Asked
    from console.installation import open_installation
    from console.terminal.history_reading import Listing, answer
    from storage.history.question import Order

    if form.streams and facets:
        raise typer.BadParameter("--facets goes with --format table or json")
    if limit == 0 and not form.streams:
        raise typer.BadParameter("--limit 0 goes with --format jsonl or csv, which are written as they are read")
    asked = Asked(
        patient=patient, study=study, series=series, object=object_, actor=actor, action=action, outcome=outcome,
        route=route, model=model, weights=weights, since=since, until=until, text=text,
    )  # fmt: skip # reads by its lines
    if asked.empty:
        raise typer.BadParameter(f"--{asked.empty[0]} is empty: give it a value, or leave it out to ask for all")
    listing = Listing(Order.OLDEST if oldest_first else Order.NEWEST, limit, after, form, with_facets=facets)
    _say_zone(asked)
    answer(open_installation(state, file=config), asked, listing)


def _say_zone(asked: Asked) -> None:
    """Say which zone times without one are taken in, where there are any."""
    from datetime import datetime

    if asked.says_local_time:
        sys.stderr.write(f"oncue: times without a zone are taken as UTC{datetime.now().astimezone():%z}\n")


def show_timeline(
    study: Study, state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Tell everything that happened to one study, day by day; the reading goes on record.

    Example: oncue audit timeline 1 --state ./oncue-state
    """
    from console.history.forms import TimelineForm
    from console.installation import open_installation
    from console.terminal.history_reading import read_history
    from console.terminal.output import write_forms
    from storage.history.timeline import timeline

    found = read_history(open_installation(state, file=config), study, timeline, what="timeline")
    if as_json:
        write_forms([TimelineForm.model_validate(found)])
        return
    _write_timeline(found)


def show_sightings(
    study: Study, state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Say who read a study, its pictures or its history, took it out, or was sent objects of it; on record itself.

    Example: oncue audit who-saw 1 --state ./oncue-state
    """
    from console.history.forms import SightingForm
    from console.installation import open_installation
    from console.terminal.history_reading import read_history
    from console.terminal.output import write_forms, write_table
    from storage.history.sightings import sightings

    found = read_history(open_installation(state, file=config), study, sightings, what="sightings")
    if as_json:
        write_forms([SightingForm.model_validate(one) for one in found])
        return
    rows = [(one.who, one.what, one.times, one.first_at[:19], one.last_at[:19]) for one in found]
    write_table("Who saw it", ("who", "what", "times", "first (UTC)", "last (UTC)"), rows, empty="nobody saw it yet")


def _write_timeline(found: Timeline) -> None:
    from console.terminal.output import write_line

    write_line(f"Study {found.study}; times are UTC")
    for day in found.days:
        write_line(f"\n{day.day}")
        for step in day.steps:
            took = f" ({step.took})" if step.took else ""
            write_line(f"  {step.at[11:19]}  {step.sentence}{took}")
    if not found.days:
        write_line("nothing is on record of it")
    if not found.is_complete:
        write_line("\nthere is more: `oncue audit query --study` has it all")
