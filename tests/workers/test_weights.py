from __future__ import annotations

import json
from pathlib import Path

import pytest

from workers import weights
from workers.errors import WeightsMismatch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "model.safetensors").write_bytes(b"weights" * 100)
    (tmp_path / "calibration.json").write_text("{}")
    (tmp_path / "README.md").write_text("# card")
    weights.write_manifest(tmp_path, name="tiny", version="1", licence="CC0-1.0")
    return tmp_path


def test_an_untouched_folder_verifies_and_its_digest_is_stable(folder: Path) -> None:
    manifest = weights.verify(folder)
    assert [file.path for file in manifest.files] == ["calibration.json", "unet/model.safetensors"]
    assert manifest.sha256 == weights.verify(folder).sha256
    assert len(manifest.sha256) == 64


def test_a_changed_byte_is_refused_and_the_file_named(folder: Path) -> None:
    (folder / "unet" / "model.safetensors").write_bytes(b"weightS" * 100)
    with pytest.raises(WeightsMismatch, match=r"unet/model\.safetensors"):
        weights.verify(folder)


def test_a_missing_file_is_refused(folder: Path) -> None:
    (folder / "calibration.json").unlink()
    with pytest.raises(WeightsMismatch, match=r"calibration\.json"):
        weights.verify(folder)


def test_a_file_that_the_manifest_does_not_list_is_refused(folder: Path) -> None:
    (folder / "unet" / "extra.bin").write_bytes(b"x")
    with pytest.raises(WeightsMismatch, match=r"extra\.bin"):
        weights.verify(folder)


def test_a_pickle_is_refused_even_when_it_is_listed(folder: Path) -> None:
    (folder / "model.pt").write_bytes(b"x")
    weights.write_manifest(folder, name="tiny", version="1", licence="CC0-1.0")
    with pytest.raises(WeightsMismatch, match="neither safetensors nor JSON"):
        weights.verify(folder)


def test_a_path_out_of_the_folder_is_refused(folder: Path) -> None:
    content = json.loads((folder / "manifest.json").read_text())
    content["files"][0]["path"] = "../elsewhere.json"
    (folder / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(WeightsMismatch, match="outside the folder"):
        weights.verify(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1, "files": 3}', "not json"])
def test_a_broken_manifest_is_refused(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    with pytest.raises(WeightsMismatch):
        weights.verify(folder)


def test_a_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsMismatch, match=r"manifest\.json"):
        weights.verify(tmp_path)


def test_another_format_of_manifest_is_refused(folder: Path) -> None:
    content = json.loads((folder / "manifest.json").read_text())
    content["format"] = 2
    (folder / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(WeightsMismatch, match="format"):
        weights.verify(folder)


def test_rewording_the_card_leaves_the_weights_valid(folder: Path) -> None:
    (folder / "README.md").write_text("# another card")
    weights.verify(folder)
