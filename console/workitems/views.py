"""What the routes of workitems read and do, each in a session of its own."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from console.workitems.queries import WorkitemQuery
from storage.attributes import Attributes
from storage.database import Database, utc_now
from storage.uids import deterministic_uid
from storage.workitems import search, workitems
from storage.workitems.attributes import Tag
from storage.workitems.inputs import with_inputs
from storage.workitems.refusals import Remark


@dataclass(frozen=True, slots=True)
class Found:
    """A page of a search, and whether there is more behind it."""

    data_sets: tuple[Attributes, ...]
    is_more: bool


@dataclass(frozen=True, slots=True)
class WorkitemViews:
    """The operations of UPS-RS; WorkitemRefused where a rule of PS3.4 CC.2 is broken."""

    database: Database

    def create(self, uid: str | None, content: Attributes, *, actor: str) -> str:
        """Make a workitem and return its UID, which is made where none is given."""
        now = utc_now()
        uid = uid or content.value(Tag.SOPInstanceUID)
        uid = uid or deterministic_uid("created-workitem", actor, now.isoformat(), content.text())
        with self.database.write() as session:
            workitems.create(session, uid, content, actor=actor, now=now)
        return uid

    def retrieve(self, uid: str) -> Attributes:
        """Return everything of a workitem but its Transaction UID."""
        with self.database.read() as session:
            return with_inputs(session, workitems.find(session, uid)).data_set

    def update(self, uid: str, changes: Attributes, *, transaction_uid: str, actor: str) -> None:
        """Put attributes in the place of its own."""
        lock = transaction_uid or changes.value(Tag.TransactionUID)
        with self.database.write() as session:
            workitems.change(session, uid, changes, transaction_uid=lock, actor=actor, now=utc_now())

    def change_state(self, uid: str, asked: Attributes, *, actor: str) -> Remark | None:
        """Claim, complete or cancel it."""
        state, lock = asked.value(Tag.ProcedureStepState), asked.value(Tag.TransactionUID)
        with self.database.write() as session:
            return workitems.change_state(session, uid, state, transaction_uid=lock, actor=actor, now=utc_now())

    def request_cancel(self, uid: str, reasons: Attributes, *, actor: str) -> Remark | None:
        """Cancel it where nobody has claimed it."""
        with self.database.write() as session:
            return workitems.request_cancel(session, uid, reasons, actor=actor, now=utc_now())

    def search(self, query: WorkitemQuery) -> Found:
        """Return a page of the workitems that match, the most urgent first; their inputs where they are asked for."""
        matching = search.matching(self.database, query.keys)
        page = list(islice(matching, query.offset, query.offset + query.limit + 1))
        shown = page[: query.limit]
        if Tag.InputInformationSequence in query.included:
            with self.database.read() as session:
                shown = [with_inputs(session, workitem) for workitem in shown]
        return Found(tuple(workitem.data_set for workitem in shown), len(page) > query.limit)
