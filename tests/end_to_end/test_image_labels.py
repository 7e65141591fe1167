"""From a folder of real pictures, by the command line, to the label of an image of a patient whom nothing has seen."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

from console.installation import open_installation
from storage.domain import Classification, Presence
from storage.fewshot import items, tasks
from storage.objects import ObjectStore
from tests.support.commands import oncue
from tests.support.images import ImagePlan, image
from tests.support.peers import orthanc, storescu
from tests.support.picture_lists import PictureLists, draw_lists, volume_of
from tests.support.required import present
from tests.support.system import QUICK, oncue_up
from workers.errors import TaskNotPromoted
from workers.fewshot.lesion_views import InstalledEncoders
from workers.fewshot.pictures import LabelledPicture
from workers.fewshot.serving import PromotedClassifiers
from workers.image_labels import image_finding, label_image

pytestmark = [pytest.mark.peer, pytest.mark.slow, pytest.mark.timeout(900)]

UNSETTLED = {"subgroups:sex", "subgroups:age_band", "subgroups:site", "calibration"}
"""What the public lists do not record, and what so few patients may leave open."""


ONLY_LABELS = {key: value for key, value in QUICK.items() if key not in {"ONCUE_WORKER_CLASSIFY", "ONCUE_WORKER_GUARD"}}
ROUTES = """
version = 1

[[route]]
name = "whole-image"
analyser = "label"
task = "whole"
unfamiliar = "send"
match = {{ modality = ["{modality}"], body_part = ["{region}"] }}
"""


@dataclass(frozen=True)
class Question:
    """What is asked of which public set."""

    folder: str
    modality: str
    body_part: str
    positive: str
    judged: int
    """Patients of each class that the gate sees; it wants 50 in all."""
    classes: Mapping[str, str] = field(default_factory=dict)

    @property
    def patients(self) -> Mapping[str, int]:
        """How many of each class serve what; nothing ever sees the last ones."""
        return {"support": 16, "calibration": 20, "evaluation": self.judged, "unseen": 5}


QUESTIONS = (
    Question("lung-xray-children", "DX", "chest", "bacteria", 20),
    Question("covid-xray", "DX", "chest", "covid", 26, {"normal": "other", "viral-pneumonia": "other"}),
    Question("breast-ultrasound", "US", "breast", "malignant", 26, {"benign": "other", "normal": "other"}),
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


def unsettled(state: Path) -> list[str]:
    """Return the checks that stand in the way of the adapter, which all must have had too little data to say."""
    (shown,) = oncue("classification", "show", "whole", "--state", state, "--json").json
    standing = [one for one in shown["evaluation"]["checks"] if one["blocks"] and one["verdict"] != "PASS"]
    assert {one["verdict"] for one in standing} == {"INSUFFICIENT"}, standing
    return [one["name"] for one in standing]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.folder)
def test_an_image_of_an_unseen_patient_gets_a_label_from_a_few_pictures(
    real_data: Path, objects: ObjectStore, tmp_path: Path, question: Question
) -> None:
    source = present(real_data / question.folder)
    lists = draw_lists(source, tmp_path / "lists", patients=question.patients, classes=question.classes)
    state = tmp_path / "state"
    installation = open_installation(state, file=None)
    installation.prepare()
    take_in(question, lists, state)
    standing = unsettled(state)
    assert set(standing) <= UNSETTLED
    encoders = InstalledEncoders(installation.settings.worker.models_folder(), torch.device("cpu"))
    classifiers = PromotedClassifiers(installation.database, encoders)
    unseen = [(one.label, volume_of(one, modality=question.modality)) for one in lists.pictures["unseen"]]
    with pytest.raises(TaskNotPromoted):
        label_image(classifiers, unseen[0][1], task="whole")
    overrides = [word for name in standing for word in ("--override", f"{name}=a public list, for this test")]
    promote = ("promote", "whole", "1", *overrides)
    check_over_dicom(question, lists.pictures["unseen"][0], state, tmp_path, promote=promote)
    given = [(truth, label_image(classifiers, volume, task="whole")) for truth, volume in unseen]
    check_labels([(truth, label.classification) for truth, label in given])
    finding = image_finding(given[0][1], unseen[0][1], objects, input_sha256="1" * 64)
    assert (finding.number, finding.presence) == (0, Presence.ASSESSED)
    assert finding.prediction is not None
    with installation.database.read() as session:
        known = {item.id: item.label for item in items.in_use(session, tasks.find(session, "whole"))}
    assert all(known[one.item] == one.label for one in finding.prediction.nearest)
    installation.database.dispose()


def check_over_dicom(
    question: Question, shown: LabelledPicture, state: Path, folder: Path, *, promote: Sequence[str]
) -> None:
    """Send an unseen patient's image as its modality does, and find the label in the report that the PACS got.

    It waits for its task, visibly and without a failed attempt, until ``promote`` lets the adapter predict.
    """
    pixels = np.asarray(Image.fromarray(shown.read()).convert("L"))
    sent = image(ImagePlan(question.modality), pixels, BodyPartExamined=question.body_part.upper())
    path = folder / "image.dcm"
    sent.save_as(path, enforce_file_format=True)
    routes = folder / "routes.toml"
    routes.write_text(ROUTES.format(modality=question.modality, region=question.body_part))
    (folder / "pacs").mkdir()
    with (
        orthanc(folder / "pacs") as pacs,
        oncue_up(
            state,
            destinations=[f"ORTHANC@127.0.0.1:{pacs.port}"],
            variables={**ONLY_LABELS, "ONCUE_GATEWAY_ROUTES": str(routes)},
        ) as system,
    ):
        assert storescu("ONCUE", system.port, path).returncode == 0
        system.wait_for("studies", "list", until=_waits)
        assert oncue("classification", *promote, "--state", state).code == 0
        (study,) = system.wait_for("studies", "list", until=_ended)
        assert study["state"] == "succeeded", system.ask("jobs", "show", "1")
        system.wait_for("deliveries", "list", until=lambda found: bool(found) and found[0]["state"] == "sent")
        (uid,) = pacs.sop_instance_uids()
        assert [job["attempts"] for job in system.ask("jobs", "list")] == [1]
        report = pydicom.dcmread(io.BytesIO(pacs.file(uid)))
    (analysis,) = study["analyses"]
    assert analysis["volume_ml"] is None
    text = report.to_json()
    assert str(sent.SOPInstanceUID) in text
    assert report.Modality == "SR"
    assert "routes_sha256=" in text
    label = analysis["finding"]
    assert label in text if not label.startswith("no label") else "bstain" in text


def _waits(studies: list[dict[str, Any]]) -> bool:
    return [(job["state"], job["code"]) for one in studies for job in one["analyses"]] == [
        ("queued", "task_not_promoted")
    ]


def _ended(studies: list[dict[str, Any]]) -> bool:
    return len(studies) == 1 and studies[0]["state"] in {"succeeded", "failed", "not_applicable"}


def check_labels(given: Sequence[tuple[str, Classification]]) -> None:
    """Ask for sets that mostly hold the truth, for some answers, and that most of these are right."""
    held = [one.prediction is not None and truth in one.prediction.label_set for truth, one in given]
    answered = [(truth, one.label) for truth, one in given if one.label is not None]
    assert sum(held) >= 0.7 * len(given)
    assert answered
    assert sum(truth == label for truth, label in answered) >= 0.7 * len(answered)
