"""What a prompted network is asked while it learns: for any tumour, for the kind that was painted, or for another.

Asked for another kind, it is to mark nothing of what was painted. What an earlier round found has no known kind: asked
for a kind, that is left out of the loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lab.training.families.painting import TumourKind
from workers.segmentation.prompts import NORMAL_PROMPTS

if TYPE_CHECKING:
    import numpy as np

    from workers.segmentation.prompts import TextEncoder

GENERAL_PROMPTS = (
    "tumor", "tumour", "brain tumor", "lesion", "mass", "neoplasm", "cancer", "abnormality", "enhancing tumor",
    "abnormal tissue", "a suspicious region", "intracranial mass", "a contrast-enhancing mass", "any tumor",
)  # fmt: skip # reads by its lines
KIND_PROMPTS: Mapping[TumourKind, tuple[str, ...]] = {
    TumourKind.MENINGIOMA: (
        "meningioma", "a meningioma", "dural mass", "meningeal tumor", "extra-axial tumor", "a tumor of the meninges",
    ),
    TumourKind.GLIOMA: (
        "glioma", "a glioma", "glioblastoma", "astrocytoma", "intra-axial tumor", "oligodendroglioma",
        "high-grade glioma", "low-grade glioma",
    ),
    TumourKind.PITUITARY: (
        "pituitary tumor", "pituitary adenoma", "sellar mass", "pituitary macroadenoma", "a tumor of the pituitary",
        "pituitary",
    ),
}  # fmt: skip # reads by its lines
SPECIFIC_SHARE = 0.5
"""Share of samples that are asked for a kind."""
RIGHT_SHARE = 0.5
"""Share of those that are asked for the kind that was painted."""


@dataclass(frozen=True, slots=True, eq=False)
class Questions:
    """What each sample is asked ``[n, 384]``, whether for any tumour, and whether what was painted is wanted (bool)."""

    asked: Tensor
    general: Tensor
    wanted: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class KindPrompts:
    """The differences of prompts from "normal", ``[n, 384]``: those that ask for any tumour, and those for a kind."""

    general: Tensor
    kinds: Mapping[TumourKind, Tensor]

    @classmethod
    def build(cls, encoder: TextEncoder) -> KindPrompts:
        """Encode all prompts once."""
        normal = torch.stack([encoder.prompt(words) for words in NORMAL_PROMPTS]).mean(dim=0)

        def differences(group: Sequence[str]) -> Tensor:
            return torch.stack([encoder.prompt(words) for words in group]) - normal

        return cls(differences(GENERAL_PROMPTS), {kind: differences(group) for kind, group in KIND_PROMPTS.items()})

    def ask(self, painted: Sequence[TumourKind | None], rng: np.random.Generator) -> Questions:
        """Draw a question for each sample, by the kind that was painted on it."""
        asked, general, wanted = [], [], []
        for kind in painted:
            group, right = self.general, True
            specific = bool(rng.random() < SPECIFIC_SHARE)
            if specific:
                right = bool(rng.random() < RIGHT_SHARE)
                others = [other for other in TumourKind if other is not kind]
                chosen = kind if right and kind is not None else others[rng.integers(len(others))]
                group = self.kinds[chosen]
            asked.append(group[rng.integers(len(group))])
            general.append(not specific)
            wanted.append(right)
        return Questions(torch.stack(asked), torch.tensor(general), torch.tensor(wanted))
