from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
import typer.main

from console.cli import app
from tests.support.commands import oncue

HEAVY = (
    "torch",
    "diffusers",
    "transformers",
    "celery",
    "redis",
    "pynetdicom",
    "pydicom",
    "highdicom",
    "numpy",
    "scipy",
)
HEAVY_TOO = ("fastapi", "starlette", "uvicorn", "jinja2", "sqlalchemy", "alembic", "structlog", "rich")
_PROBE = """
import json, sys
sys.argv = ["oncue", {arguments}]
from console.cli import main
try:
    main()
except SystemExit:
    pass
sys.stderr.write(json.dumps(sorted(sys.modules)))
"""


def commands() -> Iterator[tuple[str, ...]]:
    """Name every command that does something, as its words."""

    def walk(command: object, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        children = getattr(command, "commands", None)
        if not children or getattr(command, "invoke_without_command", False):
            yield words
        for name, child in (children or {}).items():
            yield from walk(child, (*words, name))

    yield from walk(typer.main.get_command(app), ())


COMMANDS = tuple(commands())


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("up", "--help"), ("jobs", "list", "--help")])
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    probe = _PROBE.format(arguments=", ".join(map(repr, arguments)))
    ran = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(ran.stderr)}
    assert not loaded & {*HEAVY, *HEAVY_TOO}


def test_every_command_of_the_main_job_is_there() -> None:
    wanted = {
        *{(name,) for name in ("up", "gateway", "worker", "relay", "console", "demo", "phantom", "send", "worklist")},
        *{("studies", "list"), ("jobs", "list"), ("jobs", "show"), ("jobs", "retry"), ("models", "inspect")},
        *{("deliveries", "list"), ("deliveries", "retry"), ("audit", "list"), ("audit", "show"), ("audit", "verify")},
        *{("models", "list"), ("models", "verify"), ("train", "foundation"), ("train", "head")},
        *{("evaluate", "segmentation")},
        *{("support", "list"), ("support", "import"), ("db", "upgrade"), ("db", "check"), ("doctor",), ("config",)},
    }
    assert wanted <= set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example(words: tuple[str, ...]) -> None:
    ran = oncue(*words, "--help")
    assert ran.code == 0
    text = " ".join(ran.out.split())
    assert "Example: " in text
    assert f"oncue {' '.join(words)}" in text.partition("Example: ")[2]


@pytest.mark.parametrize("words", [words for words in COMMANDS if words[-1] == "list" or words == ("worklist",)])
def test_every_listing_can_be_written_as_json(words: tuple[str, ...]) -> None:
    assert "--json" in oncue(*words, "--help").out
