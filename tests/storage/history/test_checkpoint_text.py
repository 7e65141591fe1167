from __future__ import annotations

import pytest

from storage.history.checkpoint_text import Checkpoint, open_checkpoint, parse_checkpoint, sign_checkpoint
from storage.history.errors import CheckpointMalformed, NoteNotSigned
from storage.history.merkle import EMPTY_ROOT, leaf_hash
from storage.history.notes import cosign_note, parse_note, sign_note
from tests.storage.history.test_notes import LOG, WITNESS

BEHIND_THE_SOFA = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
"""The example of c2sp.org/tlog-checkpoint."""

CHECKPOINT = Checkpoint(LOG.name, 7, leaf_hash(b"root"))


def test_the_example_of_c2sp_reads_and_writes_back() -> None:
    checkpoint = parse_checkpoint(BEHIND_THE_SOFA)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.root.hex().startswith("0ac5186a")
    assert checkpoint.text == BEHIND_THE_SOFA
    extended = parse_checkpoint(f"{BEHIND_THE_SOFA}more\n")
    assert (extended.extensions, extended.text) == (("more",), f"{BEHIND_THE_SOFA}more\n")


def test_a_signed_checkpoint_opens_with_its_witnesses() -> None:
    note = sign_checkpoint(CHECKPOINT, LOG)
    cosigned = note.with_signatures([cosign_note(note, WITNESS, at=5)])
    opened = open_checkpoint(str(cosigned), LOG.verifier, witnesses=[WITNESS.verifier])
    assert (opened.checkpoint, opened.note) == (CHECKPOINT, cosigned)
    assert [(witness.key, witness.at) for witness in opened.witnesses] == [(WITNESS.verifier, 5)]
    assert not open_checkpoint(cosigned, LOG.verifier).witnesses


def test_a_witness_does_not_stand_in_for_the_log() -> None:
    note = sign_checkpoint(CHECKPOINT, LOG)
    alone = parse_note(f"{note.text}\n{cosign_note(note, WITNESS, at=5).line}")
    with pytest.raises(NoteNotSigned, match=r"the log hospital\.example/oncue"):
        open_checkpoint(alone, LOG.verifier, witnesses=[WITNESS.verifier])


def test_a_checkpoint_of_another_origin_is_refused() -> None:
    with pytest.raises(CheckpointMalformed, match="behind-the-sofa"):
        open_checkpoint(sign_note(BEHIND_THE_SOFA, LOG), LOG.verifier)
    with pytest.raises(CheckpointMalformed, match="behind-the-sofa"):
        sign_checkpoint(parse_checkpoint(BEHIND_THE_SOFA), LOG)


def test_an_empty_log_has_the_root_of_no_leaves() -> None:
    empty = Checkpoint(LOG.name, 0, EMPTY_ROOT)
    assert parse_checkpoint(empty.text) == empty
    with pytest.raises(CheckpointMalformed, match="without leaves"):
        parse_checkpoint(Checkpoint(LOG.name, 0, leaf_hash(b"")).text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("origin\n1\n", "three lines"),
        (BEHIND_THE_SOFA.rstrip("\n"), "three lines"),
        ("\n" + BEHIND_THE_SOFA.partition("\n")[2], "none of them empty"),
        (BEHIND_THE_SOFA + "\n", "none of them empty"),
        (BEHIND_THE_SOFA.replace("20852163", "020852163"), "leading zeros"),
        (BEHIND_THE_SOFA.replace("20852163", "-1"), "decimal"),
        (BEHIND_THE_SOFA.replace("20852163", "٣"), "decimal"),
        (BEHIND_THE_SOFA.replace("20852163", "9223372036854775808"), "below 2"),
        (BEHIND_THE_SOFA.replace("q2I=", "q2J="), "canonical"),
        ("origin\n1\nAAAA\n", "3 bytes instead of 32"),
    ],
)
def test_a_text_that_is_no_checkpoint_says_why(text: str, reason: str) -> None:
    with pytest.raises(CheckpointMalformed, match=reason):
        parse_checkpoint(text)
