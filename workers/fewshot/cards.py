"""Fill in the model card of an adapter from what is on record of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from storage.fewshot.adapters import Adapter
from storage.fewshot.items import Item
from storage.fewshot.splits import Split
from storage.fewshot.tasks import Task
from storage.fewshot.verdicts import Check
from workers.fewshot.classifier import Abstention
from workers.fewshot.gate.card import ATTENTION_CLAIM, NO_CLAIM, ModelCard
from workers.fewshot.gate.evidence import Evidence
from workers.fewshot.gate.figures import Interval
from workers.fewshot.gate.judge import attends_to_lesion, headline


def model_card(
    task: Task,
    adapter: Adapter,
    items: Sequence[Item],
    evidence: Evidence,
    checks: tuple[Check, ...],
    *,
    actor: str,
    now: datetime,
) -> ModelCard:
    """Return the card; a field that nothing is known for stays empty, which the gate notices."""
    recipe, draft = adapter.recipe, task.draft
    return ModelCard(
        task=f"{task.name}, adapter version {adapter.version} ({adapter.artefact_sha256[:16]})",
        intended_use=draft.intended_use,
        not_for=draft.not_for,
        classes=f"{', '.join(draft.classes)}; positive: {draft.positive_class}",
        backbone=f"{recipe.backbone} ({recipe.backbone_sha256})" if recipe.backbone else "",
        licence=recipe.licence,
        commercial_use="allowed" if recipe.commercial_use else "not allowed",
        visual_prompt=recipe.prompt_mode,
        mask_source=recipe.mask_source,
        head=recipe.head,
        freeze=recipe.freeze,
        seed=str(recipe.seed),
        support=_described(items, Split.SUPPORT, adapter.snapshot.support_sha256),
        calibration=_described(items, Split.CALIBRATION, adapter.snapshot.calibration_sha256),
        evaluation=_described(items, Split.EVALUATION, ""),
        metrics=_figures(evidence),
        conformal=f"sets for coverage {1.0 - draft.alpha:.2f}, see the check coverage",
        attention=ATTENTION_CLAIM if attends_to_lesion(checks) else NO_CLAIM,
        abstains=", ".join(reason.value for reason in Abstention),
        reviewer=actor,
        date=f"{now:%Y-%m-%d}",
    )


def _described(items: Sequence[Item], split: Split, digest: str) -> str:
    part = [item for item in items if item.split is split]
    if not part:
        return "none"
    patients = len({item.patient_key for item in part})
    counts = [f"{len(part)} items of {patients} patients"]
    for name in ("label", "sex", "age_band", "site"):
        found = Counter(str(getattr(item, name)) or "not recorded" for item in part)
        counts.append(
            f"{name.replace('_', ' ')}: " + ", ".join(f"{value} {number}" for value, number in sorted(found.items()))
        )
    return "; ".join([*counts, f"digest {digest[:16]}"] if digest else counts)


def _figures(evidence: Evidence) -> str:
    parts = []
    for name, figure in headline(evidence).items():
        text = (
            f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"
            if isinstance(figure, Interval)
            else f"{figure:.3f}"
        )
        parts.append(f"{name.replace('_', ' ')} {text}")
    return ", ".join(parts)
