"""`oncue peers add | change | allow | block | remove`: entries, in force within two seconds and without a restart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.commands.peers import PeerName
from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from console.installation import Installation
    from console.peers.schemas import PeerForm
    from storage.domain import Lane
    from storage.peers import Service

CallingTitle = Annotated[str, typer.Option("--aet", metavar="AET", help="AE title that it calls itself.")]
CalledTitle = Annotated[
    str | None, typer.Option("--called-aet", metavar="AET", help="AE title that it calls; default: ours (gateway.aet).")
]
Network = Annotated[
    str | None, typer.Option("--network", metavar="CIDR", help="Network or address that it must come from.")
]
CertificateName = Annotated[
    str | None,
    typer.Option("--certificate-name", metavar="CN", help="Common or DNS name that its client certificate must have."),
]
OfLane = Annotated[str, typer.Option("--lane", metavar="LANE", help="Lane of its studies: stat, routine or batch.")]
Services = Annotated[
    str,
    typer.Option(
        "--services",
        metavar="LIST",
        help="What it may ask for, with commas: echo, store, ups (workitems), find, get, commit.",
    ),
]
SopClass = Annotated[
    list[str] | None,
    typer.Option(
        "--sop-class",
        metavar="UID",
        help="SOP class that it may store, by UID or keyword; give it for each. None: all.",
    ),
]
Associations = Annotated[
    int | None,
    typer.Option("--associations-per-hour", metavar="N", min=1, help="Associations in an hour of the clock."),
]
Images = Annotated[
    int | None, typer.Option("--images-per-hour", metavar="N", min=1, help="Images in an hour of the clock.")
]
Megabytes = Annotated[
    int | None, typer.Option("--megabytes-per-hour", metavar="N", min=1, help="Megabytes in an hour of the clock.")
]
Query = Annotated[
    str | None,
    typer.Option(
        "--query",
        metavar="ADDRESS",
        help="Where it answers questions: AET@HOST:PORT, tls://AET@HOST:PORT, or https:// DICOMweb.",
    ),
]
StoreAddress = Annotated[
    str | None,
    typer.Option(
        "--store-address",
        metavar="ADDRESS",
        help="Where it takes what it asks for by C-MOVE, and reports of commitment: AET@HOST:PORT or tls://...",
    ),
]
Setting = Annotated[
    str | None,
    typer.Option(
        "--setting",
        metavar="SETTING",
        help="Where its patients are cared for, as triage policies ask: emergency, inpatient or outpatient.",
    ),
]
NewLane = Annotated[
    str | None, typer.Option("--lane", metavar="LANE", help="Lane of its studies: stat, routine or batch.")
]
NewServices = Annotated[
    str | None,
    typer.Option(
        "--services",
        metavar="LIST",
        help="All that it may ask for from now on, with commas: echo, store, ups (workitems), find, get, commit.",
    ),
]
NewSetting = Annotated[
    str | None,
    typer.Option(
        "--setting",
        metavar="SETTING",
        help="Where its patients are cared for: emergency, inpatient, outpatient, or unknown.",
    ),
]
Replace = Annotated[bool, typer.Option("--replace", help="Put it in the place of the entry of this name.")]
Who = Annotated[
    str,
    typer.Argument(
        metavar="WHO", help="Number or AE title from `oncue peers list --refused`, or an entry that is kept out."
    ),
]
EntryName = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="Name of the new entry; default: its AE title.")
]
WiderNetwork = Annotated[
    str | None,
    typer.Option("--network", metavar="CIDR", help="Let it come from all of this network; default: the same address."),
]

_UNKNOWN = "unknown"


def add_peer(
    name: PeerName,
    calling: CallingTitle,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    called: CalledTitle = None,
    network: Network = None,
    certificate_name: CertificateName = None,
    lane: OfLane = "routine",
    services: Services = "echo,store",
    sop_class: SopClass = None,
    associations_per_hour: Associations = None,
    images_per_hour: Images = None,
    megabytes_per_hour: Megabytes = None,
    query: Query = None,
    store_address: StoreAddress = None,
    setting: Setting = None,
    replace: Replace = False,
    as_json: AsJson = False,
) -> None:
    """Let a peer in: whoever calls itself so, and is all else that the entry says.

    What an option does not say is not asked. docs/peers.md has how entries are told apart.

    Example: oncue peers add ct1 --aet CT1 --network 10.20.0.7 --lane stat --query PACS@10.20.0.2:104
    """
    from console.peers.schemas import peer_form
    from console.terminal.actor import command_line_actor
    from console.terminal.options import chosen
    from dicom_gateway import peer_entries as checked
    from storage import peers
    from storage.care_settings import CareSetting
    from storage.database import utc_now
    from storage.peers import PeerEntry, Quotas

    entry = PeerEntry(
        name=checked.peer_name(name),
        calling_aet=checked.ae_title(calling),
        called_aet=called and checked.ae_title(called),
        network=network and checked.network(network),
        certificate_name=certificate_name and checked.certificate_name(certificate_name),
        services=_services(services),
        sop_classes=frozenset(map(checked.sop_class, sop_class)) if sop_class else None,
        lane=_lane(lane),
        quotas=Quotas(associations_per_hour, images_per_hour, megabytes_per_hour),
        query_address=query and checked.query_address(query),
        store_address=store_address and checked.store_address(store_address),
        care_setting=chosen(CareSetting, setting),
    )
    record = peers.replace if replace else peers.add
    with _installation(state, config).write() as session:
        record(session, entry, actor=command_line_actor(), now=utc_now())
        form = peer_form(session, entry.name)
    _show(form, as_json=as_json)


def change_peer(
    name: PeerName,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    network: Network = None,
    lane: NewLane = None,
    services: NewServices = None,
    query: Query = None,
    store_address: StoreAddress = None,
    setting: NewSetting = None,
    as_json: AsJson = False,
) -> None:
    """Change what an entry says; what no option names stays. Images that come from now on count.

    Example: oncue peers change ws1 --services echo,find,get --store-address WS1@10.20.0.30:11112
    """
    from dataclasses import replace

    from console.peers.schemas import peer_form
    from console.terminal.actor import command_line_actor
    from console.terminal.options import chosen
    from dicom_gateway import peer_entries as checked
    from storage import peers
    from storage.care_settings import CareSetting
    from storage.database import utc_now

    changes: dict[str, object] = {
        "network": network and checked.network(network),
        "lane": lane and _lane(lane),
        "services": services and _services(services),
        "query_address": query and checked.query_address(query),
        "store_address": store_address and checked.store_address(store_address),
    }
    named = {attribute: value for attribute, value in changes.items() if value is not None}
    if setting is not None:
        named["care_setting"] = None if setting == _UNKNOWN else chosen(CareSetting, setting)
    if not named:
        raise typer.BadParameter("say what is to change: `oncue peers change -h` has the options")
    with _installation(state, config).write() as session:
        entry = replace(peers.find(session, name).entry, **named)  # type: ignore[arg-type]  # each value by its field
        peers.replace(session, entry, actor=command_line_actor(), now=utc_now())
        form = peer_form(session, name)
    _show(form, as_json=as_json)


def allow_peer(
    who: Who,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    name: EntryName = None,
    network: WiderNetwork = None,
    lane: OfLane = "routine",
    as_json: AsJson = False,
) -> None:
    """Let in somebody who was turned away, from the address that it came from, or an entry that is kept out.

    Example: oncue peers allow 3 --state ./oncue-state
    """
    from console.peers.admitting import Wish, admit
    from console.peers.schemas import peer_form
    from console.terminal.actor import command_line_actor
    from dicom_gateway import peer_entries as checked
    from storage.database import utc_now

    wish = Wish(name and checked.peer_name(name), network and checked.network(network), _lane(lane))
    installation = _installation(state, config)
    with installation.write() as session:
        admitted = admit(session, who, wish, installation=installation, actor=command_line_actor(), now=utc_now())
        form = peer_form(session, admitted)
    _show(form, as_json=as_json)


def block_peer(name: PeerName, state: State = DEFAULT_STATE, *, config: ConfigFile = None) -> None:
    """Keep a peer out and keep its entry: no association, and no further image on an open one.

    Example: oncue peers block ct1 --state ./oncue-state
    """
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_line
    from storage import peers
    from storage.database import utc_now

    with _installation(state, config).write() as session:
        peers.set_allowed(session, name, allowed=False, actor=command_line_actor(), now=utc_now())
    write_line(f"peer {name} is kept out")


def remove_peer(name: PeerName, state: State = DEFAULT_STATE, *, config: ConfigFile = None) -> None:
    """Take an entry off the record: its peer may send no more; what it sent stays.

    Example: oncue peers remove ct1 --state ./oncue-state
    """
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_line
    from storage import peers
    from storage.database import utc_now

    with _installation(state, config).write() as session:
        peers.remove(session, name, actor=command_line_actor(), now=utc_now())
    write_line(f"peer {name} is removed")


def _show(form: PeerForm, *, as_json: bool) -> None:
    from console.terminal.output import write_forms, write_line

    if as_json:
        write_forms([form])
        return
    origin = f"from {form.network}" if form.network else "from any address"
    verb = "is let in" if form.allowed else "is kept out; let in again, it is"
    if form.certificate_name:
        origin += f", certificate {form.certificate_name}"
    services = ", ".join(sorted(form.services))
    write_line(
        f"peer {form.name} {verb} for {services}: it calls itself {form.calling_aet}, {origin}, lane {form.lane}"
    )


def _services(text: str) -> frozenset[Service]:
    from console.terminal.options import all_chosen
    from storage.peers import Service

    services = frozenset(all_chosen(Service, [part.strip() for part in text.split(",") if part.strip()]))
    if not services:
        raise typer.BadParameter(f"give at least one of {', '.join(Service)}")
    return services


def _lane(text: str) -> Lane:
    from console.terminal.options import chosen
    from storage.domain import Lane

    return chosen(Lane, text) or Lane.ROUTINE


def _installation(state: Path, config: Path | None) -> Installation:
    from console.installation import open_installation

    return open_installation(state, file=config)
