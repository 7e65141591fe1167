"""What a bundle's postprocessing says: how labels follow from the output, and what is done to labels after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workers.errors import ModelUnsuitable
from workers.site_models.bundle.config import Component, Expression
from workers.site_models.bundle.grid import Reading
from workers.site_models.bundle.sections import BundleSections
from workers.site_models.bundle.targets import transform_name

NEEDLESS = frozenset({"EnsureType", "ToTensor", "CastToType", "EnsureChannelFirst", "SelectItems", "DeleteItems"})
"""Transforms that change how an array is kept, not what it says."""
THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Postprocessing:
    """``after`` are the transforms that see labels ``[1, x, y, z]``, such as one that keeps the largest component."""

    reading: Reading
    after: tuple[Component | Expression, ...]


def read_postprocessing(sections: BundleSections, *, offset: int) -> Postprocessing:
    """Return what the section says; ModelUnsuitable where it does not say what makes probabilities of the output."""
    softmax = sigmoid = argmax = False
    threshold: float | None = None
    after: list[Component | Expression] = []
    for step in sections.postprocessing.steps:
        name = transform_name(step.target) if isinstance(step, Component) else ""
        if isinstance(step, Component) and name == "Activations":
            softmax, sigmoid = _is_set(step, "softmax"), _is_set(step, "sigmoid")
        elif isinstance(step, Component) and name == "AsDiscrete":
            argmax, threshold = _is_set(step, "argmax"), _threshold(step)
        elif name not in NEEDLESS:
            after.append(step)
    if not (softmax or sigmoid or argmax):
        raise ModelUnsuitable(f"{sections.config.path}: postprocessing names neither softmax, sigmoid nor argmax")
    if sigmoid and not argmax:
        threshold = THRESHOLD if threshold is None else threshold
    return Postprocessing(Reading(not sigmoid, None if argmax else threshold, offset), tuple(after))


def _is_set(step: Component, name: str) -> bool:
    return _first(step, name) is True


def _threshold(step: Component) -> float | None:
    value = _first(step, "threshold")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _first(step: Component, name: str) -> Any:
    """Return an argument; of transforms for several keys, such as prediction and label, the one for the first."""
    value = step.arguments.get(name)
    return value[0] if isinstance(value, list) and value else value
