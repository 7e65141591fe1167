"""Headers of stored images whose text can be read and written, whatever character set they name."""

from __future__ import annotations

from pydicom.dataset import Dataset

from storage.character_sets import misleads


def with_usable_text(dataset: Dataset) -> Dataset:
    """Forget a character set that is none, and return the header; what is not ASCII is kept byte for byte.

    Call it before any text is looked at: an element that was is decoded.
    """
    named = dataset.get("SpecificCharacterSet") or ""
    if misleads([named] if isinstance(named, str) else named):
        implicit, little_endian = dataset.original_encoding
        dataset.set_original_encoding(implicit, little_endian, "iso8859")
        del dataset["SpecificCharacterSet"]
    return dataset
