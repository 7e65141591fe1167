"""The worker's branch of the error tree: why a study could not be analysed."""

from __future__ import annotations

from storage.errors import OncueError


class WorkerError(OncueError):
    """Analysis could not go on."""

    code = "worker_error"


class UnreadableInstance(WorkerError):
    """A stored instance cannot be parsed or its pixels cannot be decoded."""

    code = "unreadable_instance"


class PixelDataInconsistent(UnreadableInstance):
    """The pixel data is of another size, number or encoding than the header says: nothing of it is believed."""

    code = "pixel_data_inconsistent"


class DecoderCrashed(WorkerError):
    """The process that decodes pixel data died over an image; the worker and its other images did not notice."""

    code = "decoder_crashed"


class DecoderOutOfMemory(WorkerError):
    """Decoding an image took more memory than one of its size may need."""

    code = "decoder_out_of_memory"


class DecoderTooSlow(WorkerError):
    """Decoding an image took longer than one of its size may take."""

    code = "decoder_too_slow"


class OversizedInstance(WorkerError):
    """An instance promises more pixels than the limit allows; refused before decoding."""

    code = "oversized_instance"


class NoUsableSeries(WorkerError):
    """No series of the study can be analysed; the message lists why each was left out."""

    code = "no_usable_series"


class GeometryOutsideRoute(WorkerError):
    """The volume or image covers less, or is coarser, than ``[route.require]`` asks; the message has both figures."""

    code = "geometry_outside_route"


class TwoPatients(WorkerError):
    """Images of several patients share one study, as after a wrong merge: never one result for both."""

    code = "two_patients"


class IncompleteVolume(WorkerError):
    """Slices are missing: the gaps between positions are not equal."""

    code = "incomplete_volume"


class DuplicatePosition(WorkerError):
    """Two slices claim the same position."""

    code = "duplicate_position"


class MixedGeometry(WorkerError):
    """Slices of one series differ in orientation, size or pixel spacing."""

    code = "mixed_geometry"


class InvalidGeometry(WorkerError):
    """The directions are not perpendicular unit vectors, or the slices are shifted sideways (gantry tilt)."""

    code = "invalid_geometry"


class UnsuitableVolume(WorkerError):
    """The volume is empty, constant, not finite, or too large to analyse."""

    code = "unsuitable_volume"


class BodyPartMismatch(WorkerError):
    """The picture shows another part of the body than the route wants: nothing is analysed, nothing is sent."""

    code = "body_part_mismatch"


class SuvUnknown(WorkerError):
    """A PET image does not say what its standardised uptake values are computed from."""

    code = "suv_unknown"


class CineNotSupported(WorkerError):
    """The image holds several frames, as a cine loop or an angiography does; only single ones are read."""

    code = "cine_not_supported"


class NoAnalyser(WorkerError):
    """The worker that got the job does not have its route's analyser."""

    code = "no_analyser"


class WeightsMismatch(WorkerError):
    """A weight file is missing or does not hash to what its manifest says."""

    code = "weights_mismatch"


class ModelUnsuitable(WorkerError):
    """A foundation model lacks what is asked of it, or its folder is of no kind that oncue can read."""

    code = "model_unsuitable"


class PickleRefused(WorkerError):
    """A weight file could run code when it is read; only safetensors and plain tensors are loaded."""

    code = "pickle_refused"


class CodeRefused(WorkerError):
    """A model would run code of its own, and the site has not set ``worker.allow_code``."""

    code = "code_refused"


class LabelsInvalid(WorkerError):
    """A model's table of labels lacks one, has one twice, or names one that has no code; the message says which."""

    code = "labels_invalid"


class ModelOvertime(WorkerError):
    """A model took longer over one input than its card allows."""

    code = "model_overtime"


class FieldOfViewMismatch(WorkerError):
    """An image's extent, spacing or modality lies outside what a foundation model was trained for."""

    code = "field_of_view_mismatch"


class FieldOfViewUnknown(WorkerError):
    """A foundation model's card does not say for which images it was trained, so none can be shown to it."""

    code = "field_of_view_unknown"


class OutOfDeviceMemory(WorkerError):
    """The device ran out of memory."""

    code = "out_of_device_memory"
    retryable = True


class BrokerUnavailable(WorkerError):
    """Redis (or the configured broker) did not answer."""

    code = "broker_unavailable"
    retryable = True


class TrainingDataMissing(WorkerError):
    """The folder given for training or evaluation does not hold what is needed."""

    code = "training_data_missing"


class BackboneMissing(WorkerError):
    """The named backbone, or the package that it needs, is not installed."""

    code = "backbone_missing"


class BackboneUnusable(WorkerError):
    """The folder is no image encoder that can be loaded safely: wrong family, pickled weights, code of its own."""

    code = "backbone_unusable"


class AnotherBackbone(WorkerError):
    """An adapter was fitted on vectors of another backbone, preprocessing or visual prompt."""

    code = "another_backbone"


class TaskNotPromoted(WorkerError):
    """No adapter of the task that a route names, or of any that fits the images, is promoted: the job waits for one."""

    code = "task_not_promoted"


class TaskUnsuitable(WorkerError):
    """The few-shot task that a route names is for another modality, or looks at lesions where an image is asked for."""

    code = "task_unsuitable"


class UnreadablePicture(WorkerError):
    """A picture or mask file is missing, damaged, empty, too large or of the wrong shape."""

    code = "unreadable_picture"


class LabelsMissing(WorkerError):
    """A list of pictures has no label column, or a picture has no label."""

    code = "labels_missing"


class OneClassOnly(WorkerError):
    """All labels are the same: there is nothing to decide."""

    code = "one_class_only"


class EmbeddingNotFinite(WorkerError):
    """A vector holds NaN or infinity."""

    code = "embedding_not_finite"


class MaskMissing(WorkerError):
    """A visual prompt that needs a mask was asked for a picture that has none."""

    code = "mask_missing"
