from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lab.body_region.augmentation import altered
from lab.body_region.cases import PHANTOM_SEED, read_cases
from lab.patients import Role, is_seen, read_seen, role
from tests.conftest import ROOT
from workers.errors import TrainingDataMissing
from workers.guard.kinds import PictureKind
from workers.guard.pictures import SIDE, window_of
from workers.guard.region_guard import FOLDER


def test_every_kind_has_patients_who_are_kept_out_and_no_patient_is_on_both_sides(real_data: Path) -> None:
    cases = read_cases(real_data)
    kept_out, learned = ({case.patient for case in cases if (case.role is Role.TEST) is out} for out in (True, False))
    assert not kept_out & learned
    assert {case.kind for case in cases if case.role is Role.TEST} == set(PictureKind)


def test_the_shipped_head_has_seen_no_patient_who_is_kept_out(real_data: Path) -> None:
    seen = read_seen(ROOT / "models" / FOLDER)
    cases = read_cases(real_data)
    assert not [case.patient for case in cases if case.role is Role.TEST and is_seen(case.patient, seen)]
    assert all(is_seen(case.patient, seen) for case in cases if case.role is not Role.TEST)


def test_the_test_patients_of_the_segmentation_stay_out(real_data: Path) -> None:
    gliomas = [case for case in read_cases(real_data) if case.source == "brain-mri-lgg"]
    assert (
        sum(case.role is Role.TEST for case in gliomas)
        == sum(role(case.patient) is Role.TEST for case in gliomas)
        == 13
    )


def test_drawn_heads_come_from_seeds_that_no_test_uses() -> None:
    assert PHANTOM_SEED >= 20_000


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataMissing, match="brain-mri-lgg"):
        read_cases(tmp_path)


def test_altered_pictures_are_drawn_by_the_seed_and_have_the_size_of_the_guards() -> None:
    plane = np.random.default_rng(0).random((40, 60)).astype(np.float32)
    window = window_of(plane[None], "MR")
    first, again, other = (altered(plane, window, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (SIDE, SIDE, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
