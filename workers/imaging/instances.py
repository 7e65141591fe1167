"""Headers of stored instances: only what choosing a series and building a volume need, read without the pixels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from storage.domain import StoredInstance
from storage.objects import ObjectStore
from storage.sop_kinds import ImageKind, classes_of, is_read
from workers.errors import OversizedInstance, UnreadableInstance
from workers.imaging.acquisitions import ACQUISITION_KEYWORDS, PRIVATE_TAGS
from workers.imaging.decimals import decimal, decimals
from workers.imaging.padding import PADDING_KEYWORDS, Padding, read_padding
from workers.imaging.parsing import DEFAULT_LIMITS, ReadLimits, parsing, read_dataset
from workers.imaging.planes import PLANE_KEYWORDS, Plane, read_planes
from workers.imaging.tomographic import TOMOGRAPHIC_KEYWORDS, read_tomographic
from workers.imaging.views import VIEW_KEYWORDS, read_view

VOLUME_CLASSES = classes_of(ImageKind.VOLUME)
"""The SOP classes that a volume can be built from."""

_KEYWORDS: tuple[str | int, ...] = (
    "SOPInstanceUID",
    "PatientID",
    "Modality",
    "Manufacturer",
    "ImageType",
    "SeriesDescription",
    "ProtocolName",
    "BodyPartExamined",
    "ScanningSequence",
    "InversionTime",
    "ContrastBolusAgent",
    "FrameOfReferenceUID",
    "LossyImageCompression",
    "PhotometricInterpretation",
    "SamplesPerPixel",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "PresentationIntentType",
    *ACQUISITION_KEYWORDS,
    *PRIVATE_TAGS,
    *PADDING_KEYWORDS,
    *PLANE_KEYWORDS,
    *TOMOGRAPHIC_KEYWORDS,
    *VIEW_KEYWORDS,
)


@dataclass(frozen=True, slots=True)
class InstanceHeader:
    """What is needed of one instance. Text is upper case and stripped; ``rows`` is 0 for what is not an image.

    ``planes`` is empty for an image that does not say where in the patient it lies.
    """

    stored: StoredInstance
    manufacturer: str
    image_type: tuple[str, ...]
    description: str
    body_part: str
    scanning_sequence: tuple[str, ...]
    inversion_time_ms: float | None
    contrast_agent: bool
    frame_of_reference_uid: str | None
    lossy: bool
    photometric_interpretation: str
    samples_per_pixel: int
    rows: int
    columns: int
    frames: int
    planes: tuple[Plane, ...]
    padding: Padding | None = None
    patient_id: str = ""
    """Only to see that a study is one patient's; it goes no further."""
    view: str = ""
    """Side and projection of an image, as its codes have them."""
    intent: str = ""
    """PresentationIntentType: FOR PRESENTATION or FOR PROCESSING."""
    instance_number: int | None = None

    @property
    def computed(self) -> bool:
        """Whether the image was computed from others; lossy compression alone also makes an image DERIVED."""
        return "DERIVED" in self.image_type[:1] and not self.lossy


@dataclass(frozen=True, slots=True)
class UnreadableHeader:
    """An instance whose header could not be read, and the coded reason."""

    stored: StoredInstance
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class HeaderScan:
    """The headers of a study: those read, and those that could not be."""

    headers: tuple[InstanceHeader, ...]
    unreadable: tuple[UnreadableHeader, ...]


def read_headers(
    instances: Iterable[StoredInstance], objects: ObjectStore, *, limits: ReadLimits = DEFAULT_LIMITS
) -> HeaderScan:
    """Read every instance's header; one that cannot be read is kept with its code. ObjectMissing stops the scan."""
    headers, unreadable = [], []
    for stored in instances:
        try:
            headers.append(read_header(stored, objects, limits=limits))
        except (UnreadableInstance, OversizedInstance) as error:
            unreadable.append(UnreadableHeader(stored, error.code, str(error)))
    return HeaderScan(tuple(headers), tuple(unreadable))


def read_header(stored: StoredInstance, objects: ObjectStore, *, limits: ReadLimits = DEFAULT_LIMITS) -> InstanceHeader:
    """Read one header; UnreadableInstance, OversizedInstance (too many bytes or frames), ObjectMissing."""
    dataset = read_dataset(objects, stored.digest, limits=limits, keywords=_KEYWORDS)
    with parsing(stored.digest, doing="reading the header"):
        _require_whole(dataset, stored)
        frames = _frames(dataset, stored, limits)
        return InstanceHeader(
            stored=stored,
            manufacturer=_text(dataset, "Manufacturer"),
            image_type=_texts(dataset, "ImageType"),
            description=_text(dataset, "SeriesDescription") or _text(dataset, "ProtocolName"),
            body_part=_text(dataset, "BodyPartExamined"),
            scanning_sequence=_texts(dataset, "ScanningSequence"),
            inversion_time_ms=decimal(dataset, "InversionTime"),
            contrast_agent=bool(_text(dataset, "ContrastBolusAgent")),
            frame_of_reference_uid=_text(dataset, "FrameOfReferenceUID") or None,
            lossy=_text(dataset, "LossyImageCompression") == "01",
            photometric_interpretation=_text(dataset, "PhotometricInterpretation"),
            samples_per_pixel=_count(dataset, "SamplesPerPixel"),
            rows=_count(dataset, "Rows"),
            columns=_count(dataset, "Columns"),
            frames=frames,
            planes=read_planes(dataset) or read_tomographic(dataset),
            padding=read_padding(dataset),
            patient_id=_text(dataset, "PatientID"),
            view=read_view(dataset),
            intent=_text(dataset, "PresentationIntentType"),
            instance_number=_count(dataset, "InstanceNumber") if "InstanceNumber" in dataset else None,
        )


def _require_whole(dataset: Dataset, stored: StoredInstance) -> None:
    """Refuse a header that ends too early, which pydicom reads without complaint as far as it goes."""
    if _text(dataset, "SOPInstanceUID") != stored.sop_instance_uid:
        raise UnreadableInstance(f"object {stored.digest[:12]} does not hold the instance it was stored as")
    if is_read(stored.sop_class_uid) and not (_count(dataset, "Rows") and _count(dataset, "Columns")):
        raise UnreadableInstance(f"object {stored.digest[:12]} is an image without Rows and Columns; it may be cut off")


def _frames(dataset: Dataset, stored: StoredInstance, limits: ReadLimits) -> int:
    """Return NumberOfFrames, which the functional groups must agree with."""
    frames = int(dataset.get("NumberOfFrames") or 1)
    described = len(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    if max(frames, described) > limits.frames:
        raise OversizedInstance(
            f"object {stored.digest[:12]} claims {max(frames, described)} frames; the limit is {limits.frames}"
        )
    if frames < 1 or (described and described != frames):
        raise UnreadableInstance(
            f"object {stored.digest[:12]}: NumberOfFrames is {frames}, functional groups are there for {described}"
        )
    return frames


def _texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    value = dataset.get(keyword)
    values = value if isinstance(value, MultiValue) else () if value is None else (value,)
    return tuple(str(part).strip().upper() for part in values)


def _text(dataset: Dataset, keyword: str) -> str:
    return " ".join(_texts(dataset, keyword))


def _count(dataset: Dataset, keyword: str) -> int:
    return int((decimals(dataset, keyword) or (0,))[0])
