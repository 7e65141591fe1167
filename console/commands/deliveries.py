"""`oncue deliveries`: every result object on its way to every destination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal.options import DEFAULT_STATE, After, AsJson, ConfigFile, Limit, State

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from storage.delivery_lists import Delivery

app = typer.Typer(no_args_is_help=True, help="Deliveries: each result object on its way to each destination.")

OfState = Annotated[
    str | None,
    typer.Option("--in", metavar="STATE", help="Only pending, sending, sent, refused, superseded or called_off ones."),
]
Which = Annotated[
    str,
    typer.Argument(metavar="DELIVERY", help="Its number, or the object's SOP Instance UID for all its destinations."),
]


@app.command("list")
def show_deliveries(
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    as_json: AsJson = False,
    limit: Limit = 500,
    after: After = None,
    of_state: OfState = None,
) -> None:
    """List deliveries, newest first.

    Example: oncue deliveries list --state ./oncue-state --in refused
    """
    from console.schemas.deliveries import ListedDeliveryForm
    from console.terminal.listings import Listing
    from console.terminal.options import chosen
    from storage import delivery_lists
    from storage.states import DeliveryState

    wanted = chosen(DeliveryState, of_state)
    headers = ("delivery", "kind", "destination", "state", "attempts", "status", "code", "proof", "SOP instance UID")
    empty = "nothing has been sent on its way yet" if wanted is None and after is None else "no such delivery"
    form = ListedDeliveryForm.model_validate
    listing = Listing("Deliveries", headers, _row, form, empty=empty, cursor=lambda delivery: delivery.cursor)
    listing.show(
        lambda session: delivery_lists.listed(session, state=wanted, limit=limit, after=after),
        state,
        config=config,
        as_json=as_json,
        limit=limit,
    )


@app.command("show")
def show_delivery(
    delivery: Which, state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Show a delivery, or those of one object: where it stands, what the peer answered, and why it was refused.

    Example: oncue deliveries show 2 --state ./oncue-state
    """
    from console.installation import open_installation
    from console.schemas.deliveries import DeliveryDetailForm
    from console.terminal.output import write_forms, write_table
    from storage import delivery_lists

    with open_installation(state, file=config).read() as session:
        found = delivery_lists.chosen(session, _numbers(session, delivery))
    forms = [DeliveryDetailForm.model_validate(item) for item in found]
    if as_json:
        write_forms(forms)
        return
    for form in forms:
        proof = form.proof.model_dump() if form.proof else {}
        shown = {**form.model_dump(exclude={"proof"}), "status": _status(form.status)}
        shown.update({f"proof {name}": value for name, value in proof.items()})
        write_table(f"Delivery {form.id}", ("", ""), list(shown.items()), empty="")


@app.command("retry")
def retry_delivery(
    delivery: Which, state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Send a refused or already sent object once more.

    Example: oncue deliveries retry 2 --state ./oncue-state
    """
    from console.installation import open_installation
    from console.schemas.deliveries import DeliveryForm
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_forms, write_line
    from storage import deliveries, delivery_lists
    from storage.database import utc_now

    with open_installation(state, file=config).write() as session:
        numbers = _numbers(session, delivery)
        for number in numbers:
            deliveries.retry(session, number, actor=command_line_actor(), now=utc_now())
        forms = [DeliveryForm.model_validate(item) for item in delivery_lists.chosen(session, numbers)]
    if as_json:
        write_forms(forms)
        return
    write_line(f"delivery {delivery} is due again")


def _numbers(session: Session, delivery: str) -> list[int]:
    """Return the numbers of the deliveries that are meant; RecordMissing where there is none."""
    from storage import delivery_lists
    from storage.errors import RecordMissing

    by_number = delivery.isascii() and delivery.isdigit()
    found = (
        delivery_lists.chosen(session, [int(delivery)]) if by_number else delivery_lists.of_instance(session, delivery)
    )
    if not found:
        raise RecordMissing(f"there is no delivery {delivery}; see `oncue deliveries list`")
    return [item.id for item in found]


def _status(status: int | None) -> str | None:
    from dicom_gateway.status import meaning, written

    return None if status is None else f"{written(status)}: {meaning(status)}" if status else written(status)


def _row(delivery: Delivery) -> tuple[object, ...]:
    status = None if delivery.status is None else f"0x{delivery.status:04X}"
    way = (delivery.destination, delivery.state, delivery.attempts, status, delivery.code)
    return delivery.id, delivery.written.kind, *way, _proof(delivery), delivery.written.sop_instance_uid


def _proof(delivery: Delivery) -> str | None:
    if delivery.proof is None:
        return None
    return f"{delivery.proof.state}: {delivery.proof.code}" if delivery.proof.code else delivery.proof.state.value
