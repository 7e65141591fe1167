"""What the answer to a STOW-RS request means for each of its objects (PS3.18 10.5.3, Tables 10.5.3-1 and I.2-2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from dicom_gateway.errors import (
    GatewayError,
    PeerAnswerInvalid,
    PeerDeniedAccess,
    PeerRejectedObject,
    PeerUnreachable,
)
from dicom_gateway.http_exchange import HttpAnswer, WebService
from dicom_gateway.sending.outcomes import SendOutcome, failed, stored
from dicom_gateway.sending.outgoing import Outgoing
from dicom_gateway.sending.stow_answer import StowAnswer, read_answer
from dicom_gateway.status import DUPLICATE, PeerAnswer, answer_of, meaning, written

_HELD_ALREADY = frozenset({DUPLICATE, 0xB00E})
"""Failure reasons that mean a duplicate: that of DIMSE, and that of Azure's DICOM service."""
_BEING_STORED = 0xB00F
"""Azure's DICOM service: somebody else stores the instance at this moment."""
_TAKEN = frozenset({HTTPStatus.OK, HTTPStatus.ACCEPTED})
_SAYS_OF_EACH = _TAKEN | {HTTPStatus.CONFLICT, HTTPStatus.BAD_REQUEST}
_DENIED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED})
_MOMENTARY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_ONE_MAY_SPOIL_ALL = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.CONFLICT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.INTERNAL_SERVER_ERROR,
    }
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request failed as a whole; one of its objects may be the reason, or none, and then others would fail too."""

    error: GatewayError
    is_of_an_object: bool
    was_offered: bool = True


Verdict = tuple[SendOutcome | None, ...] | Refusal
"""One outcome for each object; None where the answer tells of a failure without saying whose it is."""


def judge(answer: HttpAnswer, objects: Sequence[Outgoing], service: WebService) -> Verdict:
    """Return what an answer means; an object counts as stored only where the answer names it.

    A proxy's sign-in page is answered with 200, too.
    """
    if answer.status in _SAYS_OF_EACH:
        try:
            said = read_answer(answer.body)
        except PeerAnswerInvalid as error:
            if answer.status in _TAKEN:
                said_nothing = PeerAnswerInvalid(f"{service} answers with {_named(answer.status)}, but {error}")
                return Refusal(said_nothing, is_of_an_object=False)
        else:
            return tuple(_outcome(outgoing, said, service, is_alone=len(objects) == 1) for outgoing in objects)
    return Refusal(_refused(answer.status, service), is_of_an_object=answer.status in _ONE_MAY_SPOIL_ALL)


def _outcome(outgoing: Outgoing, said: StowAnswer, service: WebService, *, is_alone: bool) -> SendOutcome | None:
    uid = outgoing.sop_instance_uid
    if uid in said.failed:
        return _failed(outgoing, said.failed[uid], service)
    if uid in said.stored:
        warning = said.stored[uid]
        return stored(outgoing, warning, _said(warning, service) if warning else "")
    if said.other_failures:
        return _failed(outgoing, said.other_failures[0], service) if is_alone else None
    return failed(outgoing, PeerAnswerInvalid(f"{service} does not say what became of the object"))


def _failed(outgoing: Outgoing, reason: int, service: WebService) -> SendOutcome:
    """Return the outcome of an instance that is named among the failures, whose reasons are none of success."""
    if reason in _HELD_ALREADY:
        return stored(outgoing, reason, f"{service} answered {written(reason)}: {meaning(DUPLICATE)}")
    is_momentary = reason == _BEING_STORED or answer_of(reason) is PeerAnswer.TRANSIENT
    verdict, error = (
        (PeerAnswer.TRANSIENT, PeerUnreachable) if is_momentary else (PeerAnswer.PERMANENT, PeerRejectedObject)
    )
    return SendOutcome(
        outgoing.sop_instance_uid, verdict, reason, error.code, _said(reason, service), str(outgoing.path)
    )


def _said(status: int, service: WebService) -> str:
    return f"{service} answered {written(status)}: {meaning(status)}"


def _refused(status: int, service: WebService) -> GatewayError:
    """Return the error that an HTTP status stands for where nothing is said of each object."""
    named = _named(status)
    if status in _DENIED:
        return PeerDeniedAccess(f"{service} answers with {named}: check the credentials file and what it is allowed")
    if status in _MOMENTARY or (status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED):
        return PeerUnreachable(f"{service} answers with {named}")
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return PeerRejectedObject(
            f"{service} answers with {named}, which is not followed: give the address it leads to"
        )
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return PeerRejectedObject(f"{service} answers with {named}: raise the limit of the service or of its proxy")
    if status in _ONE_MAY_SPOIL_ALL:
        return PeerRejectedObject(f"{service} answers with {named} and gives no reason")
    return PeerRejectedObject(f"{service} answers with {named}: check that its address is that of a STOW-RS service")


def _named(status: int) -> str:
    try:
        return f"HTTP {status} ({HTTPStatus(status).phrase})"
    except ValueError:
        return f"HTTP {status}"
