"""The probe of the models that the site added: are their files whole, and can a worker here open them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec

from console.doctor.parts import ExaminedPart, PartHealth
from console.installation import Installation
from storage import site_models
from storage.site_models import SiteModel
from workers.errors import WeightsMismatch
from workers.site_models.card import SiteModelCard, SiteModelKind
from workers.site_models.file_digests import require_unchanged

LABEL = "label"
"""The analyser that workers have who classify."""
_LIBRARIES: Mapping[SiteModelKind, tuple[str, str]] = {
    SiteModelKind.NNUNET: ("nnunetv2", "nnunet"),
    SiteModelKind.MONAI_BUNDLE: ("monai", "monai"),
    SiteModelKind.ONNX: ("onnxruntime", "onnx"),
}
"""The library that each kind needs, and the extra that brings it."""


def probe_models(installation: Installation) -> Iterator[ExaminedPart]:
    """Hash the files of every model that was added, and say what keeps a worker from opening or serving it."""
    with installation.read() as session:
        models = site_models.installed(session)
    for model in models:
        yield _examined(installation, model)
    worker = installation.settings.worker
    known = sorted({LABEL, *worker.known_analysers(), *(model.name for model in models)})
    for name in worker.serves or ():
        if name not in known:
            detail = (
                f"no analyser or model {name} is known, only {', '.join(known)}: "
                f"add it by `oncue models add FOLDER --name {name}`, or name a function in worker.analysers"
            )
            yield ExaminedPart("worker.serves", PartHealth.REMARK, detail)


def _examined(installation: Installation, model: SiteModel) -> ExaminedPart:
    subject = f"model {model.name}"
    try:
        require_unchanged(site_models.folder(installation.state, model.name), model.files)
    except WeightsMismatch as error:
        return ExaminedPart(subject, PartHealth.BROKEN, f"[{error.code}] {error}")
    card = SiteModelCard.from_json(model.card)
    if card.runs_code and not installation.settings.worker.allow_code:
        detail = f"[code_refused] {card.runs_code[0]} runs code: trust it by allow_code = true under [worker]"
        return ExaminedPart(subject, PartHealth.BROKEN, detail)
    library, extra = _LIBRARIES.get(card.kind, ("torch", "worker"))
    if find_spec(library) is None:
        return ExaminedPart(subject, PartHealth.REMARK, f"{library} is not installed here: install oncue[{extra}]")
    return ExaminedPart(subject, PartHealth.FINE, f"{model.kind}, {len(model.files)} files intact")
