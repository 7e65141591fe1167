"""The few-shot head with the real backbone. Real images only where they are at hand."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lab.fewshot.collection import leave_one_patient_out, write_starter
from lab.patients import Role, role
from storage.database import Database
from storage.fewshot import adapters, embeddings, evaluations, items, promotions, tasks
from storage.fewshot.embeddings import MaskUsed
from storage.fewshot.items import NewItem, Split
from storage.fewshot.promotions import Decision
from storage.fewshot.verdicts import Verdict
from storage.volumes import Geometry, Volume
from tests.conftest import ROOT
from tests.support.classification import NOW
from workers.config import WorkerSettings
from workers.errors import BackboneMissing, WeightsMismatch
from workers.fewshot.classifier import FittedAdapter, Labelled, fit_adapter
from workers.fewshot.dinov2 import CARD, open_dinov2, read_initialisers
from workers.fewshot.evaluating import evaluate
from workers.fewshot.fitting import fit
from workers.fewshot.heads import Prototypes
from workers.fewshot.lesion_views import InstalledEncoders, PromptedEncoder
from workers.fewshot.saliency import class_activation, in_mask_share, saliency_of
from workers.fewshot.serving import PromotedClassifiers, ServedAdapter
from workers.fewshot.starter import (
    EARLIER_KEY,
    FOLDER,
    PROMPT,
    RECIPE,
    TASK,
    Sample,
    Traits,
    install_starter,
    read_starter,
    splits,
)

pytestmark = pytest.mark.slow

GEOMETRY = Geometry((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (5.0, 1.0, 1.0))


@pytest.fixture(scope="module")
def encoder() -> PromptedEncoder:
    return PromptedEncoder(open_dinov2(torch.device("cpu"), torch.float32), PROMPT)


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


@pytest.fixture(scope="module")
def adapter(encoder: PromptedEncoder) -> FittedAdapter:
    rng, labels, vectors = np.random.default_rng(1), [], []
    for index in range(12):
        view = encoder.view(*_textured(rng, striped=index % 2 == 0))
        assert view is not None
        vectors.append(view.vector)
        labels.append("striped" if index % 2 == 0 else "plain")
    support = Labelled(np.stack(vectors), tuple(labels), tuple(f"p{n}" for n in range(12)), np.full(12, 0.05))
    nothing = Labelled(np.zeros((0, CARD.dimensions), np.float32), (), (), np.zeros(0))
    return fit_adapter(Prototypes(), support, nothing, alpha=0.1, seed=0)


def _best(adapter: FittedAdapter, vector: np.ndarray) -> str:
    return adapter.classes[int(adapter.probabilities(vector[None])[0].argmax())]


def test_a_handful_of_examples_is_enough_to_tell_textures_apart(
    encoder: PromptedEncoder, adapter: FittedAdapter
) -> None:
    rng = np.random.default_rng(2)
    for striped in (True, False, True, False):
        view = encoder.view(*_textured(rng, striped=striped))
        assert view is not None
        assert _best(adapter, view.vector) == ("striped" if striped else "plain")


def test_the_label_and_the_saliency_follow_the_mask_and_not_the_rest_of_the_picture(
    encoder: PromptedEncoder, adapter: FittedAdapter
) -> None:
    rng = np.random.default_rng(2)
    voxels = rng.normal(100, 5, (3, 160, 160))
    rows, columns = np.mgrid[:160, :160]
    discs = [(rows - place) ** 2 + (columns - place) ** 2 < 14**2 for place in (40, 120)]
    voxels[1][discs[0]] += 60 * np.sign(np.sin(columns[discs[0]]))
    voxels[1][discs[1]] += 60
    for disc, label in zip(discs, ("striped", "plain"), strict=True):
        mask = np.zeros(voxels.shape, dtype=bool)
        mask[1] = disc
        view = encoder.view(_volume(voxels), mask)
        assert view is not None
        assert _best(adapter, view.vector) == label
        saliency = saliency_of(view, class_activation(adapter, view, label), shape=(160, 160))
        share = in_mask_share(saliency, mask)
        assert share is not None
        assert share > disc.mean()
        near = (abs(rows - rows[disc].mean()) < 35) & (abs(columns - columns[disc].mean()) < 35)
        assert saliency.values[0][~near].max() == 0.0


def test_a_speck_is_not_looked_at(encoder: PromptedEncoder) -> None:
    volume, mask = _textured(np.random.default_rng(3), striped=True)
    speck = np.zeros_like(mask)
    speck[1, 40:42, 40:42] = True
    assert encoder.view(volume, speck) is None


def test_weights_that_are_not_the_known_ones_are_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "weights.onnx"
    wrong.write_bytes(b"something else")
    with pytest.raises(WeightsMismatch):
        read_initialisers(wrong)
    with pytest.raises(BackboneMissing):
        read_initialisers(tmp_path / "absent.onnx")


def test_the_shipped_support_set_holds_training_patients_alone_and_is_as_good_as_its_card_says() -> None:
    folder = ROOT / "models" / FOLDER
    samples = read_starter(folder)
    assert {role(sample.patient) for sample in samples} == {Role.TRAIN}
    assert list(splits(samples).values()).count(Split.SUPPORT) == 20
    agreement = leave_one_patient_out(samples)
    card = (folder / "README.md").read_text()
    assert f"| accuracy | {agreement.accuracy:.3f} |" in card
    assert f"| mean probability of the chosen label | {agreement.mean_probability:.3f} |" in card
    for label, total in agreement.total.items():
        assert f"| `{label}` labelled so | {agreement.right[label]} of {total} |" in card


def test_a_changed_support_file_is_refused(tmp_path: Path) -> None:
    embedding = np.zeros(CARD.dimensions, np.float32)
    written = [Sample("P1", "a", embedding, Traits("F", "old", "s")), Sample("P2", "b", embedding)]
    write_starter(written, tmp_path)
    read = read_starter(tmp_path)
    assert [(s.patient, s.label, s.traits.sex) for s in read] == [("P1", "a", "F"), ("P2", "b", "")]
    file = tmp_path / "support.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsMismatch):
        read_starter(tmp_path)


def test_the_starter_is_set_up_once_and_says_openly_what_its_gate_could_not_settle(sqlite_database: Database) -> None:
    settings = WorkerSettings(models=ROOT / "models", device="cpu")
    assert install_starter(settings, sqlite_database, actor="worker-1") > 200
    assert install_starter(settings, sqlite_database, actor="worker-1") == 0
    with sqlite_database.read() as session:
        task = tasks.find(session, TASK.name)
        (decided,) = promotions.history(session, task)
        (record,) = adapters.listed(session, task)
        evaluation = evaluations.newest(session, record.id)
        assert {item.split for item in items.in_use(session, task)} == set(Split)
    assert evaluation is not None
    assert decided.decision is Decision.PROMOTED, evaluation.judgement.checks
    open_ones = [check for check in evaluation.judgement.checks if check.stands_in_the_way]
    assert {check.verdict for check in open_ones} == {Verdict.INSUFFICIENT}
    assert {override.check for override in decided.overrides} == {check.name for check in open_ones}
    assert all("shipped starter" in override.reason for override in decided.overrides)
    classifiers = PromotedClassifiers(sqlite_database, InstalledEncoders(settings.models_folder(), torch.device("cpu")))
    volume, mask = _textured(np.random.default_rng(6), striped=False)
    served = classifiers.for_volume(volume)
    assert isinstance(served, ServedAdapter)
    given = served.classify(volume, mask)
    assert given.abstained or given.label in TASK.classes
    assert given.prediction is not None
    assert len(given.prediction.nearest) == 3


def test_a_starter_of_an_earlier_release_goes_over_to_the_encoder_that_is_there(sqlite_database: Database) -> None:
    settings = WorkerSettings(models=ROOT / "models", device="cpu")
    samples = read_starter(ROOT / "models" / FOLDER)
    with sqlite_database.write() as session:
        task = tasks.create(session, TASK, actor="earlier", now=NOW, salt="5" * 64)
        uses = splits(samples)
        new = [
            NewItem(
                task.patient_key(one.patient),
                uses[one.patient],
                one.label,
                f"starter:{one.patient}",
                hashlib.sha256(f"{place}".encode()).hexdigest(),
            )
            for place, one in enumerate(samples)
        ]
        numbers = items.add(session, task, new, actor="earlier", now=NOW)
        vectors = {number: one.embedding[:380] for number, one in zip(numbers, samples, strict=True)}
        embeddings.put(session, vectors, embedding_key=EARLIER_KEY, mask=MaskUsed.OWN, now=NOW)
    earlier = replace(RECIPE, embedding_key=EARLIER_KEY, backbone="efficientnet-lite0")
    before = fit(sqlite_database, TASK.name, earlier, actor="earlier", now=NOW)
    evaluation = evaluate(sqlite_database, before.id, actor="earlier", now=NOW)
    open_ones = [check.name for check in evaluation.judgement.checks if check.verdict is Verdict.INSUFFICIENT]
    with sqlite_database.write() as session:
        overrides = [promotions.Override(name, "earlier") for name in open_ones if name != "shuffled-masks"]
        decided = promotions.promote(
            session, task, before, overrides=overrides, reason="earlier", actor="earlier", now=NOW
        )
    assert decided.decision is Decision.PROMOTED, decided.reason
    assert install_starter(settings, sqlite_database, actor="worker-1") == 0
    with sqlite_database.read() as session:
        present = promotions.promoted_adapter(session, task)
    assert present is not None
    assert present.recipe == RECIPE
    assert install_starter(settings, sqlite_database, actor="worker-1") == 0
    with sqlite_database.read() as session:
        assert len(promotions.history(session, task)) == 2
