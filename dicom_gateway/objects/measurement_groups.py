"""The measurement groups of a TID 1500 report: for each lesion and organ, for a whole image's label, or for absence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    FindingSite,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    SourceImageForMeasurementGroup,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as DicomCode

from dicom_gateway.errors import ObjectInvalid
from dicom_gateway.objects import codes
from dicom_gateway.objects.anatomy import Place, place_of
from dicom_gateway.objects.calibration import size_statements
from dicom_gateway.objects.labels import label_measurements, label_statements
from dicom_gateway.objects.plain_text import plain
from dicom_gateway.objects.segment_references import SegmentGroup, SegmentReferences
from dicom_gateway.objects.segments import has_segments, lesions, organs, tracking_words
from dicom_gateway.objects.sources import SourceSeries
from storage.domain import Algorithm, Analysis, Finding, Presence, Site, Structure
from storage.uids import deterministic_uid
from storage.volumes import Extent

Group = MeasurementsAndQualitativeEvaluations | SegmentGroup


@dataclass(frozen=True, slots=True, eq=False)
class GroupBuilder:
    """Builds the groups of one analysis; ``segmentation`` is its SEG, and None where nothing was drawn."""

    analysis: Analysis
    series: SourceSeries
    segmentation: Dataset | None

    def groups(self) -> list[Group]:
        """Return the groups; ObjectInvalid where segments come without their SEG, or nothing is stated at all."""
        present = lesions(self.analysis)
        if has_segments(self.analysis) != (self.segmentation is not None):
            raise ObjectInvalid(
                "a report of lesions or organs needs their segmentation, and one of none must have no segmentation"
            )
        groups = [self._lesion(finding) for finding in present]
        groups += [self._assessment(finding) for finding in self._with(Presence.ASSESSED)]
        if not groups:
            groups = [self._absence(finding) for finding in self._with(Presence.ABSENT)]
        groups += [self._organ(structure) for structure in organs(self.analysis)]
        if not groups:
            raise ObjectInvalid("the analysis states no finding, neither present nor absent nor assessed, and no organ")
        return groups

    @property
    def _segments(self) -> SegmentReferences:
        if self.segmentation is None:
            raise ObjectInvalid("there is no segmentation to refer to")
        return SegmentReferences(self.segmentation, self.series)

    def _with(self, presence: Presence) -> list[Finding]:
        return [finding for finding in self.analysis.findings if finding.presence is presence]

    def _lesion(self, finding: Finding) -> Group:
        """TID 1411 of a segment in space, TID 1410 of one in a flat image: what was measured of it and said of it."""
        group = self._segments.group(finding.number, in_space=finding.extent is Extent.VOLUME)
        return group(
            tracking_identifier=TrackingIdentifier(uid=finding.tracking_uid, identifier=finding.tracking_id),
            finding_type=codes.dicom_code(finding.concept),
            finding_sites=self._sites(finding.site),
            algorithm_id=self._algorithm(self.analysis.algorithm),
            measurements=self._lesion_measurements(finding),
            qualitative_evaluations=[
                _presence(finding),
                *self._familiarity(),
                *size_statements(finding, self.series.first),
                *label_statements(finding),
            ],
        )

    def _organ(self, structure: Structure) -> Group:
        """TID 1411 (1410 in a flat image) of an organ: its volume, and how many lesions of which volume lie in it.

        Its Finding is the organ, of the category of anatomical structures, and nothing in it speaks of presence: it
        must not be read as a lesion.
        """
        group = self._segments.group(structure.number, in_space=structure.volume_ml > 0.0)
        held = [finding for finding in lesions(self.analysis) if finding.number in structure.lesions]
        return group(
            tracking_identifier=TrackingIdentifier(uid=structure.tracking_uid, identifier=tracking_words(structure)),
            finding_category=codes.ANATOMICAL_STRUCTURE,
            finding_type=codes.dicom_code(structure.site.concept),
            finding_sites=self._sites(structure.site),
            algorithm_id=self._algorithm(self.analysis.algorithm),
            measurements=[*_organ_measurements(structure, held), *self._unlikeness()],
            qualitative_evaluations=self._familiarity() or None,
        )

    def _assessment(self, finding: Finding) -> Group:
        """TID 1501: the label of whole images, which it names, or that there is none and why."""
        if finding.label is None and finding.abstained is None:
            raise ObjectInvalid("an assessment has neither a label nor a reason for abstaining")
        labeller = self._algorithm(self.analysis.classifier or self.analysis.algorithm)
        return MeasurementsAndQualitativeEvaluations(
            # No Finding: one of a lesion would contradict a label that says there is none.
            tracking_identifier=self._tracking(finding, "assessment", "whole image"),
            finding_sites=self._sites(),
            algorithm_id=labeller,
            measurements=[*self._unlikeness(), *label_measurements(finding, labeller)],
            qualitative_evaluations=[*self._familiarity(), *label_statements(finding)],
            source_images=self._source_images(),
        )

    def _absence(self, finding: Finding) -> Group:
        """TID 1501: the concept that was looked for and not found, and how sure that is."""
        return MeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._tracking(finding, "absence", "nothing found"),
            finding_type=codes.dicom_code(finding.concept),
            finding_sites=self._sites(finding.site),
            algorithm_id=self._algorithm(self.analysis.algorithm),
            measurements=[_certainty(finding), *self._unlikeness()],
            qualitative_evaluations=[_presence(finding), *self._familiarity()],
        )

    def _source_images(self) -> list[SourceImageForMeasurementGroup]:
        """Name each source instance once, with the frames that were read of it where it has several."""
        read: dict[tuple[str, str], list[int]] = defaultdict(list)
        for frame in self.analysis.frames:
            numbers = read[frame.sop_class_uid, frame.sop_instance_uid]
            if frame.frame_number is not None:
                numbers.append(frame.frame_number)
        return [
            SourceImageForMeasurementGroup(sop_class, sop_instance, sorted(set(numbers)) or None)
            for (sop_class, sop_instance), numbers in read.items()
        ]

    def _sites(self, site: Site | None = None) -> list[FindingSite] | None:
        place = place_of(site, self.series.first)
        return [_finding_site(place)] if place else None

    def _tracking(self, finding: Finding, kind: str, identifier: str) -> TrackingIdentifier:
        uid = finding.tracking_uid or deterministic_uid(
            kind, self.series.study_instance_uid, self.analysis.input_sha256
        )
        return TrackingIdentifier(uid=uid, identifier=finding.tracking_id or identifier)

    def _lesion_measurements(self, finding: Finding) -> list[Measurement]:
        classifier = self.analysis.classifier
        algorithm = self._algorithm(classifier) if classifier else None
        return [
            *_sizes(finding),
            _certainty(finding),
            *self._unlikeness(),
            *label_measurements(finding, algorithm),
        ]

    def _unlikeness(self) -> list[Measurement]:
        """Return how far the input lies from the training data; nothing where the model has no measure of that."""
        distance = self.analysis.out_of_distribution
        if distance is None:
            return []
        return [Measurement(name=codes.UNLIKENESS, value=round(distance, 4), unit=codes.NO_UNITS)]

    def _familiarity(self) -> list[QualitativeEvaluation]:
        """Say of the input whether it is like what the analyser was trained on: a reader weighs the finding by that."""
        if self.analysis.out_of_distribution is None:
            return []
        value = codes.UNLIKE_TRAINING if self.analysis.is_unfamiliar else codes.LIKE_TRAINING
        return [QualitativeEvaluation(name=codes.FAMILIARITY, value=value)]

    def _algorithm(self, algorithm: Algorithm) -> AlgorithmIdentification:
        """TID 4019; among its parameters the digest of the weights, and the route that asked, with its file's."""
        return AlgorithmIdentification(
            name=plain(algorithm.name),
            version=plain(algorithm.version),
            manufacturer="oncue",
            family=codes.ARTIFICIAL_INTELLIGENCE,
            parameters=[
                f"weights_sha256={algorithm.weights_sha256}",
                f"parameters={plain(algorithm.parameters, 10_000)}",
                *([f"route={plain(self.analysis.route)}"] if self.analysis.route else []),
                *([f"routes_sha256={self.analysis.routes_sha256}"] if self.analysis.routes_sha256 else []),
            ],
        )


def _sizes(finding: Finding) -> list[Measurement]:
    """Return what is known of a lesion's size: volume, else area, with the diameter; nothing without calibration."""
    if finding.extent is Extent.UNKNOWN:
        return []
    diameter = Measurement(name=codes.LONG_AXIS, value=round(finding.longest_diameter_mm, 2), unit=codes.MILLIMETER)
    if finding.extent is Extent.AREA:
        area = Measurement(name=codes.AREA, value=round(finding.area_mm2, 2), unit=codes.SQUARE_MILLIMETER)
        return [area, diameter]
    return [_millilitres(codes.VOLUME, finding.volume_ml), diameter]


def _organ_measurements(structure: Structure, held: Sequence[Finding]) -> list[Measurement]:
    """Return an organ's volume where it is known, and where lesions lie in it their number and their volume."""
    known = structure.volume_ml > 0.0
    measured = [_millilitres(codes.VOLUME, structure.volume_ml)] if known else []
    if held:
        measured.append(Measurement(name=codes.NUMBER_OF_LESIONS, value=len(held), unit=codes.NO_UNITS))
    if held and known:
        measured.append(_millilitres(codes.LESION_VOLUME, sum(finding.volume_ml for finding in held)))
    return measured


def _millilitres(name: DicomCode, value: float) -> Measurement:
    return Measurement(name=name, value=round(value, 4), unit=codes.MILLILITER)


def _finding_site(place: Place) -> FindingSite:
    side = CodedConcept.from_code(place.side) if place.side else None
    return FindingSite(CodedConcept.from_code(place.region), laterality=side)


def _certainty(finding: Finding) -> Measurement:
    value = round(100.0 * finding.confidence, 2)
    return Measurement(name=codes.CERTAINTY_OF_FINDING, value=value, unit=codes.PERCENT)


def _presence(finding: Finding) -> QualitativeEvaluation:
    value = codes.PRESENT if finding.presence is Presence.PRESENT else codes.ABSENT
    return QualitativeEvaluation(name=codes.dicom_code(finding.concept), value=value)
