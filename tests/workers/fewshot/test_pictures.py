"""The list of labelled pictures: what it says, what is refused, and who looks like whom."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.errors import DuplicateAcrossSplits, PatientInTwoSplits
from lab.fewshot.attention import fair_source
from lab.fewshot.experiment import gather
from lab.fewshot.lookalikes import joined_groups, require_apart
from storage.errors import OncueError
from tests.support.encoders import write_pictures
from workers.errors import LabelsMissing, OneClassOnly, TrainingDataMissing, UnreadablePicture
from workers.fewshot.contracts import MaskSource
from workers.fewshot.pictures import PictureSource, read_pictures


def test_the_list_names_label_patient_mask_and_sex(pictures: Path) -> None:
    listed = read_pictures([PictureSource(pictures)])
    assert len(listed) == 24
    first = listed[0]
    assert (first.label, first.patient, first.traits) == ("striped", "p0-0", {"sex": "F"})
    assert first.read().shape == (64, 64, 3)
    mask = first.read_mask()
    assert mask is not None
    assert 300 < mask.sum() < 500
    assert fair_source(listed) is MaskSource.GIVEN


def test_a_label_for_a_whole_folder_stands_behind_its_name() -> None:
    assert PictureSource.parsed("a/b=no-tumor") == PictureSource(Path("a/b"), "no-tumor")


def test_masks_that_only_some_pictures_have_are_not_used(tmp_path: Path) -> None:
    with_masks, without = write_pictures(tmp_path / "a"), write_pictures(tmp_path / "b", seed=1, masks=False)
    listed = read_pictures([PictureSource(with_masks), PictureSource(without)])
    assert fair_source(listed) is MaskSource.REGION


def _spoil_label(folder: Path) -> None:
    text = (folder / "images.csv").read_text().replace("striped", "", 1)
    (folder / "images.csv").write_text(text)


def _spoil_header(folder: Path) -> None:
    text = (folder / "images.csv").read_text().replace("class", "kind", 1)
    (folder / "images.csv").write_text(text)


def _spoil_classes(folder: Path) -> None:
    (folder / "images.csv").write_text((folder / "images.csv").read_text().replace("striped", "plain"))


def _truncate(folder: Path) -> None:
    place = folder / "images" / "3-1.png"
    place.write_bytes(place.read_bytes()[:200])


def _remove(folder: Path) -> None:
    (folder / "images" / "3-1.png").unlink()


def _text_file(folder: Path) -> None:
    (folder / "images" / "3-1.png").write_text("not a picture")


def _no_list(folder: Path) -> None:
    (folder / "images.csv").unlink()


@pytest.mark.parametrize(
    ("spoil", "error", "named"),
    [
        (_spoil_label, LabelsMissing, "images/0-0.png"),
        (_spoil_header, LabelsMissing, "images.csv"),
        (_spoil_classes, OneClassOnly, "plain"),
        (_truncate, UnreadablePicture, "images/3-1.png"),
        (_remove, UnreadablePicture, "images/3-1.png"),
        (_text_file, UnreadablePicture, "images/3-1.png"),
        (_no_list, TrainingDataMissing, "images.csv"),
    ],
)
def test_bad_input_is_refused_and_named(
    spoil: Callable[[Path], None], error: type[OncueError], named: str, tmp_path: Path
) -> None:
    folder = write_pictures(tmp_path / "discs")
    spoil(folder)
    with pytest.raises(error, match=named):
        gather(read_pictures([PictureSource(folder)]), [])


def test_sixteen_bit_pictures_are_stretched_to_eight(tmp_path: Path) -> None:
    values = np.linspace(1000, 5000, 64, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "a.png")
    (tmp_path / "images.csv").write_text("image,class\na.png,x\n")
    seen = read_pictures([PictureSource(tmp_path)])[0].read()
    assert (seen.min(), seen.max()) == (0, 255)
    assert seen.dtype == np.uint8


def test_a_patient_on_both_sides_is_refused(tmp_path: Path) -> None:
    first, second = (write_pictures(tmp_path / name, seed=4) for name in ("a", "b"))
    lists = [read_pictures([PictureSource(folder)]) for folder in (first, second)]
    with pytest.raises(PatientInTwoSplits, match="one patient"):
        require_apart(*lists)


def test_the_same_pixels_in_another_format_are_found(tmp_path: Path) -> None:
    first, second = write_pictures(tmp_path / "a", seed=1), write_pictures(tmp_path / "b", seed=2)
    Image.open(first / "images" / "5-0.png").save(second / "images" / "7-1.png", compress_level=1)
    lists = [read_pictures([PictureSource(folder)]) for folder in (first, second)]
    with pytest.raises(DuplicateAcrossSplits, match=r"b/images/7-1\.png has the same pixels as a/images/5-0\.png"):
        require_apart(*lists)


def test_a_brighter_copy_is_found_by_its_look(tmp_path: Path) -> None:
    first, second = write_pictures(tmp_path / "a", seed=1), write_pictures(tmp_path / "b", seed=2)
    copy = Image.open(first / "images" / "5-0.png").point(lambda value: 0.8 * value + 20)
    copy.save(second / "images" / "7-1.png")
    lists = [read_pictures([PictureSource(folder)]) for folder in (first, second)]
    with pytest.raises(DuplicateAcrossSplits, match=r"b/images/7-1\.png looks the same as a/images/5-0\.png"):
        require_apart(*lists)


def test_groups_that_share_a_look_alike_become_one(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "a")
    shutil.copy(folder / "images" / "2-0.png", folder / "images" / "9-0.png")
    listed = read_pictures([PictureSource(folder)])
    groups = joined_groups(listed)
    assert len(set(groups)) == len({one.group for one in listed}) - 1
