"""The smaller table must never say anything but what highdicom's own says."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import pytest

from dicom_gateway.objects.standard_tables import ModuleTable, read_modules
from storage.objects import ObjectStore
from tests.conftest import ROOT


@pytest.mark.slow
def test_every_module_of_the_standard_is_read_as_it_is() -> None:
    whole = json.loads(pkgutil.get_data("highdicom", "_standard/module_attribute_map.json") or b"")
    assert len(whole) > 400
    assert read_modules(whole) == whole


def test_a_module_is_read_when_it_is_asked_for_and_an_unknown_one_is_not_there() -> None:
    table = ModuleTable()
    assert "patient" in table
    assert "keyword" not in table
    assert list(table) == ["patient"]


@pytest.mark.slow
def test_writing_never_parses_the_whole_table(objects: ObjectStore) -> None:
    program = (
        "import sys; from pathlib import Path; from storage.objects import ObjectStore;"
        "from highdicom._standard_utils import get_module_attribute_map as whole;"
        "from tests.support.sources import *; from dicom_gateway.objects.writing import *;"
        "from dicom_gateway.objects.equipment import Equipment;"
        "store = ObjectStore(Path(sys.argv[1])); analysis = store_study(LAYOUTS[0], store).explained(store);"
        "how = {'written_at': WRITTEN_AT, 'equipment': Equipment()};"
        "print(len(write_objects(analysis, store, **how)), write_parametric_map(analysis, store, **how).kind.value,"
        "whole.cache_info().currsize)"
    )
    # In a process of its own: in this one another test may have had the table parsed.
    done = subprocess.run(
        [sys.executable, "-c", program, str(objects.root)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[0] == "2"
    assert done.stdout.split()[-1] == "0"
