"""How much memory a model takes, as its worker counts it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch

from workers.model_memory import megabytes_of


@dataclass(frozen=True)
class Stating:
    megabytes: float


class Slotted:
    __slots__ = ("networks", "unset")

    def __init__(self, *networks: torch.nn.Module) -> None:
        self.networks = {str(number): network for number, network in enumerate(networks)}


def test_what_a_model_says_itself_counts() -> None:
    assert megabytes_of(Stating(12.5)) == 12.5


def test_weights_are_found_wherever_they_are_kept_and_shared_ones_count_once() -> None:
    first = torch.nn.Linear(500, 500, bias=False)
    network = torch.nn.Sequential(first, torch.nn.Linear(250, 1000, bias=False))
    assert megabytes_of(network) == pytest.approx(2.0)
    assert megabytes_of(Slotted(network, network, first)) == pytest.approx(2.0)
    assert megabytes_of([first.weight, first.weight.view(-1)]) == pytest.approx(1.0)
    assert megabytes_of(Slotted(network.to(torch.bfloat16))) == pytest.approx(1.0)


def test_arrays_count_and_what_only_points_to_itself_ends() -> None:
    table = np.zeros((500, 500), dtype=np.float32)
    around: list[object] = [table, table[:10]]
    around.append(around)
    assert megabytes_of(around) == pytest.approx(1.0)
    assert megabytes_of(object()) == 0.0
    assert megabytes_of(partial(print)) == 0.0
