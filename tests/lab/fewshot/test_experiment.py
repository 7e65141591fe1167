"""Splits, measures, the embedding cache, freezing, and the command with its JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from console.cli import app
from console.terminal.variadic import _spread
from lab.errors import PatientInTwoSplits
from lab.fewshot.attention import Attention
from lab.fewshot.cache import EmbeddingCache
from lab.fewshot.embedding import Embedder
from lab.fewshot.experiment import Experiment, Grid, gather
from lab.fewshot.freezing.strategies import Freeze, apply
from lab.fewshot.freezing.tuning import EPOCHS
from lab.fewshot.measures import Predicted, accuracy, macro_auroc, macro_f1, measure
from lab.fewshot.regions import Saliency
from lab.fewshot.report import to_json, write_report
from lab.fewshot.splits import Amount, Sides, draw, hold_out, require_sound, thinned, wanted_counts
from lab.fewshot.text_heads import ComparedHead
from tests.support.encoders import write_pictures
from workers.errors import BackboneUnusable
from workers.fewshot.contracts import MASKLESS, MaskSource, PromptMode
from workers.fewshot.pictures import PictureSource, read_pictures
from workers.fewshot.registry import open_backbone
from workers.fewshot.visual_prompts import embed_prompted

CPU = torch.device("cpu")


def _no_saliency() -> Saliency:
    raise AssertionError("no region was to be looked for")


def _experiment(pictures: Path, grid: Grid, cache: Path) -> Experiment:
    listed = read_pictures([PictureSource(pictures)])
    store = EmbeddingCache(cache)
    return Experiment(
        gather(listed, []), grid, Attention(MaskSource.GIVEN, store, _no_saliency), store, lambda *_: None
    )


def test_no_group_is_on_both_sides_for_any_seed() -> None:
    labels, groups = ["a", "b", "c"] * 40, [f"g{place // 4}" for place in range(120)]
    for seed in range(20):
        split = hold_out(labels, groups, seed=seed)
        assert not {groups[place] for place in split.training} & {groups[place] for place in split.test}
        assert 20 <= len(split.test) <= 32
    with pytest.raises(PatientInTwoSplits, match="g0"):
        require_sound(Sides(np.arange(2), np.arange(2, 120)), labels, groups)


def test_every_patient_gives_one_picture_before_any_gives_two() -> None:
    labels, groups = ["a"] * 20 + ["b"] * 20, [f"g{place // 4}" for place in range(40)]
    pool = np.arange(40)
    chosen = draw(pool, labels, groups, wanted=wanted_counts(pool, labels, Amount(shots=5)), seed=1)
    assert len({groups[place] for place in chosen}) == 10
    again = draw(pool, labels, groups, wanted=wanted_counts(pool, labels, Amount(shots=5)), seed=1)
    np.testing.assert_array_equal(chosen, again)
    assert wanted_counts(pool, labels, Amount(share=1)) == {"a": 1, "b": 1}


def test_thinning_leaves_out_only_the_marked() -> None:
    marked = np.arange(40) < 20
    kept = thinned(np.arange(40), marked, kept=0.25, seed=0)
    assert len(kept) == 25
    assert set(range(20, 40)) <= set(kept.tolist())


def test_the_measures_are_those_of_the_textbook() -> None:
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.55, 0.45], [0.2, 0.8]], dtype=np.float32)
    outcome = Predicted(np.array([0, 0, 1, 1]), probabilities, np.arange(4))
    each = np.ones((1, 4))
    assert accuracy(outcome, each)[0] == pytest.approx(0.75)
    assert macro_f1(outcome, each)[0] == pytest.approx((0.8 + 2 / 3) / 2)
    assert macro_auroc(outcome, each)[0] == pytest.approx(1.0)
    assert accuracy(outcome, np.array([[1.0, 1.0, 3.0, 1.0]]))[0] == pytest.approx(0.5)
    tied = Predicted(np.array([0, 1]), np.full((2, 2), 0.5, dtype=np.float32), np.arange(2))
    assert macro_auroc(tied, np.ones((1, 2)))[0] == pytest.approx(0.5)


def test_an_interval_draws_patients_and_not_pictures() -> None:
    rng = np.random.default_rng(0)
    right = np.repeat(rng.random(20) < 0.7, 10)
    probabilities = np.where(right[:, None], [[0.9, 0.1]], [[0.1, 0.9]]).astype(np.float32)
    of_patients = measure([Predicted(np.zeros(200, dtype=int), probabilities, np.repeat(np.arange(20), 10))]).accuracy
    of_pictures = measure([Predicted(np.zeros(200, dtype=int), probabilities, np.arange(200))]).accuracy
    assert of_patients.lo is not None
    assert of_patients.hi is not None
    assert of_pictures.lo is not None
    assert of_pictures.hi is not None
    assert of_patients.hi - of_patients.lo > 2 * (of_pictures.hi - of_pictures.lo)


def test_a_second_look_at_the_same_pictures_asks_no_backbone(models: Path, pictures: Path, tmp_path: Path) -> None:
    backbone = open_backbone("tiny-vit", models=models, device=CPU)
    cache = EmbeddingCache(tmp_path)
    attention = Attention(MaskSource.GIVEN, cache, _no_saliency)
    subjects = attention.subjects(read_pictures([PictureSource(pictures)])[:4])
    first = Embedder(backbone, cache).embed(subjects, PromptMode.CROP)
    backbone.encoder.forward = None  # type: ignore[assignment]  # whoever calls it now fails
    np.testing.assert_array_equal(Embedder(backbone, cache).embed(subjects, PromptMode.CROP), first)
    with pytest.raises(TypeError):
        Embedder(backbone, cache).embed(subjects, PromptMode.DIM)


@pytest.mark.parametrize("mode", [PromptMode.GLOBAL_CROP, PromptMode.THREE_LOOKS])
def test_several_looks_are_put_together_from_the_vectors_of_each(
    mode: PromptMode, models: Path, pictures: Path, tmp_path: Path
) -> None:
    backbone = open_backbone("tiny-vit", models=models, device=CPU)
    cache = EmbeddingCache(tmp_path)
    subjects = Attention(MaskSource.GIVEN, cache, _no_saliency).subjects(read_pictures([PictureSource(pictures)])[:4])
    vectors = Embedder(backbone, cache).embed(subjects, mode)
    expected = embed_prompted(backbone, [read() for read in subjects], mode)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    backbone.encoder.forward = None  # type: ignore[assignment]  # whoever calls it now fails
    Embedder(backbone, cache).embed(subjects, PromptMode.NONE)


def test_no_region_is_searched_for_where_the_whole_picture_is_looked_at(
    models: Path, pictures: Path, tmp_path: Path
) -> None:
    grid = Grid([Amount(share=100.0)], seeds=1, prompts=sorted(MASKLESS))
    material, store = gather(read_pictures([PictureSource(pictures)]), []), EmbeddingCache(tmp_path)
    experiment = Experiment(material, grid, Attention(MaskSource.REGION, store, _no_saliency), store, lambda *_: None)
    runs = list(experiment.runs(open_backbone("tiny-vit", models=models, device=CPU)))
    assert [run.setting.masks for run in runs] == [MaskSource.NONE] * len(MASKLESS)


def test_a_damaged_vector_in_the_cache_counts_as_absent(tmp_path: Path) -> None:
    import sqlite3

    cache = EmbeddingCache(tmp_path)
    cache.put(["a"], [np.arange(3, dtype=np.float32)])
    with sqlite3.connect(tmp_path / "vectors.sqlite") as connection:
        connection.execute("UPDATE vectors SET vector = x'0011223344556677889900'")
    connection.close()
    assert cache.get(["a", "b"]) == [None, None]


def test_the_mask_earns_its_gain_only_where_it_is_the_right_one(models: Path, pictures: Path, tmp_path: Path) -> None:
    grid = Grid([Amount(share=100.0)], seeds=2, prompts=[PromptMode.CROP], heads=[ComparedHead.LOGISTIC])
    (run,) = _experiment(pictures, grid, tmp_path).runs(open_backbone("tiny-vit", models=models, device=CPU))
    assert run.control is not None
    assert run.setting.masks is MaskSource.GIVEN
    assert run.control.drop == pytest.approx(
        (run.measures.accuracy.mean or 0) - (run.control.measures.accuracy.mean or 0)
    )
    assert set(run.groups) == {"sex=F", "sex=M"}


@pytest.mark.slow
@pytest.mark.parametrize("freeze", [freeze for freeze in Freeze if freeze is not Freeze.ALL])
def test_every_way_of_freezing_trains_a_copy_and_leaves_the_backbone(
    freeze: Freeze, models: Path, pictures: Path, tmp_path: Path
) -> None:
    backbone = open_backbone("tiny-vit", models=models, device=CPU)
    before = {name: value.clone() for name, value in backbone.encoder.state_dict().items()}
    grid = Grid([Amount(shots=2)], seeds=1, prompts=[PromptMode.NONE], freezes=[freeze], control=False)
    heard: list[tuple[str, int, int]] = []
    told = replace(
        _experiment(pictures, grid, tmp_path),
        progress=lambda what: lambda done, total: heard.append((what, done, total)),
    )
    first, second = (next(iter(told.runs(backbone))) for _ in range(2))
    assert (f"tiny-vit, none, {freeze.value}", EPOCHS, EPOCHS) in heard
    assert first.setting.freeze == freeze.value
    assert first.measures == second.measures
    for name, value in backbone.encoder.state_dict().items():
        assert torch.equal(value, before[name])


def test_batch_norm_stays_as_it_was_trained(models: Path) -> None:
    encoder = open_backbone("tiny-resnet", models=models, device=CPU).encoder
    free = apply(encoder, Freeze.FULL, generator=torch.Generator())
    assert free.count == sum(one.numel() for one in encoder.parameters())
    assert not any(module.training for module in encoder.modules())


def test_each_strategy_frees_less_than_the_whole(models: Path) -> None:
    counts = {}
    for freeze in Freeze:
        encoder = open_backbone("tiny-vit", models=models, device=CPU).encoder
        counts[freeze] = apply(encoder, freeze, generator=torch.Generator().manual_seed(0)).count
    assert counts[Freeze.ALL] == 0
    assert 0 < counts[Freeze.PROMPTS] < counts[Freeze.LORA] < counts[Freeze.LAST] < counts[Freeze.FULL]


@pytest.mark.parametrize("freeze", [Freeze.LORA, Freeze.PROMPTS])
def test_a_cnn_has_no_attention_to_adapt(freeze: Freeze, models: Path) -> None:
    encoder = open_backbone("tiny-resnet", models=models, device=CPU).encoder
    with pytest.raises(BackboneUnusable):
        apply(encoder, freeze, generator=torch.Generator())


def test_several_values_may_follow_one_option() -> None:
    words = ["--share", "5", "10", "--json", "--data", "a", "--seeds", "2"]
    assert list(_spread(words, {"--share", "--data"})) == [
        "--share", "5", "--share", "10", "--json", "--data", "a", "--seeds", "2",
    ]  # fmt: skip # reads by its lines


def test_the_command_writes_the_agreed_json_and_a_report(models: Path, pictures: Path, tmp_path: Path) -> None:
    arguments = [
        "evaluate", "classification", "--data", str(pictures), "--share", "50", "--shots", "1", "2", "--seeds", "1",
        "--backbone", "tiny-vit", "--prompt", "none", "crop", "--head", "prototypes", "--json",
        "--report", str(tmp_path / "report"), "--state", str(tmp_path / "state"),
    ]  # fmt: skip # reads by its lines
    result = CliRunner().invoke(
        app, arguments, env={"ONCUE_WORKER_MODELS": str(models), "ONCUE_WORKER_DTYPE": "float32"}
    )
    assert result.exit_code == 0, result.output
    runs = json.loads(result.stdout)["runs"]
    assert len(runs) == 3 * 2
    keys = {"backbone", "prompt", "head", "freeze", "share", "shots", "accuracy", "f1", "auroc", "groups"}
    assert all(keys <= set(run) for run in runs)
    assert all(set(run["accuracy"]) == {"mean", "lo", "hi"} for run in runs)
    assert {(run["share"], run["shots"]) for run in runs} == {(50.0, None), (None, 1), (None, 2)}
    assert all(("control" in run) == (run["prompt"] == "crop") for run in runs)
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["report.html", "report.json", "report.png"]
    assert "tiny-vit" in (tmp_path / "report" / "report.html").read_text()


@pytest.mark.parametrize(
    ("freeze", "prompts"), [("freeze_all", ["three-looks", "none"]), ("last_k", ["none"])], ids=["frozen", "tuned"]
)
@pytest.mark.slow
def test_unless_told_the_command_reports_three_looks_beside_the_plain_probe(
    freeze: str, prompts: list[str], models: Path, pictures: Path, tmp_path: Path
) -> None:
    arguments = ["evaluate", "classification", "--data", str(pictures), "--share", "100", "--seeds", "1", "--json"]
    arguments += ["--backbone", "tiny-vit", "--freeze", freeze, "--state", str(tmp_path)]
    result = CliRunner().invoke(app, arguments, env={"ONCUE_WORKER_MODELS": str(models)})
    assert result.exit_code == 0, result.output
    assert [run["prompt"] for run in json.loads(result.stdout)["runs"]] == prompts


def test_a_separate_test_folder_is_tested_on(models: Path, pictures: Path, tmp_path: Path) -> None:
    other = read_pictures([PictureSource(write_pictures(tmp_path / "other", patients=6, seed=8))])
    material = gather(read_pictures([PictureSource(pictures)]), other)
    split = material.split(0)
    assert (len(split.training), len(split.test)) == (24, 12)
    store = EmbeddingCache(tmp_path / "cache")
    grid = Grid([Amount(share=100.0)], seeds=1)
    experiment = Experiment(material, grid, Attention(MaskSource.NONE, store, _no_saliency), store, lambda *_: None)
    runs = list(experiment.runs(open_backbone("tiny-vit", models=models, device=CPU)))
    assert runs[0].measures.pictures == 12
    content = to_json(runs)
    write_report(runs, tmp_path / "report")
    assert json.loads((tmp_path / "report" / "report.json").read_text()) == json.loads(json.dumps(content))


def test_thinning_one_sex_keeps_the_size_of_the_support_set(models: Path, pictures: Path, tmp_path: Path) -> None:
    from lab.fewshot.runs import Thinning

    thinnings = [Thinning("F", kept) for kept in (1.0, 0.0)]
    grid = Grid([Amount(shots=2)], seeds=2, thinnings=thinnings)
    runs = list(_experiment(pictures, grid, tmp_path).runs(open_backbone("tiny-vit", models=models, device=CPU)))
    assert [run.setting.thinning for run in runs] == thinnings
    assert {run.support for run in runs} == {4.0}
    assert all({"sex=F", "sex=M"} == set(run.groups) for run in runs)
