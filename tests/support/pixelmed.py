"""PixelMed's validator of structured reports, which knows their templates (PS3.16) as they stood in 2022."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.peers import executable, run
from tests.support.required import missing_peer

_JARS = Path("/usr/share/java")
_NEEDED = ("pixelmed", "vecmath", "hsqldb", "commons-codec")
_PROGRAM = Path(__file__).with_name("SrValidation.java")
_SECONDS = 240.0
# Its rules are XPath expressions far beyond what Java allows by default.
_UNLIMITED = ("xpathExprGrpLimit", "xpathExprOpLimit", "xpathTotalOpLimit")


def validated(files: Mapping[str, Path]) -> dict[str, tuple[str, ...]]:
    """Return what the validator says of each file, line by line, by the names of the files.

    All are validated in one virtual machine, which takes half a minute to read its rules.
    """
    missing = [name for name in _NEEDED if not (_JARS / f"{name}.jar").is_file()]
    if missing:
        missing_peer("PixelMed is not installed: apt-get install libpixelmed-java default-jdk-headless")
    path = os.pathsep.join(str(_JARS / f"{name}.jar") for name in _NEEDED)
    limits = [f"-Djdk.xml.{name}=0" for name in _UNLIMITED]
    result = run(executable("java"), *limits, "-cp", path, _PROGRAM, *files.values(), timeout=_SECONDS)
    if result.returncode != 0:
        pytest.fail(result.stdout)
    _, *parts = result.stdout.split("File: ")
    said = {part.partition("\n")[0]: part.splitlines()[1:] for part in parts}
    return {name: tuple(said[str(file)]) for name, file in files.items()}
