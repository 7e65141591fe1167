"""Parts of the documentation that follow from the code: settings, commands, error codes, audit messages,
accepted DICOM contexts.

Each stands between two marks in its document. ``make docs`` writes them anew; a test fails where one is out of date.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer.main
from pydantic_core import PydanticUndefined
from pydicom.uid import UID

import dicom_gateway.errors
import lab.errors
import workers.errors
from console.cli import app
from console.commands.laboratory import LaboratoryMissing
from console.config import Settings, known_keys, variable
from console.demo.journey import JourneyFailed
from console.demo.pacs import PacsFailed
from console.dicomweb.store_body import BodyLate
from console.dicomweb.storing import TooBusy
from console.request_errors import RequestRefused
from console.supervision.site import StartFailed
from dicom_gateway.audit_messages.kinds import KINDS
from dicom_gateway.contexts import accepted_contexts, transfer_syntaxes
from dicom_gateway.status import written
from storage.errors import OncueError
from tests.support.example_messages import fhir_example, hl7_example

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
ELSEWHERE = (
    StartFailed,
    PacsFailed,
    JourneyFailed,
    LaboratoryMissing,
    RequestRefused,
    BodyLate,
    TooBusy,
    dicom_gateway.errors.GatewayError,
    workers.errors.WorkerError,
    lab.errors.UnreadableCase,
)
"""Errors that are defined outside the three ``errors`` modules, and modules that must be loaded to be found."""


def settings() -> str:
    """Describe every setting: key, variable, default, meaning."""
    rows = ["| key | variable | default | meaning |", "|---|---|---|---|"]
    for key, field in known_keys().items():
        rows.append(f"| `{key}` | `{variable(key)}` | {_default(key, field)} | {field.description} |")
    return "\n".join(rows)


def commands() -> str:
    """Describe every command by its first sentence."""
    rows = ["| command | what it does |", "|---|---|"]
    rows += [f"| `oncue {' '.join(words)}` | {text} |" for words, text in _walk(typer.main.get_command(app), ())]
    return "\n".join(rows)


def errors() -> str:
    """Describe every error by its code, and say whether it is tried again and what a sender is answered with."""
    rows = ["| code | tried again | C-STORE status | meaning |", "|---|---|---|---|"]
    for error in sorted(all_errors(), key=lambda item: item.code):
        status = getattr(error, "status", None)
        answer = f"`{written(status)}`" if status is not None else ""
        meaning = " ".join((error.__doc__ or "").split("\n\n")[0].split())
        rows.append(f"| `{error.code}` | {'yes' if error.retryable else 'no'} | {answer} | {meaning} |")
    return "\n".join(rows)


def sop_classes() -> str:
    """List the SOP classes that the listener accepts."""
    uids = sorted({str(context.abstract_syntax) for context in accepted_contexts()}, key=lambda uid: UID(uid).name)
    return "\n".join(["| SOP class | UID |", "|---|---|", *(f"| {UID(uid).name} | `{uid}` |" for uid in uids)])


def syntaxes() -> str:
    """List the transfer syntaxes that the listener accepts for storage."""
    rows = [f"| {_syntax_name(uid)} | `{uid}` |" for uid in transfer_syntaxes()]
    return "\n".join(["| transfer syntax | UID |", "|---|---|", *rows])


def audit_messages() -> str:
    """List what each tag of the audit trail becomes, and for refusals the codes that are worth a message."""
    rows = ["| event | message | type | action |", "|---|---|---|---|"]
    for tag, kind in KINDS.items():
        event, kind_type = kind.event.value, kind.type.value if kind.type else None
        codes = f" ({', '.join(f'`{code}`' for code in sorted(kind.codes))})" if kind.codes else ""
        written_type = f"{kind_type.value} {kind_type.meaning}" if kind_type else ""
        rows.append(f"| `{tag}`{codes} | {event.value} {event.meaning} | {written_type} | {kind.action} |")
    return "\n".join(rows)


def all_errors() -> set[type[OncueError]]:
    """Return every class of the error tree that people meet: one without a code of its own is its base to them."""
    found: set[type[OncueError]] = set()
    waiting: list[type[OncueError]] = [OncueError]
    while waiting:
        error = waiting.pop()
        if error.__module__.startswith("tests."):
            continue
        if "code" in vars(error):
            found.add(error)
        waiting += error.__subclasses__()
    return found


PARTS: Mapping[tuple[str, str], Callable[[], str]] = {
    ("configuration.md", "settings"): settings,
    ("operations.md", "commands"): commands,
    ("operations.md", "errors"): errors,
    ("audit-messages.md", "audit-messages"): audit_messages,
    ("conformance.md", "sop-classes"): sop_classes,
    ("conformance.md", "transfer-syntaxes"): syntaxes,
    ("triage.md", "hl7-example"): hl7_example,
    ("triage.md", "fhir-example"): fhir_example,
}


def with_part(text: str, name: str, content: str) -> str:
    """Return a document with one part replaced."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    replaced, count = pattern.subn(lambda _: f"{begin}\n{content}\n{end}", text)
    if count != 1:
        raise ValueError(f"the document has {count} parts called {name}")
    return replaced


def _walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    children = getattr(command, "commands", None)
    if not children or getattr(command, "invoke_without_command", False):
        text = " ".join((command.help or "").split("\n\n")[0].split())
        yield words, text
    for name, child in (children or {}).items():
        yield from _walk(child, (*words, name))


def _default(key: str, field: Any) -> str:
    section, _, name = key.partition(".")
    if field.default is PydanticUndefined:
        return "required"
    value = getattr(getattr(Settings(), section), name)
    text = str(value.get_secret_value() if hasattr(value, "get_secret_value") else value)
    if value is None or text in ("", "()", "{}"):
        return ""
    if isinstance(value, tuple):
        text = ", ".join(map(str, value))
    return f"`{text}`"


def _syntax_name(uid: str) -> str:
    name = UID(uid).name
    return "a retired JPEG process" if name == uid else name


def main() -> None:
    """Write every part anew."""
    for (document, name), render in PARTS.items():
        path = DOCS / document
        path.write_text(with_part(path.read_text(), name, render()))


if __name__ == "__main__":
    main()
