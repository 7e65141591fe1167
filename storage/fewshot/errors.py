"""Why labelled items, fits and promotions are refused."""

from __future__ import annotations

from storage.errors import StorageError


class ItemRefused(StorageError):
    """A labelled item contradicts its task, or what is already on record of it."""

    code = "item_refused"


class PatientHeldElsewhere(StorageError):
    """The patient is already in another split of the task."""

    code = "patient_held_elsewhere"


class PictureHeldElsewhere(StorageError):
    """The same picture, or one that looks the same, is already in another split or under another patient."""

    code = "picture_held_elsewhere"


class NotDeterministic(StorageError):
    """Fitting again on the same snapshot with the same seed gave other bytes."""

    code = "not_deterministic"


class PromotionRefused(StorageError):
    """Checks of the gate stand in the way of the promotion, and no override names them."""

    code = "promotion_refused"
