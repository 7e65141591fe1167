"""How much memory a loaded model takes: what it says itself, else the tensors and arrays that it holds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import numpy as np

_MOST_OBJECTS = 200_000
"""More than any model has; an analyser that holds on to something endless must not hold up its worker."""


def megabytes_of(analyser: object) -> float:
    """Return the memory of a model in 10^6 bytes, on whichever device.

    Its attribute ``megabytes`` where it has one; else all tensors and arrays that can be reached from it through
    attributes and containers, each once. Memory that only a library knows of is not seen.
    """
    stated = getattr(analyser, "megabytes", None)
    if isinstance(stated, int | float):
        return float(stated)
    sizes: dict[int, int] = {}
    for item in _reachable(analyser):
        sizes.update(_buffer(item))
    return sum(sizes.values()) / 1e6


def free_unused() -> None:
    """Give the memory of models that were let go back to the device and the system."""
    import gc

    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _buffer(item: object) -> dict[int, int]:
    """Return where the numbers of a tensor or array lie, with their bytes; views of one buffer share it."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(item, torch.Tensor):
        storage = item.untyped_storage()
        return {storage.data_ptr(): storage.nbytes()}
    if isinstance(item, np.ndarray):
        whole = item.base if isinstance(item.base, np.ndarray) else item
        return {whole.__array_interface__["data"][0]: whole.nbytes}
    return {}


def _reachable(start: object) -> Iterator[object]:
    seen, waiting = {id(start)}, [start]
    while waiting and len(seen) < _MOST_OBJECTS:
        item = waiting.pop()
        yield item
        for part in _parts(item):
            if id(part) not in seen:
                seen.add(id(part))
                waiting.append(part)


def _parts(item: object) -> list[object]:
    if isinstance(item, dict):
        return list(item.values())
    if isinstance(item, list | tuple | set | frozenset):
        return list(item)
    if isinstance(item, type | ModuleType | np.ndarray):
        return []
    slots = (name for kind in type(item).__mro__ for name in _slots(kind))
    slotted = [getattr(item, name) for name in slots if hasattr(item, name)]
    return [*slotted, *getattr(item, "__dict__", {}).values()]


def _slots(kind: type) -> tuple[str, ...]:
    named = kind.__dict__.get("__slots__", ())
    return (named,) if isinstance(named, str) else tuple(named)
