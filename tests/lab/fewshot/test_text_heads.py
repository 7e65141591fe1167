"""The heads that an experiment compares: those of the product given texts, and those that are nothing without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lab.fewshot.text_heads import NEED_TEXT, ClassTexts, ComparedHead, make_compared_head, sentence, texts_of
from tests.support.encoders import save_clip_tokenizer, save_encoder
from tests.support.head_vectors import CLASSES, accuracy, directions, drawn_vectors
from workers.errors import BackboneUnusable
from workers.fewshot.contracts import Head
from workers.fewshot.fitted_heads import read_head
from workers.fewshot.registry import NewBackbone, open_backbone, register

CPU = torch.device("cpu")


def _head(name: ComparedHead) -> Head:
    return make_compared_head(name, texts=ClassTexts(CLASSES, directions()))


@pytest.mark.parametrize("name", ComparedHead)
def test_every_head_tells_the_classes_apart(name: ComparedHead) -> None:
    head = _head(name).fit(*drawn_vectors(4, seed=1), seed=0)
    assert accuracy(head) > 0.85


@pytest.mark.parametrize("name", ComparedHead)
def test_probabilities_are_shares_of_one(name: ComparedHead) -> None:
    head = _head(name).fit(*drawn_vectors(3, seed=1), seed=0)
    given = head.predict_proba(drawn_vectors(5, seed=2)[0])
    assert given.shape == (15, 3)
    assert given.min() >= 0
    np.testing.assert_allclose(given.sum(axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("name", ComparedHead)
@pytest.mark.slow
def test_the_same_set_in_another_order_gives_the_same_bytes(name: ComparedHead) -> None:
    vectors, labels, groups = drawn_vectors(4, seed=1)
    order = np.random.default_rng(0).permutation(len(labels))
    shuffled = vectors[order], [labels[place] for place in order], [groups[place] for place in order]
    first, second = (_head(name).fit(*rows, seed=3).to_bytes() for rows in ((vectors, labels, groups), shuffled))
    assert first == second


@pytest.mark.parametrize("name", ComparedHead)
def test_a_head_read_back_says_the_same(name: ComparedHead) -> None:
    head = _head(name).fit(*drawn_vectors(3, seed=1), seed=0)
    again = read_head(head.to_bytes())
    vectors = drawn_vectors(5, seed=2)[0]
    np.testing.assert_array_equal(head.predict_proba(vectors), again.predict_proba(vectors))
    assert again.classes == CLASSES
    assert again.to_bytes() == head.to_bytes()


@pytest.mark.parametrize("name", sorted(NEED_TEXT))
def test_a_head_that_needs_text_says_so(name: ComparedHead) -> None:
    with pytest.raises(BackboneUnusable, match="text tower"):
        make_compared_head(name, texts=None)


def test_zero_shot_text_does_not_change_with_the_examples() -> None:
    heads = [_head(ComparedHead.ZERO_SHOT).fit(*drawn_vectors(2, seed=seed), seed=0).to_bytes() for seed in (1, 2)]
    assert heads[0] == heads[1]


def test_a_label_becomes_words() -> None:
    assert sentence("viral-pneumonia") == "This is a photo of viral pneumonia"


def test_a_clip_folder_gives_a_unit_vector_for_each_class(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "clip", "clip")
    save_clip_tokenizer(folder)
    register(folder, NewBackbone("tiny", "MIT", commercial_use=True), models=tmp_path / "models")
    backbone = open_backbone("tiny", models=tmp_path / "models", device=CPU)
    texts = texts_of(backbone, ["benign", "malignant"])
    assert texts is not None
    assert texts.vectors.shape == (2, backbone.card.dimensions)
    np.testing.assert_allclose(np.linalg.norm(texts.vectors, axis=1), 1.0, atol=1e-5)
    assert not np.allclose(texts.vectors[0], texts.vectors[1])


def test_a_backbone_without_a_text_tower_gives_no_texts(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "vit", "vit")
    register(folder, NewBackbone("tiny", "MIT", commercial_use=True), models=tmp_path / "models")
    assert texts_of(open_backbone("tiny", models=tmp_path / "models", device=CPU), ["a", "b"]) is None
