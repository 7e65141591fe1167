"""Draw the pictures of docs/segmentation.md: what each shipped family makes of a drawn thigh.

Run from the top of a checkout: ``python -m tests.support.family_pictures docs``. Real images may not be shown there.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from tests.support.limb_phantoms import limb_phantom
from workers.analysers import FamilyAnalyser
from workers.pictures import draw_panel
from workers.segmentation.family_segmenter import FamilySegmenter

DRAWN = {"pet": "PT", "limb-mr": "MR", "body-ct": "CT"}


def write(folder: Path, models: Path = Path("models/families")) -> None:
    """Write one picture for each family."""
    for family, modality in DRAWN.items():
        segmenter = FamilySegmenter.load(models / family, device=torch.device("cpu"), dtype=torch.float32)
        found = FamilyAnalyser(segmenter).segment(limb_phantom(modality).volume, check=lambda: None)
        if found.explanation is None:
            raise SystemExit(f"{family} finds nothing in the drawn thigh")
        (folder / f"family-{family}.png").write_bytes(draw_panel(found.explanation.views[0]))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
