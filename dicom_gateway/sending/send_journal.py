"""What a destination has accepted of a folder, in a file that the next run of the same command reads.

A line is written for each instance as soon as it is accepted, so whatever ends a run, the next one sends what is
missing; an instance that was accepted a moment before the end may go out twice, which no peer minds. A line is a hash:
the file says nothing of patients.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Self

from dicom_gateway.sending.outgoing import Outgoing
from storage.errors import FileUnusable

_TITLE = "oncue has sent, version 1\n"
_LINE = re.compile(r"[0-9a-f]{64}")


class SendJournal:
    """The journal of one run; used as a context manager."""

    def __init__(self, path: Path, destination: str) -> None:
        """Read a journal, or begin one; FileUnusable where it cannot be read and written, or is another file."""
        self._destination = destination
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._known = self._read(path)
        except OSError as error:
            raise FileUnusable(f"{path} cannot be read and written ({error.strerror}); name another file") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def has(self, outgoing: Outgoing) -> bool:
        """Say whether the destination has accepted this very file before; OSError."""
        return self._key(outgoing) in self._known

    def add(self, outgoing: Outgoing) -> None:
        """Note that the destination has accepted a file; FileUnusable where the journal cannot be written any more."""
        try:
            os.write(self._descriptor, f"{self._key(outgoing)}\n".encode())
        except OSError as error:
            raise FileUnusable(f"the journal of what is sent cannot be written ({error.strerror})") from error

    def _read(self, path: Path) -> frozenset[str]:
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            content = file.read()
        if not content:
            os.write(self._descriptor, _TITLE.encode())
            return frozenset()
        if not content.startswith(_TITLE.encode()):
            os.close(self._descriptor)
            raise FileUnusable(f"{path} is no journal of oncue send, and is left as it is; name another file")
        if not content.endswith(b"\n"):
            os.write(self._descriptor, b"\n")  # the run before ended inside a line, which then stands for nothing
        return frozenset(filter(_LINE.fullmatch, content.decode("ascii", errors="replace").splitlines()))

    def _key(self, outgoing: Outgoing) -> str:
        """Return what stands for a file at the destination: the same instance, as large, and not written since."""
        found = outgoing.path.stat()
        said = (self._destination, outgoing.sop_instance_uid, str(found.st_size), str(found.st_mtime_ns))
        return hashlib.sha256("\0".join(said).encode()).hexdigest()
