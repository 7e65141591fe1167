"""`oncue evaluate families`: one table for each family whose weights are installed, beside its simple rule."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.commands.evaluate.family_table import show_family
from console.commands.laboratory import laboratory
from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from lab.segmentation.family_evaluation import FamilyCase, FamilyReport
    from workers.config import WorkerSettings

DataRoot = Annotated[
    Path,
    typer.Option("--data", metavar="DIR", exists=True, file_okay=False, help="Folder that holds all collections."),
]
Families = Annotated[
    list[str] | None, typer.Option("--family", metavar="NAME", help="Only this family; repeatable. Default: all.")
]
Tuning = Annotated[
    bool, typer.Option("--tuning", help="Only patients on whose tumours thresholds may be fixed: no test of anything.")
]


def evaluate_families(
    data: DataRoot,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    families: Families = None,
    tuning: Tuning = False,
    as_json: AsJson = False,
) -> None:
    """Segment the cases of every family whose weights are installed, one table each, beside its simple rule.

    Without --tuning the patients are read whom the weights have not seen: a test, which each reading wears out.

    Example: oncue evaluate families --data ../shared/data --tuning
    """
    from console.config import read
    from console.terminal.output import write_json

    worker = read(state, file=config).settings.worker
    with laboratory():
        names = families or _installed(worker)
    reports = [_evaluated(worker, data, name, tuning=tuning) for name in names]
    if as_json:
        write_json([report.to_json() for report in reports])
        return
    for report in reports:
        show_family(report)


def _installed(worker: WorkerSettings) -> list[str]:
    from lab.training.families.tuning import KINDS
    from workers.config import FAMILY_ANALYSERS

    known = {family.name for family in KINDS}
    return sorted({FAMILY_ANALYSERS[analyser] for analyser in worker.families()} & known)


def _evaluated(worker: WorkerSettings, data: Path, name: str, *, tuning: bool) -> FamilyReport:
    with laboratory():
        from lab.segmentation.case_selection import CaseFilter, select_cases
        from lab.segmentation.family_evaluation import evaluate_family
        from lab.segmentation.plain_family import PlainFamily
        from lab.segmentation.unseen_networks import UnseenNetworks
        from lab.training.families.tuning import KINDS
        from workers.segmentation.families import family_named
        from workers.segmentation.family_segmenter import FamilySegmenter, installed_family
    family = family_named(name)
    folder = installed_family(worker.models_folder(), name)
    cases = []
    for kind in KINDS[family]:
        wanted = CaseFilter(min(family.modalities), kind.where, tuning_only=tuning)
        cases += select_cases(data / kind.folder, wanted, weights=folder).evaluated

    def tell(case: FamilyCase) -> None:
        sys.stderr.write(f"{name}: {case.case}: Dice {case.dice:.3f}\n")

    plain = PlainFamily.installed(worker.models_folder(), family)
    networks = UnseenNetworks.read(FamilySegmenter.load(folder, named=name), folder)
    return evaluate_family(cases, networks, plain=plain, on_case=tell)
