from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import OncueError
from storage.history.checkpoint_text import Checkpoint, sign_checkpoint
from storage.history.errors import NoteNotSigned, ProofMalformed, ProofRefused
from storage.history.merkle import inclusion_proof, leaf_hash, tree_hash
from storage.history.notes import cosign_note
from storage.history.proof_text import InclusionProof, check_against, check_proof, parse_proof
from tests.storage.history.test_notes import LOG, WITNESS

ENTRIES = tuple(f'[{number},"2026-11-28T21:40:00.000000+00:00","study:opened"]'.encode() for number in range(11))
LEAVES = tuple(map(leaf_hash, ENTRIES))


def _head(size: int = 11) -> Checkpoint:
    return Checkpoint(LOG.name, size, tree_hash(LEAVES[:size]))


def _proof(index: int = 5, size: int = 11) -> InclusionProof:
    path = inclusion_proof(index, LEAVES[:size])
    return InclusionProof(ENTRIES[index], index, path, sign_checkpoint(_head(size), LOG))


@pytest.mark.parametrize(("index", "size"), [(index, size) for size in (1, 2, 8, 11) for index in range(size)])
def test_every_event_of_a_log_has_a_proof_that_is_checked_from_its_file(index: int, size: int) -> None:
    proof = parse_proof(_proof(index, size).text.encode())
    assert proof == _proof(index, size)
    assert check_proof(proof, LOG.verifier).checkpoint == _head(size)
    check_against(proof, _head(size))


def test_a_stranger_checks_the_file_with_twenty_lines_of_python() -> None:
    head, _, note = _proof().text.partition("\n\n")
    form, extra, index_line, *path = head.split("\n")
    origin, size, root, *_ = note.split("\n")
    at, last = int(index_line.removeprefix("index ")), int(size) - 1
    found = hashlib.sha256(b"\0" + base64.b64decode(extra.removeprefix("extra "))).digest()
    for item in map(base64.b64decode, path):
        if at & 1 or at == last:
            found = hashlib.sha256(b"\1" + item + found).digest()
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = hashlib.sha256(b"\1" + found + item).digest()
        at, last = at >> 1, last >> 1
    assert (form, origin, last) == ("c2sp.org/tlog-proof@v1", LOG.name, 0)
    assert base64.b64encode(found).decode() == root


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_a_proof_with_any_byte_changed_is_refused(data: st.DataObject) -> None:
    whole = _proof().text.encode()
    place, value = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 255))
    changed = whole[:place] + bytes([value]) + whole[place + 1 :]
    if changed != whole:
        with pytest.raises(OncueError):
            check_proof(parse_proof(changed), LOG.verifier)


@given(st.data())
@settings(deadline=None)
def test_a_proof_with_bytes_put_in_or_cut_off_is_refused(data: st.DataObject) -> None:
    whole = _proof().text.encode()
    start, end = sorted(data.draw(st.tuples(st.integers(0, len(whole)), st.integers(0, len(whole)))))
    changed = whole[:start] + data.draw(st.binary(max_size=4)) + whole[end:]
    if changed != whole:
        with pytest.raises(OncueError):
            check_proof(parse_proof(changed), LOG.verifier)


def test_the_witnesses_of_the_checkpoint_come_with_it() -> None:
    proof = _proof()
    note = proof.note.with_signatures([cosign_note(proof.note, WITNESS, at=5)])
    cosigned = parse_proof(InclusionProof(proof.entry, proof.index, proof.hashes, note).text)
    (witness,) = check_proof(cosigned, LOG.verifier, witnesses=[WITNESS.verifier]).witnesses
    assert (witness.key, witness.at) == (WITNESS.verifier, 5)
    with pytest.raises(NoteNotSigned):
        check_proof(cosigned, WITNESS.verifier.__class__("other", WITNESS.verifier.kind, WITNESS.verifier.public))


def test_another_event_under_the_same_signature_is_named() -> None:
    proof = _proof()
    for forged in (
        InclusionProof(ENTRIES[4], proof.index, proof.hashes, proof.note),
        InclusionProof(proof.entry, 4, proof.hashes, proof.note),
        InclusionProof(proof.entry, proof.index, proof.hashes, _proof(5, 9).note),
    ):
        with pytest.raises(ProofRefused, match=r"leaf \d does not lead|hashes do not lead"):
            check_proof(parse_proof(forged.text), LOG.verifier)
    with pytest.raises(ProofRefused, match="has no leaf 11"):
        check_proof(InclusionProof(proof.entry, 11, proof.hashes, proof.note), LOG.verifier)


def test_a_checkpoint_that_is_trusted_by_other_means_decides() -> None:
    proof = _proof()
    with pytest.raises(ProofRefused, match="ask for a proof under that checkpoint"):
        check_against(proof, _head(9))
    with pytest.raises(ProofRefused, match="forked or rebuilt"):
        check_against(proof, Checkpoint(LOG.name, 11, leaf_hash(b"rebuilt")))
    with pytest.raises(ProofRefused, match="of the log"):
        check_against(proof, Checkpoint("elsewhere", 11, _head().root))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("@v1", "@v2", "line 1"),
        ("extra ", "entry ", "line 2: it must begin with 'extra '"),
        ("extra ", "extra  ", "line 2"),
        ("index 5", "index 05", "line 3"),
        ("index 5", "place 5", "line 3"),
        ("=\n", "\n", "line [24]"),
        ("\n\n", "\nAAAA\n\n", "must be a hash of 32 bytes"),
        ("\n\n", "\n", "line|ends before"),
    ],
)
def test_a_file_that_is_no_proof_says_which_line_is_wrong(old: str, new: str, reason: str) -> None:
    with pytest.raises(ProofMalformed, match=reason):
        parse_proof(_proof().text.replace(old, new, 1))


@pytest.mark.parametrize("text", ["", "c2sp.org/tlog-proof@v1", "c2sp.org/tlog-proof@v1\n\n", b"\xff", b"\x00"])
def test_what_is_cut_off_is_no_proof(text: str | bytes) -> None:
    with pytest.raises(ProofMalformed):
        parse_proof(text)
