"""highdicom's table of the standard's modules, read as far as it is needed.

highdicom looks up which attributes the IODs of an object and of its sources have. It parses all 436 modules of the
standard for that and keeps them: 65 MB in a process that needs some fifty.
"""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Iterable
from functools import cache
from typing import Any

from highdicom import _standard_utils
from pydicom.uid import Comprehensive3DSRStorage, MRImageStorage, ParametricMapStorage, SegmentationStorage

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
    _standard_utils.get_module_attribute_map = _table


def read_modules(modules: Iterable[str]) -> dict[str, Attributes]:
    """Return those of the modules that the standard has, each parsed on its own from highdicom's file."""
    content = pkgutil.get_data("highdicom", "_standard/module_attribute_map.json") or b"{}"
    text, decoder, found = content.decode(), json.JSONDecoder(), {}
    for module in modules:
        key = f'"{module}": ['
        start = text.find(key)
        if start >= 0:
            found[module], _ = decoder.raw_decode(text, start + len(key) - 1)
    return found


@cache
def _table() -> ModuleTable:
    iods, modules = _standard_utils.get_sop_class_iod_map(), _standard_utils.get_iod_module_map()
    return ModuleTable(read_modules(dict.fromkeys(module["key"] for uid in _AT_ONCE for module in modules[iods[uid]])))
