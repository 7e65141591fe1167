"""The CPU part of the script that compares the models on a GPU with the same models on the CPU."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import gpu

pytestmark = [pytest.mark.peer, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.skipif(torch.cuda.is_available(), reason="the CPU part; with a GPU run the script itself")
def test_without_a_gpu_it_says_so_and_compares_on_the_cpu(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        gpu.main(["--studies", "1", "--slices", "8", "--size", "64", "--json"])
    assert ended.value.code == 0
    found = json.loads(capfd.readouterr().out.strip().splitlines()[-1])
    assert found["gpu"] is None
    agreements = {(one["model"], one["dtype"]): one["different"] for one in found["agreements"]}
    assert agreements["foreign, onnx", "float32"] <= gpu.MOST_DIFFERENT
    assert {("shipped", "bfloat16"), ("pet", "bfloat16"), ("limb-mr", "bfloat16")} <= agreements.keys()
    assert (found["backlog"]["device"], found["backlog"]["studies"]) == ("cpu", 1)
    assert found["backlog"]["per_second"] > 0
