"""`oncue destinations`: where results go, what a destination takes, and holding one back for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from pathlib import Path

    from console.destinations.schemas import DestinationForm
    from console.destinations.trial import DestinationTrial
    from console.installation import Installation
    from storage.destinations import DestinationEntry

app = typer.Typer(no_args_is_help=True, help="Destinations: where results go, and in which forms.")

DestinationName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the entry.")]
CallOff = Annotated[
    bool, typer.Option("--call-off", help="Call off what is on its way there; it stays on record as called off.")
]

_HEADERS = (
    "name",
    "address",
    "state",
    "asks for",
    "gets",
    "routes",
    "priorities",
    "notes",
    "unanalysed",
    "proof",
    "waiting",
    "refused",
    "unproven",
)
_MARKS = {True: "yes", False: "no", None: "cannot say"}


@app.command("list")
def show_destinations(state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the entries and the addresses of gateway.destinations, with what each gets and how much waits for it.

    Addresses that a running `oncue up` was given are listed, too.

    Example: oncue destinations list --state ./oncue-state
    """
    from console.destinations.schemas import destination_forms
    from console.doctor.process_probes import current_endpoints
    from console.terminal.output import write_forms, write_table

    installation = _installation(state, config)
    gateway = installation.settings.gateway
    addresses = (*gateway.destinations, *current_endpoints(installation).destinations)
    with installation.read() as session:
        forms = destination_forms(session, addresses=addresses, rejecting=gateway.reject_superseded)
    if as_json:
        write_forms(forms)
        return
    empty = "no destination: results stay here; oncue destinations add NAME AET@HOST:PORT"
    write_table("Destinations", _HEADERS, [_row(form) for form in forms], empty=empty)


@app.command("test")
def try_destination(
    name: DestinationName, state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Ask a destination what it takes, and say in which forms it gets results and why; nothing is stored there.

    What it says counts from now on. Exit code 1 where it does not answer, or a form and all that stands in for it
    cannot go there.

    Example: oncue destinations test pacs --state ./oncue-state
    """
    from console.terminal.output import write_json
    from storage import destinations

    installation = _installation(state, config)
    with installation.read() as session:
        entry = destinations.find(session, name).entry
    found = _asked(entry, installation)
    if as_json:
        write_json(found.model_dump(mode="json"))
    else:
        _show_trial(found)
    if not found.passed:
        raise typer.Exit(1)


@app.command("pause")
def pause_destination(name: DestinationName, state: State = DEFAULT_STATE, *, config: ConfigFile = None) -> None:
    """Send nothing to a destination until it is resumed; its results wait.

    Example: oncue destinations pause pacs --state ./oncue-state
    """
    _set_paused(name, state, config, paused=True)


@app.command("resume")
def resume_destination(name: DestinationName, state: State = DEFAULT_STATE, *, config: ConfigFile = None) -> None:
    """Send to a paused destination again, what waits for it first.

    Example: oncue destinations resume pacs --state ./oncue-state
    """
    _set_paused(name, state, config, paused=False)


@app.command("remove")
def remove_destination(
    name: DestinationName, state: State = DEFAULT_STATE, *, config: ConfigFile = None, call_off: CallOff = False
) -> None:
    """Take an entry off the record: nothing more goes there; what was sent stays on record under its name.

    Refused while anything is on its way there, unless that is called off. What is being sent at that moment is not
    called off: the entry is paused then, to be removed once that has ended.

    Example: oncue destinations remove pacs --call-off --state ./oncue-state
    """
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_line
    from storage import destinations
    from storage.database import utc_now

    installation = _installation(state, config)
    actor, number = command_line_actor(), 0
    if call_off:
        # Held back first: what is called off here must not be taken up by the gateway meanwhile.
        with installation.write() as session:
            destinations.set_paused(session, name, paused=True, actor=actor, now=utc_now())
        number += _called_off(installation, name, refused=False)
    with installation.write() as session:
        destinations.remove(session, name, actor=actor, now=utc_now())
    number += _called_off(installation, name, refused=True)
    write_line(f"destination {name} is removed" + (f"; {number} deliveries are called off" if number else ""))


def _called_off(installation: Installation, name: str, *, refused: bool) -> int:
    """Call off what waits for a destination, or what it refused, some at a time; return how many."""
    from console.terminal.actor import command_line_actor
    from storage import calling_off
    from storage.database import utc_now

    number, called = 0, 1
    while called:
        with installation.write() as session:
            called = calling_off.call_off_destination(
                session, name, actor=command_line_actor(), now=utc_now(), refused=refused
            )
        number += called
    return number


def _asked(entry: DestinationEntry, installation: Installation) -> DestinationTrial:
    """Ask, and keep the answer: reports of which something waits that is not taken are written in other forms."""
    from console.destinations.trial import ask, trial, unanswered
    from storage import destinations, form_refusals, negotiations
    from storage.database import utc_now
    from storage.errors import OncueError

    try:
        taken = ask(entry, installation.settings.gateway)
    except OncueError as error:
        return unanswered(entry, error)
    with installation.write() as session:
        if destinations.hold(session, [entry.name]):
            negotiations.answered(session, entry.name, taken, now=utc_now())
            form_refusals.replan_untaken_forms(session, entry.name, now=utc_now())
    return trial(entry, taken)


def _show_trial(found: DestinationTrial) -> None:
    from console.destinations.trial import syntax_name
    from console.terminal.output import write_line, write_table

    if not found.answered:
        write_line(f"destination {found.name} does not answer: [{found.code}] {found.reason}")
        return
    if all(one.taken is None for one in found.forms):
        write_line(f"{found.name} ({found.address}) answers; what it takes shows when something is sent")
        return
    rows = [
        (one.form, _MARKS[one.taken], ", ".join(map(syntax_name, one.transfer_syntaxes)) or None) for one in found.forms
    ]
    write_table(f"{found.name} ({found.address}) takes", ("form", "taken", "transfer syntaxes"), rows, empty="")
    choices = [
        (one.asked, one.chosen or "nothing", one.reason, one.transfer_syntax and syntax_name(one.transfer_syntax))
        for one in found.choices
    ]
    write_table("and gets", ("asked for", "sent", "why", "transfer syntax"), choices, empty="")
    if found.rejection_notes is False:
        write_line("it is to get rejection notes and does not take Key Object Selection Documents")
    write_line("all of it can go there" if found.passed else "not all of it can go there")


def _set_paused(name: str, state: Path, config: Path | None, *, paused: bool) -> None:
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_line
    from storage import delivery_lists, destinations
    from storage.database import utc_now

    with _installation(state, config).write() as session:
        destinations.set_paused(session, name, paused=paused, actor=command_line_actor(), now=utc_now())
        waiting = delivery_lists.count_open(session, name)
    write_line(f"destination {name} is {'paused' if paused else 'resumed'}; {waiting} deliveries wait for it")


def _row(form: DestinationForm) -> tuple[object, ...]:
    if form.paused:
        standing = "paused"
    elif form.left_alone_until is not None:
        standing = f"left alone until {form.left_alone_until[11:19]}"
    else:
        standing = form.code or "sending"
    gets = ", ".join(form.gets) + (f" ({form.because})" if form.because else "")
    return (
        form.name,
        form.address,
        standing,
        ", ".join(form.forms),
        gets,
        form.routes and ", ".join(form.routes),
        form.priorities and ", ".join(form.priorities),
        "yes" if form.rejection_notes else "no",
        form.unanalysed,
        form.proof if form.proof_address is None else f"{form.proof} at {form.proof_address}",
        form.waiting,
        form.refused,
        form.unproven,
    )


def _installation(state: Path, config: Path | None) -> Installation:
    from console.installation import open_installation

    return open_installation(state, file=config)
