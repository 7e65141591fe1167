"""Heads learn from a few vectors, give the same bytes for the same set, and refuse what cannot be learned from."""

from __future__ import annotations

import numpy as np
import pytest
from numpy import float32
from sklearn.linear_model import LogisticRegression

from tests.support.head_vectors import CLASSES, accuracy, drawn_vectors
from workers.errors import AnotherBackbone, EmbeddingNotFinite, LabelsMissing, OneClassOnly, WeightsMismatch
from workers.fewshot.fitted_heads import LinearHead, read_head
from workers.fewshot.heads import STRENGTHS, HeadName, TunedLogistic, fit_logistic, make_head
from workers.fewshot.support import Support


@pytest.mark.parametrize("name", HeadName)
def test_every_head_tells_the_classes_apart(name: HeadName) -> None:
    head = make_head(name).fit(*drawn_vectors(4, seed=1), seed=0)
    assert accuracy(head) > 0.85


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


@pytest.mark.parametrize("name", HeadName)
def test_probabilities_are_shares_of_one(name: HeadName) -> None:
    head = make_head(name).fit(*drawn_vectors(3, seed=1), seed=0)
    given = head.predict_proba(drawn_vectors(5, seed=2)[0])
    assert given.shape == (15, 3)
    assert given.min() >= 0
    np.testing.assert_allclose(given.sum(axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("name", HeadName)
@pytest.mark.slow
def test_the_same_set_in_another_order_gives_the_same_bytes(name: HeadName) -> None:
    vectors, labels, groups = drawn_vectors(4, seed=1)
    order = np.random.default_rng(0).permutation(len(labels))
    shuffled = vectors[order], [labels[place] for place in order], [groups[place] for place in order]
    first, second = (make_head(name).fit(*rows, seed=3).to_bytes() for rows in ((vectors, labels, groups), shuffled))
    assert first == second


@pytest.mark.parametrize("name", HeadName)
def test_a_head_read_back_says_the_same(name: HeadName) -> None:
    head = make_head(name).fit(*drawn_vectors(3, seed=1), seed=0)
    again = read_head(head.to_bytes())
    vectors = drawn_vectors(5, seed=2)[0]
    np.testing.assert_array_equal(head.predict_proba(vectors), again.predict_proba(vectors))
    assert again.classes == CLASSES
    assert again.to_bytes() == head.to_bytes()


def test_a_damaged_head_is_refused() -> None:
    content = make_head(HeadName.PROTOTYPES).fit(*drawn_vectors(3, seed=1), seed=0).to_bytes()
    for damaged in (content[:40], b"", b"not safetensors at all"):
        with pytest.raises(WeightsMismatch):
            read_head(damaged)


def test_vectors_of_another_backbone_are_refused() -> None:
    head = make_head(HeadName.LOGISTIC).fit(*drawn_vectors(3, seed=1), seed=0)
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
    vectors, labels, groups = drawn_vectors(2, seed=1)
    vectors[4, 3] = np.nan
    with pytest.raises(EmbeddingNotFinite, match="item 4"):
        make_head(HeadName.PROTOTYPES).fit(vectors, labels, groups, seed=0)


@pytest.mark.slow
def test_tuning_leaves_out_whole_patients_and_never_looks_elsewhere() -> None:
    vectors, labels, groups = drawn_vectors(6, seed=1, noise=0.6)
    head = TunedLogistic().fit(vectors, labels, groups, seed=0)
    assert isinstance(head, LinearHead)
    assert head.to_bytes() == TunedLogistic().fit(vectors, labels, groups, seed=0).to_bytes()
    single = TunedLogistic().fit(vectors[::6], labels[::6], groups[::6], seed=0)
    assert (
        single.to_bytes() == make_head(HeadName.LOGISTIC).fit(vectors[::6], labels[::6], groups[::6], seed=0).to_bytes()
    )
    assert 10.0 in STRENGTHS


def test_two_classes_have_one_score_each() -> None:
    vectors, labels, groups = drawn_vectors(4, seed=1)
    head = make_head(HeadName.LOGISTIC).fit(vectors[:8], labels[:8], groups[:8], seed=0)
    given = head.predict_proba(vectors[:8])
    assert given.shape == (8, 2)
    assert (given.argmax(axis=1) == np.repeat([0, 1], 4)).all()
