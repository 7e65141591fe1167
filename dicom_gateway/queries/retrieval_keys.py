"""What the identifier of a C-GET or C-MOVE asks for: a level with its unique keys (PS3.4 C.4.2.1.4, C.4.3.1.3)."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_gateway import data_sets
from dicom_gateway.errors import IdentifierInvalid
from dicom_gateway.protocol.exchange import Request
from storage.attributes import Attributes
from storage.holdings.question import Level
from storage.uids import is_uid

PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.1."
_LEVEL, _PATIENT_ID = "00080052", "00100020"
_STUDY, _SERIES, _INSTANCE = "0020000D", "0020000E", "00080018"
_NAMES = {_STUDY: "Study Instance UID", _SERIES: "Series Instance UID", _INSTANCE: "SOP Instance UID"}
_UIDS = {Level.PATIENT: (), Level.STUDY: (_STUDY,), Level.SERIES: (_STUDY, _SERIES)}
_UIDS_OF_IMAGES = (_STUDY, _SERIES, _INSTANCE)


@dataclass(frozen=True, slots=True)
class RetrievalKeys:
    """What is asked for. Only the UIDs of the level itself may be several; those below it are empty.

    ``patient_id`` is empty where it is not asked about.
    """

    level: Level
    patient_id: str
    studies: tuple[str, ...]
    series: tuple[str, ...]
    instances: tuple[str, ...]


def read_keys(request: Request) -> RetrievalKeys:
    """Read the identifier of a request; IdentifierInvalid, or UndecodableObject where it is no data set.

    Keys other than the unique ones are not looked at: what is asked for is named by UIDs (PS3.4 C.4.2.2.1).
    """
    if not request.data_set:
        raise IdentifierInvalid("the request has no identifier")
    identifier = data_sets.decode(request.data_set, request.transfer_syntax_uid)
    level = _level(identifier, is_patient_root=request.sop_class_uid.startswith(PATIENT_ROOT))
    patient_id = identifier.value(_PATIENT_ID)
    if level is Level.PATIENT and not patient_id:
        raise IdentifierInvalid("the level PATIENT needs a Patient ID")
    if len(identifier.values(_PATIENT_ID)) > 1:
        raise IdentifierInvalid("the Patient ID has several values")
    wanted = _UIDS.get(level, _UIDS_OF_IMAGES)
    uids = {tag: _uids(identifier, tag, level, several=tag == wanted[-1]) for tag in wanted}
    return RetrievalKeys(level, patient_id, *(uids.get(tag, ()) for tag in _UIDS_OF_IMAGES))


def _level(identifier: Attributes, *, is_patient_root: bool) -> Level:
    text = identifier.value(_LEVEL)
    if text not in list(Level) or (text == Level.PATIENT and not is_patient_root):
        raise IdentifierInvalid("the Query/Retrieve Level is none of the model")
    return Level(text)


def _uids(identifier: Attributes, tag: str, level: Level, *, several: bool) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(str(value).strip() for value in identifier.values(tag)))
    if not found:
        raise IdentifierInvalid(f"the level {level} needs a {_NAMES[tag]}")
    if len(found) > 1 and not several:
        raise IdentifierInvalid(f"the level {level} needs one {_NAMES[tag]} alone")
    if not all(map(is_uid, found)):
        raise IdentifierInvalid(f"a {_NAMES[tag]} is no UID")
    return found
