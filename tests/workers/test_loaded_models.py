"""Models that share a worker's memory: who is loaded when, who leaves, and who is left in peace."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from structlog.testing import capture_logs

from storage.domain import Segmentation
from storage.volumes import Volume
from tests.support.analysers import ALGORITHM, small_volume
from workers.analysers import AbortCheck, Analyser
from workers.errors import NoAnalyser, WeightsMismatch
from workers.loaded_models import LoadedModels, ModelSource


class Net(torch.nn.Module):
    """One megabyte of weights; as an analyser it scores every voxel with its own value."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.full((250_000,), value))

    def segment(self, volume: Volume, *, check: AbortCheck) -> Segmentation:
        check()
        score = np.full(volume.voxels.shape, float(self.weights.detach()[0]), dtype=np.float32)
        return Segmentation(score > 0.5, score, 0.5, 0.0, ALGORITHM)


@dataclass
class Shop:
    """Sells networks by name; their identities may change, and their loading may fail."""

    values: dict[str, float]
    versions: dict[str, int] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    loads: list[str] = field(default_factory=list)
    made: list[weakref.ref[Net]] = field(default_factory=list)
    gate: threading.Event | None = None

    def names(self) -> frozenset[str]:
        return frozenset(self.values)

    def source(self, name: str) -> ModelSource:
        if name not in self.values:
            raise NoAnalyser(name)
        return ModelSource(f"{name}@{self.versions.get(name, 1)}", lambda: self._load(name))

    def _load(self, name: str) -> Analyser:
        self.loads.append(name)
        if self.gate is not None:
            self.gate.wait(20)
        if name in self.broken:
            raise WeightsMismatch(f"weights of {name} were changed")
        net = Net(self.values[name])
        self.made.append(weakref.ref(net))
        return net

    @property
    def in_memory(self) -> int:
        gc.collect()
        return sum(net() is not None for net in self.made)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def shop() -> Shop:
    return Shop({"liver": 0.25, "lung": 0.75, "brain": 0.5})


def score(models: LoadedModels, name: str) -> float:
    with models.use(name) as analyser:
        return float(analyser.segment(small_volume(), check=lambda: None).score_map.max())


def test_two_models_with_room_for_one_take_turns_and_each_answers_for_itself(shop: Shop) -> None:
    models = LoadedModels(shop, budget_megabytes=1.5)
    with capture_logs() as events:
        said = [score(models, name) for name in ("liver", "liver", "lung", "liver")]
    assert said == [0.25, 0.25, 0.75, 0.25]
    told = [(event["event"], event["model"], event["megabytes"]) for event in events]
    assert told == [
        ("model.loaded", "liver", 1.0),
        ("model.loaded", "lung", 1.0), ("model.evicted", "liver", 1.0),
        ("model.evicted", "lung", 1.0), ("model.loaded", "liver", 1.0),
    ]  # fmt: skip # reads by its lines
    assert (models.megabytes, shop.in_memory) == (1.0, 1)


def test_without_a_budget_every_model_is_loaded_once(shop: Shop) -> None:
    models = LoadedModels(shop)
    models.warm(shop.names())
    for name in ("lung", "liver", "brain"):
        score(models, name)
    assert sorted(shop.loads) == ["brain", "liver", "lung"]
    assert models.megabytes == 3.0


def test_the_least_recently_used_one_leaves(shop: Shop) -> None:
    models = LoadedModels(shop, budget_megabytes=2.5)
    for name in ("liver", "lung", "liver", "brain", "liver"):
        score(models, name)
    assert shop.loads == ["liver", "lung", "brain"]
    score(models, "lung")
    assert shop.loads[-1] == "lung"


def test_a_model_in_use_stays_until_its_job_is_done(shop: Shop) -> None:
    models = LoadedModels(shop, budget_megabytes=1.5)
    with ExitStack() as jobs:
        liver = jobs.enter_context(models.use("liver"))
        with models.use("lung"):
            assert models.megabytes == 2.0
            assert score(models, "liver") == 0.25
            assert liver.segment(small_volume(), check=lambda: None).score_map.max() == 0.25
        assert shop.loads == ["liver", "lung"]
        del liver
    assert (models.megabytes, shop.in_memory) == (1.0, 1)


def test_a_model_larger_than_the_budget_is_loaded_alone_with_a_warning_and_stays(shop: Shop) -> None:
    models = LoadedModels(shop, budget_megabytes=0.5)
    with capture_logs() as events:
        assert [score(models, "liver"), score(models, "liver"), score(models, "lung")] == [0.25, 0.25, 0.75]
    assert shop.loads == ["liver", "lung"]
    warned = [event["model"] for event in events if event["event"] == "model.over_budget"]
    assert warned == ["liver", "lung"]
    assert shop.in_memory == 1


def test_threads_that_want_the_same_model_at_once_load_it_once_and_others_go_on_meanwhile(shop: Shop) -> None:
    models = LoadedModels(shop)
    score(models, "lung")
    shop.gate = threading.Event()
    said: list[float] = []
    threads = [threading.Thread(target=lambda: said.append(score(models, "liver"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert score(models, "lung") == 0.75
    assert said == []
    shop.gate.set()
    for thread in threads:
        thread.join(20)
    assert (said, shop.loads) == ([0.25] * 3, ["lung", "liver"])


def test_a_model_that_cannot_be_loaded_harms_no_other_and_is_tried_again(shop: Shop) -> None:
    models = LoadedModels(shop)
    score(models, "lung")
    shop.broken.add("liver")
    for _ in range(2):
        with pytest.raises(WeightsMismatch):
            score(models, "liver")
    assert score(models, "lung") == 0.75
    shop.broken.clear()
    assert score(models, "liver") == 0.25


def test_a_model_added_anew_is_loaded_anew_and_a_removed_one_leaves(shop: Shop) -> None:
    models = LoadedModels(shop)
    score(models, "liver")
    shop.versions["liver"], shop.values["liver"] = 2, 0.125
    assert score(models, "liver") == 0.125
    assert models.megabytes == 1.0
    score(models, "lung")
    del shop.values["liver"]
    models.forget_removed()
    assert (models.megabytes, shop.in_memory) == (1.0, 1)
    with pytest.raises(NoAnalyser):
        score(models, "liver")


def test_a_job_keeps_the_model_that_is_removed_while_it_runs(shop: Shop) -> None:
    models = LoadedModels(shop)
    with models.use("liver") as analyser:
        del shop.values["liver"]
        models.forget_removed()
        assert analyser.segment(small_volume(), check=lambda: None).score_map.max() == 0.25
        del analyser
    assert (models.megabytes, shop.in_memory) == (0.0, 0)


def test_idle_models_leave_when_memory_runs_out(shop: Shop) -> None:
    models = LoadedModels(shop)
    score(models, "lung")
    with models.use("liver"):
        models.release_idle()
        assert models.megabytes == 1.0
    assert shop.in_memory == 1


def test_an_expected_size_makes_room_before_the_model_is_loaded(shop: Shop) -> None:
    @dataclass
    class Announced:
        """Says beforehand how large its models are, as installed ones do."""

        def names(self) -> frozenset[str]:
            return shop.names()

        def source(self, name: str) -> ModelSource:
            return replace(shop.source(name), megabytes=1.0)

    models = LoadedModels(Announced(), budget_megabytes=1.5)
    with capture_logs() as events:
        score(models, "liver")
        score(models, "lung")
    assert [event["event"] for event in events] == ["model.loaded", "model.evicted", "model.loaded"]
