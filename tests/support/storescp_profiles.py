"""Association profiles of DCMTK's storescp: peers that take some SOP classes only, or one transfer syntax only."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from dicom_gateway.chosen_forms import SOP_CLASSES
from storage.domain import ObjectKind

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
_VERIFICATION = "1.2.840.10008.1.1"
_NAMES = {EXPLICIT: "LittleEndianExplicit", IMPLICIT: "LittleEndianImplicit"}


def taking(
    folder: Path, forms: Collection[ObjectKind], *, syntaxes: Collection[str] = (EXPLICIT, IMPLICIT)
) -> tuple[str, str, str]:
    """Return the options of a storescp that takes these forms in these transfer syntaxes, and C-ECHO."""
    return with_syntaxes(folder, {SOP_CLASSES[form]: tuple(syntaxes) for form in forms})


def with_syntaxes(folder: Path, taken: Mapping[str, Collection[str]]) -> tuple[str, str, str]:
    """Return the options of a storescp that takes each SOP class in transfer syntaxes of its own."""
    contexts = {_VERIFICATION: (IMPLICIT,), **taken}
    lines = ["[[TransferSyntaxes]]"]
    for number, syntaxes in enumerate(contexts.values()):
        lines.append(f"[Syntaxes{number}]")
        lines += (f"TransferSyntax{place} = {_NAMES[uid]}" for place, uid in enumerate(syntaxes, start=1))
    lines += ["[[PresentationContexts]]", "[Taken]"]
    lines += (f"PresentationContext{n + 1} = {uid}\\Syntaxes{n}" for n, uid in enumerate(contexts))
    lines += ["[[Profiles]]", "[Odd]", "PresentationContexts = Taken"]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "profile.cfg"
    path.write_text("\n".join(lines) + "\n")
    return "-xf", str(path), "Odd"
