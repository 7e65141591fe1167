"""The few-shot workflow over HTTP: tasks, adapters, evaluations, decisions, and orders that a worker carries out.

The pages have no login, so whoever decides gives a name, and the record says ``api:NAME``. Bodies are JSON, which a
browser sends to another site only after asking it, and it is never answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

from fastapi import APIRouter, Body
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from console.fewshot import views
from console.fewshot.forms import AdapterForm, EvaluationForm, PromotionForm, TaskDetailForm, TaskForm
from storage.database import Database, utc_now
from storage.errors import RecordMissing
from storage.fewshot import adapters, evaluations, fit_requests, promotions, tasks
from storage.fewshot.fit_requests import Order, OrderKind, OrderState, Wish
from storage.fewshot.promotions import Decision, Override


class Signed(BaseModel):
    """A request that changes something names who makes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Annotated[str, Field(min_length=1, max_length=80, description="Who decides; stands in the audit trail")]

    @property
    def actor(self) -> str:
        """What the audit trail says."""
        return f"api:{self.by}"


class FitRequest(Signed):
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


@dataclass(frozen=True, slots=True)
class OrderForm:
    """One order; ``adapter`` is what it made or judged once it is done."""

    id: int
    task: str
    kind: OrderKind
    state: OrderState
    adapter: int | None
    attempts: int
    code: str | None
    reason: str | None

    @classmethod
    def of(cls, order: Order) -> Self:
        """Take over an order."""
        wish = order.wish
        return cls(
            order.id, order.task, wish.kind, order.state, wish.adapter_id, order.attempts, order.code, order.reason
        )


def router(database: Database) -> APIRouter:
    """Return the routes below /api/classification."""
    routes = APIRouter(prefix="/api/classification")
    _add_reading(routes, database)
    _add_orders(routes, database)
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
        return EvaluationForm.of(found)


def _add_orders(routes: APIRouter, database: Database) -> None:
    @routes.post("/tasks/{name}/adapters", status_code=202)
    def fit(name: str, wanted: Annotated[FitRequest, Body()]) -> OrderForm:
        """Order a fit; a worker does it within seconds."""
        with database.write() as session:
            task = tasks.find(session, name)
            wish = Wish(OrderKind.FIT, None, wanted.head, wanted.seed)
            return OrderForm.of(fit_requests.place(session, task, wish, actor=wanted.actor, now=utc_now()))

    @routes.post("/tasks/{name}/adapters/{adapter_id}/evaluations", status_code=202)
    def evaluate(name: str, adapter_id: int, wanted: Annotated[Signed, Body()]) -> OrderForm:
        """Order an evaluation."""
        with database.write() as session:
            task = tasks.find(session, name)
            if adapters.find(session, adapter_id).task_id != task.id:
                raise RecordMissing(f"task {name} has no adapter {adapter_id}")
            wish = Wish(OrderKind.EVALUATE, adapter_id)
            return OrderForm.of(fit_requests.place(session, task, wish, actor=wanted.actor, now=utc_now()))

    @routes.get("/orders/{order_id}")
    def order(order_id: int) -> OrderForm:
        """Return one order."""
        with database.read() as session:
            return OrderForm.of(fit_requests.find(session, order_id))


def _add_decisions(routes: APIRouter, database: Database) -> None:
    @routes.post("/tasks/{name}/promotions", status_code=201, response_model=PromotionForm)
    def promote(name: str, wanted: Annotated[PromotionRequest, Body()]) -> PromotionForm | JSONResponse:
        """Let an adapter predict where the gate allows it; 409 names the checks that stand in the way."""
        with database.write() as session:
            decided = promotions.promote(
                session,
                tasks.find(session, name),
                adapters.find(session, wanted.adapter),
                overrides=[Override(check, reason) for check, reason in wanted.overrides.items()],
                reason=wanted.reason,
                actor=wanted.actor,
                now=utc_now(),
            )
        if decided.decision is Decision.REFUSED:
            return JSONResponse({"code": "promotion_refused", "message": decided.reason}, status_code=409)
        return PromotionForm.of(decided)

    @routes.post("/tasks/{name}/rollbacks", status_code=201)
    def roll_back(name: str, wanted: Annotated[RollbackRequest, Body()]) -> PromotionForm:
        """Let the adapter before the current one predict again."""
        with database.write() as session:
            task = tasks.find(session, name)
            return PromotionForm.of(
                promotions.roll_back(session, task, reason=wanted.reason, actor=wanted.actor, now=utc_now())
            )
