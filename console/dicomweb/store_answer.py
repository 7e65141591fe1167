"""What became of each instance of a request to store: the Store Instances Response (PS3.18 10.5.3, Annex I.2)."""

from __future__ import annotations

import http
from dataclasses import dataclass, field

from storage.attributes import Attributes, Element, element, sequence

_RETRIEVE_URL, _FAILED, _REFERENCED, _OTHER_FAILURES = "00081190", "00081198", "00081199", "0008119A"
_SOP_CLASS, _SOP_INSTANCE, _FAILURE_REASON = "00081150", "00081155", "00081197"


@dataclass(frozen=True, slots=True)
class StoredOne:
    """An instance that is durable, and where it will be found."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True)
class FailedOne:
    """A part that was not stored: the reason (PS3.18 Table I.2-2), our code, and the UIDs as far as it said them."""

    reason: int
    code: str
    is_retryable: bool
    sop_class_uid: str = ""
    sop_instance_uid: str = ""


@dataclass(slots=True)
class StoreOutcome:
    """What became of the parts of one request; ``remark`` says what was wrong with the rest of its body."""

    stored: list[StoredOne] = field(default_factory=list)
    failed: list[FailedOne] = field(default_factory=list)
    remark: str = ""

    @property
    def http_status(self) -> int:
        """200 where everything is stored, 202 where something is, else what the failures have in common."""
        if self.stored:
            return http.HTTPStatus.ACCEPTED if self.failed else http.HTTPStatus.OK
        if any(one.is_retryable for one in self.failed):
            return http.HTTPStatus.SERVICE_UNAVAILABLE
        codes = {one.code for one in self.failed}
        return _WHOLLY.get(codes.pop(), http.HTTPStatus.CONFLICT) if len(codes) == 1 else http.HTTPStatus.CONFLICT

    def response(self, service_url: str) -> Attributes:
        """Return the data set of the answer; ``service_url`` is where the studies of this server are."""
        found: dict[str, Element] = {}
        studies = {one.study_instance_uid for one in self.stored}
        if len(studies) == 1:
            found[_RETRIEVE_URL] = element("UR", f"{service_url}/{studies.pop()}")
        if self.stored:
            found[_REFERENCED] = sequence(*(_referenced(one, service_url) for one in self.stored))
        named = [one for one in self.failed if one.sop_instance_uid]
        if named:
            found[_FAILED] = sequence(*({**_named(one), **_reason(one)} for one in named))
        if len(named) < len(self.failed):
            others = [one for one in self.failed if not one.sop_instance_uid]
            found[_OTHER_FAILURES] = sequence(*map(_reason, others))
        return Attributes(found)


_WHOLLY = {
    "instance_too_large": http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "media_type_unsupported": http.HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
}
"""Statuses of requests of which every part failed for one reason; other failures are a conflict."""


def _referenced(one: StoredOne, service_url: str) -> dict[str, Element]:
    url = f"{service_url}/{one.study_instance_uid}/series/{one.series_instance_uid}/instances/{one.sop_instance_uid}"
    return {**_named(one), _RETRIEVE_URL: element("UR", url)}


def _named(one: StoredOne | FailedOne) -> dict[str, Element]:
    return {_SOP_CLASS: element("UI", one.sop_class_uid), _SOP_INSTANCE: element("UI", one.sop_instance_uid)}


def _reason(one: FailedOne) -> dict[str, Element]:
    return {_FAILURE_REASON: element("US", one.reason)}
