from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from console.demo.demonstrated_study import dice
from console.demo.unwanted_study import write_unwanted_study
from phantom.study import write_phantom_study
from tests.support.records import DESTINATION
from tests.support.system import QUICK, run_oncue


def test_dice_is_one_for_the_same_and_for_nothing_and_zero_for_disjoint_masks() -> None:
    left = np.zeros((1, 2, 2), dtype=bool)
    right = left.copy()
    assert dice(left, right) == 1.0
    left[0, 0, 0] = True
    assert dice(left, right) == 0.0
    assert dice(left, left) == 1.0
    right[0, 0] = True
    assert dice(left, right) == pytest.approx(2 / 3)


@pytest.mark.peer
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_study_of_ones_own_goes_through_and_leaves_a_picture(tmp_path: Path) -> None:
    study = write_phantom_study(tmp_path / "study", seed=3, slices=8, size=64)
    # A variable that points at another installation must not reach the demonstration.
    variables = {**_quick(tmp_path), "ONCUE_GATEWAY_DESTINATIONS": DESTINATION, "ONCUE_STATE": str(tmp_path / "other")}
    ran = run_oncue("demo", "--study", str(study.series_folder), "--out", str(tmp_path / "out"), variables=variables)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for wanted in (study.study_instance_uid, "succeeded", "Lesion", "priority", "SEG received", "SR received"):
        assert wanted in ran.stdout
    assert "none" not in ran.stdout.partition("SEG received")[2]
    with Image.open(tmp_path / "out" / "demo.png") as picture:
        assert picture.width > 300
    assert not (tmp_path / "other").exists()


@pytest.mark.peer
@pytest.mark.timeout(600)
def test_a_study_that_cannot_be_analysed_is_shown_with_its_code(tmp_path: Path) -> None:
    study = write_phantom_study(tmp_path / "study", seed=3, slices=8, size=64)
    (study.series_folder / "0004.dcm").unlink()
    ran = run_oncue(
        "demo", "--study", str(study.series_folder), "--out", str(tmp_path / "out"), variables=_quick(tmp_path)
    )
    assert ran.returncode == 1
    assert "incomplete_volume" in ran.stdout
    assert "Logs and database are kept in" in ran.stdout


@pytest.mark.peer
@pytest.mark.timeout(600)
def test_a_study_that_no_route_wants_is_set_aside_and_no_failure(tmp_path: Path) -> None:
    study_uid = write_unwanted_study(tmp_path / "study", seed=3)
    ran = run_oncue(
        "demo", "--study", str(tmp_path / "study"), "--out", str(tmp_path / "out"), variables=_quick(tmp_path)
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for wanted in (study_uid, "not_applicable", "set aside", "wanted head"):
        assert wanted in ran.stdout
    assert not (tmp_path / "out" / "demo.png").exists()


@pytest.mark.peer
@pytest.mark.timeout(600)
def test_a_worker_that_refuses_to_start_ends_it_at_once_with_the_code_of_the_refusal(tmp_path: Path) -> None:
    study = write_phantom_study(tmp_path / "study", seed=3, slices=8, size=64)
    refusing = {"ONCUE_WORKER_ANALYSERS": '{"zero-shot": "tests.support.analysers:build_mismatched"}'}
    ran = run_oncue(
        "demo",
        *("--study", str(study.series_folder), "--out", str(tmp_path / "out")),
        variables={**_quick(tmp_path), **refusing},
    )
    assert ran.returncode == 1
    assert "[weights_mismatch] a weight file does not hash to its manifest" in ran.stderr
    assert "Logs and database are kept in" in ran.stdout


@pytest.mark.slow
def test_a_folder_without_dicom_files_is_a_coded_error(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    ran = run_oncue(
        "demo", "--study", str(tmp_path / "study"), "--out", str(tmp_path / "out"), variables=_quick(tmp_path)
    )
    assert ran.returncode == 1
    assert "error [nothing_to_send]" in ran.stderr


def _quick(folder: Path) -> dict[str, str]:
    """Let what a failed demonstration keeps be kept in the test's own folder."""
    return {**QUICK, "TMPDIR": str(folder)}
