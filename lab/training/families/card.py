"""The card of a family's weights: what was trained on what, who tuned it, and what that read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from lab.segmentation.simple_rules import SIMPLE_RULES
from lab.training.families import material

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.training.families.likeness import LikenessFigures
    from lab.training.families.tuning import Kind
    from lab.training.rules import Worth
    from workers.segmentation.families import Family

ORIGINS: Mapping[str, str] = {
    "sarcoma-ct-pet-mr": "Soft-tissue-Sarcoma, The Cancer Imaging Archive, as prepared for IBSI, CC BY 3.0",
    "lung-nodule-ct": "LIDC-IDRI, The Cancer Imaging Archive, CC BY 3.0",
    "dicom/ct-chest-100-slices": "CMB-CRC, The Cancer Imaging Archive",
    "brain-mri-no-tumor": "public collections, health unproven",
    "brain-mri-t1c": "Cheng, figshare 1512427, CC BY 4.0",
}
"""Where the folders of data come from, and under which licence."""
TEMPLATE = """# {name}

{network}, trained on painted lesions and, where listed, on unlabelled stacks that an
earlier round or model marked. No expert's mask trained anything: masks said which slices are far from any tumour, and
chose the mask rule.

**Not a medical device. For research use only.** Licence of the weights: CC BY-NC-SA 4.0.

| trained on | layout | unlabelled tumours | source and licence |
|---|---|---|---|
{sources}

{read}
The simple rule to compare with: {simple}. `patients.json` holds the digests of all who trained or tuned.

`likeness.safetensors` knows the training images. Of {own} cases, each left out with its patient, {own_refused} are
called unlike them; of {others} images of other kinds, shown as if they were of the family's modality, {others_refused}
are. The limits were set on these very images.
"""


TUNED = """Tuned on {cases} cases ({kinds}) whose tumours no training has seen: mean Dice {dice:.3f} on the network's
own grid, the rule being chosen on these very cases. Of the slices far from any tumour {alarms:.1%} carry a mask; before
the ends of components are cut, components that touch no tumour reach {strangers:.1%}."""
FOLDED = """A network for each of {folds} folds of {cases} patients ({kinds}), trained without them; the mean of their
scores counts. Each patient scored by the network that never saw them: """
UNFOLDED = "Tuned on {cases} cases ({kinds}) whose tumours no training has seen: "
OWN = """mean Dice {dice:.3f} on the network's own grid, {alarms:.1%} of the slices far from any tumour carrying a mask,
the rule being chosen on these very patients; **{left_dice:.3f}** and {left_alarms:.1%} with the rule that all others
choose."""
OWN_WITH_TUMOURS = """mean Dice {dice:.3f} on the network's own grid, the rule being chosen on these very patients;
**{left_dice:.3f}** with the rule that all others choose. No slice lies far from every tumour, so that nothing tells how
often a mask is drawn where there is none."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What the cases gave that chose the rule: their number, what masks are worth, alarms by components beside tumours.

    Where levels are the patients' own, ``left_out`` says what the rule that all others choose is worth on each. Alarms
    are none of a kind where no case ``has_free_slices``.
    """

    cases: int
    worth: Worth
    strangers: float = 0.0
    left_out: Worth | None = None
    folds: int = 1
    has_free_slices: bool = True

    def text(self, kinds: str) -> str:
        """Return the figures in words."""
        known = {"cases": self.cases, "kinds": kinds, "dice": self.worth.dice, "alarms": self.worth.alarms}
        if self.left_out is None:
            return TUNED.format(**known, strangers=self.strangers)
        text = (FOLDED if self.folds > 1 else UNFOLDED) + (OWN if self.has_free_slices else OWN_WITH_TUMOURS)
        return text.format(**known, folds=self.folds, left_dice=self.left_out.dice, left_alarms=self.left_out.alarms)


def text(family: Family, kinds: Sequence[Kind], tuned: Tuned, refused: LikenessFigures) -> str:
    """Return the card of a family's folder."""
    rows = []
    for unlabelled in (False, True):
        for source in material.listed(family, unlabelled=unlabelled):
            place = " ".join(part for part in (source.folder, source.suffix) if part) or "drawn by the program"
            origin = ORIGINS.get(source.folder, "as its folder says" if source.folder else "this project")
            rows.append(f"| {place} | {source.layout} | {'yes' if unlabelled else 'no'} | {origin} |")
    return TEMPLATE.format(
        name=family.name,
        network=_network(family, tuned.folds),
        sources="\n".join(rows),
        read=tuned.text(", ".join(kind.name for kind in kinds)),
        **asdict(refused),
        simple=SIMPLE_RULES[family].name,
    )


def _network(family: Family, folds: int) -> str:
    made = "A U-shaped network" if folds == 1 else f"{folds} U-shaped networks"
    return f"{made} of {'single slices' if family.slices == 1 else f'{family.slices} neighbouring slices'}"
