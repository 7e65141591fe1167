from __future__ import annotations

import contextlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.history.errors import NoteMalformed, NoteNotSigned, NoteSignatureWrong
from storage.history.note_keys import SignatureKind, SigningKey, parse_verifier_key
from storage.history.notes import Note, NoteSignature, cosign_note, parse_note, parse_signatures, sign_note, verify_note

NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
SIGNATURE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
"""The note that Go's package golang.org/x/mod/sumdb/note is documented with."""

LOG = SigningKey("hospital.example/oncue", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
WITNESS = SigningKey(
    "witness.example", Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))), SignatureKind.COSIGNATURE
)


def test_a_note_that_go_signed_is_verified() -> None:
    note = parse_note(f"{TEXT}\n{SIGNATURE}")
    (verified,) = verify_note(note, [parse_verifier_key(NEUMANN), LOG.verifier])
    assert (note.text, verified.key.name, verified.at) == (TEXT, "PeterNeumann", None)


def test_what_is_signed_here_reads_back_the_same() -> None:
    note = sign_note("one\n\ntwo\n", LOG)
    assert parse_note(str(note).encode()) == note
    assert [item.key for item in verify_note(note, [LOG.verifier])] == [LOG.verifier]


@given(st.data())
@settings(deadline=None)
def test_a_note_with_any_byte_changed_is_refused(data: st.DataObject) -> None:
    whole = str(sign_note(TEXT, LOG)).encode()
    place, value = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 255))
    changed = whole[:place] + bytes([value]) + whole[place + 1 :]
    if changed != whole:
        with pytest.raises((NoteMalformed, NoteNotSigned, NoteSignatureWrong)):
            verify_note(parse_note(changed), [LOG.verifier])


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_no_bytes_at_all_raise_anything_but_our_error(data: bytes) -> None:
    for whole in (data, b"text\n\n" + data, "text\n\n— name ".encode() + data):
        with contextlib.suppress(NoteMalformed):
            parse_note(whole)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (TEXT, "no empty line"),
        (f"{TEXT}\n", "1 to 100, not 0"),
        (f"{TEXT}\n{SIGNATURE}".rstrip(), "does not end in a newline"),
        (f"{TEXT}\n{SIGNATURE}\n", "no empty line|1 to 100, not 0"),
        (f"{TEXT}\r\n{SIGNATURE}", "control character"),
        (f"{TEXT}\n- name {SIGNATURE}", "EM DASH"),
        (f"{TEXT}\n— name\n", "line 1: it must read"),
        (f"{TEXT}\n{SIGNATURE}— na+me AAAAAAA=\n", "line 2: a key's name"),
        (f"{TEXT}\n— na\N{NO-BREAK SPACE}me AAAAAAA=\n", "a key's name"),
        (f"{TEXT}\n— name AAAAAB=\n", "line 1"),
        (f"{TEXT}\n— name AAAAAA==\n", "4 bytes are no signature"),
        (f"{TEXT}\n{SIGNATURE * 101}", "not 101"),
        (b"\xff\n\n", "UTF-8"),
        ("\udc80\n\n", "UTF-8"),
    ],
)
def test_a_text_that_is_no_note_says_why(text: str | bytes, reason: str) -> None:
    with pytest.raises(NoteMalformed, match=reason):
        parse_note(text)


@pytest.mark.parametrize("text", ["no newline", "a\rb\n", "", "\udc80\n"])
def test_what_could_not_be_read_back_is_not_signed(text: str) -> None:
    with pytest.raises(NoteMalformed):
        sign_note(text, LOG)


def test_signatures_of_unknown_keys_are_kept_and_not_judged() -> None:
    stranger = parse_signatures(SIGNATURE)
    note = sign_note(TEXT, LOG).with_signatures(stranger).with_signatures(stranger)
    assert [item.name for item in parse_note(str(note)).signatures] == [LOG.name, "PeterNeumann"]
    assert [item.key for item in verify_note(note, [LOG.verifier, WITNESS.verifier])] == [LOG.verifier]
    with pytest.raises(NoteNotSigned, match=r"trusted here: witness\.example"):
        verify_note(note, [WITNESS.verifier])
    with pytest.raises(NoteNotSigned):
        verify_note(note, [])


def test_one_wrong_signature_of_a_known_key_spoils_the_note() -> None:
    note = sign_note(TEXT, LOG)
    forged = NoteSignature(LOG.name, LOG.verifier.key_id, bytes(64))
    with pytest.raises(NoteSignatureWrong, match=LOG.name):
        verify_note(note.with_signatures([forged]), [LOG.verifier])


def test_a_cosignature_holds_with_its_time_and_no_other() -> None:
    note = sign_note(TEXT, LOG)
    cosignature = cosign_note(note, WITNESS, at=1679315147)
    known = [LOG.verifier, WITNESS.verifier]
    verified = verify_note(parse_note(str(note.with_signatures([cosignature]))), known)
    assert [(item.key, item.at) for item in verified] == [(LOG.verifier, None), (WITNESS.verifier, 1679315147)]
    for place in range(len(cosignature.value)):
        value = bytearray(cosignature.value)
        value[place] ^= 1
        changed = NoteSignature(cosignature.name, cosignature.key_id, bytes(value))
        with pytest.raises(NoteSignatureWrong):
            verify_note(note.with_signatures([changed]), known)
    with pytest.raises(NoteSignatureWrong):
        verify_note(Note(f"{TEXT}more\n", (cosignature,)), [WITNESS.verifier])


def test_a_plain_signature_is_no_cosignature() -> None:
    plain = NoteSignature(WITNESS.name, WITNESS.verifier.key_id, WITNESS.sign(TEXT.encode()))
    with pytest.raises(NoteSignatureWrong):
        verify_note(Note(TEXT, (plain,)), [WITNESS.verifier])
