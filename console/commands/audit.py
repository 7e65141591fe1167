"""`oncue audit`: the hash-chained record of everything that happened."""

from __future__ import annotations

from typing import Annotated

import typer

from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, Limit, State

app = typer.Typer(no_args_is_help=True, help="The audit trail: append-only, hash-chained.")

_DETAIL_CHARACTERS = 120

Subject = Annotated[
    str | None,
    typer.Option("--subject", metavar="SUBJECT", help="Only one subject's events, for example job/3 or study/UID."),
]
Tag = Annotated[
    str | None, typer.Option("--tag", metavar="TAG", help="Only this kind of event, for example job:failed.")
]
After = Annotated[
    int | None,
    typer.Option("--after", metavar="SEQ", min=0, help="Events after this number, oldest first, for paging."),
]
Seq = Annotated[int, typer.Argument(metavar="SEQ", min=1, help="The event's number.")]


@app.command("list")
def show_events(
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    as_json: AsJson = False,
    limit: Limit = 200,
    subject: Subject = None,
    tag: Tag = None,
    after: After = None,
) -> None:
    """List events: the newest first, or in the order of the chain where a filter or --after is given.

    Example: oncue audit list --state ./oncue-state --subject job/3
    """
    from console.installation import open_installation
    from console.schemas.events import EventForm
    from console.terminal.output import write_forms, write_table
    from console.terminal.recorded_reading import record_reading
    from storage import audit
    from storage.history.question import Question
    from storage.history.readings import history_asked

    installation = open_installation(state, file=config)
    with installation.read() as session:
        if subject is None and tag is None and after is None:
            events = audit.latest(session, limit=limit)
        else:
            events = audit.history(session, subject=subject, tag=tag, after=after or 0, limit=limit)
    asked, turns_page = Question(object=subject, action=tag), after is not None
    record_reading(
        installation.database,
        lambda session, reader: history_asked(session, asked, reader, turns_page=turns_page),
    )
    if as_json:
        write_forms([EventForm.model_validate(event) for event in events])
        return
    rows = [(event.seq, event.at[:19], event.tag, event.subject, event.actor, _cut(event.details)) for event in events]
    write_table("Audit trail", ("seq", "at", "event", "subject", "actor", "details"), rows, empty="no such event")


@app.command("show")
def show_event(seq: Seq, state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show one event with its hashes.

    Example: oncue audit show 12 --state ./oncue-state
    """
    from console.installation import open_installation
    from console.schemas.events import EventForm
    from console.terminal.output import write_forms, write_table
    from console.terminal.recorded_reading import record_reading
    from storage import audit
    from storage.errors import RecordMissing
    from storage.history.readings import history_read

    installation = open_installation(state, file=config)
    with installation.read() as session:
        events = audit.history(session, after=seq - 1, limit=1)
    if not events or events[0].seq != seq:
        raise RecordMissing(f"there is no audit event {seq}; see `oncue audit list`")
    record_reading(
        installation.database,
        lambda session, reader: history_read(session, events[0].study, reader, what=f"event {seq}"),
    )
    form = EventForm.model_validate(events[0])
    if as_json:
        write_forms([form])
        return
    write_table(f"Event {seq}", ("", ""), list(form.model_dump().items()), empty="")


def _cut(details: str) -> str:
    """Shorten details for a table; `oncue audit show` has them whole."""
    return details if len(details) <= _DETAIL_CHARACTERS else f"{details[:_DETAIL_CHARACTERS]} ..."
