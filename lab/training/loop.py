"""The optimisation loop that all stages share: learning rate, averaging, checkpoints, deadline and loss log."""

from __future__ import annotations

import csv
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lab.training.settings import OnProgress, Progress, Stage, StageSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WARM_UP = 0.04
"""Share of the steps over which the learning rate rises."""
LOWEST_RATE = 0.02
"""Last learning rate, as a share of the highest."""
CHECKPOINT_SECONDS = 90.0
SMOOTHING = 0.98
AVERAGE_DECAY = 0.995


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One stage about to be trained: where it keeps its state, when it must stop, whom it tells."""

    stage: Stage
    plan: StageSettings
    work: Path
    stop_at: float
    """Monotonic clock reading after which no step is started."""
    on_progress: OnProgress


def optimise(run: Run, module: nn.Module, loss_of: Callable[[int], Tensor]) -> bool:
    """Take the stage's steps, going on from its checkpoint; afterwards ``module`` holds the averaged weights.

    ``loss_of(step)`` must depend on the step's number alone, which makes a resumed run equal to an unbroken one.
    Returns whether all steps were taken before the deadline.
    """
    optimiser = torch.optim.AdamW(module.parameters(), lr=run.plan.learning_rate, betas=(0.9, 0.99), weight_decay=1e-3)
    average = {name: value.detach().clone() for name, value in module.state_dict().items()}
    run.work.mkdir(parents=True, exist_ok=True)
    path = run.work / f"{run.stage}.checkpoint.pt"
    first, smooth = _resume(path, module, optimiser, average)
    started = saved = time.monotonic()
    step = first
    while step < run.plan.steps and time.monotonic() < run.stop_at:
        loss = _step(run, module, optimiser, loss_of, step=step)
        smooth = loss if step == 0 else SMOOTHING * smooth + (1 - SMOOTHING) * loss
        _follow(average, module, step)
        step += 1
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            _save(path, module, optimiser, average, step=step, smooth=smooth)
            saved = time.monotonic()
        if step % 10 == 0 or step == run.plan.steps:
            _log(run, Progress(run.stage, step, run.plan.steps, smooth, time.monotonic() - started))
    _save(path, module, optimiser, average, step=step, smooth=smooth)
    module.load_state_dict(average)
    return step >= run.plan.steps


def learning_rate(plan: StageSettings, step: int) -> float:
    """Give the learning rate of one step: a short linear rise, then half a cosine."""
    rise = max(1.0, WARM_UP * plan.steps)
    fall = (1 + math.cos(math.pi * min(1.0, step / plan.steps))) / 2
    return plan.learning_rate * min(1.0, (step + 1) / rise) * (LOWEST_RATE + (1 - LOWEST_RATE) * fall)


def _step(
    run: Run, module: nn.Module, optimiser: torch.optim.Optimizer, loss_of: Callable[[int], Tensor], *, step: int
) -> float:
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(run.plan, step)
    loss = loss_of(step)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch ships this method unannotated
    nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach())


@torch.no_grad()
def _follow(average: dict[str, Tensor], module: nn.Module, step: int) -> None:
    decay = min(AVERAGE_DECAY, (1 + step) / (10 + step))
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - decay)
        else:
            average[name].copy_(value)


def _save(
    path: Path,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: dict[str, Tensor],
    *,
    step: int,
    smooth: float,
) -> None:
    state = {
        "module": module.state_dict(),
        "optimiser": optimiser.state_dict(),
        "average": average,
        "step": step,
        "smooth": smooth,
    }
    fresh = path.with_suffix(".part")
    torch.save(state, fresh)
    fresh.replace(path)


def _resume(
    path: Path, module: nn.Module, optimiser: torch.optim.Optimizer, average: dict[str, Tensor]
) -> tuple[int, float]:
    if not path.exists():
        return 0, 0.0
    state = torch.load(path, weights_only=True)
    module.load_state_dict(state["module"])
    optimiser.load_state_dict(state["optimiser"])
    average.update(state["average"])
    return int(state["step"]), float(state["smooth"])


def _log(run: Run, progress: Progress) -> None:
    run.on_progress(progress)
    path = run.work / f"{run.stage}.loss.csv"
    fresh = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if fresh:
            writer.writerow(("step", "loss", "seconds"))
        writer.writerow((progress.step, f"{progress.loss:.6f}", f"{progress.seconds:.1f}"))
