"""The one error tree. Each error has a stable ``code`` and knows whether trying again can help."""

from __future__ import annotations


class OncueError(Exception):
    """Root of every error that oncue raises on purpose.

    ``code`` is stable and safe to script against; ``retryable`` says whether the same call may succeed later
    without anybody changing anything. Messages never carry patient data.
    """

    code: str = "oncue_error"
    retryable: bool = False


class ConfigurationError(OncueError):
    """A setting is missing, unknown or contradicts another."""

    code = "configuration_error"


class RoutesInvalid(ConfigurationError):
    """The file of routes is not one: the message names line and rule."""

    code = "routes_invalid"


class StorageError(OncueError):
    """Something durable could not be read or written."""

    code = "storage_error"


class DatabaseUnavailable(StorageError):
    """The database did not answer."""

    code = "database_unavailable"
    retryable = True


class SchemaMismatch(StorageError):
    """The database schema is not the one this code was written for."""

    code = "schema_mismatch"


class ObjectMissing(StorageError):
    """The object store holds nothing under this digest."""

    code = "object_missing"


class ObjectCorrupt(StorageError):
    """The bytes under a digest no longer hash to it."""

    code = "object_corrupt"


class StorageFull(StorageError):
    """The object store has less free space than its reserve."""

    code = "storage_full"
    retryable = True


class AuditChainBroken(StorageError):
    """An audit event does not follow from the one before it."""

    code = "audit_chain_broken"


class IllegalTransition(StorageError):
    """A state machine was asked for a step that its table does not hold."""

    code = "illegal_transition"


class LeaseLost(StorageError):
    """Another worker took the job over; whatever this one computed is discarded."""

    code = "lease_lost"


class WorkerLost(StorageError):
    """The worker died or hung so often on this job that it is set aside."""

    code = "worker_lost"


class RecordMissing(StorageError):
    """No record stands under this key."""

    code = "record_missing"


class RecordExists(StorageError):
    """A record already stands under this name."""

    code = "record_exists"


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
