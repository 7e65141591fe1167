"""Heads learn from a few vectors, give the same bytes for the same set, and refuse what cannot be learned from."""

from __future__ import annotations

import numpy as np
import pytest
from numpy import float32
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from workers.errors import (
    AnotherBackbone,
    BackboneUnusable,
    EmbeddingNotFinite,
    LabelsMissing,
    OneClassOnly,
    WeightsMismatch,
)
from workers.fewshot.contracts import FittedHead, Head
from workers.fewshot.heads.fitted import LinearHead, read_head
from workers.fewshot.heads.logistic import STRENGTHS, TunedLogistic, fit_logistic
from workers.fewshot.heads.names import NEED_TEXT, HeadName, make_head
from workers.fewshot.heads.support import Support
from workers.fewshot.heads.text import ClassTexts, sentence

CLASSES = ("benign", "malignant", "normal")
SIZE = 24


def _directions() -> NDArray[float32]:
    """Three orthogonal directions, as a text tower would give for three classes."""
    drawn = np.random.default_rng(7).normal(size=(SIZE, SIZE))
    return np.linalg.qr(drawn)[0][:3].astype(float32)


def _vectors(count: int, *, seed: int, noise: float = 0.15) -> tuple[NDArray[float32], list[str], list[str]]:
    """Draw ``count`` vectors of each class around its direction, and something that all of them share."""
    rng, directions = np.random.default_rng(seed), _directions()
    rows = np.repeat(directions, count, axis=0) + noise * rng.normal(size=(3 * count, SIZE))
    labels = [label for label in CLASSES for _ in range(count)]
    return rows.astype(float32), labels, [f"p{place // 2}" for place in range(3 * count)]


def _head(name: HeadName) -> Head:
    return make_head(name, texts=ClassTexts(CLASSES, _directions()))


def _accuracy(head: FittedHead, *, seed: int = 99) -> float:
    vectors, labels, _ = _vectors(40, seed=seed)
    given = head.predict_proba(vectors).argmax(axis=1)
    return float(np.mean([head.classes[place] == label for place, label in zip(given, labels, strict=True)]))


@pytest.mark.parametrize("name", HeadName)
def test_every_head_tells_the_classes_apart(name: HeadName) -> None:
    head = _head(name).fit(*_vectors(4, seed=1), seed=0)
    assert _accuracy(head) > 0.85


def test_fitting_in_the_span_finds_the_optimum_of_the_whole_space_with_pictures_given_twice() -> None:
    rng = np.random.default_rng(5)
    drawn = rng.normal(size=(9, 400)).astype(float32)
    vectors = np.concatenate([drawn, drawn[:3]])
    labels = [CLASSES[row % 3] for row in range(9)] + list(CLASSES)
    support = Support.of(vectors, labels, [str(row) for row in range(12)])
    placed = support.space(standardise=True).place(support.vectors)
    whole = LogisticRegression(C=10.0, max_iter=2000, class_weight="balanced").fit(placed, support.targets)
    fitted = fit_logistic(support, strength=10.0)
    np.testing.assert_allclose(fitted.predict_proba(support.vectors), whole.predict_proba(placed), atol=2e-3)


@pytest.mark.parametrize("name", [HeadName.PROTOTYPES, HeadName.LOGISTIC, HeadName.TIP_ADAPTER])
def test_a_head_needs_no_text_tower(name: HeadName) -> None:
    assert _accuracy(make_head(name).fit(*_vectors(4, seed=1), seed=0)) > 0.85


@pytest.mark.parametrize("name", HeadName)
def test_probabilities_are_shares_of_one(name: HeadName) -> None:
    head = _head(name).fit(*_vectors(3, seed=1), seed=0)
    given = head.predict_proba(_vectors(5, seed=2)[0])
    assert given.shape == (15, 3)
    assert given.min() >= 0
    np.testing.assert_allclose(given.sum(axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("name", HeadName)
def test_the_same_set_in_another_order_gives_the_same_bytes(name: HeadName) -> None:
    vectors, labels, groups = _vectors(4, seed=1)
    order = np.random.default_rng(0).permutation(len(labels))
    shuffled = vectors[order], [labels[place] for place in order], [groups[place] for place in order]
    first, second = (_head(name).fit(*rows, seed=3).to_bytes() for rows in ((vectors, labels, groups), shuffled))
    assert first == second


@pytest.mark.parametrize("name", HeadName)
def test_a_head_read_back_says_the_same(name: HeadName) -> None:
    head = _head(name).fit(*_vectors(3, seed=1), seed=0)
    again = read_head(head.to_bytes())
    vectors = _vectors(5, seed=2)[0]
    np.testing.assert_array_equal(head.predict_proba(vectors), again.predict_proba(vectors))
    assert again.classes == CLASSES
    assert again.to_bytes() == head.to_bytes()


def test_a_damaged_head_is_refused() -> None:
    content = make_head(HeadName.PROTOTYPES).fit(*_vectors(3, seed=1), seed=0).to_bytes()
    for damaged in (content[:40], b"", b"not safetensors at all"):
        with pytest.raises(WeightsMismatch):
            read_head(damaged)


def test_vectors_of_another_backbone_are_refused() -> None:
    head = make_head(HeadName.LOGISTIC).fit(*_vectors(3, seed=1), seed=0)
    with pytest.raises(AnotherBackbone, match="24"):
        head.predict_proba(np.zeros((2, 30), dtype=float32))


def test_one_class_leaves_nothing_to_decide() -> None:
    with pytest.raises(OneClassOnly, match="benign"):
        make_head(HeadName.LOGISTIC).fit(np.ones((2, 4), dtype=float32), ["benign"] * 2, ["a", "b"], seed=0)


def test_an_item_without_a_label_is_named() -> None:
    with pytest.raises(LabelsMissing, match="item 1"):
        Support.of(np.ones((3, 4), dtype=float32), ["a", "", "b"], ["1", "2", "3"])
    with pytest.raises(LabelsMissing):
        Support.of(np.ones((3, 4), dtype=float32), ["a", "b"], ["1", "2", "3"])


def test_a_vector_with_nan_is_named() -> None:
    vectors, labels, groups = _vectors(2, seed=1)
    vectors[4, 3] = np.nan
    with pytest.raises(EmbeddingNotFinite, match="item 4"):
        make_head(HeadName.PROTOTYPES).fit(vectors, labels, groups, seed=0)


@pytest.mark.parametrize("name", sorted(NEED_TEXT))
def test_a_head_that_needs_text_says_so(name: HeadName) -> None:
    with pytest.raises(BackboneUnusable, match="text tower"):
        make_head(name)


def test_tuning_leaves_out_whole_patients_and_never_looks_elsewhere() -> None:
    vectors, labels, groups = _vectors(6, seed=1, noise=0.6)
    head = TunedLogistic().fit(vectors, labels, groups, seed=0)
    assert isinstance(head, LinearHead)
    assert head.to_bytes() == TunedLogistic().fit(vectors, labels, groups, seed=0).to_bytes()
    single = TunedLogistic().fit(vectors[::6], labels[::6], groups[::6], seed=0)
    assert (
        single.to_bytes() == make_head(HeadName.LOGISTIC).fit(vectors[::6], labels[::6], groups[::6], seed=0).to_bytes()
    )
    assert 10.0 in STRENGTHS


def test_two_classes_have_one_score_each() -> None:
    vectors, labels, groups = _vectors(4, seed=1)
    head = make_head(HeadName.LOGISTIC).fit(vectors[:8], labels[:8], groups[:8], seed=0)
    given = head.predict_proba(vectors[:8])
    assert given.shape == (8, 2)
    assert (given.argmax(axis=1) == np.repeat([0, 1], 4)).all()


def test_zero_shot_text_does_not_change_with_the_examples() -> None:
    heads = [_head(HeadName.ZERO_SHOT).fit(*_vectors(2, seed=seed), seed=0).to_bytes() for seed in (1, 2)]
    assert heads[0] == heads[1]


def test_a_label_becomes_words() -> None:
    assert sentence("viral-pneumonia") == "This is a photo of viral pneumonia"
