"""`oncue peers`: who may send, who was turned away, and whether a peer would be let in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from pathlib import Path

    from console.installation import Installation
    from console.peers.schemas import PeerForm

app = typer.Typer(no_args_is_help=True, help="Peers: who may open an association with us, and who was turned away.")

Refused = Annotated[bool, typer.Option("--refused", help="List callers that were turned away instead.")]
PeerName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the entry.")]
Address = Annotated[
    str | None,
    typer.Option("--address", metavar="IP", help="Ask as if it came from there; default: one of its network."),
]

_ENTRY_HEADERS = (
    "name",
    "may send",
    "calling",
    "called",
    "network",
    "certificate",
    "services",
    "lane",
    "setting",
    "this hour",
    "query",
    "store at",
    "last seen",
)


@app.command("list")
def show_peers(
    state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False, refused: Refused = False
) -> None:
    """List the entries with what each peer has used in this hour, or the callers that were turned away.

    Example: oncue peers list --refused --state ./oncue-state
    """
    if refused:
        _show_refused(state, config=config, as_json=as_json)
        return
    from console.peers.schemas import peer_forms
    from console.terminal.output import write_forms, write_table

    installation = _installation(state, config)
    with installation.read() as session:
        forms = peer_forms(session)
    if as_json:
        write_forms(forms)
        return
    empty = "no peer has an entry: only senders on this machine may send; oncue peers add NAME --aet AET"
    write_table("Peers", _ENTRY_HEADERS, [_row(form) for form in forms], empty=empty)


@app.command("test")
def try_peer(
    name: PeerName,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a peer would be let in now, what stands in its way, and whether its own addresses answer.

    Exit code 1 where something stands in its way.

    Example: oncue peers test CT1 --state ./oncue-state
    """
    from dataclasses import asdict

    from console.doctor.process_probes import current_endpoints
    from console.peers.trial import try_entry, try_query, try_store
    from console.terminal.output import write_json, write_table
    from dicom_gateway import peer_entries
    from dicom_gateway.config import ListenerSettings
    from dicom_gateway.receiving.peer_matching import MatchingRules
    from storage import peers

    installation = _installation(state, config)
    gateway, plain = installation.settings.gateway, current_endpoints(installation)
    ports = (ListenerSettings(host=plain.host, port=plain.port, tls=False), *gateway.listeners)
    asked = None if address is None else peer_entries.address(address)
    with installation.read() as session:
        tested = [*try_entry(session, name, MatchingRules.of(gateway), ports=ports, address=asked)]
        entry = peers.find(session, name).entry
    if entry.query_address is not None:
        tested.append(try_query(entry.query_address, gateway))
    if entry.store_address is not None:
        tested.append(try_store(entry.store_address, gateway))
    if as_json:
        write_json([asdict(one) for one in tested])
    else:
        rows = [("yes" if one.passed else "no", one.subject, one.detail) for one in tested]
        write_table(f"Peer {name}", ("good", "what", "finding"), rows, empty="")
    if not all(one.passed for one in tested):
        raise typer.Exit(1)


def _show_refused(state: Path, *, config: Path | None, as_json: bool) -> None:
    from console.peers.remedies import remedy
    from console.peers.schemas import RefusedPeerForm
    from console.terminal.output import write_forms, write_table
    from storage import refused_peers

    installation = _installation(state, config)
    with installation.read() as session:
        found = refused_peers.listed(session)
    if as_json:
        write_forms([RefusedPeerForm.model_validate(one) for one in found])
        return
    own = installation.settings.gateway.aet
    rows = [
        (
            one.number,
            one.calling_aet or None,
            one.called_aet or None,
            one.address,
            one.code,
            one.count,
            f"{one.last_at:%Y-%m-%d %H:%M:%S}",
            remedy(one, own_aet=own, state=state),
        )
        for one in found
    ]
    headers = ("number", "calling", "called", "address", "why", "times", "last", "what to do")
    write_table("Turned away", headers, rows, empty="nobody was turned away")


def _row(form: PeerForm) -> tuple[object, ...]:
    used = (
        f"{form.used_associations}{_bound(form.associations_per_hour)} associations",
        f"{form.used_images}{_bound(form.images_per_hour)} images",
        f"{form.used_megabytes:.0f}{_bound(form.megabytes_per_hour)} MB",
    )
    services = ", ".join(form.services)
    if form.sop_classes is not None:
        services += f" ({len(form.sop_classes)} SOP classes)"
    return (
        form.name,
        "yes" if form.allowed else "kept out",
        form.calling_aet,
        form.called_aet,
        form.network,
        form.certificate_name,
        services,
        form.lane,
        form.care_setting,
        ", ".join(used),
        form.query_address,
        form.store_address,
        form.last_seen_at and form.last_seen_at[:19],
    )


def _bound(most: int | None) -> str:
    return "" if most is None else f" of {most}"


def _installation(state: Path, config: Path | None) -> Installation:
    from console.installation import open_installation

    return open_installation(state, file=config)
