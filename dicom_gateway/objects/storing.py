"""From a built data set to an object in the store: encoded, read back, checked. What fails is kept, with its flaw."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pydicom.dataset import Dataset

from dicom_gateway.errors import ObjectInvalid
from dicom_gateway.objects.identity import part10
from dicom_gateway.objects.read_back import read_back
from dicom_gateway.objects.sources import keep_text, read_header
from dicom_gateway.objects.styles import DEFAULT_STYLE, ObjectStyle, encode_text, fit_description
from dicom_gateway.objects.validation import check_object
from storage.domain import ObjectKind
from storage.objects import ObjectStore
from storage.written_objects import WrittenObject


@dataclass(frozen=True, slots=True)
class Expectation:
    """What an object is checked against.

    ``references`` are the SOP Instance UIDs that it must name, ``inherited`` the UIDs that it repeats as they are.
    """

    references: Collection[str] = ()
    inherited: Collection[str] = ()


def store_object(
    dataset: Dataset,
    kind: ObjectKind,
    objects: ObjectStore,
    *,
    like: str,
    expected: Expectation,
    style: ObjectStyle = DEFAULT_STYLE,
) -> WrittenObject:
    """Encode, read back, check and store an object; ``like`` is the digest of the image whose patient it shares.

    An object that breaks a rule, or reads otherwise than it was meant, is stored all the same: its ``flaw`` says why
    it must never be sent. Raises ObjectMissing, SourceUnusable, StorageFull.
    """
    if not encode_text(dataset, style):
        keep_text(read_header(like, objects), dataset)
    fit_description(dataset)
    content = part10(dataset)
    return WrittenObject(
        kind=kind,
        sop_instance_uid=str(dataset.SOPInstanceUID),
        sop_class_uid=str(dataset.SOPClassUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        transfer_syntax_uid=str(dataset.file_meta.TransferSyntaxUID),
        digest=objects.put(content),
        size_bytes=len(content),
        flaw=_flaw(content, dataset, expected),
    )


def require_sound(written: WrittenObject) -> WrittenObject:
    """Return a written object that has no flaw; ObjectInvalid for one that has."""
    if written.flaw is not None:
        raise ObjectInvalid(written.flaw)
    return written


def _flaw(content: bytes, dataset: Dataset, expected: Expectation) -> str | None:
    """Return the code and the reason for which an object must not leave, or None."""
    try:
        found = read_back(content, dataset)
        check_object(found, references=expected.references, inherited=expected.inherited)
    except ObjectInvalid as error:
        return f"{error.code}: {error}"
    return None
