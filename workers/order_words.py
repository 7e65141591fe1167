"""What the order of a study said of its patient, as far as an image's header repeats it."""

from __future__ import annotations

from pydicom.dataset import Dataset

from storage.care_settings import CareSetting, setting_of_order
from storage.domain import StoredInstance
from storage.objects import ObjectStore
from workers.errors import OversizedInstance, UnreadableInstance
from workers.imaging.parsing import DEFAULT_LIMITS, parsing, read_dataset

_PRIORITY = "RequestedProcedurePriority"
_KEYWORDS = (_PRIORITY, "RequestAttributesSequence", "CurrentPatientLocation", "InstitutionalDepartmentName")


def setting_of_image(instance: StoredInstance, objects: ObjectStore) -> CareSetting | None:
    """Return the setting that an image's header speaks of; None where it does not, or cannot be read.

    Requested Procedure Priority (0040,1003) counts in the header and in Request Attributes Sequence (0040,0275), where
    some senders put it. The words themselves may name a patient's whereabouts: they go no further.
    """
    try:
        header = read_dataset(objects, instance.digest, limits=DEFAULT_LIMITS, keywords=_KEYWORDS)
        with parsing(instance.digest, doing="reading the words of the order"):
            return setting_of_order(
                priority=_text(header, _PRIORITY) or _of_requests(header),
                location=_text(header, "CurrentPatientLocation"),
                department=_text(header, "InstitutionalDepartmentName"),
            )
    except (UnreadableInstance, OversizedInstance):
        return None  # the setting is one condition of a policy: no reason to fail an analysis that was read


def _of_requests(header: Dataset) -> str:
    requests = header.get("RequestAttributesSequence") or ()
    return next((text for request in requests if (text := _text(request, _PRIORITY))), "")


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else str(value)
