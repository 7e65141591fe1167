"""What a key object selection refers to, as its template has it."""

from __future__ import annotations

from pydicom.dataset import Dataset

_REFERENCES = frozenset({"IMAGE", "WAVEFORM", "COMPOSITE"})


def leave_references_unnamed(document: Dataset) -> None:
    """Take the purpose of reference from what a key object selection names: there is none (PS3.16 TID 2010).

    The builder names each reference «Source», which stands for a purpose that the template forbids.
    """
    for item in document.ContentSequence:
        if item.ValueType in _REFERENCES:
            del item.ConceptNameCodeSequence
