"""Tables: columns and constraints only. Every change of state goes through the module that owns it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_UID = String(64)
_SHA = String(64)
_CODE = String(64)
_AET = String(16)
_BIG = BigInteger().with_variant(Integer, "sqlite")


_READING_ORDER = ("rank", "minus_confidence", "arrived_at", "study_id")


def _where(*flags: str) -> dict[str, Any]:
    """Return the options of an index of the rows with some flags, its condition as either database writes queries."""
    return {
        "sqlite_where": text(" AND ".join(f"{flag} = 1" for flag in flags)),
        "postgresql_where": text(" AND ".join(flags)),
    }


class UtcTime(TypeDecorator[datetime]):
    """A timezone-aware time in UTC; SQLite, which keeps no zone, gets it back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times: a guess about the zone would be wrong somewhere."""
        del dialect
        if value is not None and value.tzinfo is None:
            raise ValueError("times in the database carry a zone")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the time with its zone."""
        del dialect
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Model(DeclarativeBase):
    """Root of the tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcTime}  # noqa: RUF012 - SQLAlchemy reads it as a class attribute


class ProcessRow(Model):
    """One running process of oncue; ``seen_at`` says that it did its work then, not only that it existed.

    ``serves`` is JSON: pool and analysers of a worker, None for other processes.
    """

    __tablename__ = "processes"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    stopped_at: Mapped[datetime | None]
    serves: Mapped[str | None] = mapped_column(Text)


class StudyRow(Model):
    """One study. ``closed_at`` is None while the current revision is still arriving."""

    __tablename__ = "studies"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(_UID, unique=True)
    revision: Mapped[int]
    lane: Mapped[str] = mapped_column(String(16))
    opened_at: Mapped[datetime]
    last_instance_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    patient_id: Mapped[str] = mapped_column(String(64))
    patient_key: Mapped[str | None] = mapped_column(String(32))
    accession_number: Mapped[str] = mapped_column(String(16))
    study_date: Mapped[str] = mapped_column(String(8))
    study_description: Mapped[str] = mapped_column(String(64))

    __table_args__ = (
        Index(None, "closed_at", "last_instance_at"),
        Index(None, "patient_id"),
        Index(None, "accession_number"),
    )


class StandingRow(Model):
    """Where a study stands, as the lists order it: what ``storage.standing`` worked out of its jobs and results.

    ``arrived_at`` is that of the study's last image once the study is complete, and behind it while it arrives.
    ``minus_confidence`` is the negated confidence of the leading result, so that one index holds the reading order.
    ``instances`` counts the current ones while the study is complete. ``read_at`` to ``read_results`` are the mark that
    somebody set, and hold what was read; ``unread`` and ``waiting`` say which lists the study is on. ``keeps_images``
    to ``keeps_pictures`` say of which kinds files are kept, and ``image_bytes`` how large the images are together.
    """

    __tablename__ = "standings"

    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), primary_key=True, autoincrement=False)
    state: Mapped[str] = mapped_column(String(16))
    rank: Mapped[int]
    minus_confidence: Mapped[float] = mapped_column(Float)
    arrived_at: Mapped[datetime]
    leading_job_id: Mapped[int | None]
    instances: Mapped[int]
    complete: Mapped[bool]
    analysed: Mapped[bool]
    waiting: Mapped[bool]
    unread: Mapped[bool]
    read_at: Mapped[datetime | None]
    read_by: Mapped[str | None] = mapped_column(String(96))
    read_rank: Mapped[int | None]
    read_results: Mapped[str | None] = mapped_column(Text)
    image_bytes: Mapped[int] = mapped_column(BigInteger)
    keeps_images: Mapped[bool]
    keeps_results: Mapped[bool]
    keeps_pictures: Mapped[bool]

    __table_args__ = (
        Index("ix_standings_arrived", "arrived_at", "study_id", **_where("complete")),
        Index("ix_standings_rank", "rank", "arrived_at", "study_id", **_where("complete")),
        Index("ix_standings_waiting", "arrived_at", "study_id", **_where("waiting", "complete")),
        Index("ix_standings_unread", *_READING_ORDER, **_where("unread", "complete")),
        Index("ix_standings_analysed", *_READING_ORDER, **_where("analysed", "complete")),
        Index("ix_standings_state", "state", "arrived_at", "study_id"),
        *(
            Index(f"ix_standings_{flag}", "state", "rank", "arrived_at", "study_id", **_where(flag))
            for flag in ("keeps_images", "keeps_results", "keeps_pictures")
        ),
    )


class AssociationRow(Model):
    """One association with a sender; ``last_store_at`` is None until it sends an image."""

    __tablename__ = "associations"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    process_id: Mapped[str] = mapped_column(ForeignKey("processes.id"))
    calling_aet: Mapped[str] = mapped_column(_AET)
    called_aet: Mapped[str] = mapped_column(_AET)
    remote_address: Mapped[str] = mapped_column(String(64))
    opened_at: Mapped[datetime]
    last_store_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]

    __table_args__ = (Index(None, "closed_at"),)


class AssociationStudyRow(Model):
    """A study that an association sent something of: it stays open while that association is at work on it.

    ``last_store_at`` is when it last sent an image of this study, None where only the association's own time is known.
    """

    __tablename__ = "association_studies"

    association_id: Mapped[str] = mapped_column(ForeignKey("associations.id"), primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), primary_key=True, index=True)
    last_store_at: Mapped[datetime | None]


class StudyArrivalRow(Model):
    """How far a study is on its way in, once there is more to say than ``studies`` does.

    ``since`` is when its current revision opened, ``late_revisions`` how many late images in a row opened one.
    ``expected`` is how many images its source said to hold at ``asked_at``, ``ask_code`` why it could not say.
    """

    __tablename__ = "study_arrivals"

    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), primary_key=True, autoincrement=False)
    since: Mapped[datetime]
    late_revisions: Mapped[int]
    expected: Mapped[int | None]
    asked_at: Mapped[datetime | None]
    answered_at: Mapped[datetime | None]
    ask_code: Mapped[str | None] = mapped_column(_CODE)
    waits_for: Mapped[str | None] = mapped_column(String(32))
    hold: Mapped[str | None] = mapped_column(String(16))
    released_at: Mapped[datetime | None]


class ArrivalGapRow(Model):
    """The longest pause between two images of one study, of one sender and modality; what quiet times learn from."""

    __tablename__ = "arrival_gaps"

    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    calling_aet: Mapped[str] = mapped_column(_AET)
    modality: Mapped[str] = mapped_column(String(16))
    longest_seconds: Mapped[float] = mapped_column(Float)
    measured_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("study_id", "calling_aet", "modality"),
        Index(None, "calling_aet", "modality", "id"),
    )


class PeerRow(Model):
    """One peer that may open associations, or that is kept out; columns that are None are not asked of it.

    ``services`` and ``sop_classes`` are lists with commas.
    """

    __tablename__ = "peers"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(32), unique=True)
    calling_aet: Mapped[str] = mapped_column(_AET, index=True)
    called_aet: Mapped[str | None] = mapped_column(_AET)
    network: Mapped[str | None] = mapped_column(String(64))
    certificate_name: Mapped[str | None] = mapped_column(String(255))
    services: Mapped[str] = mapped_column(String(64))
    sop_classes: Mapped[str | None] = mapped_column(Text)
    lane: Mapped[str] = mapped_column(String(16))
    associations_per_hour: Mapped[int | None]
    images_per_hour: Mapped[int | None]
    megabytes_per_hour: Mapped[int | None]
    query_address: Mapped[str | None] = mapped_column(String(300))
    care_setting: Mapped[str | None] = mapped_column(String(16))
    allowed: Mapped[bool]
    added_by: Mapped[str] = mapped_column(String(96))
    added_at: Mapped[datetime]
    changed_at: Mapped[datetime]
    last_seen_at: Mapped[datetime | None]


class RefusedPeerRow(Model):
    """One caller that was turned away; ``recorded_at`` is when its last event was written."""

    __tablename__ = "refused_peers"

    id: Mapped[int] = mapped_column(primary_key=True)
    calling_aet: Mapped[str] = mapped_column(_AET)
    called_aet: Mapped[str] = mapped_column(_AET)
    address: Mapped[str] = mapped_column(String(64))
    code: Mapped[str] = mapped_column(_CODE)
    count: Mapped[int] = mapped_column(BigInteger)
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]
    recorded_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("calling_aet", "called_aet", "address"),
        Index(None, "address", "last_at"),
        Index(None, "last_at"),
        # People let callers in by their number: it must never come to mean somebody else.
        {"sqlite_autoincrement": True},
    )


class PeerUsageRow(Model):
    """What one peer used in one hour of the clock, which began at ``hour``."""

    __tablename__ = "peer_usage"

    hour: Mapped[datetime] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    associations: Mapped[int] = mapped_column(BigInteger)
    images: Mapped[int] = mapped_column(BigInteger)
    size_bytes: Mapped[int] = mapped_column(BigInteger)


class SeriesRow(Model):
    """What was read of a series when its study closed: everything that routes look at, as JSON."""

    __tablename__ = "series"

    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), primary_key=True)
    series_instance_uid: Mapped[str] = mapped_column(_UID, primary_key=True)
    facts: Mapped[str] = mapped_column(Text)
    read_at: Mapped[datetime]


class RouteFileRow(Model):
    """A file of routes that was in force once, so that workers and replays read the very same one."""

    __tablename__ = "route_files"

    sha256: Mapped[str] = mapped_column(_SHA, primary_key=True)
    content: Mapped[str] = mapped_column(Text)
    first_used_at: Mapped[datetime]


class RoutingRow(Model):
    """How one study revision was routed: what each route said, and why those that do not apply do not, as JSON."""

    __tablename__ = "routings"

    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True)
    routes_sha256: Mapped[str] = mapped_column(_SHA)
    applies: Mapped[bool]
    record: Mapped[str] = mapped_column(Text)
    reasons: Mapped[str] = mapped_column(Text)
    routed_at: Mapped[datetime] = mapped_column(index=True)


class InstanceRow(Model):
    """One received instance. ``current`` is False where the same UID arrived later with other content.

    ``deleted_at`` is when retention deleted its file, None while that is kept.
    """

    __tablename__ = "instances"

    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    revision: Mapped[int]
    series_instance_uid: Mapped[str] = mapped_column(_UID)
    sop_instance_uid: Mapped[str] = mapped_column(_UID)
    sop_class_uid: Mapped[str] = mapped_column(_UID)
    transfer_syntax_uid: Mapped[str] = mapped_column(_UID)
    modality: Mapped[str] = mapped_column(String(16))
    digest: Mapped[str] = mapped_column(_SHA)
    content_sha256: Mapped[str] = mapped_column(_SHA)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    calling_aet: Mapped[str] = mapped_column(_AET)
    received_at: Mapped[datetime]
    current: Mapped[bool]
    deleted_at: Mapped[datetime | None]

    __table_args__ = (UniqueConstraint("study_id", "sop_instance_uid", "content_sha256"),)


class JobRow(Model):
    """One route's analysis of one revision. The committed row is the outbox: ``published_at`` is None until it is sent.

    ``wanted`` is JSON: the Series Instance UIDs that the route reads; ``wanted_sha256`` digests their images.
    """

    __tablename__ = "jobs"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    revision: Mapped[int]
    route: Mapped[str] = mapped_column(String(32))
    routes_sha256: Mapped[str | None] = mapped_column(_SHA)
    pool: Mapped[str] = mapped_column(String(32))
    analyser: Mapped[str] = mapped_column(String(64))
    task: Mapped[str | None] = mapped_column(String(64))
    wanted: Mapped[str] = mapped_column(Text)
    wanted_sha256: Mapped[str] = mapped_column(_SHA)
    state: Mapped[str] = mapped_column(String(16))
    lane: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int]
    token: Mapped[int]
    lease_owner: Mapped[str | None] = mapped_column(String(64))
    lease_expires_at: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    published_at: Mapped[datetime | None]
    opened_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    code: Mapped[str | None] = mapped_column(_CODE)
    reason: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        UniqueConstraint("study_id", "revision", "route"),
        Index(None, "state", "published_at"),
        Index(None, "state", "id"),
    )


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


class DeliveryRow(Model):
    """One object on its way to one destination: the name of an entry, or ``AET@HOST:PORT`` of a setting.

    ``rank`` is that of the study's priority when it was put on its way: the lowest goes first.
    """

    __tablename__ = "deliveries"

    id: Mapped[int] = mapped_column(primary_key=True)
    object_id: Mapped[int] = mapped_column(ForeignKey("result_objects.id"))
    destination: Mapped[str] = mapped_column(String(300))
    rank: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int]
    next_attempt_at: Mapped[datetime]
    lease_owner: Mapped[str | None] = mapped_column(String(64))
    lease_expires_at: Mapped[datetime | None]
    status: Mapped[int | None]
    code: Mapped[str | None] = mapped_column(_CODE)
    reason: Mapped[str | None] = mapped_column(Text)
    sent_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("object_id", "destination"),
        Index(None, "state", "id"),
        Index(None, "state", "destination", "rank", "next_attempt_at", "id"),
    )


class DestinationRow(Model):
    """One receiver of results. Columns that are None are not asked of what is sent there, or are no limit.

    ``forms``, ``routes``, ``priorities`` and ``transfer_syntaxes`` are lists with commas; ``credentials`` is the path
    of a file. ``series_number_base``, ``series_description`` and ``character_set`` are how its objects are written.
    """

    __tablename__ = "destinations"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(32), unique=True)
    address: Mapped[str] = mapped_column(String(300))
    forms: Mapped[str] = mapped_column(Text)
    routes: Mapped[str | None] = mapped_column(Text)
    priorities: Mapped[str | None] = mapped_column(String(64))
    transfer_syntaxes: Mapped[str | None] = mapped_column(Text)
    series_number_base: Mapped[int | None]
    series_description: Mapped[str | None] = mapped_column(String(64))
    character_set: Mapped[str | None] = mapped_column(String(64))
    keeps_segmentations: Mapped[bool]
    shows_priority: Mapped[bool]
    rejection_notes: Mapped[bool]
    unanalysed: Mapped[str] = mapped_column(String(16))
    associations: Mapped[int]
    objects_per_association: Mapped[int | None]
    kilobytes_per_second: Mapped[int | None]
    credentials: Mapped[str | None] = mapped_column(Text)
    paused: Mapped[bool]
    added_by: Mapped[str] = mapped_column(String(96))
    added_at: Mapped[datetime]
    changed_at: Mapped[datetime]


class DestinationCircuitRow(Model):
    """Whether a destination is left alone for a while, since it could not be reached; none where nothing is wrong.

    ``trial_until`` is how long one batch may try it once ``open_until`` has passed.
    """

    __tablename__ = "destination_circuits"

    destination: Mapped[str] = mapped_column(String(300), primary_key=True)
    failures: Mapped[int]
    open_until: Mapped[datetime | None]
    trial_until: Mapped[datetime | None]
    code: Mapped[str | None] = mapped_column(_CODE)
    reason: Mapped[str | None] = mapped_column(Text)
    changed_at: Mapped[datetime]


class DestinationNegotiationRow(Model):
    """What a destination said that it takes, as JSON: transfer syntaxes by SOP class; ``code`` where it did not say."""

    __tablename__ = "destination_negotiations"

    destination: Mapped[str] = mapped_column(String(300), primary_key=True)
    taken: Mapped[str] = mapped_column(Text)
    code: Mapped[str | None] = mapped_column(_CODE)
    asked_at: Mapped[datetime]
