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


class FileUnusable(ConfigurationError):
    """A file or folder that a command was given cannot be read, made or written."""

    code = "file_unusable"


class RoutesInvalid(ConfigurationError):
    """The file of routes is not one: the message names line and rule."""

    code = "routes_invalid"


class PolicyInvalid(ConfigurationError):
    """The triage policy cannot be read or contradicts itself: the message names line and rule."""

    code = "policy_invalid"


class ChannelInvalid(ConfigurationError):
    """What was said of a channel cannot be an entry; the message says which word, and what it should be."""

    code = "channel_invalid"


class ChannelNeedsPatientData(ChannelInvalid):
    """A channel of this kind cannot go without patient data, and nobody has allowed it to have them."""

    code = "channel_needs_patient_data"


class PeerInvalid(ConfigurationError):
    """What was said of a peer cannot be an entry; the message says which word, and what it should be."""

    code = "peer_invalid"


class DestinationInvalid(ConfigurationError):
    """What was said of a destination cannot be an entry; the message says which word, and what it should be."""

    code = "destination_invalid"


class FetchSourceInvalid(ConfigurationError):
    """What somebody says of a source that studies are fetched from cannot be."""

    code = "fetch_source_invalid"


class StorageError(OncueError):
    """Something durable could not be read or written."""

    code = "storage_error"


class DatabaseUnavailable(StorageError):
    """The database did not answer."""

    code = "database_unavailable"
    retryable = True


class WriteConflict(DatabaseUnavailable):
    """Writers met at the same records, and the database let another one go first."""

    code = "write_conflict"


class DatabaseDamaged(StorageError):
    """The file of the SQLite database is damaged, or is no database: restore it from a backup."""

    code = "database_damaged"


class SchemaMismatch(StorageError):
    """The database schema is not the one this code was written for."""

    code = "schema_mismatch"


class StatementRefused(StorageError):
    """The database answered, but will not carry out a statement of this size or form."""

    code = "statement_refused"


class CursorInvalid(StorageError):
    """The text that a list is to go on after is not one that a list gave."""

    code = "cursor_invalid"


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


class DataSetInvalid(StorageError):
    """What a peer gives as a data set is none of the DICOM JSON model."""

    code = "data_set_invalid"


class QuestionInvalid(StorageError):
    """What the history is asked cannot be answered: a time, a cursor, a UID or words that are none."""

    code = "question_invalid"


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


class DestinationBusy(StorageError):
    """Results are still on their way to a destination that is to be removed."""

    code = "destination_busy"


class ChannelBusy(StorageError):
    """Announcements are still on their way to a channel that is to be removed."""

    code = "channel_busy"


class FetchSourceBusy(StorageError):
    """A source cannot be removed while studies are on their way from it."""

    code = "fetch_source_busy"


class DatabaseRolesRefused(StorageError):
    """Roles cannot be made or used in this database; the message says why."""

    code = "database_roles_refused"
