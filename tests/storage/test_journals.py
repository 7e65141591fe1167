"""Folders of acknowledged files, and who may take over whose."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from storage import journals, receipts
from storage.errors import StorageFull
from storage.journals import Journal
from storage.objects import ObjectStore
from tests.conftest import ROOT
from tests.support.journals import put_into_journal
from tests.support.senders import ct_image


def _names(objects: ObjectStore) -> list[str]:
    found = []
    for journal in journals.abandoned(objects):
        found.append(journal.folder.name.partition(".")[0])
        journal.close()
    return found


def test_the_journal_of_a_living_process_is_nobody_elses(objects: ObjectStore) -> None:
    journal = Journal.create(objects, "alive")
    assert _names(objects) == []
    journal.close()


def test_the_journal_of_a_killed_process_can_be_taken_over(objects: ObjectStore) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from storage.journals import Journal; "
        "from storage.objects import ObjectStore; journal = Journal.create(ObjectStore(Path(sys.argv[1])), 'dead'); "
        "journal.slots(2); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, str(objects.root)], cwd=ROOT, check=False)
    assert _names(objects) == ["dead"]
    assert _names(objects) == ["dead"], "its files are still there, so it is for the next one"


def test_a_slot_is_given_up_where_its_name_cannot_be_removed(
    objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal.create(objects, "read-only")
    (slot,) = journal.slots(1)

    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", read_only)
        slot.discard()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(slot.descriptor)
    assert receipts.read(slot.path.read_bytes()) is None
    slot.path.unlink()
    journal.close()


def test_of_two_that_take_over_one_gets_it(objects: ObjectStore) -> None:
    dead = Journal.create(objects, "dead")
    dead.slots(1)
    dead.close()
    (first,) = journals.abandoned(objects)
    assert list(journals.abandoned(objects)) == []
    first.close()


def test_a_journal_with_nothing_left_is_removed_with_its_end(objects: ObjectStore) -> None:
    journal = Journal.create(objects, "short")
    for slot in journal.slots(3):
        slot.discard()
    journal.close()
    assert list(objects.incoming.iterdir()) == []


def test_the_sweep_of_old_files_leaves_journals_alone(objects: ObjectStore) -> None:
    from datetime import timedelta

    from storage.database import utc_now

    journal = Journal.create(objects, "alive")
    kept = put_into_journal(objects, journal, ct_image())
    assert objects.sweep(older_than_seconds=1, now=utc_now() + timedelta(days=3)) == 0
    assert kept.path.is_file()
    journal.close()


def test_studies_with_images_in_any_journal_are_named_until_their_rows_are_noted(objects: ObjectStore) -> None:
    alive, dead = Journal.create(objects, "alive"), Journal.create(objects, "dead")
    alive.slots(2)
    kept = put_into_journal(objects, alive, ct_image("first"))
    put_into_journal(objects, dead, ct_image("second"))
    dead.close()
    keys = {name: receipts.study_key(str(ct_image(name).StudyInstanceUID)) for name in ("first", "second")}
    assert journals.unregistered_studies(objects) == frozenset(keys.values())
    with kept.path.open("r+b") as file:
        file.seek(receipts.REGISTERED_AT)
        file.write(receipts.REGISTERED)
    assert journals.unregistered_studies(objects) == {keys["second"]}
    alive.close()


def test_an_object_store_that_cannot_be_written_to_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "incoming").write_text("no folder")
    with pytest.raises(StorageFull, match="cannot make a folder"):
        Journal.create(ObjectStore(tmp_path), "gateway")
