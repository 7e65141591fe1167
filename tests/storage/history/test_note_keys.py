from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.history.errors import AuditKeyInvalid
from storage.history.note_keys import SignatureKind, SigningKey, VerifierKey, parse_verifier_key

GO_CHECKSUM_DATABASE = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
"""The key that every Go installation trusts; its base64 holds plus signs."""

SEED = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def test_the_key_of_the_go_checksum_database_reads_and_writes_back() -> None:
    key = parse_verifier_key(GO_CHECKSUM_DATABASE)
    assert (key.name, key.kind, key.key_id.hex()) == ("sum.golang.org", SignatureKind.ED25519, "033de0ae")
    assert key.text == GO_CHECKSUM_DATABASE


@given(st.integers(0, len(GO_CHECKSUM_DATABASE) - 1), st.characters(codec="utf-8"))
@settings(deadline=None)
def test_a_verifier_key_with_one_other_character_is_refused(place: int, character: str) -> None:
    changed = GO_CHECKSUM_DATABASE[:place] + character + GO_CHECKSUM_DATABASE[place + 1 :]
    if changed.strip() != GO_CHECKSUM_DATABASE:
        with pytest.raises(AuditKeyInvalid):
            parse_verifier_key(changed)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nothing", "NAME"),
        ("a b+00000000+AQ==", "no space"),
        ("name+00000000+AQ==", "0 bytes instead of 32"),
        ("name+00000000+", "only Ed25519"),
        (VerifierKey("name", SignatureKind.ED25519, bytes(32)).text.replace("name", "eman"), "copy it anew"),
    ],
)
def test_a_wrong_verifier_key_says_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(AuditKeyInvalid, match=reason):
        parse_verifier_key(text)


def test_a_log_and_a_witness_of_one_key_have_different_numbers() -> None:
    log, witness = SigningKey("name", SEED), SigningKey("name", SEED, SignatureKind.COSIGNATURE)
    assert log.verifier.key_id != witness.verifier.key_id
    assert parse_verifier_key(witness.verifier.text) == witness.verifier


def test_a_signing_key_never_shows_its_private_half() -> None:
    assert "private" not in repr(SigningKey("name", SEED))
