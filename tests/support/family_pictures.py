"""Draw the pictures of docs/segmentation.md: what each shipped family makes of a drawn body part.

Run from the top of a checkout: ``python -m tests.support.family_pictures docs``. Real images may not be shown there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch

from storage.volumes import Volume
from tests.support.limb_phantoms import limb_phantom
from tests.support.picture_phantoms import breast_with_mass, head_with_uptake, lung_with_nodule
from workers.analysers import FamilyAnalyser
from workers.pictures import draw_panel
from workers.segmentation.family_segmenter import FamilySegmenter


def limb(modality: str) -> Volume:
    """Return the drawn thigh in a modality."""
    return limb_phantom(modality).volume


DRAWN: Mapping[str, Callable[[], Volume]] = {
    "pet": partial(limb, "PT"),
    "limb-mr": partial(limb, "MR"),
    "body-ct": partial(limb, "CT"),
    "head-mr": head_with_uptake,
    "breast-us": breast_with_mass,
    "lung-ct": lung_with_nodule,
}


def write(folder: Path, models: Path = Path("models/families")) -> None:
    """Write one picture for each family."""
    for family, drawn in DRAWN.items():
        segmenter = FamilySegmenter.load(models / family, device=torch.device("cpu"), dtype=torch.float32)
        found = FamilyAnalyser(segmenter).segment(drawn(), check=lambda: None)
        if found.explanation is None:
            raise SystemExit(f"{family} finds nothing in what was drawn for it")
        (folder / f"family-{family}.png").write_bytes(draw_panel(found.explanation.views[0]))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
