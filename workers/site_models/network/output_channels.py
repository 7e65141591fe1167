"""What a network's output channels mean: which label each stands for, and how labels follow from probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy import float32, uint8
from scipy import special

from storage.domain import LabelEntry, LabelRole
from workers.errors import LabelsInvalid, ModelUnsuitable
from workers.site_models.model_file import MODEL_FILE, Activation, OutputSection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[float32]

_ROUNDING = 1e-3


@dataclass(frozen=True, slots=True)
class OutputChannels:
    """Channels of a network, checked against the labels.

    With a background (softmax) channel ``n`` is label ``n`` and the highest wins. Without (sigmoid) channel ``n`` is
    label ``n + 1``, each is drawn from ``threshold`` on, and where several are, lesions come before organs and the
    likelier before the less likely.
    """

    activation: Activation
    threshold: float
    table: tuple[LabelEntry, ...]
    has_background: bool

    def probabilities(self, output: FloatArray) -> FloatArray:
        """Return what a network put out, channels first, as probabilities.

        ModelUnsuitable where ``activation = "none"`` promises probabilities and something else came.
        """
        if self.activation is Activation.SOFTMAX:
            return np.asarray(special.softmax(output, axis=0), dtype=float32)
        if self.activation is Activation.SIGMOID:
            return np.asarray(special.expit(output), dtype=float32)
        low, high = float(output.min()), float(output.max())
        if low < -_ROUNDING or high > 1 + _ROUNDING:
            raise ModelUnsuitable(
                f"the network puts out values from {low:.3g} to {high:.3g}, no probabilities: "
                f"set output.activation of {MODEL_FILE} to softmax or sigmoid"
            )
        return np.clip(output, 0, 1)

    def labels(self, probabilities: FloatArray) -> NDArray[uint8]:
        """Return the label of each place, 0 for background."""
        if self.has_background:
            return np.asarray(probabilities.argmax(axis=0), dtype=uint8)
        drawn = np.zeros(probabilities.shape[1:], dtype=uint8)
        for role in (LabelRole.ORGAN, LabelRole.LESION):
            channels = self._channels(role)
            if channels:
                likeliest = probabilities[channels].argmax(axis=0)
                found = probabilities[channels].max(axis=0) >= self.threshold
                drawn[found] = (np.array(channels, dtype=uint8) + 1)[likeliest[found]]
        return drawn

    def lesion(self, probabilities: FloatArray) -> FloatArray:
        """Return how likely a lesion of any kind is at each place."""
        channels = self._channels(LabelRole.LESION)
        if not channels:
            return np.zeros(probabilities.shape[1:], dtype=float32)
        if self.has_background:
            return np.asarray(np.minimum(probabilities[channels].sum(axis=0), 1), dtype=float32)
        return np.asarray(probabilities[channels].max(axis=0), dtype=float32)

    def _channels(self, role: LabelRole) -> list[int]:
        return [entry.value - (not self.has_background) for entry in self.table if entry.role is role]


def output_channels(count: int, output: OutputSection, table: tuple[LabelEntry, ...], *, name: str) -> OutputChannels:
    """Return what ``count`` channels of model ``name`` mean; LabelsInvalid names the label or channel without other."""
    background = output.activation is Activation.SOFTMAX or (
        output.activation is Activation.NONE and count > max(entry.value for entry in table)
    )
    first, last = (1, count - 1) if background else (1, count)
    kind = f"{output.activation.value} output of {count} channel{'s' if count > 1 else ''}"
    has = f"its labels are {first} to {last}" if last >= first else "it has none beside the background"
    for entry in table:
        if not first <= entry.value <= last:
            raise LabelsInvalid(f"label {entry.value} ({entry.name}) is none of the {kind} of {name}: {has}")
    unnamed = sorted(set(range(first, last + 1)) - {entry.value for entry in table})
    if unnamed:
        raise LabelsInvalid(f"the {kind} of {name} has a label {unnamed[0]} without [[labels]] in {MODEL_FILE}: add it")
    return OutputChannels(output.activation, output.threshold, table, background)
