"""`oncue studies`: what arrived, and what a study's result rests on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal.options import (
    DEFAULT_STATE,
    After,
    AsJson,
    ConfigFile,
    Limit,
    OfAccession,
    OfPatient,
    OfPriority,
    Since,
    State,
    Until,
)

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from storage.delivery_lists import Delivery
    from storage.study_record import Dossier
    from storage.worklist import StudyEntry

app = typer.Typer(no_args_is_help=True, help="Studies as they arrived, and what their results rest on.")

Study = Annotated[str, typer.Argument(metavar="STUDY", help="Its number on the pages, or its Study Instance UID.")]
Folder = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder that receives pictures and numbers.")]
OutFile = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the DICOM file here.")]
SendTo = Annotated[
    str | None,
    typer.Option("--send", metavar="PEER", help="Send it there: AET@HOST:PORT, or the AE title of a destination."),
]
OfRoute = Annotated[
    str | None, typer.Option("--route", metavar="NAME", help="Route whose result is meant; default: the leading one.")
]
OfState = Annotated[
    str | None,
    typer.Option(
        "--in",
        metavar="STATE",
        help="Only receiving, held, set_aside, not_applicable, queued, running, succeeded or failed ones.",
    ),
]
By = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who read it; default: who is logged in here.")]
Undo = Annotated[bool, typer.Option("--undo", help="Take the mark back: the study is on the worklist again.")]
KeptBy = Annotated[
    str | None, typer.Option("--by", metavar="NAME", help="Who keeps it; default: who is logged in here.")
]
WhyKept = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Why; stays with the study, and out of the audit trail.")
]
LetGo = Annotated[bool, typer.Option("--undo", help="Let the rules of retention have it again.")]
Saliency = Annotated[bool, typer.Option("--saliency", help="Where the classifier looked, not the segmenter.")]


@app.command("list")
def show_studies(
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    as_json: AsJson = False,
    limit: Limit = 500,
    after: After = None,
    of_state: OfState = None,
    priority: OfPriority = None,
    since: Since = None,
    until: Until = None,
    patient: OfPatient = None,
    accession: OfAccession = None,
) -> None:
    """List studies, the newest arrivals first.

    Example: oncue studies list --state ./oncue-state --json
    """
    from console.schemas.studies import ListedStudyForm
    from console.terminal.listings import Listing
    from console.terminal.options import chosen, in_utc
    from storage import worklist
    from storage.domain import Priority
    from storage.states import StudyState
    from storage.study_pages import StudyFilter

    wanted = StudyFilter(
        state=chosen(StudyState, of_state),
        priority=chosen(Priority, priority),
        since=in_utc(since),
        until=in_utc(until),
        patient_id=patient,
        accession_number=accession,
    )
    headers = ("study", "rev", "state", "priority", "images", "finding", "ml", "confidence", "code", "routes", "UID")
    empty = "no study has arrived yet" if wanted == StudyFilter() and after is None else "no such study"
    form = ListedStudyForm.model_validate
    listing = Listing("Studies", headers, _row, form, empty=empty, cursor=lambda entry: entry.cursor)
    listing.show(
        lambda session: worklist.studies(session, limit=limit, after=after, wanted=wanted),
        state,
        config=config,
        as_json=as_json,
        limit=limit,
    )


@app.command("read")
def mark_read(
    study: Study,
    state: State = DEFAULT_STATE,
    *,
    by: By = None,
    undo: Undo = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Mark the results of a study as read: it leaves the worklist until a new result or a higher priority comes.

    Example: oncue studies read 1 --by "Dr. Jones"
    """
    from console.installation import open_installation
    from console.schemas.studies import WorklistForm
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_forms, write_line
    from storage import reading, worklist
    from storage.database import utc_now

    with open_installation(state, file=config).write() as session:
        study_id = _number(session, study)
        mark = reading.mark_unread if undo else reading.mark_read
        mark(session, study_id, actor=by or command_line_actor(), now=utc_now())
        form = WorklistForm.model_validate(worklist.find(session, study_id))
    if as_json:
        write_forms([form])
        return
    write_line(f"study {study_id} is {'to be read again' if undo else 'marked as read'}")


@app.command("release")
def release_study(
    study: Study, state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Have a study analysed with the images that are there, though it waits, is held or was set aside.

    A running gateway does so within seconds.

    Example: oncue studies release 1 --state ./oncue-state
    """
    from console.installation import open_installation
    from console.schemas.studies import WorklistForm
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_forms, write_line
    from storage import study_arrivals, worklist
    from storage.database import utc_now

    with open_installation(state, file=config).write() as session:
        study_id = _number(session, study)
        study_arrivals.release(session, study_id, actor=command_line_actor(), now=utc_now())
        form = WorklistForm.model_validate(worklist.find(session, study_id))
    if as_json:
        write_forms([form])
        return
    write_line(f"study {study_id} is released: a running gateway asks the routes about the images that are there")


@app.command("keep")
def keep_study(
    study: Study,
    state: State = DEFAULT_STATE,
    *,
    by: KeptBy = None,
    reason: WhyKept = None,
    undo: LetGo = False,
    config: ConfigFile = None,
) -> None:
    """Keep everything of a study, whatever the rules of retention say, until somebody lets it go.

    Example: oncue studies keep 1 --reason "teaching case"
    """
    from console.installation import open_installation
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_line
    from storage import kept_studies
    from storage.database import utc_now

    if undo == (reason is not None):
        raise typer.BadParameter("give --reason TEXT to keep it, or --undo to let it go")
    if reason is not None and not reason.strip():
        raise typer.BadParameter("say in --reason why it is kept: whoever looks later asks that")
    with open_installation(state, file=config).write() as session:
        study_id, actor = _number(session, study), by or command_line_actor()
        if reason is None:
            kept_studies.let_go(session, study_id, actor=actor, now=utc_now())
        else:
            kept_studies.keep(session, study_id, reason=reason, actor=actor, now=utc_now())
    write_line(f"study {study_id} is {'let go: the rules of retention count for it' if undo else 'kept'}")


@app.command("show")
def show_study(
    study: Study, state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Show one study: what each route found, how far its input is from the training data, and what is not sent.

    Example: oncue studies show 1 --state ./oncue-state
    """
    from console.installation import open_installation
    from console.schemas.study_record import StudyDetailForm
    from console.terminal.output import write_forms, write_table
    from console.terminal.recorded_reading import record_reading
    from console.terminal.study_rows import finding_rows, result_rows, structure_row, summary_rows
    from storage.history.readings import study_read

    installation = open_installation(state, file=config)
    with installation.read() as session:
        dossier = _dossier(session, study)
    record_reading(installation.database, lambda session, reader: study_read(session, dossier.entry.id, reader))
    if as_json:
        write_forms([StudyDetailForm.model_validate(dossier)])
        return
    write_table(f"Study {dossier.entry.id}", ("", ""), summary_rows(dossier), empty="")
    for result in dossier.results:
        write_table(f"Route {result.route}", ("", ""), result_rows(result), empty="")
        for finding in () if result.is_superseded else result.findings:
            title = f"{result.route}: {finding.concept.meaning} {finding.number or ''}".strip()
            write_table(title, ("", ""), finding_rows(finding), empty="")
        if result.structures and not result.is_superseded:
            headers = ("#", "organ", "name", "ml", "findings")
            write_table(f"{result.route}: organs", headers, [*map(structure_row, result.structures)], empty="")


@app.command("explain")
def explain_study(
    study: Study,
    state: State = DEFAULT_STATE,
    *,
    out: Folder = Path("explanation"),
    route: OfRoute = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Write what led to each finding (image, map, mask and what was drawn beside them) as PNG, and the numbers as JSON.

    Example: oncue studies explain 1 --out ./explanation
    """
    from console import explanations
    from console.installation import open_installation
    from console.terminal.output import write_json, write_line
    from console.terminal.recorded_reading import record_reading
    from storage import analyses, deletions
    from storage.history.readings import export_made

    installation = open_installation(state, file=config)
    with installation.read() as session:
        entry = _dossier(session, study)
        job_id = _job_of(entry, route)
        deletions.require_pictures(session, job_id)
        analysis = analyses.load(session, job_id, installation.objects)
    record_reading(
        installation.database, lambda session, reader: export_made(session, job_id, reader, what="an explanation")
    )
    form = explanations.write(entry.entry.study_instance_uid, analysis, installation.objects, out)
    if as_json:
        write_json(form.model_dump(mode="json"))
        return
    write_line(f"{len(form.findings)} findings explained in {out}")


@app.command("parametric-map")
def write_parametric_map(
    study: Study,
    state: State = DEFAULT_STATE,
    *,
    out: OutFile = None,
    send: SendTo = None,
    saliency: Saliency = False,
    route: OfRoute = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Write the attention map of a study's result as a DICOM Parametric Map, or send it to a peer.

    Example: oncue studies parametric-map 1 --out attention.dcm
    """
    from console.installation import open_installation
    from console.terminal.actor import command_line_actor
    from dicom_gateway.maps import MapRequests, configured_destination
    from dicom_gateway.objects.equipment import Equipment
    from storage import destinations
    from storage.database import utc_now

    if (out is None) == (send is None):
        raise typer.BadParameter("give either --out FILE or --send PEER")
    installation = open_installation(state, file=config)
    with installation.read() as session:
        job_id = _job_of(_dossier(session, study), route)
        entries = destinations.entries(session)
    requests = MapRequests(installation.database, installation.objects, Equipment(), utc_now, saliency=saliency)
    try:
        if out is not None:
            _write_file(out, requests.fetch(job_id, actor=command_line_actor()))
            _show_file(out, as_json=as_json)
        elif send is not None:
            addresses = installation.settings.gateway.destinations
            peer = send if "@" in send else configured_destination(send, addresses, entries)
            _show_delivery(requests.send(job_id, peer, actor=command_line_actor()), as_json=as_json)
    finally:
        installation.database.dispose()


def _row(entry: StudyEntry) -> tuple[object, ...]:
    from console.terminal.route_results import in_one_cell

    result = (entry.finding, entry.volume_ml, entry.confidence)
    arrived = (entry.id, entry.revision, entry.state, entry.priority, entry.instances)
    return *arrived, *result, entry.code, in_one_cell(entry), entry.study_instance_uid


def _dossier(session: Session, study: str) -> Dossier:
    """Read the study that a number or a UID names; RecordMissing where there is none."""
    from storage import study_record

    return study_record.read(session, _number(session, study))


def _number(session: Session, study: str) -> int:
    """Return our number for the study that a number or a UID names; RecordMissing for a UID that is not there."""
    from storage import worklist
    from storage.errors import RecordMissing

    if study.isascii() and study.isdigit():
        return int(study)
    entry = worklist.study(session, study)
    if entry is None:
        raise RecordMissing(f"there is no study {study}; see `oncue studies list`")
    return entry.id


def _job_of(dossier: Dossier, route: str | None) -> int:
    """Return the job of the leading result, or of a route's; RecordMissing where there is none."""
    from storage.errors import RecordMissing

    valid = (result for result in dossier.results if not result.is_superseded)
    result = next((result for result in valid if route in (None, result.route)), None)
    if result is None:
        whose = f"of route {route} " if route else ""
        raise RecordMissing(f"study {dossier.entry.id} has no result {whose}yet; see `oncue jobs list`")
    return result.job_id


def _write_file(path: Path, content: bytes) -> None:
    from storage.errors import ConfigurationError

    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigurationError(f"the map cannot be written to {path}: {error.strerror}") from error


def _show_file(path: Path, *, as_json: bool) -> None:
    from console.terminal.output import write_json, write_line

    if as_json:
        write_json({"file": str(path)})
        return
    write_line(f"the attention map is in {path}")


def _show_delivery(delivery: Delivery, *, as_json: bool) -> None:
    from console.schemas.deliveries import DeliveryForm
    from console.terminal.output import write_forms, write_line

    if as_json:
        write_forms([DeliveryForm.model_validate(delivery)])
        return
    write_line(f"delivery {delivery.id} to {delivery.destination} is {delivery.state}; a running gateway sends it")
