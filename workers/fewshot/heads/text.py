"""What a text tower knows of the classes before any example is seen."""

from __future__ import annotations

from dataclasses import dataclass

from numpy import float32
from numpy.typing import NDArray

TEMPLATE = "This is a photo of {}"
"""The sentence of MedFocusCLIP."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassTexts:
    """One unit vector ``[k, d]`` for each class, in the space of the pictures' vectors."""

    classes: tuple[str, ...]
    vectors: NDArray[float32]


def sentence(label: str) -> str:
    """Write the sentence for a label of the table of pictures."""
    return TEMPLATE.format(label.replace("-", " ").replace("_", " "))
