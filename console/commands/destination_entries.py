"""`oncue destinations add | change`: entries, in force without a restart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.commands.destinations import DestinationName
from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from console.installation import Installation
    from dicom_gateway.destination_entries import DestinationWish
    from storage.destinations import DestinationEntry

Address = Annotated[
    str,
    typer.Argument(
        metavar="ADDRESS",
        help="AET@HOST:PORT, with TLS tls://AET@HOST:PORT, or a DICOMweb service as https://HOST/PATH.",
    ),
]
NewAddress = Annotated[str | None, typer.Option("--address", metavar="ADDRESS", help="Where it is now.")]
Forms = Annotated[
    str | None,
    typer.Option("--forms", metavar="LIST", help="Of SEG, LABELMAP, SR, SC, GSPS, KO, PDF, PM; default: SEG,SR."),
]
OfRoutes = Annotated[
    str | None, typer.Option("--routes", metavar="LIST", help="Only results of these routes; default: of all.")
]
Priorities = Annotated[
    str | None,
    typer.Option("--priorities", metavar="LIST", help="Only results of STAT, HIGH, ROUTINE or LOW; default: all."),
]
TransferSyntaxes = Annotated[
    str | None,
    typer.Option(
        "--transfer-syntaxes", metavar="LIST", help="Only these, by name or UID: explicit, implicit; default: both."
    ),
]
SeriesNumber = Annotated[
    int | None,
    typer.Option("--series-number", metavar="N", help="Number that its series count on from; default: 99000."),
]
SeriesDescription = Annotated[
    str | None, typer.Option("--series-description", metavar="TEXT", help="Series Description of all that it gets.")
]
CharacterSet = Annotated[
    str | None,
    typer.Option("--character-set", metavar="TERM", help="Specific Character Set, for example ISO_IR 100."),
]
Segmentations = Annotated[
    bool | None,
    typer.Option("--segmentations/--no-segmentations", help="Whether it keeps and shows segmentations that it takes."),
]
ShowPriority = Annotated[
    bool | None,
    typer.Option(
        "--show-priority/--no-show-priority",
        help="Whether the reading priority stands in series descriptions and in the title of the key object.",
    ),
]
RejectionNotes = Annotated[
    bool | None,
    typer.Option("--rejection-notes/--no-rejection-notes", help="Whether it gets a note when a result is superseded."),
]
Unanalysed = Annotated[
    str | None,
    typer.Option("--unanalysed", metavar="WHAT", help="Of a study that is not analysed: sr or nothing (default)."),
]
Proof = Annotated[
    str | None,
    typer.Option(
        "--proof",
        metavar="WAY",
        help="How it shows that it keeps what it took: commitment, query (C-FIND or QIDO-RS) or none (default).",
    ),
]
ProofAddress = Annotated[
    str | None,
    typer.Option(
        "--proof-address", metavar="ADDRESS", help="Where it is asked for that; default: where it is sent to."
    ),
]
Associations = Annotated[
    int | None, typer.Option("--associations", metavar="N", min=1, max=16, help="Associations at once; default: 1.")
]
ObjectsPerAssociation = Annotated[
    int | None, typer.Option("--objects-per-association", metavar="N", min=1, help="Objects before a new association.")
]
KilobytesPerSecond = Annotated[
    int | None,
    typer.Option("--kilobytes-per-second", metavar="N", min=1, help="Most that it is sent, over all associations."),
]
Credentials = Annotated[
    Path | None,
    typer.Option(
        "--credentials", metavar="FILE", help="For a DICOMweb service: USER:PASSWORD or `Bearer TOKEN` in one line."
    ),
]
Clear = Annotated[
    list[str] | None,
    typer.Option("--clear", metavar="OPTION", help="Option to set back to its default, for example routes; repeat it."),
]


def add_destination(
    name: DestinationName,
    address: Address,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    forms: Forms = None,
    routes: OfRoutes = None,
    priorities: Priorities = None,
    transfer_syntaxes: TransferSyntaxes = None,
    series_number_base: SeriesNumber = None,
    series_description: SeriesDescription = None,
    character_set: CharacterSet = None,
    keeps_segmentations: Segmentations = None,
    shows_priority: ShowPriority = None,
    rejection_notes: RejectionNotes = None,
    unanalysed: Unanalysed = None,
    proof: Proof = None,
    proof_address: ProofAddress = None,
    associations: Associations = None,
    objects_per_association: ObjectsPerAssociation = None,
    kilobytes_per_second: KilobytesPerSecond = None,
    credentials: Credentials = None,
    as_json: AsJson = False,
) -> None:
    """Send results there from now on: each in the forms that it asks for and takes.

    docs/delivery.md says which form shows what where. `oncue destinations test` asks it what it takes.

    Example: oncue destinations add pacs PACS@10.20.0.5:104 --forms SEG,SR,SC --state ./oncue-state
    """
    from dicom_gateway.destination_entries import new_entry
    from storage import destinations

    wish = _wish(locals())
    installation = _installation(state, config)
    entry = new_entry(name, wish, known_routes=_routes(installation))
    _record(entry, installation, destinations.add, as_json=as_json)


def change_destination(
    name: DestinationName,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    address: NewAddress = None,
    forms: Forms = None,
    routes: OfRoutes = None,
    priorities: Priorities = None,
    transfer_syntaxes: TransferSyntaxes = None,
    series_number_base: SeriesNumber = None,
    series_description: SeriesDescription = None,
    character_set: CharacterSet = None,
    keeps_segmentations: Segmentations = None,
    shows_priority: ShowPriority = None,
    rejection_notes: RejectionNotes = None,
    unanalysed: Unanalysed = None,
    proof: Proof = None,
    proof_address: ProofAddress = None,
    associations: Associations = None,
    objects_per_association: ObjectsPerAssociation = None,
    kilobytes_per_second: KilobytesPerSecond = None,
    credentials: Credentials = None,
    clear: Clear = None,
    as_json: AsJson = False,
) -> None:
    """Change what an entry says; what no option names stays.

    It counts for results that are written from now on. What waits goes to the new address.

    Example: oncue destinations change pacs --forms SEG,SR,SC --clear routes --state ./oncue-state
    """
    from dicom_gateway.destination_entries import changed
    from storage import destinations

    wish = _wish(locals())
    installation = _installation(state, config)
    with installation.read() as session:
        entry = destinations.find(session, name).entry
    entry = changed(entry, wish, clear or (), known_routes=_routes(installation))
    _record(entry, installation, destinations.change, as_json=as_json)


def _wish(options: Mapping[str, Any]) -> DestinationWish:
    """Return what the options of a command wish: they are called as the fields of an entry are."""
    from dicom_gateway.destination_entries import DestinationWish

    return DestinationWish(**{name: options[name] for name in DestinationWish.__slots__ if name in options})


def _record(entry: DestinationEntry, installation: Installation, record: Callable[..., None], *, as_json: bool) -> None:
    from console.destinations.schemas import destination_form
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_forms, write_line
    from storage.database import utc_now

    with installation.write() as session:
        record(session, entry, actor=command_line_actor(), now=utc_now())
        form = destination_form(session, entry.name)
    if as_json:
        write_forms([form])
        return
    which = f"results of {', '.join(form.routes)}" if form.routes else "all results"
    urgent = f" with priority {' or '.join(form.priorities)}" if form.priorities else ""
    proof = "" if form.proof == "none" else f"; it is to show that it keeps them ({form.proof})"
    write_line(f"destination {form.name} gets {which}{urgent} as {', '.join(form.forms)} at {form.address}{proof}")


def _routes(installation: Installation) -> frozenset[str]:
    from console.routes.routes_file import read_routes

    return frozenset(route.name for route in read_routes(installation).routes.routes)


def _installation(state: Path, config: Path | None) -> Installation:
    from console.installation import open_installation

    return open_installation(state, file=config)
