"""What a FHIR server's answer means for an announcement (FHIR R4 3.1.0 and 3.1.0.11).

What it writes in words may hold patient data and is left out: only status codes and codes of issues are repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from http import HTTPStatus
from typing import TypeVar

from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.operationoutcome import OperationOutcome
from fhir.resources.R4B.resource import Resource
from pydantic import ValidationError

from dicom_gateway.announcing.announcement import TAKEN, Answer, Verdict
from dicom_gateway.announcing.retry_after import retry_after
from dicom_gateway.errors import PeerAnswerInvalid, PeerDeniedAccess
from dicom_gateway.http_exchange import HttpAnswer

_Read = TypeVar("_Read", bound=Resource)
_DENIED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED})
_PASSING = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.CONFLICT,
        HTTPStatus.PRECONDITION_FAILED,  # somebody changed the Task meanwhile: it is read anew
        HTTPStatus.LOCKED,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
_STATUS = re.compile(r"[1-5][0-9]{2}\b")
_PASSING_ISSUES = frozenset({"transient", "lock-error", "no-store", "exception", "timeout", "incomplete", "throttled"})
"""Codes of issues that may not come again (FHIR R4 issue-type)."""
_ISSUE_CODES = _PASSING_ISSUES | {
    "invalid", "structure", "required", "value", "invariant", "security", "login", "unknown", "expired", "forbidden",
    "suppressed", "processing", "not-supported", "duplicate", "multiple-matches", "not-found", "deleted", "too-long",
    "code-invalid", "extension", "too-costly", "business-rule", "conflict", "informational",
}  # fmt: skip # reads by its lines


def judged(answer: HttpAnswer, *, now: datetime) -> Answer:
    """Return what the answer to a request means, by its status and the issues that it names."""
    status, issues = answer.status, tuple(dict.fromkeys(_issues(answer.body)))
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return TAKEN
    reason = f"the service answers with HTTP status {status}{_named(issues)}"
    pause = retry_after(answer, now=now)
    if status in _DENIED:
        return Answer(Verdict.FAILED, PeerDeniedAccess.code, f"{reason}; check the channel's credentials", pause)
    if status < HTTPStatus.BAD_REQUEST:
        return Answer(Verdict.REFUSED, "http_redirected", f"{reason}; no redirect is followed, correct the address")
    if status in _PASSING or _PASSING_ISSUES.intersection(issues):
        return Answer(Verdict.FAILED, "fhir_failed", reason, pause)
    if status < HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.NOT_IMPLEMENTED:
        return Answer(Verdict.REFUSED, "fhir_refused", reason)
    return Answer(Verdict.FAILED, "fhir_failed", reason, pause)


def judged_transaction(answer: HttpAnswer, *, entries: int, now: datetime) -> Answer:
    """Return what the answer to a transaction means; without a Bundle that says so, nobody knows what was taken."""
    overall = judged(answer, now=now)
    if overall.verdict is not Verdict.TAKEN:
        return overall
    try:
        bundle = read(Bundle, answer.body)
    except PeerAnswerInvalid as error:
        return Answer(Verdict.FAILED, error.code, str(error))
    statuses = list(_statuses(bundle))
    if bundle.type != "transaction-response" or len(statuses) != entries or None in statuses:
        return Answer(Verdict.FAILED, PeerAnswerInvalid.code, "the service does not answer a transaction as FHIR says")
    verdicts = (judged(HttpAnswer(status, b""), now=now) for status in statuses if status is not None)
    return next((one for one in verdicts if one.verdict is not Verdict.TAKEN), TAKEN)


def read(kind: type[_Read], body: bytes) -> _Read:
    """Return the resource that an answer holds; PeerAnswerInvalid where it holds none of the kind."""
    try:
        return kind.model_validate_json(body)
    except (ValidationError, RecursionError, ValueError) as error:
        raise PeerAnswerInvalid(f"the service does not answer with a {kind.__name__} of FHIR R4") from error


def _statuses(bundle: Bundle) -> Iterator[int | None]:
    for entry in bundle.entry or ():
        text = "" if entry.response is None else str(entry.response.status or "")
        found = _STATUS.match(text)
        yield None if found is None else int(found[0])


def _issues(body: bytes) -> Iterator[str]:
    try:
        outcome = read(OperationOutcome, body)
    except PeerAnswerInvalid:
        return
    for issue in outcome.issue or ():
        if issue.code in _ISSUE_CODES:
            yield str(issue.code)


def _named(issues: tuple[str, ...]) -> str:
    return f" ({', '.join(issues[:3])})" if issues else ""
