"""What the promoted adapter said of each finding, and why; written with the analysis that it belongs to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from storage.domain import Finding
from storage.explanations import Neighbour, Prediction
from storage.fewshot.tables import ClassificationPredictionRow


def replace(session: Session, job_id: int, findings: Sequence[Finding], *, now: datetime) -> None:
    """Write the predictions of a job's findings in place of earlier ones; the analysis' audit event covers them."""
    session.execute(delete(ClassificationPredictionRow).where(ClassificationPredictionRow.job_id == job_id))
    session.add_all(
        _row(job_id, finding.number, finding.prediction, now=now) for finding in findings if finding.prediction
    )


def of(session: Session, job_id: int) -> Mapping[int, Prediction]:
    """Return the predictions of a job by the number of their finding."""
    query = select(ClassificationPredictionRow).where(ClassificationPredictionRow.job_id == job_id)
    return {row.number: _prediction(row) for row in session.scalars(query)}


def _row(job_id: int, number: int, prediction: Prediction, *, now: datetime) -> ClassificationPredictionRow:
    return ClassificationPredictionRow(
        job_id=job_id,
        number=number,
        adapter_id=prediction.adapter,
        label_set=json.dumps(list(prediction.label_set)),
        distance=prediction.distance,
        nearest=json.dumps([asdict(neighbour) for neighbour in prediction.nearest]),
        attends_to_lesion=prediction.attends_to_lesion,
        saliency=prediction.saliency,
        in_mask_share=prediction.in_mask_share,
        predicted_at=now,
    )


def _prediction(row: ClassificationPredictionRow) -> Prediction:
    return Prediction(
        adapter=row.adapter_id,
        label_set=tuple(json.loads(row.label_set)),
        distance=row.distance,
        nearest=tuple(Neighbour(**entry) for entry in json.loads(row.nearest)),
        attends_to_lesion=row.attends_to_lesion,
        saliency=row.saliency,
        in_mask_share=row.in_mask_share,
    )
