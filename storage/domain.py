"""Domain types: what travels between packages. Frozen, plain, and free of every framework.

Arrays are ``[z, y, x]`` throughout: ``z`` counts slices along the slice normal, ``y`` rows, ``x`` columns.
Directions and positions are in the DICOM patient coordinate system (LPS, millimetres; PS3.3 C.7.6.2.1.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy import bool_, float32, uint8
    from numpy.typing import NDArray

    from storage.explanations import Explanation, KeptExplanation, Prediction, SaliencyMap

Vector = tuple[float, float, float]


class StudyState(StrEnum):
    """Where a study stands: still arriving, wanted by no route, or as the newest jobs of its routes.

    HELD and SET_ASIDE: something of it was still missing at its deadline, and a person is to say what becomes of it. A
    held one is analysed when the rest comes, too; one that was set aside is not, unless a late image reopens it.
    """

    RECEIVING = "receiving"
    NOT_APPLICABLE = "not_applicable"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    HELD = "held"
    SET_ASIDE = "set_aside"


class JobState(StrEnum):
    """Where one route's analysis of one study revision stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SUPERSEDED = "superseded"


class ReportState(StrEnum):
    """Whether the DICOM objects of a succeeded job have been written.

    WITHHELD: the route does not send it. SUPERSEDED: a later result came first.
    """

    PENDING = "pending"
    WRITTEN = "written"
    FAILED = "failed"
    WITHHELD = "withheld"
    SUPERSEDED = "superseded"


class DeliveryState(StrEnum):
    """Where one object on its way to one destination stands.

    SUPERSEDED: a later result came first. CALLED_OFF: a person ended it, or it goes there in another form.
    """

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    REFUSED = "refused"
    SUPERSEDED = "superseded"
    CALLED_OFF = "called_off"


class RejectionState(StrEnum):
    """Whether the receivers of a superseded result have been told. NEEDLESS: nobody had got it, or wants to know."""

    PENDING = "pending"
    WRITTEN = "written"
    NEEDLESS = "needless"
    FAILED = "failed"


class NoticeState(StrEnum):
    """Whether destinations have been told of a study that was not analysed.

    NEEDLESS: none of them wants to know any more. SUPERSEDED: it is analysed after all, or for another reason not.
    """

    PENDING = "pending"
    WRITTEN = "written"
    NEEDLESS = "needless"
    FAILED = "failed"
    SUPERSEDED = "superseded"


class Lane(StrEnum):
    """The Celery queue that a job waits in, most urgent first."""

    STAT = "stat"
    ROUTINE = "routine"
    BATCH = "batch"


class Priority(StrEnum):
    """Reading priority that the triage policy gives a study, most urgent first."""

    STAT = "STAT"
    HIGH = "HIGH"
    ROUTINE = "ROUTINE"
    LOW = "LOW"

    @property
    def rank(self) -> int:
        """Position in the worklist: 0 is read first."""
        return list(Priority).index(self)


class ObjectKind(StrEnum):
    """The DICOM objects that oncue writes: the forms that a result may take, and the note that rejects them.

    SC: pictures of the slices that matter. KO: the key object that names them. PDF: one page for a person.
    """

    SEG = "SEG"
    LABELMAP = "LABELMAP"
    SR = "SR"
    SC = "SC"
    GSPS = "GSPS"
    KO = "KO"
    PDF = "PDF"
    PM = "PM"
    REJECTION = "REJECT"


class Holding(StrEnum):
    """What the object store holds of a study, as retention tells it apart.

    IMAGES: the instances received. RESULTS: the DICOM objects written, and the label map, attention and saliency maps
    that they are made of. PICTURES: overlays and panels. What analyses say in numbers stays in the database.
    """

    IMAGES = "images"
    RESULTS = "results"
    PICTURES = "pictures"


class Unanalysed(StrEnum):
    """What a destination gets of a study that is not analysed: a small structured report that says why, or nothing."""

    SR = "sr"
    NOTHING = "nothing"


class Presence(StrEnum):
    """Whether the analyser found what it looked for.

    ASSESSED: an image or series was given a label, or an abstention; it says nothing of a lesion's place.
    """

    PRESENT = "present"
    ABSENT = "absent"
    ASSESSED = "assessed"
    """An image or series was given a label; says nothing of a lesion's place."""


class Extent(StrEnum):
    """What is known of an image's size in the patient, and so which measurements mean anything.

    VOLUME: millimetres in three directions. AREA: one plane of known pixel spacing. UNKNOWN: no calibration at all; the
    spacing of its geometry is a placeholder of 1.
    """

    VOLUME = "volume"
    AREA = "area"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Code:
    """One coded concept: value, coding scheme designator, meaning (PS3.3 8.8)."""

    value: str
    scheme: str
    meaning: str


class LabelRole(StrEnum):
    """What a label of a multi-label model stands for: something sick, or the organ that it may lie in."""

    LESION = "lesion"
    ORGAN = "organ"


@dataclass(frozen=True, slots=True)
class Site:
    """Where in the body something lies: an organ's code, and left or right where that matters (PS3.16 CID 244)."""

    concept: Code
    laterality: Code | None = None


@dataclass(frozen=True, slots=True)
class LabelEntry:
    """One label of a multi-label model: its value in the grid, what it is called, and what it means.

    ``concept`` and ``laterality`` code the thing itself (an organ, or a kind of lesion). ``site`` is the organ that a
    lesion label is for, None where it may lie in any.
    """

    value: int
    name: str
    role: LabelRole
    concept: Code
    laterality: Code | None = None
    site: Site | None = None


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """One received SOP instance: its identifiers and the object store's digest of its Part 10 file.

    ``content_sha256`` tells contents of one UID apart: that digest again, or in rows of earlier versions the one of the
    data set alone, as it came over the wire, without preamble and file meta.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    digest: str
    content_sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class FrameRef:
    """One image plane of a volume, by its stored instance.

    ``frame_number`` counts from 1 inside a multi-frame instance and is None for a single-frame one;
    ``digest`` is the object store's key of the Part 10 file.
    """

    sop_instance_uid: str
    sop_class_uid: str
    frame_number: int | None
    digest: str


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a ``[z, y, x]`` grid lies in the patient: unit directions, spacing and the centre of voxel (0, 0, 0)."""

    origin_mm: Vector
    row_direction: Vector
    column_direction: Vector
    slice_direction: Vector
    spacing_mm: Vector
    """Distance between voxel centres along (z, y, x)."""

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        z, y, x = self.spacing_mm
        return z * y * x / 1000.0


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """One series as a regular grid, in stored units after rescale (HU for CT), lightest assumption about anything.

    ``row_direction`` runs along increasing ``x`` (the first three values of ImageOrientationPatient),
    ``column_direction`` along increasing ``y``, ``slice_direction`` along increasing ``z``.
    ``frames[z]`` names the stored plane that slice ``z`` came from.
    """

    voxels: NDArray[float32]
    geometry: Geometry
    modality: str
    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str | None
    frames: tuple[FrameRef, ...]
    description: str = ""
    body_part: str = ""
    extent: Extent = Extent.VOLUME


@dataclass(frozen=True, slots=True, eq=False)
class LabelledGrid:
    """What a multi-label model drew: label values uint8 ``[z, y, x]`` on the volume's grid, and what they mean.

    0 is background; values without an entry in ``table`` do not occur.
    """

    labels: NDArray[uint8]
    table: tuple[LabelEntry, ...]


@dataclass(frozen=True, slots=True, eq=False)
class LabelMap:
    """Segment numbers on the source grid: 0 is background, ``n`` belongs to the finding or structure of that number."""

    labels: NDArray[uint8]
    frames: tuple[FrameRef, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """What a segmenter says of one volume: the binary mask, and how sure it is of it.

    ``mask`` is bool ``[z, y, x]`` and ``score_map`` float32 ``[z, y, x]`` in 0..1 on the volume's own grid;
    ``case_score`` in 0..1 is calibrated on volumes without a lesion; ``out_of_distribution`` is 0 for an input like
    the training data and grows without bound, and None where the segmenter has no measure of it. ``explanation`` is
    None where the segmenter has none to give.
    ``labelled`` is what a multi-label model drew; ``mask`` is then the union of its lesion labels.
    """

    mask: NDArray[bool_]
    score_map: NDArray[float32]
    case_score: float
    out_of_distribution: float | None
    algorithm: Algorithm
    explanation: Explanation | None = None
    labelled: LabelledGrid | None = None


@dataclass(frozen=True, slots=True)
class Algorithm:
    """Which code, weights and parameters produced a result. All of it goes into the record and the objects.

    ``parameters`` is canonical JSON text (sorted keys); ``weights_sha256`` is the digest of the weight manifest.
    """

    name: str
    version: str
    weights_sha256: str
    parameters: str


@dataclass(frozen=True, slots=True, eq=False)
class Classification:
    """What the few-shot head says of one lesion: the label, its probability, or why it abstains."""

    label: str | None
    probability: float | None
    abstained: str | None
    algorithm: Algorithm
    prediction: Prediction | None = None
    saliency: SaliencyMap | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One lesion that an analyser found, one statement that it found none, or the label of a whole image or series.

    ``number`` is the segment number, from 1; 0 where ``presence`` is ABSENT or ASSESSED. ``confidence`` is in 0..1.
    Volume, area and diameter are 0 where nothing was found. ``extent`` says which of them mean anything: VOLUME has
    volume and diameter, AREA has area and diameter, UNKNOWN has neither. ``site`` is the organ that it lies in, where
    the model says so.
    """

    number: int
    presence: Presence
    concept: Code
    confidence: float
    volume_ml: float
    longest_diameter_mm: float
    tracking_id: str
    tracking_uid: str
    label: str | None = None
    label_probability: float | None = None
    abstained: str | None = None
    prediction: Prediction | None = None
    extent: Extent = Extent.VOLUME
    area_mm2: float = 0.0
    site: Site | None = None


@dataclass(frozen=True, slots=True)
class Structure:
    """One organ that a multi-label model drew: its segment, its volume, and the lesions in it.

    ``number`` is the segment number, after those of the findings. ``volume_ml`` counts the organ with its lesions, 0
    where no volumes are known (``Extent``); ``lesions`` are the numbers of the findings that lie in it.
    """

    number: int
    name: str
    site: Site
    volume_ml: float
    tracking_id: str
    tracking_uid: str
    lesions: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TriageDecision:
    """The priority that the policy gave, by which rule of which policy, from which inputs (canonical JSON)."""

    priority: Priority
    rule: str
    policy_sha256: str
    inputs: str
    policy_name: str = ""
    """What the policy is called; empty where only its digest is at hand."""


@dataclass(frozen=True, slots=True)
class StageTiming:
    """Wall seconds that one stage of the pipeline took."""

    stage: str
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """Everything a worker commits for one job. ``label_map`` is None where nothing was found and no organ drawn.

    ``findings`` is empty where a model draws organs alone: that says nothing of lesions.
    ``input_sha256`` digests the frames that were read, in order, so the same images give the same result UIDs.
    ``overlays`` are object store digests of PNG pictures, one for each slice worth showing.
    """

    series_instance_uid: str
    input_sha256: str
    algorithm: Algorithm
    classifier: Algorithm | None
    case_score: float
    out_of_distribution: float | None
    findings: tuple[Finding, ...]
    label_map: LabelMap | None
    frames: tuple[FrameRef, ...]
    decision: TriageDecision
    timings: tuple[StageTiming, ...]
    overlays: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """Why other series of the study were left out: coded reasons, no patient data."""
    explanation: KeptExplanation | None = None
    route: str = ""
    """Name of the route that asked for it."""
    routes_sha256: str = ""
    """Digest of the file of routes that was in force."""
    withheld: str | None = None
    """Coded reason why it is on record but not sent."""
    structures: tuple[Structure, ...] = ()
    """Organs that the model drew beside lesions, by segment number."""
    checkpoint: str | None = None
    """The audit log's newest checkpoint when the result was saved, a signed note; its report carries it."""
    shadows: tuple[TriageDecision, ...] = ()
    """What the policies on trial say of the same inputs."""

    @property
    def is_unfamiliar(self) -> bool:
        """Whether the input is unlike what the analyser was trained on."""
        return is_unfamiliar(self.out_of_distribution)


def is_unfamiliar(out_of_distribution: float | None) -> bool:
    """Say whether a score flags its input: it lies farther from the training data than all that was tuned on."""
    return out_of_distribution is not None and out_of_distribution > 0.0
