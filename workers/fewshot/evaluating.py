"""Judge an adapter on the evaluation patients of its task: gather the evidence, run the gate, write the card."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version

import numpy as np
from numpy import float64
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from storage.database import Database
from storage.fewshot import adapters, evaluations, items, promotions, tasks
from storage.fewshot.adapters import Adapter
from storage.fewshot.embeddings import MaskUsed
from storage.fewshot.errors import ItemRefused
from storage.fewshot.evaluations import Evaluation, Judgement
from storage.fewshot.items import Item, Split
from storage.fewshot.tasks import Task
from storage.fewshot.verdicts import Check
from workers.fewshot.classifier import OF_LESIONS, Abstention, FittedAdapter, Labelled, class_numbers, read_adapter
from workers.fewshot.contracts import Scope
from workers.fewshot.fitting import head_name, in_order, labelled, vectors_of
from workers.fewshot.gate.card import ATTENTION_CLAIM, NO_CLAIM, ModelCard, check_card, render
from workers.fewshot.gate.checks import attends_to_lesion, headline, run_checks
from workers.fewshot.gate.evidence import Evidence
from workers.fewshot.gate.figures import Estimate
from workers.fewshot.heads import make_head

_RESAMPLES = 5
_KEPT_SHARE = 0.8
_LEAST_PATIENTS = 5


def evaluate(database: Database, adapter_id: int, *, actor: str, now: datetime) -> Evaluation:
    """Run every check of the gate and put the evaluation on record with its model card.

    Raises RecordMissing for an unknown adapter or items without vectors, ItemRefused where there are no items.
    """
    with database.read() as session:
        adapter = adapters.find(session, adapter_id)
        task = next(task for task in tasks.listed(session) if task.id == adapter.task_id)
        judged = in_order(items.in_use(session, task, Split.EVALUATION))
        if not judged:
            raise ItemRefused(f"task {task.name} has no evaluation items: `oncue classification items add`")
        evidence = gather(session, task, adapter, judged)
        everything = items.in_use(session, task)
    checks = run_checks(evidence)
    figures = headline(evidence)
    card = model_card(task, adapter, everything, evidence, checks, actor=actor, now=now)
    checks = (*checks, check_card(card))
    plain = {name: value if isinstance(value, float) else asdict(value) for name, value in figures.items()}
    judgement = Judgement(
        evaluation_sha256=items.snapshot_sha256(judged),
        checks=checks,
        attends_to_lesion=attends_to_lesion(checks),
        metrics=_canonical({**plain, "bounds": asdict(evidence.bounds)}),
        card=render(card, checks),
        code_version=version("oncue"),
    )
    with database.write() as session:
        return evaluations.save(session, task.name, adapter, judgement, actor=actor, now=now)


def gather(session: Session, task: Task, adapter: Adapter, judged: tuple[Item, ...]) -> Evidence:
    """Ask the adapter, the one that predicts now, and five refitted on fewer patients, about every evaluation item."""
    fitted = read_adapter(adapters.artefact(session, adapter.id))
    key = adapter.recipe.embedding_key
    rows = labelled(session, judged, embedding_key=key)
    shuffled = vectors_of(session, judged, embedding_key=key, mask=MaskUsed.SHUFFLED)
    fitted_items = set(adapter.snapshot.support) | set(adapter.snapshot.calibration)
    used = [item for item in items.in_use(session, task) if item.id in fitted_items]
    return Evidence(
        classes=fitted.classes,
        positive_class=task.draft.positive_class,
        truth=class_numbers(rows.labels, fitted.classes),
        probabilities=fitted.probabilities(rows.vectors),
        label_sets=fitted.sets(rows.vectors),
        patients=np.array(rows.patients),
        groups={name: np.array([getattr(item, name) for item in judged]) for name in ("sex", "age_band", "site")},
        fitted_patients=frozenset(item.patient_key for item in used),
        calibration_items=len(adapter.snapshot.calibration),
        alpha=task.draft.alpha,
        sensitivity_floor=task.draft.sensitivity_floor,
        incumbent=_incumbent(session, task, adapter, judged, fitted),
        shuffled=None if shuffled is None else fitted.probabilities(shuffled),
        seed_accuracies=_resampled(session, adapter, used, rows),
    )


def _incumbent(
    session: Session, task: Task, adapter: Adapter, judged: tuple[Item, ...], fitted: FittedAdapter
) -> NDArray[float64] | None:
    present = promotions.promoted_adapter(session, task)
    if present is None or present.id == adapter.id:
        return None
    vectors = vectors_of(session, judged, embedding_key=present.recipe.embedding_key, mask=MaskUsed.OWN)
    if vectors is None:
        raise ItemRefused(f"the evaluation items lack the vectors of adapter {present.id}, which predicts: embed them")
    incumbent = read_adapter(adapters.artefact(session, present.id))
    if incumbent.classes != fitted.classes:
        raise ItemRefused(f"adapter {present.id}, which predicts, knows other classes: it cannot be compared")
    return incumbent.probabilities(vectors)


def _resampled(session: Session, adapter: Adapter, used: list[Item], rows: Labelled) -> tuple[float, ...]:
    """Return the accuracies of heads fitted on four fifths of the support patients, drawn five times."""
    support = [item for item in used if item.id in set(adapter.snapshot.support)]
    patients = sorted({item.patient_key for item in support})
    if len(patients) < _LEAST_PATIENTS:
        return ()
    head, accuracies = make_head(head_name(adapter.recipe.head)), []
    for draw in range(_RESAMPLES):
        rng = np.random.default_rng([adapter.recipe.seed, draw])
        kept = set(rng.choice(patients, size=round(_KEPT_SHARE * len(patients)), replace=False).tolist())
        part = in_order([item for item in support if item.patient_key in kept])
        if {item.label for item in part} != {item.label for item in support}:
            continue
        drawn = labelled(session, part, embedding_key=adapter.recipe.embedding_key)
        fitted = head.fit(drawn.vectors, drawn.labels, drawn.patients, seed=adapter.recipe.seed)
        answers = fitted.predict_proba(rows.vectors).argmax(axis=1)
        accuracies.append(float((answers == class_numbers(rows.labels, fitted.classes)).mean()))
    return tuple(accuracies)


def _canonical(content: object) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


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
    whole = Scope.of(recipe.prompt_mode) is Scope.IMAGE
    return ModelCard(
        task=f"{task.name}, adapter version {adapter.version} ({adapter.artefact_sha256[:16]})",
        intended_use=draft.intended_use,
        not_for=draft.not_for,
        classes=f"{', '.join(draft.classes)}; positive: {draft.positive_class}",
        backbone=f"{recipe.backbone} ({recipe.backbone_sha256})" if recipe.backbone else "",
        licence=recipe.licence,
        commercial_use="allowed" if recipe.commercial_use else "not allowed",
        visual_prompt=recipe.prompt_mode + (", labels whole images" if whole else ""),
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
        abstains=", ".join(reason.value for reason in Abstention if not (whole and reason in OF_LESIONS)),
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
            if isinstance(figure, Estimate)
            else f"{figure:.3f}"
        )
        parts.append(f"{name.replace('_', ' ')} {text}")
    return ", ".join(parts)
