"""The page and the address of destinations: what each gets, and what waits for it or was refused by it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from console.destinations.schemas import DestinationForm, destination_forms
from console.pages import render
from console.views import Views
from storage.states import DeliveryState

_SHOWN = 50


def router(views: Views) -> APIRouter:
    """Return the routes."""
    routes = APIRouter()

    @routes.get("/api/destinations")
    def destinations() -> list[DestinationForm]:
        """List destinations: the entries by name, then the addresses of the settings."""
        return _forms(views)

    @routes.get("/destinations", include_in_schema=False, response_class=HTMLResponse)
    def page(request: Request) -> str:
        unsent = (DeliveryState.REFUSED, DeliveryState.SENDING, DeliveryState.PENDING)
        return render(
            request,
            "destinations.html",
            destinations=_forms(views),
            deliveries=[one for state in unsent for one in views.deliveries(limit=_SHOWN, state=state)][:_SHOWN],
            most=_SHOWN,
            here="destinations",
        )

    return routes


def _forms(views: Views) -> list[DestinationForm]:
    with views.database.read() as session:
        return destination_forms(session, addresses=views.destinations)
