"""What can be wrong with the history: its seals, its keys and notes, its proofs, its archives."""

from __future__ import annotations

from storage.errors import ConfigurationError, StorageError


class AuditChainBroken(StorageError):
    """The audit trail is not what was sealed: an event was changed, removed or put in, or its end was cut off."""

    code = "audit_chain_broken"


class AuditTileMissing(StorageError):
    """A tile of the audit log's tree is missing or shorter than the log."""

    code = "audit_tile_missing"


class AuditKeyInvalid(ConfigurationError):
    """A key of the audit log cannot be read as one; the message says which and how one is made."""

    code = "audit_key_invalid"


class AuditKeyExposed(ConfigurationError):
    """Others than its owner can read the private key of the audit log; the message says what to do."""

    code = "audit_key_exposed"


class WitnessUnavailable(StorageError):
    """A witness of the audit log did not take a checkpoint, or did not give it back."""

    code = "witness_unavailable"
    retryable = True


class WitnessDisagrees(StorageError):
    """A witness knows another history of this log."""

    code = "witness_disagrees"


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


class ArchiveRefused(StorageError):
    """A month of the audit trail cannot be archived as asked; the message says why."""

    code = "archive_refused"


class ArchiveWrong(StorageError):
    """An archive of the audit trail does not prove what it holds; the message says what does not fit."""

    code = "archive_wrong"
