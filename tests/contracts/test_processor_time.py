from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

_TESTS = """
import subprocess, sys, time

def compute(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass

def test_child():
    subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.5: pass"], check=True)

def test_wait():
    time.sleep(0.4)

def test_own():
    compute(0.2)
"""


@pytest.mark.slow
def test_the_time_of_tests_is_that_of_processors_with_what_they_started(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(_TESTS)
    plugin = ("-p", "tests.support.processor_time", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", "-n", "1", *plugin, "--rootdir", str(tmp_path)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    lines = re.findall(r"^ +([0-9.]+)  test_some.py(?:::(\w+)| \(3 tests\))$", ran.stdout, re.MULTILINE)
    assert [name for _, name in lines] == ["", "test_child", "test_own", "test_wait"]
    assert float(lines[0][0]) >= 0.7
    assert float(lines[3][0]) < 0.2
