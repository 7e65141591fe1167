"""The workflow from items to served adapter, on made-up vectors; sexes, sites and masks behave as told."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from storage import audit
from storage.database import Database, connect
from storage.errors import RecordMissing
from storage.fewshot import adapters, embeddings, items, promotions, tasks
from storage.fewshot.adapters import Adapter, Recipe
from storage.fewshot.embeddings import MaskUsed
from storage.fewshot.errors import ItemRefused
from storage.fewshot.items import NewItem, Split
from storage.fewshot.promotions import Decision
from storage.fewshot.verdicts import Verdict
from storage.migrate import upgrade
from storage.volumes import Geometry, Volume
from tests.support.classification import DRAFT, NOW
from workers.errors import AnotherBackbone, OneClassOnly, WeightsMismatch
from workers.fewshot.classifier import Abstention, read_adapter
from workers.fewshot.evaluating import evaluate
from workers.fewshot.fitting import FREEZE_ALL, fit
from workers.fewshot.lesion_views import LesionView, Placement
from workers.fewshot.serving import PromotedClassifiers, ServedAdapter, UnusableAdapter

KEY = "net:abc:crop:v1"
WEIGHTS = "a" * 64
RECIPE = Recipe(KEY, "net", WEIGHTS, "Apache-2.0", True, "crop", "segmentation", "prototypes", FREEZE_ALL, 0)
SIZE = 12
DIRECTION = np.eye(SIZE, dtype=np.float32)[0]
ASIDE = np.eye(SIZE, dtype=np.float32)[1]
GEOMETRY = Geometry((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (5.0, 1.0, 1.0))
PATIENTS = {Split.SUPPORT: 12, Split.CALIBRATION: 20, Split.EVALUATION: 60}


def fill(
    database: Database, *, men: float = 0.5, splits: dict[Split, int] | None = None, backwards: bool = False
) -> None:
    """Record two items, one of each class, for so many patients of each split."""
    rows = []
    for split, patients in (splits or PATIENTS).items():
        for number in range(patients):
            sex = "M" if number < men * patients else "F"
            rows += [(split, f"{split.value}{number}", sex, label) for label in DRAFT.classes]
    with database.write() as session:
        task = tasks.create(session, DRAFT, actor="test", now=NOW, salt="5" * 64)
        new = [
            NewItem(
                task.patient_key(patient),
                split,
                label,
                f"file:{patient}{label}",
                hashlib.sha256(f"{patient}{label}".encode()).hexdigest(),
                area=0.1,
                sex=sex,
                age_band=("young", "old")[place // 2 % 2],
                site=("a", "b")[place // 4 % 2],
            )
            for place, (split, patient, sex, label) in enumerate(rows)
        ]
        new = new[::-1] if backwards else new
        numbers = items.add(session, task, new, actor="test", now=NOW)
        for mask in MaskUsed:
            vectors = {number: vector_of(item, mask) for number, item in zip(numbers, new, strict=True)}
            embeddings.put(session, vectors, embedding_key=KEY, mask=mask, now=NOW)


def vector_of(item: NewItem, mask: MaskUsed) -> np.ndarray:
    """Give a vector that shows the class under its own mask, and nothing under another."""
    rng = np.random.default_rng(int(item.image_sha256[:8], 16))
    sign = 1.0 if item.label == "striped" else -1.0
    signal = 1.2 * sign * DIRECTION if mask is MaskUsed.OWN else 0.0 * DIRECTION
    return np.asarray(signal + rng.normal(0, 0.35, SIZE), dtype=np.float32)


def fitted(database: Database, recipe: Recipe = RECIPE) -> Adapter:
    return fit(database, DRAFT.name, recipe, actor="test", now=NOW)


def promoted(database: Database) -> Adapter:
    adapter = fitted(database)
    evaluate(database, adapter.id, actor="test", now=NOW)
    with database.write() as session:
        task = tasks.find(session, DRAFT.name)
        decided = promotions.promote(session, task, adapter, overrides=(), reason="", actor="test", now=NOW)
    assert decided.decision is Decision.PROMOTED, decided.reason
    return adapter


@dataclass(frozen=True)
class FakeEncoder:
    """Sees whatever vector it was told to."""

    vector: np.ndarray
    area: float = 0.1
    key: str = KEY
    backbone_sha256: str = WEIGHTS

    def view(self, _volume: Volume, mask: np.ndarray) -> LesionView | None:
        if mask.sum() < 2:
            return None
        cells = np.tile(self.vector, (1, 2, 2, 1)).astype(np.float32)
        cells[0, 0, 0] -= 0.5 * ASIDE
        cells[0, 1, 1] += 0.5 * ASIDE
        return LesionView(self.vector.astype(np.float32), self.area, (1,), (Placement(0, 0, 8, 8),), cells)

    def attention(self, _look: LesionView) -> None:
        return None


@dataclass(frozen=True)
class FakeEncoders:
    encoder: FakeEncoder

    def open(self, _adapter: Adapter) -> FakeEncoder:
        return self.encoder


def volume_and_lesion() -> tuple[Volume, np.ndarray]:
    mask = np.zeros((3, 8, 8), dtype=bool)
    mask[1, :4, :4] = True
    return Volume(np.zeros((3, 8, 8), np.float32), GEOMETRY, "MR", "1.2", "1.3", None, ()), mask


def serve(database: Database, encoder: FakeEncoder) -> ServedAdapter:
    served = PromotedClassifiers(database, FakeEncoders(encoder)).for_volume(volume_and_lesion()[0])
    assert isinstance(served, ServedAdapter)
    return served


@pytest.mark.slow
def test_the_same_items_and_seed_give_the_same_bytes_in_any_order_and_any_database(tmp_path: Path) -> None:
    digests = set()
    for name, backwards in (("one", False), ("other", True)):
        database = connect(f"sqlite:///{tmp_path / name}.sqlite")
        upgrade(database)
        fill(database, backwards=backwards)
        adapter = fitted(database)
        assert fitted(database) == adapter
        digests.add(adapter.artefact_sha256)
        with database.read() as session:
            content = adapters.artefact(session, adapter.id)
        assert read_adapter(content).to_bytes() == content
        database.dispose()
    assert len(digests) == 1


@pytest.mark.parametrize("head", ["logistic", "tip-adapter"])
def test_every_head_is_deterministic_through_the_workflow(sqlite_database: Database, head: str) -> None:
    fill(sqlite_database, splits={Split.SUPPORT: 6, Split.CALIBRATION: 10})
    recipe = replace(RECIPE, head=head)
    assert fitted(sqlite_database, recipe) == fitted(sqlite_database, recipe)


def test_a_task_that_serves_everybody_goes_from_items_to_predictions(database: Database) -> None:
    fill(database)
    adapter = fitted(database)
    evaluation = evaluate(database, adapter.id, actor="test", now=NOW)
    found = {check.name: check.verdict for check in evaluation.judgement.checks}
    assert set(found.values()) == {Verdict.PASS}, evaluation.judgement.checks
    assert evaluation.judgement.attends_to_lesion
    assert "60 patients" in evaluation.judgement.card
    promoted(database)
    volume, lesion = volume_and_lesion()
    given = serve(database, FakeEncoder(1.2 * DIRECTION)).classify(volume, lesion)
    assert (given.label, given.abstained) == ("striped", None)
    assert given.prediction is not None
    assert given.prediction.label_set == ("striped",)
    assert [neighbour.label for neighbour in given.prediction.nearest] == ["striped"] * 3
    with database.read() as session:
        tags = [event.tag for event in audit.history(session, subject=f"task/{DRAFT.name}")]
    assert tags == [
        "task:created",
        "items:added",
        "adapter:fitted",
        "adapter:evaluated",
        "adapter:evaluated",
        "adapter:promoted",
    ]


@pytest.mark.slow
def test_few_men_block_the_promotion_until_somebody_answers_for_it(sqlite_database: Database) -> None:
    fill(sqlite_database, men=0.05)
    adapter = fitted(sqlite_database)
    evaluation = evaluate(sqlite_database, adapter.id, actor="test", now=NOW)
    assert evaluation.judgement.verdict is Verdict.INSUFFICIENT
    with sqlite_database.write() as session:
        task = tasks.find(session, DRAFT.name)
        decided = promotions.promote(session, task, adapter, overrides=(), reason="", actor="test", now=NOW)
    assert decided.decision is Decision.REFUSED
    assert decided.reason == "stands in the way: subgroups:sex"


@pytest.mark.parametrize(
    ("encoder", "reason"),
    [
        (FakeEncoder(1.2 * DIRECTION, area=0.9), Abstention.AREA_OUT_OF_RANGE),
        (FakeEncoder(5.0 * np.eye(SIZE)[7]), Abstention.FAR_FROM_SUPPORT),
    ],
    ids=["area", "far"],
)
def test_a_lesion_unlike_the_support_is_left_to_the_reader(
    sqlite_database: Database, encoder: FakeEncoder, reason: Abstention
) -> None:
    fill(sqlite_database)
    promoted(sqlite_database)
    given = serve(sqlite_database, encoder).classify(*volume_and_lesion())
    assert (given.label, given.probability, given.abstained) == (None, None, reason.value)
    assert given.prediction is not None
    assert len(given.prediction.nearest) == 3


def test_no_mask_and_a_set_of_two_are_reasons_to_abstain(sqlite_database: Database) -> None:
    fill(sqlite_database)
    promoted(sqlite_database)
    served = serve(sqlite_database, FakeEncoder(1.2 * DIRECTION))
    volume, lesion = volume_and_lesion()
    assert served.classify(volume, np.zeros_like(lesion)).abstained == "no_mask"
    unsure = replace(served, fitted=replace(served.fitted, threshold=0.0)).classify(volume, lesion)
    assert unsure.abstained == "ambiguous_set"
    assert unsure.prediction is not None
    assert unsure.prediction.label_set == DRAFT.classes


def test_saliency_lies_where_the_evidence_is_and_its_share_in_the_mask_is_told(sqlite_database: Database) -> None:
    fill(sqlite_database)
    promoted(sqlite_database)
    volume, lesion = volume_and_lesion()
    given = serve(sqlite_database, FakeEncoder(1.2 * DIRECTION + 0.3 * ASIDE)).classify(volume, lesion)
    assert given.saliency is not None
    assert given.saliency.slices == (1,)
    assert given.saliency.values.max() == 1.0
    assert given.saliency.values[0, 1, 1] > given.saliency.values[0, 6, 6]
    assert given.prediction is not None
    assert given.prediction.in_mask_share is not None
    assert given.prediction.in_mask_share > 0.5


def test_an_adapter_of_another_backbone_is_not_served_and_the_job_goes_on(sqlite_database: Database) -> None:
    fill(sqlite_database)
    promoted(sqlite_database)
    classifiers = PromotedClassifiers(sqlite_database, FakeEncoders(FakeEncoder(DIRECTION, backbone_sha256="b" * 64)))
    with pytest.raises(AnotherBackbone):
        classifiers.warm()
    volume, lesion = volume_and_lesion()
    served = classifiers.for_volume(volume)
    assert isinstance(served, UnusableAdapter)
    assert served.classify(volume, lesion).abstained == "another_backbone"


def test_only_a_promoted_adapter_of_the_right_modality_predicts_and_a_rollback_takes_effect_at_once(
    sqlite_database: Database,
) -> None:
    fill(sqlite_database)
    classifiers = PromotedClassifiers(sqlite_database, FakeEncoders(FakeEncoder(1.2 * DIRECTION)))
    volume, _ = volume_and_lesion()
    first = fitted(sqlite_database)
    assert classifiers.for_volume(volume) is None
    promoted(sqlite_database)
    second = fitted(sqlite_database, replace(RECIPE, seed=1))
    evaluate(sqlite_database, second.id, actor="test", now=NOW)
    with sqlite_database.write() as session:
        task = tasks.find(session, DRAFT.name)
        promotions.promote(session, task, second, overrides=(), reason="", actor="test", now=NOW)
    assert _number(classifiers, volume) == second.id
    assert classifiers.for_volume(replace(volume, modality="CT")) is None
    with sqlite_database.write() as session:
        promotions.roll_back(session, task, reason="worse", actor="test", now=NOW)
    assert _number(classifiers, volume) == first.id


def test_what_cannot_be_fitted_or_judged_is_refused_by_name(sqlite_database: Database) -> None:
    fill(sqlite_database, splits={Split.SUPPORT: 4})
    with pytest.raises(RecordMissing, match="embed"):
        fitted(sqlite_database, replace(RECIPE, embedding_key="another"))
    with pytest.raises(ItemRefused, match="there are prototypes"):
        fitted(sqlite_database, replace(RECIPE, head="oracle"))
    with pytest.raises(ItemRefused, match="no evaluation items"):
        evaluate(sqlite_database, fitted(sqlite_database).id, actor="test", now=NOW)
    with sqlite_database.write() as session:
        task = tasks.find(session, DRAFT.name)
        for item in items.in_use(session, task):
            if item.label == "plain":
                items.relabel(session, item.id, None, task=task, labeller="test", reason="gone", now=NOW)
    with pytest.raises(OneClassOnly):
        fitted(sqlite_database)
    with pytest.raises(ItemRefused, match="not finite"), sqlite_database.write() as session:
        embeddings.put(session, {1: np.full(SIZE, np.nan, np.float32)}, embedding_key="x", mask=MaskUsed.OWN, now=NOW)


def test_a_damaged_adapter_is_refused() -> None:
    with pytest.raises(WeightsMismatch, match="fit it again"):
        read_adapter(b"something else")


def _number(classifiers: PromotedClassifiers, volume: Volume) -> int:
    served = classifiers.for_volume(volume)
    assert isinstance(served, ServedAdapter)
    return served.record.id
