"""`oncue routes`: which series of which studies get which analysis, tried before it counts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from console.installation import Installation
    from console.routes.asked_study import AskedStudy
    from console.routes.replay import ReplayedStudy
    from console.routes.routes_file import RoutesFile
    from console.routes.schemas import ReplayedStudyForm, ReplayForm, RouteForm
    from storage.routes.route import Route
    from storage.routes.routing import Considered
    from storage.routes.series_facts import SeriesFacts

app = typer.Typer(no_args_is_help=True, help="Routes: which series of which studies get which analysis.")

Subject = Annotated[
    str,
    typer.Argument(
        metavar="FOLDER_OR_STUDY", help="Folder of DICOM files, or a study's number on the pages or Study Instance UID."
    ),
]
OtherRoutes = Annotated[
    Path | None,
    typer.Option("--routes", metavar="FILE", dir_okay=False, help="File of routes to try instead of the one in force."),
]
Since = Annotated[
    datetime,
    typer.Option(
        "--since", metavar="DATE", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="Day or time in UTC, as 2026-03-01."
    ),
]
Everything = Annotated[bool, typer.Option("--all", help="List the studies too that would be routed as they were.")]
_SHORT_UID = 12


StudyOnRecord = Annotated[str, typer.Argument(metavar="STUDY", help="Its number, or its Study Instance UID.")]


@app.command("list")
def show_routes(
    state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False, routes: OtherRoutes = None
) -> None:
    """List the routes in force with their conditions, the file that holds them and its digest.

    Exit code 1 where the file is wrong: line, route and rule are named.

    Example: oncue routes list --state ./oncue-state
    """
    from console.installation import open_installation
    from console.routes.routes_file import read_routes
    from console.terminal.output import write_forms, write_line, write_table

    file = read_routes(open_installation(state, file=config), named=routes)
    if as_json:
        write_forms([_route_form(file, route) for route in file.routes.routes])
        return
    headers = ("route", "wants", "analyser", "prompt", "task", "lane", "pool", "unlike training")
    rows = [_route_row(route) for route in file.routes.routes]
    write_table("Routes", headers, rows, empty="no route: every study ends as not_applicable")
    write_line(f"{file.path} ({file.origin}), sha256 {file.routes.sha256}")


@app.command("test")
def try_routes(
    subject: Subject,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    as_json: AsJson = False,
    routes: OtherRoutes = None,
) -> None:
    """Say what routes make of a folder or of a study that arrived: what matches what, and each condition that fails.

    Nothing is changed or analysed.

    Example: oncue routes test ./my-study --routes ./routes.toml
    """
    from console.installation import open_installation
    from console.routes.asked_study import AskedStudy
    from console.routes.routes_file import read_routes
    from console.routes.schemas import StudyRoutingForm
    from console.terminal.output import write_forms

    installation = open_installation(state, file=config)
    file = read_routes(installation, named=routes)
    found = [AskedStudy.of(uid, series, file.routes) for uid, series in _series_of(subject, installation)]
    if as_json:
        write_forms([StudyRoutingForm.model_validate(study) for study in found])
        return
    for study in found:
        _show_study(study)


@app.command("replay")
def replay_routes(
    since: Since,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    as_json: AsJson = False,
    routes: OtherRoutes = None,
    everything: Everything = False,
) -> None:
    """Say how a file of routes would have routed the studies that closed since a day, and which of them otherwise.

    Without --routes the file in force is tried. Nothing is changed or analysed.

    Example: oncue routes replay --since 2026-03-01 --routes ./routes.toml
    """
    from console.installation import open_installation
    from console.routes.replay import Replay
    from console.routes.routes_file import read_routes
    from console.terminal.progress import progress_bar

    moment = since.replace(tzinfo=UTC)
    installation = open_installation(state, file=config)
    file = read_routes(installation, named=routes)
    with progress_bar("studies") as on_progress:
        replayed = Replay(installation, file.routes).since(moment, on_progress)
    form = _replay_form(file, moment, replayed, everything=everything)
    if as_json:
        from console.terminal.output import write_json

        write_json(form.model_dump(mode="json"))
        return
    _show_replay(form)


@app.command("apply")
def apply_routes(
    study: StudyOnRecord, state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Have the routes in force asked again about a complete study: what they say now takes the place of what they said.

    Routes that say the same keep their jobs and results. The running gateway does it, within seconds.

    Example: oncue routes apply 17 --state ./oncue-state
    """
    from console.installation import open_installation
    from console.routes.reading import study_on_record
    from console.routes.schemas import ReroutedForm
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_forms, write_line
    from storage import studies
    from storage.database import utc_now

    with open_installation(state, file=config).write() as session:
        entry = study_on_record(session, study)
        revision = studies.reroute(session, entry.id, actor=command_line_actor(), now=utc_now())
    if as_json:
        write_forms([ReroutedForm(study_instance_uid=entry.study_instance_uid, revision=revision)])
        return
    write_line(f"study {entry.id} is open again as revision {revision}: the gateway asks the routes about it")


def _replay_form(
    file: RoutesFile, since: datetime, replayed: Sequence[ReplayedStudy], *, everything: bool
) -> ReplayForm:
    from console.routes.schemas import ReplayedStudyForm, ReplayForm

    return ReplayForm(
        since=since,  # type: ignore[arg-type]  # the form writes it as text
        file=str(file.path),
        routes_sha256=file.routes.sha256,
        studies=len(replayed),
        different=sum(study.is_different for study in replayed),
        unrecorded=sum(study.before is None for study in replayed),
        shown=[ReplayedStudyForm.model_validate(study) for study in replayed if everything or study.is_different],
    )


def _show_replay(form: ReplayForm) -> None:
    from console.terminal.output import write_line, write_table

    headers = ("closed", "was routed to", "would be routed to", "otherwise", "UID")
    rows = [_replayed_row(study) for study in form.shown]
    write_table("Replay", headers, rows, empty="no study would be routed otherwise")
    write_line(f"{form.different} of {form.studies} studies that closed since {form.since} would be routed otherwise")
    if form.unrecorded:
        write_line(f"{form.unrecorded} of them closed before routings were kept and are not compared; --all lists them")


def _replayed_row(study: ReplayedStudyForm) -> tuple[object, ...]:
    nothing = "not_applicable"
    before = "not on record" if study.before is None else ", ".join(study.before) or nothing
    otherwise = "; ".join(f"{change.route}: {', '.join(change.differs)}" for change in study.changed) or None
    return study.closed_at, before, ", ".join(study.after) or nothing, otherwise, study.study_instance_uid


def _series_of(subject: str, installation: Installation) -> Iterator[tuple[str, tuple[SeriesFacts, ...]]]:
    """Read the series of each study of a folder, or of one study on record."""
    from console.routes.reading import series_of_folder, series_of_study
    from console.terminal.progress import progress_bar

    if Path(subject).exists():
        with progress_bar("headers") as on_progress:
            yield from series_of_folder(Path(subject), on_progress).items()
        return
    yield series_of_study(installation, subject)


def _route_form(file: RoutesFile, route: Route) -> RouteForm:
    from console.routes.schemas import RouteForm
    from console.routes.wording import requirements_in_words, waits_in_words, wanted_in_words

    return RouteForm(
        name=route.name,
        analyser=route.analyser,
        prompt=route.prompt,
        task=route.task,
        lane=route.lane,
        pool=route.pool,
        unfamiliar=route.unfamiliar,
        unfamiliar_above=route.unfamiliar_above,
        secondary_capture=route.secondary_capture,
        conditions=list(wanted_in_words(route)),
        requirements=list(requirements_in_words(route.require)),
        waits_for=list(waits_in_words(route)),
        file=str(file.path),
        routes_sha256=file.routes.sha256,
    )


def _route_row(route: Route) -> tuple[object, ...]:
    from console.routes.wording import requirements_in_words, waits_in_words, wanted_in_words

    waits = (f"waits for {words}" for words in waits_in_words(route))
    asked = (*wanted_in_words(route), *requirements_in_words(route.require), *waits)
    done = (route.analyser, route.prompt, route.task or "any that fits", route.lane or "the sender's", route.pool)
    return route.name, "; ".join(asked), *done, f"{route.unfamiliar} above {route.unfamiliar_above:g}"


def _show_study(study: AskedStudy) -> None:
    from console.terminal.output import write_line, write_table

    known = {facts.series_instance_uid: facts for facts in study.series}
    rows = [
        _considered_row(answer.route, considered, known[considered.series_instance_uid])
        for answer in study.routing.answers
        for considered in answer.series
    ]
    headers = ("route", "series", "modality", "slices", "region", "wanted", "conditions that fail")
    write_table(f"Study {study.study_instance_uid}", headers, rows, empty="there is no route")
    for facts in study.contradictory:
        write_line(_contradiction(facts))
    for line in _outcome(study):
        write_line(line)


def _considered_row(route: Route, considered: Considered, facts: SeriesFacts) -> tuple[object, ...]:
    wanted = "yes" if considered.wanted else "no"
    unmet = "\n".join(str(condition) for condition in considered.unmet) or None
    return route.name, _short(facts), facts.modality, facts.frames, _words(facts.all_regions), wanted, unmet


def _contradiction(facts: SeriesFacts) -> str:
    return (
        f"series {_short(facts)} contradicts itself: its header says {_words(facts.stated_regions)}, its descriptions "
        f"say {_words(facts.described_regions)}; a route for either wants it"
    )


def _outcome(study: AskedStudy) -> Iterator[str]:
    if not study.routing.applies:
        yield f"{study.becomes}: no route wants this study"
        yield from (f"- {reason}" for reason in study.reasons)
        return
    for answer in study.routing.chosen:
        route, count = answer.route, len(answer.wanted)
        yield (
            f"job for route {route.name}: {count} series, analyser {route.analyser}, "
            f"lane {route.lane or 'of the sender'}, pool {route.pool}"
        )


def _words(regions: frozenset[str]) -> str:
    return ", ".join(sorted(regions)) or "-"


def _short(facts: SeriesFacts) -> str:
    uid = facts.series_instance_uid
    return uid if len(uid) <= _SHORT_UID else f"..{uid[-_SHORT_UID:]}"
