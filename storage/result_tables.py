"""Tables of results: what jobs found, with which models, and the outboxes and objects that come of it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Float, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from storage.models import Model

_UID = String(64)
_SHA = String(64)
_CODE = String(64)


class AnalysisRow(Model):
    """What one succeeded job found, and with which code, weights, parameters and policy.

    ``withheld`` says why it is not sent; ``superseded_by`` is the job whose result replaces it, None where its route no
    longer applies to the study.
    """

    __tablename__ = "analyses"

    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    series_instance_uid: Mapped[str] = mapped_column(_UID)
    input_sha256: Mapped[str] = mapped_column(_SHA)
    grid_digest: Mapped[str] = mapped_column(_SHA)
    algorithm_name: Mapped[str] = mapped_column(String(64))
    algorithm_version: Mapped[str] = mapped_column(String(64))
    weights_sha256: Mapped[str] = mapped_column(_SHA)
    parameters: Mapped[str] = mapped_column(Text)
    classifier_name: Mapped[str | None] = mapped_column(String(64))
    classifier_version: Mapped[str | None] = mapped_column(String(64))
    classifier_sha256: Mapped[str | None] = mapped_column(_SHA)
    classifier_parameters: Mapped[str | None] = mapped_column(Text)
    case_score: Mapped[float] = mapped_column(Float)
    out_of_distribution: Mapped[float | None] = mapped_column(Float)
    priority: Mapped[str] = mapped_column(String(16))
    rule: Mapped[str] = mapped_column(String(64))
    policy_sha256: Mapped[str] = mapped_column(_SHA)
    policy_inputs: Mapped[str] = mapped_column(Text)
    timings: Mapped[str] = mapped_column(Text)
    overlays: Mapped[str] = mapped_column(Text)
    notes: Mapped[str] = mapped_column(Text)
    analysed_at: Mapped[datetime]
    withheld: Mapped[str | None] = mapped_column(_CODE)
    checkpoint: Mapped[str | None] = mapped_column(Text)
    superseded_at: Mapped[datetime | None]
    superseded_by: Mapped[int | None]


class ExplanationRow(Model):
    """What one analysis shows for its answer: the digest of its attention map, and its panels as JSON."""

    __tablename__ = "explanations"

    job_id: Mapped[int] = mapped_column(ForeignKey("analyses.job_id"), primary_key=True)
    attention: Mapped[str] = mapped_column(_SHA)
    panels: Mapped[str] = mapped_column(Text)


class FindingRow(Model):
    """One finding of an analysis; ``number`` is the segment number, 0 for «nothing found».

    ``site`` is JSON: code and laterality of the organ that it lies in, None where nothing is known of it.
    """

    __tablename__ = "findings"

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("analyses.job_id"))
    number: Mapped[int]
    presence: Mapped[str] = mapped_column(String(16))
    code_value: Mapped[str] = mapped_column(String(16))
    code_scheme: Mapped[str] = mapped_column(String(16))
    code_meaning: Mapped[str] = mapped_column(String(64))
    confidence: Mapped[float] = mapped_column(Float)
    volume_ml: Mapped[float] = mapped_column(Float)
    longest_diameter_mm: Mapped[float] = mapped_column(Float)
    tracking_id: Mapped[str] = mapped_column(String(64))
    tracking_uid: Mapped[str] = mapped_column(_UID)
    label: Mapped[str | None] = mapped_column(String(64))
    label_probability: Mapped[float | None] = mapped_column(Float)
    abstained: Mapped[str | None] = mapped_column(_CODE)
    extent: Mapped[str] = mapped_column(String(8))
    area_mm2: Mapped[float] = mapped_column(Float)
    site: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (UniqueConstraint("job_id", "number"),)


class StructureRow(Model):
    """One organ that an analysis drew; ``site`` is JSON as in ``findings``, ``lesions`` a JSON list of numbers."""

    __tablename__ = "structures"

    job_id: Mapped[int] = mapped_column(ForeignKey("analyses.job_id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    site: Mapped[str] = mapped_column(Text)
    volume_ml: Mapped[float] = mapped_column(Float)
    tracking_id: Mapped[str] = mapped_column(String(64))
    tracking_uid: Mapped[str] = mapped_column(_UID)
    lesions: Mapped[str] = mapped_column(Text)


class SiteModelRow(Model):
    """One model that a site added: the digest over all its files, each file with its own (JSON), and its card (JSON).

    ``removed_at`` is None while it is installed; a name may be used again after that.
    """

    __tablename__ = "site_models"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), index=True)
    kind: Mapped[str] = mapped_column(String(32))
    sha256: Mapped[str] = mapped_column(_SHA)
    files: Mapped[str] = mapped_column(Text)
    card: Mapped[str] = mapped_column(Text)
    added_by: Mapped[str] = mapped_column(String(96))
    added_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]


class ReportRow(Model):
    """Whether the DICOM objects of one analysis have been written; the outbox of the delivery loop."""

    __tablename__ = "reports"

    job_id: Mapped[int] = mapped_column(ForeignKey("analyses.job_id"), primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int]
    next_attempt_at: Mapped[datetime]
    code: Mapped[str | None] = mapped_column(_CODE)
    reason: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index(None, "state", "next_attempt_at"),)


class RejectionRow(Model):
    """Whether the receivers of a superseded result have been told to set it aside (IHE RAD IOCM); an outbox."""

    __tablename__ = "rejections"

    job_id: Mapped[int] = mapped_column(ForeignKey("analyses.job_id"), primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int]
    next_attempt_at: Mapped[datetime]
    code: Mapped[str | None] = mapped_column(_CODE)
    reason: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index(None, "state", "next_attempt_at"),)


class NoticeRow(Model):
    """What destinations are told of a study revision that was not analysed; an outbox.

    ``route`` is that of the job that failed, and empty where no route wanted the study; ``subject_code`` says why.
    """

    __tablename__ = "notices"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    revision: Mapped[int]
    route: Mapped[str] = mapped_column(String(64))
    subject_code: Mapped[str] = mapped_column(_CODE)
    opened_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int]
    next_attempt_at: Mapped[datetime]
    code: Mapped[str | None] = mapped_column(_CODE)
    reason: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (UniqueConstraint("study_id", "revision", "route"), Index(None, "state", "next_attempt_at"))


class ResultObjectRow(Model):
    """One DICOM object that oncue wrote: of a job's analysis, or as the notice of a study that was not analysed.

    ``flaw`` says what a check found wrong with it, for which it is kept and not sent; ``deleted_at`` is when
    retention deleted its file.
    """

    __tablename__ = "result_objects"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    job_id: Mapped[int | None] = mapped_column(ForeignKey("analyses.job_id"))
    notice_id: Mapped[int | None] = mapped_column(ForeignKey("notices.id"))
    kind: Mapped[str] = mapped_column(String(8))
    sop_instance_uid: Mapped[str] = mapped_column(_UID, index=True)
    sop_class_uid: Mapped[str] = mapped_column(_UID)
    series_instance_uid: Mapped[str] = mapped_column(_UID)
    transfer_syntax_uid: Mapped[str] = mapped_column(_UID)
    digest: Mapped[str] = mapped_column(_SHA)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    written_at: Mapped[datetime]
    flaw: Mapped[str | None] = mapped_column(Text)
    deleted_at: Mapped[datetime | None]

    __table_args__ = (UniqueConstraint("job_id", "sop_instance_uid"), Index(None, "digest"))
