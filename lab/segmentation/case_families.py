"""Which family segments a folder of cases: the one whose analyser the shipped routes give such images.

Files of arrays and pictures say little of themselves. The folder's name is read as the description of a series, and
where it names no body region, MR is taken to show a head, as the zero-shot segmenter takes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage.routes.file import Routes, load_routes
from storage.routes.routing import route_study
from storage.routes.series_facts import SeriesFacts
from workers.config import FAMILIES_FOLDER, FAMILY_ANALYSERS
from workers.segmentation.families import family_of

if TYPE_CHECKING:
    from pathlib import Path

ENOUGH_SLICES = 20
"""As many slices as any shipped route asks for."""


def folder_of_family(models: Path, cases: Path, modality: str) -> Path | None:
    """Return where the weights of a folder's family lie; None where it has none, or they are not installed."""
    name = family_of_folder(cases.resolve().name, modality, load_routes())
    folder = models / FAMILIES_FOLDER / name if name is not None else None
    return folder if folder is not None and folder.is_dir() else None


def family_of_folder(name: str, modality: str, routes: Routes) -> str | None:
    """Return the family that the routes choose for a folder of that name, else the modality's; None: no family."""
    facts = SeriesFacts("1", modality, series_description=name, frames=ENOUGH_SLICES)
    if modality == "MR" and not facts.all_regions:
        facts = SeriesFacts("1", modality, body_part_examined="HEAD", series_description=name, frames=ENOUGH_SLICES)
    analysers = [answer.route.analyser for answer in route_study(routes, [facts]).chosen]
    if analysers:
        return FAMILY_ANALYSERS.get(analysers[0])
    family = family_of(modality)
    return family.name if family is not None else None
