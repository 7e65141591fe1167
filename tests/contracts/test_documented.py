from __future__ import annotations

import re

import pytest

from dicom_gateway import errors as gateway_errors
from storage import access_errors, deletion_errors
from storage import errors as storage_errors
from storage.errors import OncueError
from storage.fewshot import errors as fewshot_errors
from storage.history import errors as history_errors
from tests.conftest import ROOT
from tests.support.documents import DOCS, PARTS, all_errors, with_part
from workers import errors as worker_errors

MODULES = (
    gateway_errors,
    storage_errors,
    access_errors,
    deletion_errors,
    fewshot_errors,
    history_errors,
    worker_errors,
)


@pytest.mark.parametrize(("document", "name"), PARTS, ids=str)
@pytest.mark.slow
def test_the_documentation_says_what_the_code_does(document: str, name: str) -> None:
    text = (DOCS / document).read_text()
    assert text == with_part(text, name, PARTS[document, name]()), "out of date: run `make docs`"


def test_no_two_errors_share_a_code() -> None:
    codes = [error.code for error in all_errors()]
    assert len(codes) == len(set(codes))


def test_every_error_of_a_package_has_a_code_of_its_own() -> None:
    classes = [one for module in MODULES for one in vars(module).values()]
    errors = [one for one in classes if isinstance(one, type) and issubclass(one, OncueError)]
    assert [error.__name__ for error in errors if "code" not in vars(error)] == []


def test_every_link_between_the_documents_leads_somewhere() -> None:
    documents = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "lab" / "notebook").glob("*.md")]
    for document in documents:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} points at {target}"


def test_the_readme_names_only_commands_that_exist() -> None:
    from tests.console.test_help import COMMANDS

    known = {" ".join(words) for words in COMMANDS} | {words[0] for words in COMMANDS}
    for text in (ROOT / "README.md", DOCS / "operations.md", ROOT / "SECURITY.md"):
        for command in re.findall(r"`oncue ([a-z]+(?: [a-z]+)?)", text.read_text()):
            assert command in known or command.split()[0] in known, f"{text.name}: oncue {command}"
