"""What an HL7 receiver's acknowledgement means for an announcement (HL7 v2.5.1 2.9 and 2.14.8).

A rejection stands, unless its error code says that it may pass; an error passes, unless its code blames the message.
What a receiver writes in words may hold patient data and is left out: only codes are repeated.
"""

from __future__ import annotations

import re
from types import MappingProxyType

import hl7

from dicom_gateway.announcing.announcement import TAKEN, Answer, Verdict
from dicom_gateway.errors import PeerAnswerInvalid

_CODES = MappingProxyType(
    {
        "AA": Verdict.TAKEN,
        "CA": Verdict.TAKEN,
        "AE": Verdict.FAILED,
        "CE": Verdict.FAILED,
        "AR": Verdict.REFUSED,
        "CR": Verdict.REFUSED,
    }
)
"""HL7 table 0008."""
_OF_THE_MESSAGE = frozenset({"100", "101", "102", "103", "104", "200", "201", "202", "203", "204", "205"})
_OF_THE_RECEIVER = frozenset({"206", "207"})
"""HL7 table 0357: what is wrong with the message, and what passes (a locked record, an internal error)."""
_ERROR_CODE = re.compile(r"[0-9A-Za-z.]{1,20}")


def judged(answer: bytes, control_id: str, *, codec: str) -> Answer:
    """Return what a receiver says of the message with this control id."""
    try:
        acknowledgement = _parsed(answer, codec)
        code, about = _field(acknowledgement, "MSA.F1"), _field(acknowledgement, "MSA.F2")
    except PeerAnswerInvalid as error:
        return Answer(Verdict.FAILED, error.code, str(error))
    if about != control_id:
        return Answer(Verdict.FAILED, "hl7_other_message", "the receiver acknowledges another message than ours")
    verdict = _CODES.get(code)
    if verdict is None:
        return Answer(Verdict.FAILED, PeerAnswerInvalid.code, "the receiver's acknowledgement has none of the codes")
    if verdict is Verdict.TAKEN:
        return TAKEN
    return _declined(code, verdict, _error_code(acknowledgement))


def _declined(code: str, verdict: Verdict, error: str) -> Answer:
    if error in _OF_THE_MESSAGE:
        verdict = Verdict.REFUSED
    elif error in _OF_THE_RECEIVER:
        verdict = Verdict.FAILED
    why = f" with error {error}" if error else ""
    name = "hl7_rejected" if verdict is Verdict.REFUSED else "hl7_error"
    return Answer(verdict, name, f"the receiver answers {code}{why}; its own log says why")


def _error_code(acknowledgement: hl7.Message) -> str:
    """Return the code of ERR-3, or of ERR-1 as versions before 2.5 have it; empty where there is none that is one."""
    for path in ("ERR.F3", "ERR.F1.R1.C4"):
        found = _field(acknowledgement, path)
        if _ERROR_CODE.fullmatch(found):
            return found
    return ""


def _parsed(answer: bytes, codec: str) -> hl7.Message:
    try:
        text = answer.decode(codec, "replace")
        message = hl7.parse(text.replace("\n", "\r") if "\r" not in text else text)
        message.segment("MSA")
    # The parser checks its separators by assertions, and looks for them where a message may have ended.
    except (hl7.HL7Exception, LookupError, ValueError, AssertionError) as error:
        raise PeerAnswerInvalid("the receiver does not answer with an HL7 acknowledgement") from error
    return message


def _field(message: hl7.Message, path: str) -> str:
    """Return one field's first component, empty where it or its segment is not there."""
    try:
        return str(message[path]).strip()
    except LookupError:
        return ""
