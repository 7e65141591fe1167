"""What the few-shot classifier says of a lesion or an image, as measurements and qualitative evaluations of TID 1500.

The mask that it was given of a lesion is the segment of the same group; the saliency map stays in the record.
"""

from __future__ import annotations

from highdicom.sr import AlgorithmIdentification, Measurement, QualitativeEvaluation
from pydicom.sr.coding import Code as DicomCode

from dicom_gateway.objects import codes
from storage.domain import Finding, Presence
from storage.explanations import Prediction


def label_measurements(finding: Finding, algorithm: AlgorithmIdentification | None) -> list[Measurement]:
    """Return the calibrated probability of the class, and the share of the saliency that lies inside the lesion."""
    measured = []
    if finding.label_probability is not None and finding.abstained is None:
        measured.append(_percent(codes.CLASS_PROBABILITY, finding.label_probability, algorithm))
    if finding.prediction is not None and finding.prediction.in_mask_share is not None:
        measured.append(_percent(codes.SALIENCY_INSIDE, finding.prediction.in_mask_share, algorithm))
    return measured


def label_statements(finding: Finding) -> list[QualitativeEvaluation]:
    """Say which class was given, or that it is left to the reader and why, and what stands behind it.

    Nothing where the classifier was not asked.
    """
    statements = _given(finding)
    if finding.prediction is None:
        return statements
    statements += _grounds(finding.prediction)
    # Only a lesion has a mask to shuffle.
    return statements if finding.presence is Presence.ASSESSED else [*statements, _control(finding.prediction)]


def _given(finding: Finding) -> list[QualitativeEvaluation]:
    if finding.abstained is not None:
        return [
            QualitativeEvaluation(name=codes.CLASS, value=codes.ABSTAINED),
            QualitativeEvaluation(name=codes.ABSTENTION, value=codes.site_code(finding.abstained)),
            QualitativeEvaluation(name=codes.ADVICE, value=codes.DEFER_TO_READER),
        ]
    if finding.label is not None:
        return [QualitativeEvaluation(name=codes.CLASS, value=codes.site_code(finding.label))]
    return []


def _grounds(prediction: Prediction) -> list[QualitativeEvaluation]:
    """Name the classes that could not be ruled out, and the labels of the nearest support cases."""
    return [
        *(QualitativeEvaluation(name=codes.CANDIDATE, value=codes.site_code(label)) for label in prediction.label_set),
        *(QualitativeEvaluation(name=codes.NEAREST, value=codes.site_code(one.label)) for one in prediction.nearest),
    ]


def _control(prediction: Prediction) -> QualitativeEvaluation:
    control = codes.REGION_DECIDES if prediction.attends_to_lesion else codes.REGION_NOT_SHOWN
    return QualitativeEvaluation(name=codes.MASK_CONTROL, value=control)


def _percent(name: DicomCode, fraction: float, algorithm: AlgorithmIdentification | None) -> Measurement:
    return Measurement(name=name, value=round(100.0 * fraction, 2), unit=codes.PERCENT, algorithm_id=algorithm)
