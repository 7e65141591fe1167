"""From a folder of real pictures, by the command line, to the label of an image of a patient whom nothing has seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from console.installation import open_installation
from storage.domain import Presence
from storage.fewshot import items, tasks
from storage.objects import ObjectStore
from tests.support.commands import oncue
from tests.support.picture_lists import PictureLists, draw_lists, volume_of
from tests.support.required import present
from workers.errors import TaskNotPromoted
from workers.fewshot.lesion_views import InstalledEncoders
from workers.fewshot.serving import PromotedClassifiers
from workers.image_labels import image_finding, label_image

pytestmark = pytest.mark.slow

PATIENTS = {"support": 16, "calibration": 20, "evaluation": 30, "unseen": 5}
"""Patients of each class."""
REASONS = {"subgroups:sex", "subgroups:age_band", "subgroups:site"}
"""What the public lists do not record."""


@dataclass(frozen=True)
class Question:
    """What is asked of which public set."""

    folder: str
    modality: str
    positive: str
    classes: Mapping[str, str]


RADIOGRAPHS = Question("lung-xray-children", "DX", "pneumonia", {"bacteria": "pneumonia", "virus": "pneumonia"})
QUESTIONS = (
    RADIOGRAPHS,
    Question("covid-xray", "DX", "covid", {"normal": "other", "viral-pneumonia": "other"}),
    Question("breast-ultrasound", "US", "lesion", {"benign": "lesion", "malignant": "lesion"}),
)


def take_in(question: Question, lists: PictureLists, state: Path) -> None:
    """Make a task of whole images and fit an adapter, as a department does."""
    classes = sorted({picture.label for picture in lists.pictures["support"]})
    named = [word for name in classes for word in ("--class", name)]
    asked = ("--positive", question.positive, "--modality", question.modality)
    use = ("--use", "Order of reading.", "--not-for", "Diagnosis.")
    splits = ("support", "calibration", "evaluation")
    for command in (
        ("task", "create", "whole", *named, *asked, *use),
        *(("items", "add", "whole", lists.folders[one], "--split", one, "--prompt", "none") for one in splits),
        ("fit", "whole", "--prompt", "none", "--head", "logistic"),
        ("evaluate", 1),
    ):
        ran = oncue("classification", *command, "--state", state)
        assert ran.code == 0, ran.err


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.folder)
def test_an_image_of_an_unseen_patient_gets_a_label_from_a_few_pictures(
    real_data: Path, tmp_path: Path, question: Question
) -> None:
    lists = draw_lists(
        present(real_data / question.folder), tmp_path / "lists", patients=PATIENTS, classes=question.classes
    )
    state = tmp_path / "state"
    installation = open_installation(state, file=None)
    installation.prepare()
    take_in(question, lists, state)
    (shown,) = oncue("classification", "show", "whole", "--state", state, "--json").json
    checks = shown["evaluation"]["checks"]
    assert {one["name"] for one in checks if one["blocks"] and one["verdict"] != "PASS"} == REASONS, checks
    objects = ObjectStore(state / "objects")
    objects.prepare()
    classifiers = PromotedClassifiers(
        installation.database, InstalledEncoders(installation.settings.worker.models_folder(), torch.device("cpu"))
    )
    volumes = [(one.label, volume_of(one, modality=question.modality)) for one in lists.pictures["unseen"]]
    with pytest.raises(TaskNotPromoted):
        label_image(classifiers, volumes[0][1], task="whole")
    overrides = [word for name in sorted(REASONS) for word in ("--override", f"{name}=the public list does not say")]
    assert oncue("classification", "promote", "whole", 1, *overrides, "--state", state).code == 0
    labels = [label_image(classifiers, volume, task="whole").classification for _, volume in volumes]
    covered = sum(
        label.prediction is not None and truth in label.prediction.label_set
        for label, (truth, _) in zip(labels, volumes, strict=True)
    )
    right = sum(label.label == truth for label, (truth, _) in zip(labels, volumes, strict=True))
    given = sum(label.label is not None for label in labels)
    assert covered >= 0.7 * len(volumes)
    assert given >= 1
    assert right >= 0.7 * given
    finding = image_finding(
        label_image(classifiers, volumes[0][1], task=None), volumes[0][1], objects, input_sha256="1" * 64
    )
    assert finding.presence is Presence.ASSESSED
    assert finding.prediction is not None
    with installation.database.read() as session:
        known = {item.id: item.label for item in items.in_use(session, tasks.find(session, "whole"))}
    assert all(known[one.item] == one.label for one in finding.prediction.nearest)
    installation.database.dispose()
