"""The card of a family's weights: what was trained on what, who tuned it, and what that read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.segmentation.simple_rules import SIMPLE_RULES
from lab.training.families import material

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.training.families.tuning import Kind
    from lab.training.rules import Worth
    from workers.segmentation.families import Family

TEMPLATE = """# {name}

A U-shaped network of {slices} slice(s), trained on painted lesions and, where listed, on unlabelled stacks that its
first round marked. No expert's mask trained anything: masks said which slices are far from any tumour, and chose the
mask rule.

**Not a medical device. For research use only.**

| trained on | layout | unlabelled tumours |
|---|---|---|
{sources}

Tuned on {cases} cases ({kinds}) whose tumours no training has seen: mean Dice {dice:.3f} on the network's own grid, the
rule being chosen on these very cases. Components that touch no tumour reach {alarms:.1%} of the slices far from any.
The simple rule to compare with: {simple}. `patients.json` holds the digests of all who trained or tuned.
"""


def text(family: Family, kinds: Sequence[Kind], worth: Worth, cases: int) -> str:
    """Return the card of a family's folder."""
    rows = []
    for unlabelled in (False, True):
        for source in material.listed(family, unlabelled=unlabelled):
            place = source.folder or "drawn by the program"
            rows.append(f"| {place} {source.suffix} | {source.layout} | {'yes' if unlabelled else 'no'} |")
    return TEMPLATE.format(
        name=family.name,
        slices=family.slices,
        sources="\n".join(rows),
        cases=cases,
        kinds=", ".join(kind.name for kind in kinds),
        dice=worth.dice,
        alarms=worth.alarms,
        simple=SIMPLE_RULES[family].name,
    )
