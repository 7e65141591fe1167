"""`oncue channels`: who is told that a study is urgent, whether they would take it, and holding one back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from pathlib import Path

    from console.announcing.schemas import ChannelForm
    from console.installation import Installation

app = typer.Typer(
    no_args_is_help=True, help="Channels: who is told that a study is urgent, by HL7, FHIR, webhook or e-mail."
)

ChannelName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the channel.")]
CallOff = Annotated[
    bool, typer.Option("--call-off", help="Call off what is on its way there; it stays on record as called off.")
]

_HEADERS = ("name", "kind", "address", "state", "is told of", "when", "patient data", "waiting", "sent", "refused")


@app.command("list")
def show_channels(state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the channels, with what each is told of and how much waits for it.

    Example: oncue channels list --state ./oncue-state
    """
    from console.announcing.schemas import channel_forms
    from console.terminal.output import write_forms, write_table
    from storage.database import utc_now

    with _installation(state, config).read() as session:
        forms = channel_forms(session, now=utc_now())
    if as_json:
        write_forms(forms)
        return
    empty = "no channel: nobody is told of urgent studies; oncue channels add NAME KIND ADDRESS"
    write_table("Channels", _HEADERS, [_row(form) for form in forms], empty=empty)


@app.command("show")
def show_channel(
    name: ChannelName, state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Show all that is known of a channel, with its options.

    Example: oncue channels show ris --state ./oncue-state
    """
    from console.announcing.schemas import channel_form
    from console.terminal.output import write_forms, write_table
    from storage.database import utc_now

    with _installation(state, config).read() as session:
        form = channel_form(session, name, now=utc_now())
    if as_json:
        write_forms([form])
        return
    shown = form.model_dump(mode="json")
    options = {f"option {key}": value for key, value in shown.pop("options").items()}
    rows = [(key, _in_words(value)) for key, value in {**shown, **options}.items()]
    write_table(f"Channel {name}", ("", ""), rows, empty="")


@app.command("test")
def try_channel(
    name: ChannelName, state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Say whether a channel's receiver is there and lets us in; it is told of no study.

    Exit code 1 where it is not, or does not.

    Example: oncue channels test ris --state ./oncue-state
    """
    from dataclasses import asdict

    from console.announcing import trial
    from console.terminal.output import write_json, write_line
    from storage.announcing import channels

    installation = _installation(state, config)
    with installation.read() as session:
        entry = channels.find(session, name).entry
    found = trial.try_channel(entry, installation.settings.gateway)
    if as_json:
        write_json(asdict(found))
    elif found.passed:
        write_line(f"channel {name} would take announcements at {found.address}")
    else:
        write_line(f"channel {name} would not take announcements: [{found.code}] {found.reason}")
    if not found.passed:
        raise typer.Exit(1)


@app.command("pause")
def pause_channel(name: ChannelName, state: State = DEFAULT_STATE, *, config: ConfigFile = None) -> None:
    """Tell a channel nothing until it is resumed; what it is to be told waits.

    Example: oncue channels pause ris --state ./oncue-state
    """
    _set_paused(name, state, config, paused=True)


@app.command("resume")
def resume_channel(name: ChannelName, state: State = DEFAULT_STATE, *, config: ConfigFile = None) -> None:
    """Tell a paused channel again, what waits for it first.

    Example: oncue channels resume ris --state ./oncue-state
    """
    _set_paused(name, state, config, paused=False)


@app.command("remove")
def remove_channel(
    name: ChannelName, state: State = DEFAULT_STATE, *, config: ConfigFile = None, call_off: CallOff = False
) -> None:
    """Take a channel off the record: it is told nothing more; what it was told stays on record under its name.

    Refused while anything is on its way there, unless that is called off. What is being sent at that moment is not
    called off: the channel is paused then, to be removed once that has ended.

    Example: oncue channels remove ris --call-off --state ./oncue-state
    """
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_line
    from storage.announcing import channels
    from storage.database import utc_now

    installation = _installation(state, config)
    actor, number = command_line_actor(), 0
    if call_off:
        # Held back first: what is called off here must not be taken up by the gateway meanwhile.
        with installation.write() as session:
            channels.set_paused(session, name, paused=True, actor=actor, now=utc_now())
        number = _called_off(installation, name, actor)
    with installation.write() as session:
        channels.remove(session, name, actor=actor, now=utc_now())
    write_line(f"channel {name} is removed" + (f"; {number} announcements are called off" if number else ""))


def _called_off(installation: Installation, name: str, actor: str) -> int:
    """Call off what waits for a channel or was refused by it, some at a time; return how many."""
    from storage.announcing import announcements
    from storage.database import utc_now

    number, called = 0, 1
    while called:
        with installation.write() as session:
            called = announcements.call_off_channel(session, name, actor=actor, now=utc_now())
        number += called
    return number


def _set_paused(name: str, state: Path, config: Path | None, *, paused: bool) -> None:
    from console.announcing.schemas import channel_form
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_line
    from storage.announcing import channels
    from storage.database import utc_now

    with _installation(state, config).write() as session:
        channels.set_paused(session, name, paused=paused, actor=command_line_actor(), now=utc_now())
        waiting = channel_form(session, name, now=utc_now()).waiting
    write_line(f"channel {name} is {'paused' if paused else 'resumed'}; {waiting} announcements wait for it")


def _in_words(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _row(form: ChannelForm) -> tuple[object, ...]:
    if form.paused:
        standing = "paused"
    elif form.left_alone_until is not None:
        standing = f"left alone until {form.left_alone_until[11:19]}"
    else:
        standing = form.code or "in use"
    concerns = ", ".join(form.priorities) + (f" of {', '.join(form.routes)}" if form.routes else "")
    when = "at once" if form.escalation_minutes is None else f"unopened for {form.escalation_minutes} min"
    if form.group_seconds:
        when += f", collected for {form.group_seconds} s"
    if form.per_hour is not None:
        when += f", {form.per_hour} an hour at most"
    allowed = "yes" if form.patient_data else "no"
    way = (form.name, form.kind, form.address, standing, concerns, when, allowed)
    return (*way, form.waiting, form.sent, form.refused)


def _installation(state: Path, config: Path | None) -> Installation:
    from console.installation import open_installation

    return open_installation(state, file=config)
