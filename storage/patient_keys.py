"""What stands for a patient in the audit trail: a digest of the id that cannot be guessed without the salt."""

from __future__ import annotations

import hashlib
import hmac

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.audit_tables import AuditLogRow

KEY_LENGTH = 32


def key_of(session: Session, patient_id: str) -> str | None:
    """Return the key of a patient id under this installation's salt; None for a study that names no patient."""
    salt = session.scalars(select(AuditLogRow.salt)).one()
    return salted(salt, patient_id)


def salted(salt: str, patient_id: str) -> str | None:
    """Return the key of a patient id under a salt: the beginning of an HMAC-SHA256, in hex digits."""
    if not patient_id:
        return None
    return hmac.new(bytes.fromhex(salt), patient_id.encode(), hashlib.sha256).hexdigest()[:KEY_LENGTH]
