"""What can be wrong with the data of an experiment."""

from __future__ import annotations

from workers.errors import TrainingDataMissing, WorkerError


class PatientInTwoSplits(WorkerError):
    """The same patient is on both sides of a split."""

    code = "patient_in_two_splits"


class DuplicateAcrossSplits(WorkerError):
    """The same picture, or one that looks the same, is on both sides of a split."""

    code = "duplicate_across_splits"


class UnreadableCase(TrainingDataMissing):
    """A labelled case is broken, empty, or its image and mask do not belong together."""

    code = "unreadable_case"
