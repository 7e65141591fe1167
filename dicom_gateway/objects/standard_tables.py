"""highdicom's table of the standard's modules, read as far as it is needed.

highdicom looks up which attributes the IODs of an object and of its sources have. It parses all 436 modules of the
standard for that and keeps them: 65 MB in a process that needs some fifty.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from functools import cache
from importlib.resources import as_file, files
from mmap import ACCESS_READ, mmap
from typing import Any, cast

from highdicom import _standard_utils
from pydicom.uid import Comprehensive3DSRStorage, MRImageStorage, ParametricMapStorage, SegmentationStorage

_LOOKUP = "get_module_attribute_map"
_FIRST_TRY_BYTES = 1 << 16
_AT_ONCE = (SegmentationStorage, ParametricMapStorage, Comprehensive3DSRStorage, MRImageStorage)

Attributes = list[dict[str, Any]]


class ModuleTable(dict[str, Attributes]):
    """The attributes of each module, by its name; one that is not there yet is read when it is asked for."""

    def __contains__(self, module: object) -> bool:
        try:
            return isinstance(module, str) and self[module] is not None
        except KeyError:
            return False

    def __missing__(self, module: str) -> Attributes:
        self.update(read_modules([module]))
        if not super().__contains__(module):
            raise KeyError(module)
        return self[module]


def shrink_tables() -> None:
    """Have highdicom use the smaller table in this process from now on; a second call changes nothing."""
    for name, module in tuple(sys.modules.items()):
        # Some of its modules have taken the function over by name.
        if name.startswith("highdicom.") and hasattr(module, _LOOKUP):
            setattr(module, _LOOKUP, _table)


def read_modules(modules: Iterable[str]) -> dict[str, Attributes]:
    """Return those of the modules that the standard has, each parsed on its own from highdicom's file."""
    found = {}
    # Mapped rather than read: blocks as large as this file (23 MB) make the allocator keep them for good.
    with (
        as_file(files("highdicom") / "_standard" / "module_attribute_map.json") as path,
        path.open("rb") as file,
        mmap(file.fileno(), 0, access=ACCESS_READ) as content,
    ):
        for module in modules:
            key = f'"{module}": ['.encode()
            start = content.find(key)
            if start >= 0:
                found[module] = _first_array(content, start + len(key) - 1)
    return found


def _first_array(content: mmap, start: int) -> Attributes:
    """Parse the array that begins at a byte and ends where it ends, which nobody has noted."""
    length = _FIRST_TRY_BYTES
    while True:
        text = content[start : start + length].decode(errors="ignore")
        try:
            array, _ = json.JSONDecoder().raw_decode(text)
        except json.JSONDecodeError:
            if start + length >= len(content):
                raise
            length *= 2
        else:
            return cast("Attributes", array)


@cache
def _table() -> ModuleTable:
    iods, modules = _standard_utils.get_sop_class_iod_map(), _standard_utils.get_iod_module_map()
    return ModuleTable(read_modules(dict.fromkeys(module["key"] for uid in _AT_ONCE for module in modules[iods[uid]])))
