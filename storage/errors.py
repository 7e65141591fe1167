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


class ObjectDeleted(ObjectMissing):
    """Retention deleted what is asked for; the message says when and by which rule."""

    code = "object_deleted"


class ImagesDeleted(ObjectDeleted):
    """Retention deleted images of the study; when they are sent again, they are stored and analysed again."""

    code = "images_deleted"


class ResultsDeleted(ObjectDeleted):
    """Retention deleted the objects and maps of the result; its numbers stay on record."""

    code = "results_deleted"


class PicturesDeleted(ObjectDeleted):
    """Retention deleted the pictures of the result."""

    code = "pictures_deleted"


class RetentionBusy(StorageError):
    """Another process is deleting by the rules at this moment."""

    code = "retention_busy"
    retryable = True


class ObjectCorrupt(StorageError):
    """The bytes under a digest no longer hash to it."""

    code = "object_corrupt"


class StorageFull(StorageError):
    """The object store has less free space than its reserve."""

    code = "storage_full"
    retryable = True


class AuditChainBroken(StorageError):
    """The audit trail is not what was sealed: an event was changed, removed or put in, or its end was cut off."""

    code = "audit_chain_broken"


class WitnessUnavailable(StorageError):
    """A witness of the audit log did not take a checkpoint, or did not give it back."""

    code = "witness_unavailable"
    retryable = True


class WitnessDisagrees(StorageError):
    """A witness knows another history of this log."""

    code = "witness_disagrees"


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


class AuditKeyInvalid(ConfigurationError):
    """A key of the audit log cannot be read as one; the message says which and how one is made."""

    code = "audit_key_invalid"


class AuditKeyExposed(ConfigurationError):
    """Others than its owner can read the private key of the audit log; the message says what to do."""

    code = "audit_key_exposed"


class AuditTileMissing(StorageError):
    """A tile of the audit log's tree is missing or shorter than the log."""

    code = "audit_tile_missing"


class NoteMalformed(StorageError):
    """A text is no signed note; the message says which rule it breaks."""

    code = "note_malformed"


class NoteNotSigned(StorageError):
    """A note carries no signature of the key that must have signed it."""

    code = "note_not_signed"


class NoteSignatureWrong(StorageError):
    """A signature of a note does not fit its text: one of them was changed."""

    code = "note_signature_wrong"


class CheckpointMalformed(StorageError):
    """The text of a note is no checkpoint of the log that was asked for; the message says why."""

    code = "checkpoint_malformed"


class ProofMalformed(StorageError):
    """A file is no inclusion proof; the message says which line is not as it must be."""

    code = "proof_malformed"


class ProofRefused(StorageError):
    """A proof does not show what it claims; the message says what does not hold."""

    code = "proof_refused"


class DatabaseRolesRefused(StorageError):
    """Roles cannot be made or used in this database; the message says why."""

    code = "database_roles_refused"


class ArchiveRefused(StorageError):
    """A month of the audit trail cannot be archived as asked; the message says why."""

    code = "archive_refused"


class ArchiveWrong(StorageError):
    """An archive of the audit trail does not prove what it holds; the message says what does not fit."""

    code = "archive_wrong"


class AccessRefused(OncueError):
    """The console does not do this for whoever asked."""

    code = "access_refused"


class TokenMissing(AccessRefused):
    """The console asks for a token here, and none was given."""

    code = "token_missing"


class TokenUnknown(AccessRefused):
    """What was given is no token of this installation."""

    code = "token_unknown"


class TokenLapsed(AccessRefused):
    """The token is not taken any more; ``name`` says whose it was."""

    code = "token_lapsed"

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


class TokenExpired(TokenLapsed):
    """The token has expired."""

    code = "token_expired"


class TokenRevoked(TokenLapsed):
    """The token was revoked."""

    code = "token_revoked"


class TooManyAttempts(AccessRefused):
    """So many wrong tokens came from this address that it has to wait ``seconds``."""

    code = "too_many_attempts"
    retryable = True

    def __init__(self, message: str, seconds: int) -> None:
        super().__init__(message)
        self.seconds = seconds


class ForeignOrigin(AccessRefused):
    """A page of another site had a browser send this, or the browser does not say which page did."""

    code = "foreign_origin"


class TokenNameInvalid(OncueError):
    """The name cannot be that of a token."""

    code = "token_name_invalid"
