"""The few-shot head with the real backbone. Real images only where they are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from storage.database import Database
from storage.domain import Geometry, Volume
from tests.conftest import ROOT
from workers.classification import focus
from workers.classification.backbone import FEATURES, Backbone
from workers.classification.classifier import MASK_TOO_SMALL, SUPPORT_TOO_SMALL, FewShotClassifier, support_digest
from workers.classification.collection import leave_one_patient_out
from workers.classification.prototypes import LEAST_EXAMPLES, Example, fit
from workers.classification.starter import FOLDER, Sample, read_starter, write_starter
from workers.config import WorkerSettings
from workers.errors import WeightsMismatch
from workers.support_set import import_starter, open_classifier
from workers.training.patients import Role, role

GEOMETRY = Geometry((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (5.0, 1.0, 1.0))


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return Backbone.load(device=torch.device("cpu"))


def _volume(voxels: np.ndarray) -> Volume:
    return Volume(voxels.astype(np.float32), GEOMETRY, "MR", "1.2", "1.3", None, ())


def _textured(rng: np.random.Generator, *, striped: bool) -> tuple[Volume, np.ndarray]:
    """Draw a noisy volume with a striped or a plain disc; return it with the disc's mask."""
    voxels = rng.normal(100, 5, (3, 96, 96))
    rows, columns = np.mgrid[:96, :96]
    centre = rng.integers(30, 66, 2)
    disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < 14**2
    texture = 60 * np.sign(np.sin(columns)) if striped else np.full((96, 96), 60.0)
    voxels[1][disc] += texture[disc]
    mask = np.zeros(voxels.shape, dtype=bool)
    mask[1] = disc
    return _volume(voxels), mask


def _fitted(backbone: Backbone, rng: np.random.Generator) -> FewShotClassifier:
    from workers.classification.classifier import embed_lesion

    examples = []
    for index in range(12):
        volume, mask = _textured(rng, striped=index % 2 == 0)
        embedding = embed_lesion(backbone, volume, mask)
        assert embedding is not None
        examples.append(Example("striped" if index % 2 == 0 else "plain", embedding))
    return FewShotClassifier.fitted(backbone, examples, task="texture", weights_sha256="0" * 64)


def test_a_handful_of_examples_is_enough_to_tell_textures_apart(backbone: Backbone) -> None:
    rng = np.random.default_rng(1)
    classifier = _fitted(backbone, rng)
    for striped in (True, False, True, False):
        volume, mask = _textured(rng, striped=striped)
        given = classifier.classify(volume, mask)
        assert given.label == ("striped" if striped else "plain")
        assert given.probability is not None
        assert given.probability > 0.5


def test_the_label_follows_the_mask_and_not_the_rest_of_the_picture(backbone: Backbone) -> None:
    rng = np.random.default_rng(2)
    classifier = _fitted(backbone, rng)
    voxels = rng.normal(100, 5, (3, 160, 160))
    rows, columns = np.mgrid[:160, :160]
    discs = [(rows - place) ** 2 + (columns - place) ** 2 < 14**2 for place in (40, 120)]
    voxels[1][discs[0]] += 60 * np.sign(np.sin(columns[discs[0]]))
    voxels[1][discs[1]] += 60
    for disc, label in zip(discs, ("striped", "plain"), strict=True):
        mask = np.zeros(voxels.shape, dtype=bool)
        mask[1] = disc
        assert classifier.classify(_volume(voxels), mask).label == label


def test_too_small_a_lesion_and_too_few_examples_are_reasons_to_abstain(backbone: Backbone) -> None:
    rng = np.random.default_rng(3)
    volume, mask = _textured(rng, striped=True)
    speck = np.zeros_like(mask)
    speck[1, 40:42, 40:42] = True
    assert _fitted(backbone, rng).classify(volume, speck).abstained == MASK_TOO_SMALL
    empty = FewShotClassifier.fitted(backbone, [], task="texture", weights_sha256="0" * 64)
    given = empty.classify(volume, mask)
    assert (given.label, given.probability, given.abstained) == (None, None, SUPPORT_TOO_SMALL)


def test_a_class_with_too_few_examples_is_not_compared_with() -> None:
    rng = np.random.default_rng(4)
    examples = [Example("a", rng.normal(size=8).astype(np.float32)) for _ in range(LEAST_EXAMPLES)]
    assert fit(examples) is None
    few = [Example("b", rng.normal(size=8).astype(np.float32)) for _ in range(LEAST_EXAMPLES - 1)]
    assert fit([*examples, *few]) is None
    head = fit([*examples, *few, Example("b", np.zeros(8, np.float32))])
    assert head is not None
    assert head.labels == ("a", "b")


def test_the_same_support_set_gives_the_same_head_in_any_order() -> None:
    rng = np.random.default_rng(5)
    examples = [Example("ab"[index % 2], rng.normal(size=8).astype(np.float32)) for index in range(20)]
    one, other = fit(examples), fit(examples[::-1])
    assert one is not None
    assert other is not None
    assert one.vectors.tobytes() == other.vectors.tobytes()
    assert support_digest(examples) == support_digest(examples[::-1])
    assert support_digest(examples) != support_digest(examples[1:])


def test_the_cut_out_is_square_in_millimetres_and_holds_the_lesion_in_its_middle() -> None:
    plane = np.zeros((100, 100), np.float32)
    mask = np.zeros((100, 100), dtype=bool)
    mask[40:60, 45:55] = True
    plane[mask] = 1.0
    picture = focus.cut_out(plane, mask, grey=(0.0, 1.0), pixel_mm=(1.0, 2.0))
    assert picture.shape == (focus.SIDE, focus.SIDE)
    bright = picture > 0.5
    height, width = bright.any(axis=1).sum(), bright.any(axis=0).sum()
    assert height == pytest.approx(focus.SIDE / focus.MARGIN, abs=3)
    assert width == pytest.approx(focus.SIDE / focus.MARGIN, abs=3)


def test_weights_that_are_not_the_known_ones_are_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "weights.pth"
    wrong.write_bytes(b"something else")
    with pytest.raises(WeightsMismatch):
        Backbone.load(device=torch.device("cpu"), weights=wrong)
    with pytest.raises(WeightsMismatch):
        Backbone.load(device=torch.device("cpu"), weights=tmp_path / "absent.pth")


def test_the_shipped_support_set_holds_training_patients_alone_and_is_as_good_as_its_card_says() -> None:
    folder = ROOT / "models" / FOLDER
    samples = read_starter(folder)
    assert {role(sample.patient) for sample in samples} == {Role.TRAIN}
    agreement = leave_one_patient_out(samples)
    card = (folder / "README.md").read_text()
    assert f"| accuracy | {agreement.accuracy:.3f} |" in card
    assert f"| mean probability of the chosen label | {agreement.mean_probability:.3f} |" in card
    for label, total in agreement.total.items():
        assert f"| `{label}` labelled so | {agreement.right[label]} of {total} |" in card


def test_a_changed_support_file_is_refused(tmp_path: Path) -> None:
    embedding = np.zeros(FEATURES, np.float32)
    write_starter([Sample("P1", Example("a", embedding)), Sample("P2", Example("b", embedding))], tmp_path)
    assert [(s.patient, s.example.label) for s in read_starter(tmp_path)] == [("P1", "a"), ("P2", "b")]
    file = tmp_path / "support.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsMismatch):
        read_starter(tmp_path)


def test_the_starter_set_is_imported_once_and_labels_from_then_on(database: Database) -> None:
    settings = WorkerSettings(models=ROOT / "models")
    assert import_starter(settings, database, actor="worker-1") > 200
    assert import_starter(settings, database, actor="worker-1") == 0
    classifier = open_classifier(settings, database, actor="worker-1")
    rng = np.random.default_rng(6)
    volume, mask = _textured(rng, striped=False)
    assert classifier.classify(volume, mask).label in {"tumour-like", "not-tumour"}
