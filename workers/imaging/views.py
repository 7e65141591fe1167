"""Which view of the patient an image shows, in the words of its codes: side, projection, direction."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

VIEW_KEYWORDS = ("ViewPosition", "ViewCodeSequence", "ImageLaterality", "Laterality", "PatientOrientation")
_CODED = re.compile(r"[A-Z0-9 _-]{1,16}")
_CODES = {
    # PS3.16 CID 4014, by SNOMED CT and by the older SNOMED-RT that mammography systems keep to
    "399162004": "CC",
    "R-10242": "CC",
    "399368009": "MLO",
    "R-10226": "MLO",
    "399260004": "ML",
    "R-10224": "ML",
    "399352003": "LM",
    "R-10228": "LM",
    "399099002": "LMO",
    "R-10230": "LMO",
    "399196006": "FB",
    "R-10244": "FB",
    "399192008": "XCCL",
    "R-1024A": "XCCL",
    "399101009": "XCCM",
    "R-1024B": "XCCM",
    "399188001": "SIO",
    "R-102D0": "SIO",
    # PS3.16 CID 4010
    "399348003": "AP",
    "R-10206": "AP",
    "272479007": "PA",
    "399067008": "LATERAL",
    "399198007": "RL",
    "399173006": "LL",
    "R-10236": "LL",
}


def read_view(dataset: Dataset) -> str:
    """Return the view, such as ``L MLO`` or ``PA``, empty where nothing is coded. Call it inside ``parsing``.

    ViewPosition counts before ViewCodeSequence; PatientOrientation (direction of rows and of columns) only stands in
    where neither is there. Text that is no code is dropped: people write anything there.
    """
    side = _code(dataset, "ImageLaterality") or _code(dataset, "Laterality")
    view = _code(dataset, "ViewPosition") or _by_sequence(dataset) or _orientation(dataset)
    return f"{side} {view}".strip()


def _code(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    text = "" if value is None or isinstance(value, MultiValue) else str(value).strip().upper()
    return text if _CODED.fullmatch(text) else ""


def _by_sequence(dataset: Dataset) -> str:
    items = dataset.get("ViewCodeSequence")
    item = items[0] if isinstance(items, Sequence) and items else None
    return _CODES.get(str(item.get("CodeValue", "")).strip(), "") if isinstance(item, Dataset) else ""


def _orientation(dataset: Dataset) -> str:
    value = dataset.get("PatientOrientation")
    parts = [str(part).strip().upper() for part in value] if isinstance(value, MultiValue) else []
    if len(parts) != 2 or not all(re.fullmatch(r"[LRAPHF]{1,3}", part) for part in parts):  # noqa: PLR2004 - row, column
        return ""
    return f"{parts[0]}-{parts[1]}"
