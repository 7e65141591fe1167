"""Labels of whole images by tiny random encoders, taken in, fitted and served as the product does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from storage import arrays
from storage.database import Database
from storage.domain import Presence
from storage.fewshot import items, promotions, tasks
from storage.fewshot.adapters import Adapter
from storage.objects import ObjectStore
from storage.volumes import Extent, FrameRef, Geometry, Volume
from tests.support.classification import DRAFT, NOW, PASSING, judge
from tests.support.encoder_folders import models
from tests.support.encoders import write_pictures
from workers.config import WorkerSettings
from workers.errors import TaskNotPromoted, TaskUnsuitable, UnsuitableVolume
from workers.fewshot.contracts import PromptMode
from workers.fewshot.evaluating import evaluate
from workers.fewshot.fitting import Wanted, fit, recipe_for
from workers.fewshot.folder_items import embed_entries, new_items, read_entries
from workers.fewshot.heads import HeadName
from workers.fewshot.lesion_views import InstalledEncoders
from workers.fewshot.pictures import PictureSource, read_pictures
from workers.fewshot.serving import PromotedClassifiers, ServedAdapter
from workers.image_labels import IMAGING_FINDING, image_finding, label_image

__all__ = ["models"]

pytestmark = pytest.mark.slow

GEOMETRY = Geometry((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1.0, 1.0, 1.0))
DIGEST = "1" * 64
VIT, RESNET = "tiny-vit", "tiny-resnet"


@dataclass(frozen=True)
class Department:
    """A database, the encoders that are installed, and a folder of labelled pictures."""

    database: Database
    models: Path
    pictures: Path

    @property
    def classifiers(self) -> PromotedClassifiers:
        return PromotedClassifiers(self.database, InstalledEncoders(self.models, torch.device("cpu")))

    def fitted(self, name: str, *, mode: PromptMode = PromptMode.NONE, modality: str = "DX", net: str = VIT) -> Adapter:
        """Take the pictures into a new task and fit an adapter, which is not promoted."""
        entries = read_entries(PictureSource(self.pictures))
        with self.database.write() as session:
            draft = replace(DRAFT, name=name, modality=modality)
            task = tasks.create(session, draft, actor="test", now=NOW, salt="5" * 64)
            items.add(session, task, new_items(task, entries, split=None), actor="test", now=NOW)
        backbone = InstalledEncoders(self.models, torch.device("cpu")).backbone(net)
        embed_entries(self.database, task, entries, backbone=backbone, mode=mode, now=NOW)
        settings = WorkerSettings(device="cpu", models=self.models)
        recipe = recipe_for(settings, Wanted(net, mode, HeadName.LOGISTIC, 0), before=None)
        return fit(self.database, name, recipe, actor="test", now=NOW)

    def promoted(
        self, name: str, *, mode: PromptMode = PromptMode.NONE, modality: str = "DX", net: str = VIT
    ) -> Adapter:
        """Fit an adapter and promote it behind a gate that lets it pass."""
        adapter = self.fitted(name, mode=mode, modality=modality, net=net)
        with self.database.write() as session:
            task = tasks.find(session, name)
            judge(session, task, adapter, PASSING)
            promotions.promote(session, task, adapter, overrides=(), reason="", actor="test", now=NOW)
        return adapter


@pytest.fixture
def department(sqlite_database: Database, models: Path, tmp_path: Path) -> Department:
    return Department(sqlite_database, models, write_pictures(tmp_path / "discs", patients=24))


def image_of(department: Department, place: int = 0, *, modality: str = "DX") -> Volume:
    """Return one picture of the folder as it comes from a modality: one slice, nothing known of its size."""
    picture = read_pictures([PictureSource(department.pictures)])[place].read()[..., 0]
    return image(picture.astype(np.float32)[None], modality=modality)


def image(voxels: np.ndarray, *, modality: str = "DX") -> Volume:
    frames = tuple(FrameRef(f"1.2.{z}", "1.2", None, "0" * 64) for z in range(len(voxels)))
    return Volume(voxels, GEOMETRY, modality, "1.2.3", "1.2.4", None, frames, extent=Extent.UNKNOWN)


@pytest.mark.parametrize(
    ("net", "mode"), [(VIT, PromptMode.NONE), (RESNET, PromptMode.NONE), (VIT, PromptMode.THREE_LOOKS)]
)
def test_a_whole_image_gets_set_neighbours_and_a_map_of_its_own_shape(
    department: Department, objects: ObjectStore, net: str, mode: PromptMode
) -> None:
    adapter = department.promoted("chest", net=net, mode=mode)
    volume = image_of(department)
    label = label_image(department.classifiers, volume, task="chest")
    given = label.classification
    assert (given.label is None) != (given.abstained is None)
    assert given.prediction is not None
    assert given.prediction.adapter == adapter.id
    assert set(given.prediction.label_set) <= set(DRAFT.classes)
    assert len(given.prediction.nearest) == 3
    assert given.prediction.nearest[0].similarity == pytest.approx(1.0, abs=1e-3), "the image is one of the support"
    assert given.saliency is not None
    assert given.saliency.values.shape == (1, *volume.voxels.shape[1:])
    assert 0.0 <= given.saliency.values.min() < given.saliency.values.max() <= 1.0
    finding = image_finding(label, volume, objects, input_sha256=DIGEST)
    assert finding.prediction is not None
    assert finding.prediction.saliency is not None
    assert arrays.load_saliency(objects, finding.prediction.saliency).values.shape == given.saliency.values.shape


def test_the_finding_says_a_label_and_nothing_of_a_lesion_or_a_size(
    department: Department, objects: ObjectStore
) -> None:
    department.promoted("chest")
    volume = image_of(department)
    label = label_image(department.classifiers, volume, task="chest")
    finding = image_finding(label, volume, objects, input_sha256=DIGEST)
    assert (finding.number, finding.presence, finding.concept) == (0, Presence.ASSESSED, IMAGING_FINDING)
    assert (finding.extent, finding.volume_ml, finding.longest_diameter_mm) == (Extent.UNKNOWN, 0.0, 0.0)
    assert finding.confidence == (finding.label_probability or 0.0)
    assert finding.prediction is not None
    assert (finding.prediction.in_mask_share, finding.prediction.attends_to_lesion) == (None, False)


def test_the_same_image_keeps_its_tracking_uid_and_another_gets_another(
    department: Department, objects: ObjectStore
) -> None:
    department.promoted("chest")
    volume = image_of(department)
    label = label_image(department.classifiers, volume, task=None)
    uids = [image_finding(label, volume, objects, input_sha256=digest * 64).tracking_uid for digest in "112"]
    assert uids[0] == uids[1] != uids[2]


def test_a_series_is_labelled_by_the_slice_of_most_contrast_in_its_middle_half(department: Department) -> None:
    department.promoted("chest", modality="CT")
    stack = np.repeat(image_of(department).voxels * 0.2, 8, axis=0)
    stack[0] *= 9.0
    stack[4] *= 5.0
    given = label_image(department.classifiers, image(stack, modality="CT"), task="chest").classification
    assert given.saliency is not None
    assert given.saliency.slices == (4,)
    assert given.saliency.values.shape == (1, *stack.shape[1:])


def test_an_image_unlike_the_support_is_left_to_the_reader_and_said_to_be_unfamiliar(department: Department) -> None:
    department.promoted("chest")
    served = department.classifiers.named("chest")
    assert isinstance(served, ServedAdapter)
    ramp = image(np.tile(np.linspace(0, 1, 64, dtype=np.float32) ** 4, (64, 1))[None])
    given = served.classify_image(ramp).classification
    assert given.prediction is not None
    assert given.prediction.distance is not None
    strict = replace(served, fitted=replace(served.fitted, farthest=given.prediction.distance / 3))
    label = strict.classify_image(ramp)
    assert (label.classification.label, label.classification.abstained) == (None, "far_from_support")
    assert label.out_of_distribution == pytest.approx(2.0)
    assert label.case_score == 0.0
    assert strict.classify_image(image_of(department)).out_of_distribution == 0.0


def test_masks_of_the_support_do_not_bound_a_whole_image(department: Department) -> None:
    department.promoted("chest")
    served = department.classifiers.named("chest")
    assert isinstance(served, ServedAdapter)
    assert served.fitted.areas[1] < 1.0, "the pictures were listed with masks"
    sure = replace(served, fitted=replace(served.fitted, threshold=0.5)).classify_image(image_of(department))
    assert sure.classification.label in DRAFT.classes
    unsure = replace(served, fitted=replace(served.fitted, threshold=0.0)).classify_image(image_of(department))
    assert unsure.classification.abstained == "ambiguous_set"


def test_a_task_without_a_promoted_adapter_is_refused_with_what_to_do(department: Department) -> None:
    department.fitted("chest")
    volume = image_of(department)
    for task, words in (("chest", "classification promote"), ("breast", "'breast'"), (None, "--prompt none")):
        with pytest.raises(TaskNotPromoted, match=words) as caught:
            label_image(department.classifiers, volume, task=task)
        assert (caught.value.code, caught.value.retryable) == ("task_not_promoted", False)
    assert department.classifiers.named("chest") is None
    assert department.classifiers.named("breast") is None


def test_an_adapter_that_looks_at_whole_images_labels_no_lesion_and_the_other_way_round(department: Department) -> None:
    department.promoted("chest")
    lesions = department.promoted("nodule", mode=PromptMode.CROP)
    classifiers, volume = department.classifiers, image_of(department)
    found = classifiers.for_volume(volume)
    assert isinstance(found, ServedAdapter)
    assert found.record.id == lesions.id
    with pytest.raises(TaskUnsuitable, match="labels each image"):
        classifiers.for_volume(volume, task="chest")
    with pytest.raises(TaskUnsuitable, match="labels each lesion"):
        label_image(classifiers, volume, task="nodule")


def test_a_route_that_names_a_task_gets_its_adapter_and_one_for_another_modality_is_refused(
    department: Department,
) -> None:
    first, second = (department.promoted(name, mode=PromptMode.CROP, modality="") for name in ("aaa", "bbb"))
    volume = image_of(department)
    numbers = [department.classifiers.for_volume(volume, task=task) for task in (None, "aaa", "bbb")]
    assert [one.record.id for one in numbers if isinstance(one, ServedAdapter)] == [first.id, first.id, second.id]
    department.promoted("chest", modality="DX")
    with pytest.raises(TaskUnsuitable, match="for DX, the route's images are US"):
        label_image(department.classifiers, replace(volume, modality="US"), task="chest")


def test_an_adapter_that_cannot_be_served_abstains_with_its_code(department: Department, tmp_path: Path) -> None:
    department.promoted("chest")
    elsewhere = PromotedClassifiers(department.database, InstalledEncoders(tmp_path, torch.device("cpu")))
    label = label_image(elsewhere, image_of(department), task="chest")
    assert (label.classification.label, label.classification.abstained) == (None, "backbone_missing")
    assert label.classification.saliency is None


@pytest.mark.parametrize(
    "spoil",
    [lambda voxels: np.full_like(voxels, 7.0), lambda voxels: np.where(voxels > 90, np.nan, voxels)],
    ids=["one value", "not finite"],
)
def test_an_image_that_shows_nothing_is_refused(
    department: Department, spoil: Callable[[np.ndarray], np.ndarray]
) -> None:
    volume = image_of(department)
    with pytest.raises(UnsuitableVolume):
        label_image(department.classifiers, replace(volume, voxels=spoil(volume.voxels)), task="chest")


def test_the_model_card_of_whole_images_speaks_of_no_mask(department: Department) -> None:
    adapter = department.fitted("chest")
    card = evaluate(department.database, adapter.id, actor="test", now=NOW).judgement.card
    assert "none, labels whole images" in card
    assert "far_from_support, ambiguous_set" in card
    assert "no_mask" not in card
