"""The optimisation loop that all stages share: learning rate, averaged weights, checkpoints, deadline, log."""

from __future__ import annotations

import csv
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from lab.training.settings import OnStep, StageSettings, StepReport
from workers.errors import WeightsMismatch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WARM_UP = 0.04
"""Share of the steps over which the learning rate rises."""
LOWEST_RATE = 0.02
"""Last learning rate, as a share of the highest."""
CHECKPOINT_SECONDS = 90.0
SMOOTHING = 0.98
"""Weight of the loss so far against that of a new step, in the loss that is reported."""
AVERAGE_DECAY = 0.995
"""Weight of the averaged weights so far against those of a new step; less at first (``_averaged``)."""


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One stage to be trained: its plan, the folder ``work`` of its checkpoint and log, and when it must stop."""

    stage: str
    plan: StageSettings
    work: Path
    stop_at: float
    """Reading of the monotonic clock after which no step is started."""
    on_step: OnStep

    @property
    def checkpoint(self) -> Path:
        """File of the stage's checkpoint."""
        return self.work / f"{self.stage}.checkpoint.pt"


@dataclass(slots=True, eq=False)
class _State:
    """Everything that a checkpoint holds: weights, their average, optimiser, schedule, steps taken, smoothed loss."""

    module: nn.Module
    average: AveragedModel
    optimiser: torch.optim.AdamW
    schedule: LambdaLR
    step: int = 0
    loss: float = 0.0


def optimise(run: Run, module: nn.Module, loss_of: Callable[[int], Tensor]) -> bool:
    """Train ``module``, going on from the stage's checkpoint; return whether all steps were taken in time.

    Afterwards ``module`` holds the averaged weights. ``loss_of(step)`` must depend on the step's number alone: then
    a run that was interrupted ends with the same weights as one that was not. Raises WeightsMismatch where the
    checkpoint cannot be gone on from.
    """
    run.work.mkdir(parents=True, exist_ok=True)
    state = _begin(run, module)
    started = saved = time.monotonic()
    while state.step < run.plan.steps and time.monotonic() < run.stop_at:
        _take_step(state, loss_of)
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            _save(run, state)
            saved = time.monotonic()
        if state.step % 10 == 0 or state.step == run.plan.steps:
            _log(run, StepReport(run.stage, state.step, run.plan.steps, state.loss, time.monotonic() - started))
    _save(run, state)
    module.load_state_dict(state.average.module.state_dict())
    return state.step >= run.plan.steps


def rate_factor(steps: int, step: int) -> float:
    """Return the learning rate of one step as a share of the highest: a short linear rise, then half a cosine."""
    rise = max(1.0, WARM_UP * steps)
    fall = (1 + math.cos(math.pi * min(1.0, step / steps))) / 2
    return min(1.0, (step + 1) / rise) * (LOWEST_RATE + (1 - LOWEST_RATE) * fall)


def _begin(run: Run, module: nn.Module) -> _State:
    """Return the state of the checkpoint, or a fresh one where there is none."""
    optimiser = torch.optim.AdamW(module.parameters(), lr=run.plan.learning_rate, betas=(0.9, 0.99), weight_decay=1e-3)
    schedule = LambdaLR(optimiser, lambda step: rate_factor(run.plan.steps, step))
    average = AveragedModel(module, avg_fn=_averaged, use_buffers=True)
    state = _State(module, average, optimiser, schedule)
    if run.checkpoint.exists():
        _restore(state, run.checkpoint)
    return state


def _take_step(state: _State, loss_of: Callable[[int], Tensor]) -> None:
    loss = loss_of(state.step)
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch ships this method unannotated
    nn.utils.clip_grad_norm_(state.module.parameters(), 1.0)
    state.optimiser.step()
    state.schedule.step()
    state.average.update_parameters(state.module)
    latest = float(loss.detach())
    state.loss = latest if state.step == 0 else SMOOTHING * state.loss + (1 - SMOOTHING) * latest
    state.step += 1


@torch.no_grad()
def _averaged(average: Tensor, latest: Tensor, steps: Tensor | int) -> Tensor:
    """Return the moving average of one tensor; counters are taken as they are.

    After few ``steps`` the latest weights count for more, so that the average is not held back by the first ones.
    """
    if not average.is_floating_point():
        return latest
    decay = min(AVERAGE_DECAY, (1 + int(steps)) / (10 + int(steps)))
    return average.lerp(latest, 1 - decay)


def _save(run: Run, state: _State) -> None:
    """Write the checkpoint; an interruption leaves the one before it."""
    content = {
        "module": state.module.state_dict(),
        "average": state.average.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "schedule": state.schedule.state_dict(),
        "step": state.step,
        "loss": state.loss,
    }
    fresh = run.checkpoint.with_suffix(".part")
    torch.save(content, fresh)
    fresh.replace(run.checkpoint)


def _restore(state: _State, path: Path) -> None:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    try:
        state.module.load_state_dict(content["module"])
        state.average.load_state_dict(content["average"])
        state.optimiser.load_state_dict(content["optimiser"])
        state.schedule.load_state_dict(content["schedule"])
        state.step, state.loss = int(content["step"]), float(content["loss"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise WeightsMismatch(
            f"{path.name} is of another version of oncue: remove it, or train in a fresh folder"
        ) from error


def _log(run: Run, report: StepReport) -> None:
    """Report a step, and append it to the stage's log."""
    run.on_step(report)
    path = run.work / f"{run.stage}.loss.csv"
    fresh = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if fresh:
            writer.writerow(("step", "loss", "seconds"))
        writer.writerow((report.step, f"{report.loss:.6f}", f"{report.seconds:.1f}"))
