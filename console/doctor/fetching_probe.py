"""The probe of the sources that studies are fetched from: whether each answers, and what does not come."""

from __future__ import annotations

from collections.abc import Iterator

from console.doctor.parts import ExaminedPart, PartHealth
from console.fetching.schemas import source_forms
from console.fetching.trial import ask_source
from console.installation import Installation
from storage.fetching import sources


def probe_fetching(installation: Installation) -> Iterator[ExaminedPart]:
    """Ask each source for what is wanted of it; nothing is fetched."""
    with installation.read() as session:
        known = [recorded.entry for recorded in sources.listed(session)]
        forms = {form.name: form for form in source_forms(session)}
    if not known:
        yield ExaminedPart("fetching", PartHealth.FINE, "no source: nothing is fetched")
        return
    for entry in known:
        subject, form = f"source {entry.name}", forms[entry.name]
        if form.failed:
            detail = f"{form.failed} studies did not come: oncue fetch list --in failed --from {entry.name}"
            yield ExaminedPart(subject, PartHealth.REMARK, detail)
        if entry.paused:
            detail = f"paused; {form.waiting} studies wait: oncue fetch sources resume {entry.name}"
            yield ExaminedPart(subject, PartHealth.REMARK, detail)
            continue
        found = ask_source(entry, installation)
        if found.passed:
            detail = f"{entry.address} answers; {found.studies} studies are wanted"
            yield ExaminedPart(subject, PartHealth.FINE, detail)
        else:
            yield ExaminedPart(subject, PartHealth.BROKEN, f"[{found.code}] {found.reason}")
