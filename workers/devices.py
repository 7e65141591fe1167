"""Choose where and in which number format a model runs, and put it there."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

ModuleType = TypeVar("ModuleType", bound=nn.Module)

PROBE_REPEATS = 25


def choose_device(wanted: str = "auto") -> torch.device:
    """Return the device that ``wanted`` names (``cpu``, ``cuda:0``); ``auto`` is the first GPU, else the processor."""
    if wanted != "auto":
        return torch.device(wanted)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_dtype(device: torch.device, wanted: str = "auto") -> torch.dtype:
    """Return the dtype that ``wanted`` names; ``auto`` takes bfloat16 where it is faster, else float32."""
    if wanted != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[wanted]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if bfloat16_is_faster() else torch.float32


def bfloat16_is_faster() -> bool:
    """Return whether one convolution is faster in bfloat16: processors without AMX or AVX512-BF16 only emulate it.

    Both dtypes take turns, so that another program's burst slows both down.
    """
    runs = {dtype: _convolution(dtype) for dtype in (torch.float32, torch.bfloat16)}
    seconds = dict.fromkeys(runs, math.inf)
    for _ in range(PROBE_REPEATS):
        for dtype, run in runs.items():
            seconds[dtype] = min(seconds[dtype], _seconds(run))
    return seconds[torch.bfloat16] < seconds[torch.float32]


def _convolution(dtype: torch.dtype) -> Callable[[], torch.Tensor]:
    image, kernel = torch.ones(4, 64, 32, 32, dtype=dtype), torch.ones(64, 64, 3, 3, dtype=dtype)

    def run() -> torch.Tensor:
        with torch.inference_mode():
            return torch.nn.functional.conv2d(image, kernel, padding=1)

    return run


def _seconds(run: Callable[[], torch.Tensor]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def channels_last(module: ModuleType) -> ModuleType:
    """Arrange convolution weights so that processors read them in order."""
    untyped: Any = module  # torch's annotations do not know the argument
    untyped.to(memory_format=torch.channels_last)
    return module


def frozen(module: ModuleType, device: torch.device) -> ModuleType:
    """Put a module on its device in evaluation mode, with its weights fixed."""
    return channels_last(module.to(device=device)).eval().requires_grad_(requires_grad=False)
