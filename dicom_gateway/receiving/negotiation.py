"""Which of the presentation contexts that a peer proposes are accepted (PS3.8 7.1.1.13, Table 9-18)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import, from a table

from dicom_gateway.protocol.pdus import ContextAnswer, ContextResult
from dicom_gateway.receiving.admission import Admitted
from dicom_gateway.receiving.association_request import ProposedContext
from storage.peers import Service

VERIFICATION_SOP_CLASS = str(Verification)
_INSIGNIFICANT = str(ImplicitVRLittleEndian)  # the syntax in the answer to a context that is not accepted


@dataclass(frozen=True, slots=True)
class AcceptedContext:
    """A presentation context of an open association."""

    sop_class_uid: str
    transfer_syntax_uid: str


Accepted = Mapping[int, AcceptedContext]
"""The accepted presentation contexts of an association, by context id."""


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

    def answers(self, proposed: Iterable[ProposedContext], admitted: Admitted) -> tuple[ContextAnswer, ...]:
        """Return the answer to each proposed context, by context id."""
        return tuple(
            self._answer(context, admitted) for context in sorted(proposed, key=lambda context: context.context_id)
        )

    def _answer(self, context: ProposedContext, admitted: Admitted) -> ContextAnswer:
        syntaxes = self._syntaxes.get(context.abstract_syntax)
        if syntaxes is None:
            result = ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
        elif not self._may_use(context.abstract_syntax, admitted):
            result = ContextResult.USER_REJECTION
        else:
            chosen = next((syntax for syntax in syntaxes if syntax in context.transfer_syntaxes), None)
            if chosen is not None:
                return ContextAnswer(context.context_id, ContextResult.ACCEPTANCE, chosen)
            result = ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED
        return ContextAnswer(context.context_id, result, _INSIGNIFICANT)

    def _may_use(self, sop_class_uid: str, admitted: Admitted) -> bool:
        permission = self._permissions.get(sop_class_uid)
        if permission is not None:
            return permission in admitted.services
        return _may_use(sop_class_uid, admitted)


def accepted(proposed: Iterable[ProposedContext], answers: Iterable[ContextAnswer]) -> Accepted:
    """Return the contexts that were accepted, by context id."""
    classes = {context.context_id: context.abstract_syntax for context in proposed}
    return {
        answer.context_id: AcceptedContext(classes[answer.context_id], answer.transfer_syntax_uid)
        for answer in answers
        if answer.result is ContextResult.ACCEPTANCE
    }


def _may_use(sop_class_uid: str, admitted: Admitted) -> bool:
    if sop_class_uid == VERIFICATION_SOP_CLASS:
        return Service.VERIFICATION in admitted.services
    if Service.STORAGE not in admitted.services:
        return False
    return admitted.sop_classes is None or sop_class_uid in admitted.sop_classes
