"""The few-shot workflow over HTTP: tasks, adapters, evaluations, decisions, and requests that a worker carries out.

What changes something needs a token, and the record says ``web/NAME``, or ``web/NAME/PERSON`` where a program does it
for somebody. Bodies are JSON, which a browser sends to another site only after asking it, and it is never answered.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from console.access.visitor import OnBehalfOf, visitor_of
from console.fewshot import views
from console.fewshot.schemas import AdapterForm, EvaluationForm, FitRequestForm, PromotionForm, TaskDetailForm, TaskForm
from storage.database import Database, utc_now
from storage.errors import RecordMissing
from storage.fewshot import adapters, evaluations, fit_requests, promotions, tasks
from storage.fewshot.fit_requests import RequestKind, Wish
from storage.fewshot.promotions import Decision, Override


class Signed(BaseModel):
    """A request that changes something may name for whom it is made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: OnBehalfOf = None

    def actor(self, request: Request) -> str:
        """Return what the audit trail says."""
        return visitor_of(request).on_behalf_of(self.by)


class FitOptions(Signed):
    """Fit the task's newest recipe anew, with another head or seed where one is given."""

    head: Annotated[str | None, Field(max_length=64)] = None
    seed: Annotated[int, Field(ge=0)] = 0


class PromotionRequest(Signed):
    """Let an adapter predict; ``overrides`` maps an INSUFFICIENT check to the reason for letting it pass."""

    adapter: int
    overrides: dict[str, str] = {}
    reason: Annotated[str, Field(max_length=1000)] = ""


class RollbackRequest(Signed):
    """Let the adapter before the current one predict again."""

    reason: Annotated[str, Field(min_length=1, max_length=1000)]


def router(database: Database) -> APIRouter:
    """Return the routes below /api/classification."""
    routes = APIRouter(prefix="/api/classification")
    _add_reading(routes, database)
    _add_fit_requests(routes, database)
    _add_decisions(routes, database)
    return routes


def _add_reading(routes: APIRouter, database: Database) -> None:
    @routes.get("/tasks")
    def tasks() -> list[TaskForm]:
        """List the tasks with the adapter that each predicts with."""
        with database.read() as session:
            return views.task_forms(session)

    @routes.get("/tasks/{name}")
    def task(name: str) -> TaskDetailForm:
        """Return a task with its items' counts, adapters, decisions and the gate's verdicts."""
        with database.read() as session:
            return views.task_detail(session, name)

    @routes.get("/adapters/{adapter_id}")
    def adapter(adapter_id: int) -> AdapterForm:
        """Return one adapter."""
        with database.read() as session:
            return views.adapter_form(session, adapter_id)

    @routes.get("/adapters/{adapter_id}/evaluation")
    def evaluation(adapter_id: int) -> EvaluationForm:
        """Return the newest evaluation of an adapter: every check, the metrics, the model card."""
        with database.read() as session:
            found = evaluations.newest(session, adapter_id)
        if found is None:
            raise RecordMissing(f"adapter {adapter_id} has no evaluation")
        return EvaluationForm.model_validate(found)


def _add_fit_requests(routes: APIRouter, database: Database) -> None:
    @routes.post("/tasks/{name}/adapters", status_code=202)
    def fit(request: Request, name: str, wanted: Annotated[FitOptions, Body()]) -> FitRequestForm:
        """Request a fit; a worker does it within seconds."""
        with database.write() as session:
            task = tasks.find(session, name)
            wish = Wish(RequestKind.FIT, None, wanted.head, wanted.seed)
            return FitRequestForm.model_validate(
                fit_requests.place(session, task, wish, actor=wanted.actor(request), now=utc_now())
            )

    @routes.post("/tasks/{name}/adapters/{adapter_id}/evaluations", status_code=202)
    def evaluate(request: Request, name: str, adapter_id: int, wanted: Annotated[Signed, Body()]) -> FitRequestForm:
        """Request an evaluation."""
        with database.write() as session:
            task = tasks.find(session, name)
            if adapters.find(session, adapter_id).task_id != task.id:
                raise RecordMissing(f"task {name} has no adapter {adapter_id}")
            wish = Wish(RequestKind.EVALUATE, adapter_id)
            return FitRequestForm.model_validate(
                fit_requests.place(session, task, wish, actor=wanted.actor(request), now=utc_now())
            )

    @routes.get("/orders/{order_id}")
    def order(order_id: int) -> FitRequestForm:
        """Return one request."""
        with database.read() as session:
            return FitRequestForm.model_validate(fit_requests.find(session, order_id))


def _add_decisions(routes: APIRouter, database: Database) -> None:
    @routes.post("/tasks/{name}/promotions", status_code=201, response_model=PromotionForm)
    def promote(
        request: Request, name: str, wanted: Annotated[PromotionRequest, Body()]
    ) -> PromotionForm | JSONResponse:
        """Let an adapter predict where the gate allows it; 409 names the checks that stand in the way."""
        with database.write() as session:
            decided = promotions.promote(
                session,
                tasks.find(session, name),
                adapters.find(session, wanted.adapter),
                overrides=[Override(check, reason) for check, reason in wanted.overrides.items()],
                reason=wanted.reason,
                actor=wanted.actor(request),
                now=utc_now(),
            )
        if decided.decision is Decision.REFUSED:
            return JSONResponse({"code": "promotion_refused", "message": decided.reason}, status_code=409)
        return PromotionForm.model_validate(decided)

    @routes.post("/tasks/{name}/rollbacks", status_code=201)
    def roll_back(request: Request, name: str, wanted: Annotated[RollbackRequest, Body()]) -> PromotionForm:
        """Let the adapter before the current one predict again."""
        with database.write() as session:
            task = tasks.find(session, name)
            return PromotionForm.model_validate(
                promotions.roll_back(session, task, reason=wanted.reason, actor=wanted.actor(request), now=utc_now())
            )
