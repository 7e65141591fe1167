"""Hostile bytes from a seed, a few of them; `make fuzz` sends more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.attacked_gateway import AttackedGateway, attacked_gateway, under_attack
from tests.support.fuzzing import GatewayFault, Target, case, fuzz

pytestmark = pytest.mark.slow

_SEED, _CASES = 20261129, 120


@pytest.mark.parametrize("target", list(Target))
def test_hostile_bytes_end_one_association_and_nothing_else(gateway: AttackedGateway, target: Target) -> None:
    with under_attack(gateway):
        assert fuzz(gateway, seed=_SEED, goes_on=lambda number: number < _CASES, target=target) == _CASES


def test_a_case_comes_again_from_its_seed() -> None:
    assert case(3, 14, Target.COMMAND) == case(3, 14, Target.COMMAND)
    assert case(3, 14, Target.COMMAND).exchange != case(3, 15, Target.COMMAND).exchange


def test_what_fails_is_told_with_what_repeats_it(tmp_path: Path, sqlite_template: Path) -> None:
    with attacked_gateway(tmp_path / "state", sqlite_template) as gateway:
        gateway.process.kill()
        gateway.process.wait()
        with pytest.raises(GatewayFault, match="--seed 5 --first 0 --cases 20 --target request"):
            fuzz(gateway, seed=5, goes_on=lambda number: number < 2, target=Target.REQUEST)
