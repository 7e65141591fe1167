"""What a ``model.toml`` may say: whatever else stands in it is refused by its key when the model is added."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.errors import ModelUnsuitable
from workers.site_models.model_file import named_file, read_model_file

CODED = '[[labels]]\nvalue = 1\nname = "liver"\ncode = ["{}", "{}", "{}"]'


def read(folder: Path, text: str) -> None:
    (folder / "model.toml").write_text(f"format = 1\n{text}\n", encoding="utf-8")
    read_model_file(folder)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[input]\nspacing_mm = [nan, 1.0, 1.0]", "input.spacing_mm.0: Input should be a finite number"),
        ("[input]\nspacing_mm = [inf, 1.0, 1.0]", "input.spacing_mm.0: Input should be a finite number"),
        ("[input]\nspacing_mm = [1e-300, 1.0, 1.0]", "spacing_mm must be at least 0.01"),
        ('[input]\nintensity = "window"\nrange = [-inf, inf]', "input.range.0: Input should be a finite number"),
        ('[input]\nintensity = "percentiles"\nrange = [-160.0, 240.0]', "range must lie between 0 and 100"),
        ("[limits]\nextent_mm = {low = [nan, 1.0, 1.0]}", "limits.extent_mm.low.0: Input should be a finite number"),
        ("[limits]\nspacing_mm = {low = [9.0, 1.0, 1.0], high = [1.0, 1.0, 1.0]}", "limits.spacing_mm: .*above high"),
        ('modalities = ["Computed Tomography"]', "modalities.0: String should match"),
        ('modalities = ["ct"]', "modalities.0: String should match"),
        (CODED.format("", "SCT", "Liver"), "labels.0.code.0: String should match"),
        (CODED.format("1" * 17, "SCT", "Liver"), "labels.0.code.0: String should match"),
        (CODED.format("10200004", "SCT\\\\99", "Liver"), "labels.0.code.1: String should match"),
        (CODED.format("10200004", "SCT", "Liver\\nlobe"), "labels.0.code.2: String should match"),
        (f"x = {'[' * 100_000}", "cannot be read"),
    ],
)  # fmt: skip # reads by its lines
def test_what_could_only_fail_later_is_refused_by_its_key(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ModelUnsuitable, match=key):
        read(tmp_path, text)


def test_codes_in_any_script_and_the_byte_order_mark_of_windows_pass(tmp_path: Path) -> None:
    read(tmp_path, CODED.format("10200004", "SCT", "肝臓"))
    (tmp_path / "model.toml").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "model.toml").read_bytes())
    described = read_model_file(tmp_path)
    assert described is not None
    assert described.labels[0].code == ("10200004", "SCT", "肝臓")


def test_a_file_name_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnsuitable, match="file holds a character that no path can hold"):
        named_file(tmp_path, "model\0.onnx")
