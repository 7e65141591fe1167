"""`oncue announcements`: what each channel was told of each study, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal.options import DEFAULT_STATE, After, AsJson, ConfigFile, Limit, State

if TYPE_CHECKING:
    from pathlib import Path

    from console.installation import Installation
    from storage.announcing.announcement_lists import ListedAnnouncement

app = typer.Typer(no_args_is_help=True, help="Announcements: each fact of a study on its way to each channel.")

OfState = Annotated[
    str | None,
    typer.Option("--in", metavar="STATE", help="Only pending, sending, sent, refused, superseded or called_off ones."),
]
OfChannel = Annotated[str | None, typer.Option("--channel", metavar="NAME", help="Only those to this channel.")]
OfStudy = Annotated[int | None, typer.Option("--study", metavar="N", help="Only those of the study of this number.")]
Number = Annotated[int, typer.Argument(metavar="ANNOUNCEMENT", help="Its number.")]
SomeNumber = Annotated[int | None, typer.Argument(metavar="[ANNOUNCEMENT]", help="Its number.")]
AllRefused = Annotated[
    str | None, typer.Option("--refused-by", metavar="CHANNEL", help="All that this channel refused, instead.")
]


@app.command("list")
def show_announcements(
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    as_json: AsJson = False,
    limit: Limit = 500,
    after: After = None,
    of_state: OfState = None,
    channel: OfChannel = None,
    study: OfStudy = None,
) -> None:
    """List announcements, newest first.

    Example: oncue announcements list --in refused --state ./oncue-state
    """
    from console.announcing.schemas import AnnouncementForm
    from console.terminal.listings import Listing
    from console.terminal.options import chosen
    from storage.announcing import announcement_lists
    from storage.announcing.tables import AnnouncementState

    wanted = chosen(AnnouncementState, of_state)
    headers = ("number", "channel", "study", "says", "state", "attempts", "code", "opened", "taken")
    form = AnnouncementForm.model_validate
    is_whole = all(one is None for one in (wanted, after, channel, study))
    empty = "nothing has been announced yet" if is_whole else "no such announcement"
    listing = Listing("Announcements", headers, _row, form, empty=empty, cursor=lambda one: one.cursor)
    listing.show(
        lambda session: announcement_lists.listed(
            session, state=wanted, channel=channel, study_id=study, limit=limit, after=after
        ),
        state,
        config=config,
        as_json=as_json,
        limit=limit,
    )


@app.command("show")
def show_announcement(
    announcement: Number, state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Show an announcement: where it stands, and what the receiver answered.

    Example: oncue announcements show 2 --state ./oncue-state
    """
    from console.announcing.schemas import AnnouncementForm
    from console.terminal.output import write_forms, write_table
    from storage.announcing import announcement_lists

    with _installation(state, config).read() as session:
        form = AnnouncementForm.model_validate(announcement_lists.find(session, announcement))
    if as_json:
        write_forms([form])
        return
    write_table(f"Announcement {announcement}", ("", ""), list(form.model_dump().items()), empty="")


@app.command("retry")
def retry_announcement(
    announcement: SomeNumber = None,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    refused_by: AllRefused = None,
) -> None:
    """Send an announcement once more, under its key; one that waits is due at once.

    Refused where what it tells is not so any more: what holds now is announced by itself.

    Example: oncue announcements retry --refused-by ris --state ./oncue-state
    """
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_line
    from storage.announcing import announcement_lists, announcements, channels
    from storage.announcing.tables import AnnouncementState
    from storage.database import utc_now
    from storage.errors import IllegalTransition

    if (announcement is None) is (refused_by is None):
        raise typer.BadParameter("give the number of an announcement, or --refused-by with the name of a channel")
    installation, actor = _installation(state, config), command_line_actor()
    if announcement is not None:
        with installation.write() as session:
            announcements.retry(session, announcement, actor=actor, now=utc_now())
        write_line(f"announcement {announcement} is due again")
        return
    with installation.read() as session:
        channels.find(session, refused_by or "")
        numbers = announcement_lists.numbers_in(session, AnnouncementState.REFUSED, channel=refused_by or "")
    due = 0
    for number in numbers:
        try:
            with installation.write() as session:
                announcements.retry(session, number, actor=actor, now=utc_now())
        except IllegalTransition:
            continue  # overtaken by a later result: that one is announced
        due += 1
    overtaken = f"; {len(numbers) - due} tell of what does not hold any more" if due < len(numbers) else ""
    write_line(f"{due} announcements to {refused_by} are due again{overtaken}")


@app.command("call-off")
def call_off_announcement(announcement: Number, state: State = DEFAULT_STATE, *, config: ConfigFile = None) -> None:
    """End an announcement that waits or was refused; it stays on record as called off.

    Example: oncue announcements call-off 2 --state ./oncue-state
    """
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_line
    from storage.announcing import announcements
    from storage.database import utc_now

    with _installation(state, config).write() as session:
        announcements.call_off(session, announcement, actor=command_line_actor(), now=utc_now())
    write_line(f"announcement {announcement} is called off")


def _row(one: ListedAnnouncement) -> tuple[object, ...]:
    taken = one.announced_at and f"{one.announced_at:%Y-%m-%d %H:%M:%S}"
    said = one.priority or "no priority any more"
    if one.previous is not None:
        said = f"{said}, was {one.previous}"
    way = (one.id, one.channel, one.study_id, f"{one.level}: {said}", one.state, one.attempts, one.code)
    return (*way, f"{one.opened_at:%Y-%m-%d %H:%M:%S}", taken)


def _installation(state: Path, config: Path | None) -> Installation:
    from console.installation import open_installation

    return open_installation(state, file=config)
