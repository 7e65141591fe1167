from __future__ import annotations

from pathlib import Path

from console.demo.unwanted_study import write_unwanted_study
from dicom_gateway.series_facts import read_folder
from storage.routes.file import load_routes
from storage.routes.regions import Region
from storage.routes.routing import route_study
from tests.support.queued import small_phantom


def test_the_study_says_knee_throughout_and_no_shipped_route_wants_it(tmp_path: Path) -> None:
    uid = write_unwanted_study(tmp_path / "knee", seed=1)
    ((found, series),) = read_folder(tmp_path / "knee").items()
    assert found == uid
    assert {facts.stated_regions for facts in series} == {frozenset({Region.LOWER_LIMB})}
    assert not any(facts.contradicts_itself for facts in series)
    assert not route_study(load_routes(), series).applies


def test_its_identifiers_are_not_those_of_the_head(tmp_path: Path) -> None:
    head = small_phantom(tmp_path / "head", seed=1)
    assert write_unwanted_study(tmp_path / "knee", seed=1) != head.study_instance_uid
