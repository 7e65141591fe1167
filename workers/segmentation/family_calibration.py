"""The numbers that turn a family's scores into an answer, fixed once on its tuning part, kept beside its networks."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from storage.errors import ConfigurationError
from workers.errors import WeightsMismatch
from workers.segmentation.calibration import CaseScale
from workers.segmentation.families import Family, family_named
from workers.segmentation.mask import MaskRule
from workers.segmentation.own_level import OwnLevel
from workers.segmentation.random_walk import Walk

if TYPE_CHECKING:
    from pathlib import Path

CALIBRATION = "calibration.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class FamilyCalibration:
    """Whose networks they are, when a score is marked, where a component ends (``ends``), how a case is scored.

    With ``own`` each patient has a level of their own, and the rule's ``threshold`` is not used. With ``edge_mm`` above
    0 a component's edge lies ``halfway``, at most so much further out.
    """

    family: Family
    rule: MaskRule
    case: CaseScale
    end_share: float = 0.0
    own: OwnLevel | None = None
    edge_mm: float = 0.0

    def write(self, folder: Path) -> None:
        """Write it beside the networks."""
        content = {
            "format": FORMAT,
            "family": self.family.name,
            "rule": asdict(self.rule),
            "end_share": self.end_share,
            "case": asdict(self.case),
        }
        if self.own is not None:
            content |= {"own_level": asdict(self.own), "edge_mm": self.edge_mm}
        (folder / CALIBRATION).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_calibration(folder: Path) -> FamilyCalibration:
    """Read what ``write`` wrote; raises WeightsMismatch."""
    try:
        content = json.loads((folder / CALIBRATION).read_text(encoding="utf-8"))
        known = content["format"] == FORMAT
        calibration = FamilyCalibration(
            family_named(str(content["family"])),
            MaskRule(**content["rule"]),
            CaseScale(**content["case"]),
            float(content["end_share"]),
            _own_level(content.get("own_level")),
            float(content.get("edge_mm", 0.0)),
        )
    except (OSError, ValueError, KeyError, TypeError, ConfigurationError) as error:
        raise WeightsMismatch(f"{CALIBRATION} of {folder.name} does not fit this version of oncue: {error}") from error
    if not known:
        raise WeightsMismatch(f"{CALIBRATION} of {folder.name} has another format than {FORMAT}")
    return calibration


def _own_level(entry: dict[str, Any] | None) -> OwnLevel | None:
    if entry is None:
        return None
    numbers = (float(entry.get(name, 0.0)) for name in ("top_share", "least_peak"))
    return OwnLevel(Walk(**entry["walk"]), float(entry["share"]), *numbers)
