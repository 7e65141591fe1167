from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lab import patients
from lab.patients import Role
from tests.support.commands import oncue

TUNES = next(name for name in map(str, range(99)) if patients.role(name) is Role.TUNE)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    rows, columns = np.mgrid[:64, :64]
    stack = np.repeat((100 * (np.hypot(rows - 32, columns - 32) < 25)).astype(np.uint8)[None], 3, axis=0)
    for name in ("somebody", TUNES):
        np.savez(folder / f"{name}.npz", flair=stack, mask=np.zeros(stack.shape, bool))
    return folder


def test_a_plan_that_is_not_known_is_refused_with_those_that_are(cases: Path, tmp_path: Path) -> None:
    ran = oncue("train", "foundation", "--cases", cases, "--out", tmp_path / "out", "--plan", "quick")
    assert ran.code == 2
    assert "full, short" in ran.err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_run_without_time_says_what_is_left_and_fails(cases: Path, tmp_path: Path) -> None:
    folders = ("--out", tmp_path / "out", "--work", tmp_path / "work")
    ran = oncue("train", "foundation", "--cases", cases, *folders, "--plan", "short", "--minutes", "0")
    assert ran.code == 1, ran.err
    assert "unfinished: autoencoder, adapters, refinement, denoiser, plain" in ran.out


def test_cases_that_cannot_fix_thresholds_are_refused_at_once(tmp_path: Path) -> None:
    np.savez(tmp_path / "somebody.npz", flair=np.ones((3, 64, 64), np.uint8), mask=np.zeros((3, 64, 64), bool))
    ran = oncue("train", "foundation", "--cases", tmp_path, "--out", tmp_path / "out", "--work", tmp_path / "work")
    assert ran.code == 1
    assert "error [training_data_missing]: no tune patients" in ran.err
    assert not (tmp_path / "work").exists()
