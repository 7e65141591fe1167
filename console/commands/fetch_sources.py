"""`oncue fetch sources`: where studies are fetched from, in force without a restart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from console.fetching.schemas import FetchSourceForm
    from console.installation import Installation
    from dicom_gateway.fetching.source_entries import SourceWish
    from storage.fetching.sources import FetchSource

app = typer.Typer(no_args_is_help=True, help="Sources that studies are fetched from: a PACS that does not push.")

SourceName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the source.")]
Address = Annotated[
    str, typer.Argument(metavar="ADDRESS", help="AET@HOST:PORT, tls://AET@HOST:PORT, or https://HOST/PATH (DICOMweb).")
]
NewAddress = Annotated[str | None, typer.Option("--address", metavar="ADDRESS", help="Where it is now.")]
Way = Annotated[
    str | None,
    typer.Option("--way", metavar="WAY", help="move, get or wado; default: move, or wado of a DICOMweb service."),
]
Filter = Annotated[
    list[str] | None,
    typer.Option("--filter", metavar="KEY=VALUE", help="Which studies, as StudyDate=-2d.. or ModalitiesInStudy=MR."),
]
Every = Annotated[
    str | None,
    typer.Option("--every", metavar="SPAN", help="How often it is asked: 10m, 2h; default: when somebody says so."),
]
Settle = Annotated[
    str | None,
    typer.Option("--settle", metavar="SPAN", help="How long its count must stand still before it comes; default: 60s."),
]
AtHours = Annotated[
    str | None, typer.Option("--hours", metavar="FROM-UNTIL", help="Hours (UTC) in which studies come: 20:00-06:00.")
]
PerHour = Annotated[
    int | None, typer.Option("--studies-per-hour", metavar="N", help="Most studies that come in an hour.")
]
Priors = Annotated[
    int | None, typer.Option("--priors", metavar="N", help="Earlier studies to fetch when one of a patient arrives.")
]
ToLane = Annotated[
    str | None, typer.Option("--lane", metavar="LANE", help="stat, routine or batch, of what comes by GET and WADO.")
]
Credentials = Annotated[
    Path | None, typer.Option("--credentials", metavar="FILE", help="USER:PASSWORD or a token of a DICOMweb service.")
]
Clear = Annotated[
    list[str] | None, typer.Option("--clear", metavar="OPTION", help="Option that is not set any more; repeat it.")
]

_HEADERS = ("name", "address", "way", "state", "wanted", "asked", "waiting", "fetched", "failed")


@app.command("add")
def add_source(
    name: SourceName,
    address: Address,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    way: Way = None,
    filter: Filter = None,  # noqa: A002 - the option's name is the field's
    every: Every = None,
    settle: Settle = None,
    hours: AtHours = None,
    studies_per_hour: PerHour = None,
    priors: Priors = None,
    lane: ToLane = None,
    credentials: Credentials = None,
    as_json: AsJson = False,
) -> None:
    """Fetch studies from a PACS from now on; docs/fetching.md says what it must know of us.

    Example: oncue fetch sources add pacs PACS@10.20.0.5:104 --filter StudyDate=-2d.. --every 10m
    """
    from dicom_gateway.fetching.source_entries import new_entry
    from storage.fetching import sources

    installation = _installation(state, config)
    _record(new_entry(name, _wish(locals())), installation, sources.add, as_json=as_json)


@app.command("change")
def change_source(
    name: SourceName,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    address: NewAddress = None,
    way: Way = None,
    filter: Filter = None,  # noqa: A002 - the option's name is the field's
    every: Every = None,
    settle: Settle = None,
    hours: AtHours = None,
    studies_per_hour: PerHour = None,
    priors: Priors = None,
    lane: ToLane = None,
    credentials: Credentials = None,
    clear: Clear = None,
    as_json: AsJson = False,
) -> None:
    """Change where a source is, what is wanted of it and when; what no option names stays.

    Example: oncue fetch sources change pacs --every 5m --clear hours
    """
    from dicom_gateway.fetching.source_entries import wished
    from storage.fetching import sources

    wish, installation = _wish(locals()), _installation(state, config)
    with installation.read() as session:
        entry = sources.find(session, name).entry
    _record(wished(entry, wish, tuple(clear or ())), installation, sources.change, as_json=as_json)


@app.command("list")
def show_sources(state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the sources, with what is wanted of each, and what went wrong last.

    Example: oncue fetch sources list --state ./oncue-state
    """
    from console.fetching.schemas import source_forms
    from console.terminal.output import write_forms, write_table

    with _installation(state, config).read() as session:
        forms = source_forms(session)
    if as_json:
        write_forms(forms)
        return
    empty = "no source: nothing is fetched; oncue fetch sources add NAME ADDRESS"
    write_table("Sources", _HEADERS, [_row(form) for form in forms], empty=empty)


@app.command("test")
def try_source(
    name: SourceName, state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Ask a source for the studies that are wanted of it, and fetch none; exit code 1 where it does not answer.

    Example: oncue fetch sources test pacs --state ./oncue-state
    """
    from console.fetching.trial import ask_source
    from console.terminal.output import write_json, write_line
    from storage.fetching import sources

    installation = _installation(state, config)
    with installation.read() as session:
        entry = sources.find(session, name).entry
    found = ask_source(entry, installation)
    if as_json:
        write_json(
            {"name": name, "passed": found.passed, "studies": found.studies, "code": found.code, "reason": found.reason}
        )
    elif found.passed:
        write_line(f"source {name} answers; {found.studies} studies are wanted of it at the moment")
    else:
        write_line(f"source {name} cannot be asked: [{found.code}] {found.reason}")
    if not found.passed:
        raise typer.Exit(1)


@app.command("pause")
def pause_source(name: SourceName, state: State = DEFAULT_STATE, *, config: ConfigFile = None) -> None:
    """Ask a source nothing and fetch nothing from it until it is resumed.

    Example: oncue fetch sources pause pacs --state ./oncue-state
    """
    _set_paused(name, state, config, paused=True)


@app.command("resume")
def resume_source(name: SourceName, state: State = DEFAULT_STATE, *, config: ConfigFile = None) -> None:
    """Ask a paused source again, at once.

    Example: oncue fetch sources resume pacs --state ./oncue-state
    """
    _set_paused(name, state, config, paused=False)


@app.command("remove")
def remove_source(name: SourceName, state: State = DEFAULT_STATE, *, config: ConfigFile = None) -> None:
    """Take a source off the record, with what waits to come from it; what came stays.

    Example: oncue fetch sources remove pacs --state ./oncue-state
    """
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_line
    from storage.database import utc_now
    from storage.fetching import sources

    with _installation(state, config).write() as session:
        sources.remove(session, name, actor=command_line_actor(), now=utc_now())
    write_line(f"source {name} is removed")


def _wish(given: Mapping[str, Any]) -> SourceWish:
    from dicom_gateway.fetching.source_entries import SourceWish

    words = {name: given[name] for name in SourceWish.__slots__}
    return SourceWish(**{**words, "filter": None if given["filter"] is None else tuple(given["filter"])})


def _record(entry: FetchSource, installation: Installation, record: Callable[..., None], *, as_json: bool) -> None:
    from console.fetching.schemas import source_form
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_forms, write_line
    from storage.database import utc_now

    with installation.write() as session:
        record(session, entry, actor=command_line_actor(), now=utc_now())
        form = source_form(session, entry.name)
    if as_json:
        write_forms([form])
        return
    when = "when somebody says so" if form.every_seconds is None else f"every {form.every_seconds} s"
    write_line(f"source {form.name} at {form.address} is asked {when}; studies come by {form.way}")


def _set_paused(name: str, state: Path, config: Path | None, *, paused: bool) -> None:
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_line
    from storage.database import utc_now
    from storage.fetching import sources

    with _installation(state, config).write() as session:
        sources.set_paused(session, name, paused=paused, actor=command_line_actor(), now=utc_now())
    write_line(f"source {name} is {'paused' if paused else 'resumed'}")


def _row(form: FetchSourceForm) -> tuple[object, ...]:
    standing = "paused" if form.paused else form.code or "in use"
    wanted = ", ".join(f"{key}={value}" for key, value in form.filter.items()) or "everything"
    asked = "when told" if form.every_seconds is None else f"every {form.every_seconds} s"
    numbers = (form.waiting, form.fetched, form.failed)
    return (form.name, form.address, form.way, standing, wanted, asked, *numbers)


def _installation(state: Path, config: Path | None) -> Installation:
    from console.installation import open_installation

    return open_installation(state, file=config)
