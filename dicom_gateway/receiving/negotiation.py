"""Which presentation contexts and roles are accepted of what a peer proposes (PS3.8 7.1.1.13, PS3.7 D.3.3.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import, from a table

from dicom_gateway.protocol.pdus import ContextAnswer, ContextResult, Roles
from dicom_gateway.receiving.admission import Admitted
from dicom_gateway.receiving.association_request import AssociationRequest, ProposedContext
from storage.peers import Service

VERIFICATION_SOP_CLASS = str(Verification)
_INSIGNIFICANT = str(ImplicitVRLittleEndian)  # the syntax in the answer to a context that is not accepted


@dataclass(frozen=True, slots=True)
class AcceptedContext:
    """A presentation context of an open association.

    ``may_store`` is false where the peer has the context for what it retrieves alone; where ``takes_requests``, it is
    the SCP in it, too.
    """

    sop_class_uid: str
    transfer_syntax_uid: str
    may_store: bool = True
    takes_requests: bool = False


Accepted = Mapping[int, AcceptedContext]
"""The accepted presentation contexts of an association, by context id."""

Taken = frozenset[tuple[str, str]]
"""SOP classes with their transfer syntaxes in which a peer takes requests."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """What is answered to the contexts and the roles that a peer proposes, and the contexts that are open then."""

    answers: tuple[ContextAnswer, ...]
    roles: tuple[Roles, ...]
    contexts: Accepted


class Negotiation:
    """The SOP classes that we accept, each with its transfer syntaxes, the preferred one first."""

    def __init__(
        self, contexts: Iterable[PresentationContext], permissions: Mapping[str, Service] | None = None
    ) -> None:
        """``permissions`` says what a peer must be allowed to use SOP classes other than Verification and Storage."""
        self._permissions = permissions or {}
        self._syntaxes: dict[str, tuple[str, ...]] = {
            str(context.abstract_syntax): tuple(map(str, context.transfer_syntax)) for context in contexts
        }

    def agree(self, request: AssociationRequest, admitted: Admitted) -> Agreement:
        """Return the answer to each proposed context, by context id, and to the roles of those that are accepted.

        A peer that asks for the role of an SCP has it where we may have requests for it. Its role of the SCU is never
        taken away: many that store ask for no role, or for the wrong one.
        """
        takers = frozenset(uid for uid, asked in request.roles.items() if asked.is_scp and self._sends(uid, admitted))
        proposed = sorted(request.contexts, key=lambda context: context.context_id)
        answers = tuple(self._answer(context, admitted, takers) for context in proposed)
        classes = {context.context_id: context.abstract_syntax for context in proposed}
        contexts = {
            answer.context_id: self._accepted(classes[answer.context_id], answer, admitted, takers)
            for answer in answers
            if answer.result is ContextResult.ACCEPTANCE
        }
        open_classes = {context.sop_class_uid for context in contexts.values()}
        roles = tuple(
            Roles(uid, asked.is_scu, uid in takers) for uid, asked in request.roles.items() if uid in open_classes
        )
        return Agreement(answers, roles, contexts)

    def _answer(self, context: ProposedContext, admitted: Admitted, takers: frozenset[str]) -> ContextAnswer:
        uid = context.abstract_syntax
        syntaxes = self._syntaxes.get(uid)
        if syntaxes is None:
            result = ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
        elif uid not in takers and not self._may_use(uid, admitted):
            result = ContextResult.USER_REJECTION
        else:
            chosen = next((syntax for syntax in syntaxes if syntax in context.transfer_syntaxes), None)
            if chosen is not None:
                return ContextAnswer(context.context_id, ContextResult.ACCEPTANCE, chosen)
            result = ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED
        return ContextAnswer(context.context_id, result, _INSIGNIFICANT)

    def _accepted(
        self, sop_class_uid: str, answer: ContextAnswer, admitted: Admitted, takers: frozenset[str]
    ) -> AcceptedContext:
        return AcceptedContext(
            sop_class_uid,
            answer.transfer_syntax_uid,
            may_store=self._may_use(sop_class_uid, admitted),
            takes_requests=sop_class_uid in takers,
        )

    def _sends(self, sop_class_uid: str, admitted: Admitted) -> bool:
        """Say whether we may have requests of a SOP class for a peer: images that it retrieves, and commitment."""
        permission = self._permissions.get(sop_class_uid)
        if permission is None:
            is_storage = sop_class_uid in self._syntaxes and sop_class_uid != VERIFICATION_SOP_CLASS
            return is_storage and Service.RETRIEVAL in admitted.services
        return permission is Service.COMMITMENT and permission in admitted.services

    def _may_use(self, sop_class_uid: str, admitted: Admitted) -> bool:
        permission = self._permissions.get(sop_class_uid)
        if permission is not None:
            return permission in admitted.services
        return _may_use(sop_class_uid, admitted)


def taken(contexts: Accepted) -> Taken:
    """Return in which SOP classes and transfer syntaxes the peer takes requests."""
    return frozenset(
        (context.sop_class_uid, context.transfer_syntax_uid) for context in contexts.values() if context.takes_requests
    )


def _may_use(sop_class_uid: str, admitted: Admitted) -> bool:
    if sop_class_uid == VERIFICATION_SOP_CLASS:
        return Service.VERIFICATION in admitted.services
    if Service.STORAGE not in admitted.services:
        return False
    return admitted.sop_classes is None or sop_class_uid in admitted.sop_classes
