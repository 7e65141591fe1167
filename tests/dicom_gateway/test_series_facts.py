from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicom_gateway.series_facts import read_folder
from storage.routes.regions import Region
from storage.routes.series_facts import SeriesFacts
from tests.support.dicom import SeriesPlan, enhanced, part10, series


def written(folder: Path, datasets: list[Dataset]) -> SeriesFacts:
    for number, dataset in enumerate(datasets):
        (folder / f"{number}.dcm").write_bytes(part10(dataset))
    (folder / "notes.txt").write_text("no image")
    ((facts,),) = read_folder(folder).values()
    return facts


def test_a_folder_tells_what_routes_look_at(tmp_path: Path) -> None:
    datasets = series(SeriesPlan(description="AX FLAIR Kopf"))
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "69536005", "SCT", "Head"
    for dataset in datasets:
        dataset.AnatomicRegionSequence = [region]
        dataset.StationName, dataset.SliceThickness, dataset.Laterality = "SKYRA1", "5", "L"
        dataset.ContrastBolusAgent = "Gd"
    facts = written(tmp_path, datasets)
    assert facts.modality == "MR"
    assert facts.frames == len(datasets)
    assert facts.stated_regions == facts.described_regions == {Region.HEAD}
    assert (facts.station_name, facts.slice_thickness_mm, facts.contrast) == ("SKYRA1", 5.0, True)
    assert [side.value for side in facts.sides] == ["L"]
    assert "ORIGINAL" in facts.image_types


def test_the_planes_of_a_multi_frame_series_are_counted(tmp_path: Path) -> None:
    assert written(tmp_path, [enhanced(SeriesPlan())]).frames == SeriesPlan().shape[0]


def test_an_instance_that_lies_there_twice_counts_once(tmp_path: Path) -> None:
    datasets = series(SeriesPlan())
    assert written(tmp_path, [*datasets, *datasets]).frames == len(datasets)


def test_whoever_waits_for_a_long_folder_hears_of_every_file(tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    datasets = series(SeriesPlan())
    written(tmp_path, datasets)
    read_folder(tmp_path, lambda done, total: heard.append((done, total)))
    total = len(datasets) + 1
    assert heard == [(done, total) for done in range(1, total + 1)]


@pytest.mark.parametrize("character_set", ["ISO_IR 999", "rot13", "utf-16", "undefined"])
def test_a_character_set_that_is_none_leaves_what_a_series_says_readable(tmp_path: Path, character_set: str) -> None:
    image = series(SeriesPlan(description="AX FLAIR"))[0]
    image.SpecificCharacterSet = "ISO_IR 100"
    (tmp_path / "image.dcm").write_bytes(part10(image).replace(b"ISO_IR 100", character_set.encode().ljust(10)))
    ((facts,),) = read_folder(tmp_path).values()
    assert (facts.series_description, facts.modality) == ("AX FLAIR", "MR")
