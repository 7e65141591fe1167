"""The OHIF viewer opens a study with its segmentation from oncue's own DICOMweb, in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from console.app import create_app
from console.config import ConsoleSettings
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.writing import write_objects
from storage.database import connect
from storage.objects import ObjectStore
from tests.support.chromium import Browser, browsing
from tests.support.gateways import until
from tests.support.held import hold, read_headers
from tests.support.ohif import Viewer, ohif_build
from tests.support.served_console import serving
from tests.support.sources import LAYOUTS, WRITTEN_AT, store_study

pytestmark = [pytest.mark.peer, pytest.mark.slow]

_OPTIONS = (
    "--window-size=1400,900",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
)
_PATIENCE_SECONDS = 30.0
_PIXELS = """(() => {
  const shown = document.querySelector('.viewport-element canvas');
  if (!shown || !shown.width) return [];
  const copy = document.createElement('canvas');
  [copy.width, copy.height] = [shown.width, shown.height];
  const drawing = copy.getContext('2d');
  drawing.drawImage(shown, 0, 0);
  return drawing.getImageData(0, 0, copy.width, copy.height).data;
})()"""
_BRIGHTEST = f"{_PIXELS}.reduce((most, value, at) => at % 4 == 3 ? most : Math.max(most, value), 0)"
_MOST_COLOURED = f"""{_PIXELS}.reduce(
  (most, value, at, all) => at % 4 ? most : Math.max(most, Math.abs(value - all[at + 1])), 0)"""
_OPEN_SEGMENTATION = """(() => {
  const thumbnail = [...document.querySelectorAll('[data-cy^=study-browser-thumbnail]')].find(
    one => one.innerText.includes('SEG'));
  thumbnail?.dispatchEvent(new MouseEvent('dblclick', {bubbles: true}));
  return Boolean(thumbnail);
})()"""
_LOAD = """(() => {
  const yes = [...document.querySelectorAll('button')].find(one => one.innerText.trim() == 'Yes');
  yes?.click();
  return Boolean(yes);
})()"""


def shown(browser: Browser, expression: str) -> object:
    """Ask a page until it says something; what it does in between sends no event that could be awaited."""
    found: list[object] = []

    def is_said() -> bool:
        found.append(browser.ask(expression))
        return bool(found[-1])

    until(is_said, expression, seconds=_PATIENCE_SECONDS)
    return found[-1]


@pytest.fixture
def opened(tmp_path: Path, sqlite_template: Path) -> Iterator[tuple[str, str, str, list[str]]]:
    """Address of a viewer before a console, the study that it holds, its SEG's path, and what was asked for."""
    shutil.copy(sqlite_template, tmp_path / "oncue.sqlite")
    database, objects = connect(f"sqlite:///{tmp_path / 'oncue.sqlite'}"), ObjectStore(tmp_path / "objects")
    objects.prepare()
    study = store_study(LAYOUTS[0], objects)
    analysis = study.analysis(study.lesion_labels())
    written = write_objects(analysis, objects, written_at=WRITTEN_AT, equipment=Equipment())
    segmentation = pydicom.dcmread(objects.path(written[0].digest))
    hold(database, objects, *study.datasets, segmentation)
    read_headers(database, objects)
    viewer = Viewer(create_app(database, objects, ConsoleSettings()), ohif_build())
    with serving(viewer) as address:
        yield address, str(segmentation.StudyInstanceUID), f"/instances/{segmentation.SOPInstanceUID}", viewer.asked
    database.dispose()


def test_the_viewer_lists_a_study_and_shows_it_with_its_segmentation(
    opened: tuple[str, str, str, list[str]], tmp_path: Path
) -> None:
    address, study, segmentation, asked = opened
    with browsing(tmp_path / "profile", *_OPTIONS) as browser:
        browser.open(address)
        shown(browser, "document.body.innerText.includes('Zoë')")
        browser.open(f"{address}/viewer?StudyInstanceUIDs={study}")
        shown(browser, f"{_BRIGHTEST} > 100")
        assert browser.ask(f"{_MOST_COLOURED} < 20"), "the images are grey"
        shown(browser, _OPEN_SEGMENTATION)
        shown(browser, _LOAD)
        shown(browser, f"{_MOST_COLOURED} > 60")
    assert any(segmentation in path for path in asked)
