"""Measure labels of whole images: from a few labelled pictures of a folder to labels of patients that no adapter knows.

The command is ``python -m benchmarks.image_labels --data ../shared/data/covid-xray --positive covid``. It makes an
installation of its own, takes the pictures in as `oncue classification` does, fits, runs the gate, and asks the adapter
for the label of each evaluation patient's picture as a volume.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.database import Database
    from storage.fewshot.evaluations import Evaluation
    from tests.support.picture_lists import PictureLists
    from workers.fewshot.lesion_views import InstalledEncoders
    from workers.image_labels import ImageLabel

MODELS = Path(__file__).resolve().parent.parent / "models"
TASK = "whole-images"


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for on the command line."""

    data: Path
    positive: str
    modality: str
    prompt: str
    support: int
    calibration: int
    evaluation: int
    seed: int
    rename: Sequence[str]


def main() -> None:
    """Print what the gate found on pictures, and what the labels of the same patients' volumes are worth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with images.csv")
    parser.add_argument("--positive", required=True, help="the class that must not be missed")
    parser.add_argument("--modality", default="DX")
    parser.add_argument("--prompt", default="none", choices=("none", "three-looks"))
    parser.add_argument("--support", type=int, default=8, help="patients of each class to fit on")
    parser.add_argument("--calibration", type=int, default=15, help="patients of each class to calibrate on")
    parser.add_argument("--evaluation", type=int, default=20, help="patients of each class to judge on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rename", nargs="*", default=(), metavar="LABEL=CLASS", help="make several labels one class")
    parser.add_argument("--threads", type=int, default=1)
    arguments = vars(parser.parse_args())
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    import torch

    torch.set_num_threads(arguments.pop("threads"))
    asked = Asked(**arguments)
    with tempfile.TemporaryDirectory() as folder:
        measure(asked, Path(folder))


def measure(asked: Asked, folder: Path) -> None:
    """Fit, judge and ask, in an installation of its own."""
    from storage.database import connect
    from storage.migrate import upgrade
    from tests.support.picture_lists import draw_lists
    from workers.devices import choose_device
    from workers.fewshot.lesion_views import InstalledEncoders

    counts = {"support": asked.support, "calibration": asked.calibration, "evaluation": asked.evaluation}
    classes = {old: new for old, _, new in (text.partition("=") for text in asked.rename)}
    lists = draw_lists(asked.data, folder / "lists", patients=counts, classes=classes, seed=asked.seed)
    database = connect(f"sqlite:///{folder / 'oncue.sqlite'}")
    upgrade(database)
    encoders = InstalledEncoders(MODELS, choose_device("cpu"))
    add_items(asked, database, encoders, lists)
    adapter, evaluation = fit_and_judge(asked, database)
    for check in evaluation.judgement.checks:
        print(f"gate {check.name}: {check.verdict.value}, {check.reason}")
    print(f"gate figures: {json.dumps(json.loads(evaluation.judgement.metrics), sort_keys=True)}")
    labels = ask(asked, database, encoders, lists, adapter=adapter)
    report([picture.label for picture in lists.pictures["evaluation"]], labels)
    database.dispose()


def add_items(asked: Asked, database: Database, encoders: InstalledEncoders, lists: PictureLists) -> None:
    """Make the task and take the three lists into it."""
    from storage.database import utc_now
    from storage.fewshot import items, tasks
    from storage.fewshot.items import Split
    from workers.fewshot.contracts import PromptMode
    from workers.fewshot.dinov2 import NAME
    from workers.fewshot.folder_items import embed_entries, new_items, read_entries
    from workers.fewshot.pictures import PictureSource

    classes = tuple(sorted({picture.label for picture in lists.pictures["support"]}))
    draft = tasks.TaskDraft(TASK, classes, asked.positive, asked.modality, "", "Measurement.", "Patients.")
    with database.write() as session:
        task = tasks.create(session, draft, actor="benchmark", now=utc_now())
    for split, folder in lists.folders.items():
        entries = read_entries(PictureSource(folder))
        with database.write() as session:
            items.add(session, task, new_items(task, entries, split=Split(split)), actor="benchmark", now=utc_now())
        backbone, mode = encoders.backbone(NAME), PromptMode(asked.prompt)
        embed_entries(database, task, entries, backbone=backbone, mode=mode, now=utc_now())


def fit_and_judge(asked: Asked, database: Database) -> tuple[int, Evaluation]:
    """Fit the logistic head and run the gate; return the adapter's number and what the gate said."""
    from storage.database import utc_now
    from workers.config import WorkerSettings
    from workers.fewshot.contracts import PromptMode
    from workers.fewshot.evaluating import evaluate
    from workers.fewshot.fitting import Wanted, fit, recipe_for
    from workers.fewshot.heads import HeadName

    wanted = Wanted(None, PromptMode(asked.prompt), HeadName.LOGISTIC, 0)
    recipe = recipe_for(WorkerSettings(device="cpu"), wanted, before=None)
    adapter = fit(database, TASK, recipe, actor="benchmark", now=utc_now())
    return adapter.id, evaluate(database, adapter.id, actor="benchmark", now=utc_now())


def ask(
    asked: Asked, database: Database, encoders: InstalledEncoders, lists: PictureLists, *, adapter: int
) -> list[ImageLabel]:
    """Label every evaluation picture as a volume, whatever the gate said of the adapter."""
    from storage.fewshot import adapters, tasks
    from tests.support.picture_lists import volume_of
    from workers.fewshot.serving import PromotedClassifiers

    with database.read() as session:
        task, record = tasks.find(session, TASK), adapters.find(session, adapter)
    served = PromotedClassifiers(database, encoders).serve(task, record)
    return [
        served.classify_image(volume_of(picture, modality=asked.modality)) for picture in lists.pictures["evaluation"]
    ]


def report(truth: Sequence[str], labels: Sequence[ImageLabel]) -> None:
    """Print coverage of the sets, abstentions by reason, and accuracy where a label was given."""
    given = [label.classification for label in labels]
    held = [
        one.prediction is not None and own in one.prediction.label_set for one, own in zip(given, truth, strict=True)
    ]
    answered = [(own, one.label) for own, one in zip(truth, given, strict=True) if one.label is not None]
    right = sum(own == label for own, label in answered)
    reasons = Counter(one.abstained for one in given if one.abstained)
    print(f"{len(given)} volumes: true class in the set {sum(held) / len(held):.3f}")
    print(f"labelled {len(answered)}, of these right {right}; abstained {dict(reasons)}")


if __name__ == "__main__":
    main()
