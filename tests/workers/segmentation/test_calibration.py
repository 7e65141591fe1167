from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT
from workers.errors import WeightsMismatch
from workers.segmentation import calibration
from workers.segmentation.calibration import CALIBRATION_NAME, CaseScale

SHIPPED = ROOT / "models" / "segmentation-lgg-small"


def test_the_shipped_calibration_is_written_as_it_was_read_byte_for_byte(tmp_path: Path) -> None:
    calibration.save(calibration.load(SHIPPED), tmp_path)
    assert (tmp_path / CALIBRATION_NAME).read_bytes() == (SHIPPED / CALIBRATION_NAME).read_bytes()


def test_a_calibration_that_lacks_a_part_is_refused(tmp_path: Path) -> None:
    text = (SHIPPED / CALIBRATION_NAME).read_text().replace('"familiarity"', '"unknown"')
    (tmp_path / CALIBRATION_NAME).write_text(text)
    with pytest.raises(WeightsMismatch, match=CALIBRATION_NAME):
        calibration.load(tmp_path)


@pytest.mark.parametrize(("level", "score"), [(0.0, 0.0), (0.4, 0.25), (0.8, 0.5), (0.9, 0.75), (1.0, 1.0), (1.1, 1.0)])
def test_the_case_score_is_one_half_where_stacks_without_a_tumour_end(level: float, score: float) -> None:
    assert CaseScale(volume_ml=1.0, half=0.8).score(level) == pytest.approx(score)
