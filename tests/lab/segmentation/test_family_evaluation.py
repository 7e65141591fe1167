"""Evaluating a family beside its simple rule, by the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from console.cli import app
from lab.patients import is_tuned_on
from storage.errors import ConfigurationError
from workers import weights
from workers.segmentation import likeness
from workers.segmentation.calibration import CaseScale
from workers.segmentation.families import PET
from workers.segmentation.family_calibration import FamilyCalibration
from workers.segmentation.family_segmenter import installed_family
from workers.segmentation.mask import MaskRule
from workers.segmentation.unet import UNet

TUNED = tuple(name for name in (f"P{number}" for number in range(40)) if is_tuned_on(name))[:2]
OTHER = next(name for name in (f"P{number}" for number in range(40)) if not is_tuned_on(name))


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    folder = tmp_path / "cases"
    folder.mkdir()
    z, y, x = np.indices((9, 40, 36))
    tumor = (y - 16) ** 2 + (x - 22) ** 2 + (z - 4) ** 2 < 12
    body = ((y - 20) / 18) ** 2 + ((x - 18) / 16) ** 2 < 1
    for name in (*TUNED, OTHER):
        image = np.where(tumor, 12.0, np.where(body, 0.6, 0.0))
        np.savez(folder / f"{name}__PET.npz", image=image, mask=tumor, spacing_mm=(4.0, 4.0, 4.0))
        np.savez(folder / f"{name}__CT.npz", image=image, mask=tumor, spacing_mm=(4.0, 4.0, 4.0))
    return folder


@pytest.fixture
def family(tmp_path: Path) -> Path:
    folder = tmp_path / "pet"
    folder.mkdir()
    torch.manual_seed(0)
    state = UNet(PET.slices).state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "network.safetensors")
    FamilyCalibration(PET, MaskRule(0.5, 0.5, 0.1, 0.0, 0.5), CaseScale(1.0, 0.5)).write(folder)
    likeness.fit([np.random.default_rng(0).normal(size=(30, 138)).astype(np.float32)]).write(folder)
    weights.write_manifest(folder, name="pet", version="1", licence="test")
    return folder


def evaluated(cases: Path, family: Path, *options: str) -> dict[str, object]:
    command = ["evaluate", "segmentation", "--cases", str(cases), "--weights", str(family), "--json", *options]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    report: dict[str, object] = json.loads(result.stdout)
    return report


def test_the_report_has_the_family_beside_its_simple_rule(cases: Path, family: Path) -> None:
    report = evaluated(cases, family, "--modality", "PT")
    assert report["family"] == "pet"
    assert report["simple_rule"] == "SUV above 2.5"
    simple = report["simple"]
    assert isinstance(simple, dict)
    assert simple["dice"]["mean"] > 0.9
    per_case = report["per_case"]
    assert isinstance(per_case, list)
    assert [case["case"] for case in per_case] == sorted(f"{name}__PET" for name in (*TUNED, OTHER))


def test_the_tuning_part_alone_can_be_read(cases: Path, family: Path) -> None:
    report = evaluated(cases, family, "--modality", "PT", "--tuning")
    per_case = report["per_case"]
    assert isinstance(per_case, list)
    assert {case["patient"] for case in per_case} == set(TUNED)


def test_images_that_are_not_the_family_s_count_as_nothing_found(cases: Path, family: Path) -> None:
    report = evaluated(cases, family, "--modality", "CT")
    per_case = report["per_case"]
    assert isinstance(per_case, list)
    assert {case["refused"] for case in per_case} == {"unsuitable_volume"}
    assert {case["dice"] for case in per_case} == {0.0}


def test_the_table_says_that_images_were_refused(cases: Path, family: Path) -> None:
    command = ["evaluate", "segmentation", "--cases", str(cases), "--weights", str(family), "--modality", "CT"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0
    assert "refused (unsuitable_volume), counted as nothing found" in result.output


@pytest.mark.parametrize("option", [("--report", "out"), ("--ablation",)], ids=lambda one: one[0])
def test_output_that_a_family_has_none_of_is_refused(cases: Path, family: Path, option: tuple[str, ...]) -> None:
    command = ["evaluate", "segmentation", "--cases", str(cases), "--weights", str(family), "--modality", "PT", *option]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert option[0] in result.output
    assert "pet has none" in result.output


@pytest.mark.parametrize("option", [("--prompt", "Tumor"), ("--mode", "fast")], ids=lambda one: one[0])
def test_what_changes_nothing_for_a_family_is_said(cases: Path, family: Path, option: tuple[str, ...]) -> None:
    command = ["evaluate", "segmentation", "--cases", str(cases), "--weights", str(family), "--modality", "PT", *option]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0
    assert f"the family pet has no use for {option[0]}" in result.stderr


def test_an_uninstalled_family_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no weights of the family breast-us"):
        installed_family(tmp_path, "breast-us")


def test_a_family_that_is_none_is_named(cases: Path) -> None:
    result = CliRunner().invoke(app, ["evaluate", "segmentation", "--cases", str(cases), "--family", "toe"])
    assert isinstance(result.exception, ConfigurationError)
    assert "no family 'toe'" in str(result.exception)


def test_every_installed_family_gets_a_table_by_one_command(cases: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    cases.rename(data / "sarcoma-ct-pet-mr")
    command = ["evaluate", "families", "--data", str(data), "--family", "pet", "--tuning", "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    (report,) = json.loads(result.stdout)
    assert (report["family"], report["simple_rule"]) == ("pet", "SUV above 2.5")
    assert report["plain"]["dice"] is not None
    assert {case["patient"] for case in report["per_case"]} == set(TUNED)
    assert report["simple"]["dice"]["mean"] > 0.9
