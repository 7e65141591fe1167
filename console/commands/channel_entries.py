"""`oncue channels add | change`: entries, in force without a restart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.commands.channels import ChannelName
from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from console.installation import Installation
    from dicom_gateway.announcing.channel_entries import ChannelWish
    from storage.announcing.channels import ChannelEntry

Kind = Annotated[str, typer.Argument(metavar="KIND", help="hl7, fhir, webhook or mail.")]
Address = Annotated[
    str,
    typer.Argument(
        metavar="ADDRESS", help="mllp://HOST:PORT, mllps://HOST:PORT, https://HOST/BASE, a URL, or smtp://HOST."
    ),
]
NewAddress = Annotated[str | None, typer.Option("--address", metavar="ADDRESS", help="Where it is now.")]
Priorities = Annotated[
    str | None, typer.Option("--priorities", metavar="LIST", help="Of STAT, HIGH, ROUTINE, LOW; default: STAT,HIGH.")
]
OfRoutes = Annotated[
    str | None, typer.Option("--routes", metavar="LIST", help="Only results of these routes; default: of all.")
]
EscalateAfter = Annotated[
    int | None,
    typer.Option(
        "--escalate-after", metavar="MIN", help="Told only of studies that nobody opened for so many minutes."
    ),
]
PatientData = Annotated[
    bool | None,
    typer.Option("--patient-data/--no-patient-data", help="Whether it may be told whose study it is; default: no."),
]
PrivateNetwork = Annotated[
    bool | None,
    typer.Option(
        "--private-network/--no-private-network", help="Whether it may be in the own network, and by http; default: no."
    ),
]
Credentials = Annotated[
    Path | None,
    typer.Option(
        "--credentials", metavar="FILE", help="USER:PASSWORD, a token, or the secret that signs webhooks, in one line."
    ),
]
Option = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="Option of its kind, see docs/triage.md; repeat it."),
]
GroupSeconds = Annotated[
    int | None,
    typer.Option("--group-seconds", metavar="S", help="Collect announcements for so long; default: 0."),
]
PerHour = Annotated[
    int | None, typer.Option("--per-hour", metavar="N", help="Most messages in an hour; what is over waits.")
]
Clear = Annotated[
    list[str] | None,
    typer.Option("--clear", metavar="OPTION", help="Option to set back to its default, for example routes; repeat it."),
]


def add_channel(
    name: ChannelName,
    kind: Kind,
    address: Address,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    priorities: Priorities = None,
    routes: OfRoutes = None,
    escalation_minutes: EscalateAfter = None,
    patient_data: PatientData = None,
    private_network: PrivateNetwork = None,
    credentials: Credentials = None,
    options: Option = None,
    group_seconds: GroupSeconds = None,
    per_hour: PerHour = None,
    as_json: AsJson = False,
) -> None:
    """Tell somebody from now on that a study is urgent, and when it is not any more.

    docs/triage.md has what each kind sends. `oncue channels test` says whether it would be taken.

    Example: oncue channels add ris hl7 mllp://10.20.0.9:2575 --patient-data --option receiving_application=RIS
    """
    from console.terminal.options import chosen
    from dicom_gateway.announcing.channel_entries import new_entry
    from storage.announcing import channels
    from storage.announcing.tables import ChannelKind

    wish = _wish(locals())
    installation = _installation(state, config)
    entry = new_entry(name, chosen(ChannelKind, kind) or ChannelKind.HL7, wish, known_routes=_routes(installation))
    _record(entry, installation, channels.add, as_json=as_json)


def change_channel(
    name: ChannelName,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    address: NewAddress = None,
    priorities: Priorities = None,
    routes: OfRoutes = None,
    escalation_minutes: EscalateAfter = None,
    patient_data: PatientData = None,
    private_network: PrivateNetwork = None,
    credentials: Credentials = None,
    options: Option = None,
    group_seconds: GroupSeconds = None,
    per_hour: PerHour = None,
    clear: Clear = None,
    as_json: AsJson = False,
) -> None:
    """Change what a channel is told and where it is; what no option names stays.

    What waits goes to the new address, at once.

    Example: oncue channels change ris --priorities STAT --clear per-hour --state ./oncue-state
    """
    from dicom_gateway.announcing.channel_entries import changed
    from storage.announcing import channels

    wish = _wish(locals())
    installation = _installation(state, config)
    with installation.read() as session:
        entry = channels.find(session, name).entry
    entry = changed(entry, wish, clear or (), known_routes=_routes(installation))
    _record(entry, installation, channels.change, as_json=as_json)


def _wish(given: Mapping[str, Any]) -> ChannelWish:
    """Return what the options of a command wish: they are called as the fields of a wish are."""
    from dicom_gateway.announcing.channel_entries import ChannelWish, split_option

    words = {name: given[name] for name in ChannelWish.__slots__}
    return ChannelWish(**{**words, "options": dict(map(split_option, given["options"] or ()))})


def _record(entry: ChannelEntry, installation: Installation, record: Callable[..., None], *, as_json: bool) -> None:
    from console.announcing.schemas import channel_form
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_forms, write_line
    from storage.database import utc_now

    with installation.write() as session:
        record(session, entry, actor=command_line_actor(), now=utc_now())
        form = channel_form(session, entry.name, now=utc_now())
    if as_json:
        write_forms([form])
        return
    results = f"results of {', '.join(form.routes)}" if form.routes else "all results"
    late = f" that nobody opened for {form.escalation_minutes} min" if form.escalation_minutes else ""
    names = "with patient data" if form.patient_data else "without patient data"
    urgent = " or ".join(form.priorities)
    write_line(f"channel {form.name} is told of {urgent} studies{late} by {results}, {names}, at {form.address}")


def _routes(installation: Installation) -> frozenset[str]:
    from console.routes.routes_file import read_routes

    return frozenset(route.name for route in read_routes(installation).routes.routes)


def _installation(state: Path, config: Path | None) -> Installation:
    from console.installation import open_installation

    return open_installation(state, file=config)
