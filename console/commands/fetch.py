"""`oncue fetch`: have studies come from a source, and see how far they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.commands import fetch_sources
from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, Limit, State

if TYPE_CHECKING:
    from console.fetching.schemas import FetchedStudyForm
    from console.installation import Installation

app = typer.Typer(no_args_is_help=True, help="Fetch studies from a PACS that does not push.")
app.add_typer(fetch_sources.app, name="sources")

Study = Annotated[str, typer.Argument(metavar="UID", help="Study Instance UID.")]
From = Annotated[str, typer.Option("--from", metavar="NAME", help="Source that holds it.")]
Source = Annotated[str, typer.Argument(metavar="NAME", help="Name of the source.")]
PatientId = Annotated[
    str, typer.Option("--patient", metavar="ID", prompt="Patient ID", help="Patient ID; it is in no event.")
]
Most = Annotated[int, typer.Option("--most", metavar="N", min=1, help="Most studies, the latest first.")]
OfState = Annotated[
    str | None, typer.Option("--in", metavar="STATE", help="Only settling, due, fetching, fetched or failed.")
]
OfSource = Annotated[str | None, typer.Option("--from", metavar="NAME", help="Only of this source.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until it is here, or has failed; exit code 1 where it has.")]

_HEADERS = ("study", "source", "state", "instances", "here", "attempts", "asked by", "why")
_LOOK_SECONDS = 0.5


@app.command("study")
def fetch_study(
    uid: Study,
    source: From,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Have one study come, also where it came before; the gateway fetches it.

    A paused source is not waited for: exit code 1 with --wait.

    Example: oncue fetch study 1.2.840.113619.2.55 --from pacs --wait
    """
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_line
    from storage.database import utc_now
    from storage.errors import QuestionInvalid
    from storage.fetching import sources, studies
    from storage.uids import is_uid

    if not is_uid(uid):
        raise QuestionInvalid(f"{uid!r} is no Study Instance UID: 1 to 64 digits and dots")
    installation = _installation(state, config)
    with installation.write() as session:
        paused = sources.find(session, source).entry.paused
        new = studies.want(session, source, uid, actor=command_line_actor(), now=utc_now())
    if wait and not paused:
        _wait_for(installation, source, uid, as_json=as_json)
        return
    if as_json:
        _show_one(installation, source, uid)
    else:
        hint = f"{source} is paused: oncue fetch sources resume {source}" if paused else "see `oncue fetch list`"
        write_line(f"the study is {'to come' if new else 'on its way already'} from {source}; {hint}")
    if wait:
        raise typer.Exit(1)


@app.command("patient")
def fetch_patient(
    source: From,
    patient: PatientId,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    most: Most = 20,
    as_json: AsJson = False,
) -> None:
    """Have the studies of one patient come, the latest first. The id goes to the source alone, and into no event.

    Example: oncue fetch patient --from pacs --most 3
    """
    from console.fetching.trial import client_of
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_json, write_line
    from storage.database import utc_now
    from storage.fetching import sources, studies

    installation = _installation(state, config)
    with installation.read() as session:
        entry = sources.find(session, source).entry
    found = client_of(entry, installation).studies({"PatientID": patient})
    latest = sorted(found, key=lambda study: study.study_date, reverse=True)[:most]
    with installation.write() as session:
        wanted = [
            study.study_instance_uid
            for study in latest
            if studies.want(session, source, study.study_instance_uid, actor=command_line_actor(), now=utc_now())
        ]
    if as_json:
        write_json({"source": source, "found": len(found), "wanted": wanted})
        return
    write_line(f"studies of the patient at {source}: {len(found)}; to come: {len(wanted)}")


@app.command("now")
def ask_now(source: Source, state: State = DEFAULT_STATE, *, config: ConfigFile = None) -> None:
    """Have a source asked at once for what is wanted of it, whenever it was asked last.

    Example: oncue fetch now pacs --state ./oncue-state
    """
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_line
    from storage.database import utc_now
    from storage.fetching import sources

    with _installation(state, config).write() as session:
        sources.ask_now(session, source, actor=command_line_actor(), now=utc_now())
        is_paused = sources.find(session, source).entry.paused
    write_line(f"source {source} is asked at the next round" + (", once it is resumed" if is_paused else ""))


@app.command("list")
def show_studies(
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    in_state: OfState = None,
    source: OfSource = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List what waits to come, is coming, came or failed, the newest first.

    Example: oncue fetch list --in failed --state ./oncue-state
    """
    from console.fetching.schemas import study_form
    from console.terminal.options import chosen
    from console.terminal.output import write_forms, write_table
    from storage.fetching import studies
    from storage.states import FetchState

    with _installation(state, config).read() as session:
        found = studies.listed(session, state=chosen(FetchState, in_state), source=source, limit=limit)
        forms = [study_form(session, study) for study in found]
    if as_json:
        write_forms(forms)
        return
    write_table("Fetched studies", _HEADERS, [_row(form) for form in forms], empty="no study was fetched, or is to be")


@app.command("retry")
def retry(
    source: Source,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
) -> None:
    """Try again everything that failed to come from a source.

    Example: oncue fetch retry pacs --state ./oncue-state
    """
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_line
    from storage.database import utc_now
    from storage.fetching import sources, studies
    from storage.states import FetchState

    with _installation(state, config).write() as session:
        sources.find(session, source)
        failed = studies.listed(session, state=FetchState.FAILED, source=source, limit=10_000)
        for study in failed:
            studies.want(session, source, study.study_instance_uid, actor=command_line_actor(), now=utc_now())
    write_line(f"{len(failed)} studies are tried again")


def _wait_for(installation: Installation, source: str, uid: str, *, as_json: bool) -> None:
    """Show how a study comes, until it is here or has failed."""
    import threading

    from console.fetching.schemas import study_form
    from console.terminal.output import write_line
    from storage.fetching import studies
    from storage.states import FetchState

    pause, told = threading.Event(), ""
    while True:
        with installation.read() as session:
            form = study_form(session, studies.find(session, source, uid))
        if form.state in (FetchState.FETCHED, FetchState.FAILED):
            break
        now = f"{form.state}: {form.here} of {form.instances if form.instances is not None else '?'} instances"
        now += f"; tried again: {form.reason}" if form.reason else ""
        if now != told and not as_json:
            write_line(now)
            told = now
        pause.wait(_LOOK_SECONDS)
    if as_json:
        _show_one(installation, source, uid)
    else:
        write_line(f"{form.state}: {form.here} instances are here" + (f"; {form.reason}" if form.reason else ""))
    if form.state is FetchState.FAILED:
        raise typer.Exit(1)


def _show_one(installation: Installation, source: str, uid: str) -> None:
    from console.fetching.schemas import study_form
    from console.terminal.output import write_forms
    from storage.fetching import studies

    with installation.read() as session:
        write_forms([study_form(session, studies.find(session, source, uid))])


def _row(form: FetchedStudyForm) -> tuple[object, ...]:
    state = f"{form.state} (prior)" if form.is_prior else form.state
    why = None if form.code is None else f"[{form.code}] {form.reason}"
    return (form.study_instance_uid, form.source, state, form.instances, form.here, form.attempts, form.asked_by, why)


def _installation(state: Path, config: Path | None) -> Installation:
    from console.installation import open_installation

    return open_installation(state, file=config)
