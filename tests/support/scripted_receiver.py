"""A receiver of announcements for tests of what brings them: it answers as told, and keeps what it got."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dicom_gateway.announcing.announcement import Announcement, Answer, Channel, Verdict
from dicom_gateway.announcing.announcer import Announcer, AnnouncingTerms
from storage.announcing.tables import ChannelKind
from storage.backoff import no_jitter
from storage.database import connect, utc_now
from storage.objects import ObjectStore

TAKEN = Answer(Verdict.TAKEN)


@dataclass(frozen=True, slots=True)
class Got:
    """One message: by which channel, under which key, and what it said."""

    channel: Channel
    group_key: str
    announcements: tuple[Announcement, ...]


@dataclass(slots=True)
class ScriptedReceiver:
    """Answers with what ``answers`` hold, and with yes once these are used up. ``hold`` keeps a channel waiting."""

    answers: list[Answer | Exception] = field(default_factory=list)
    hold: dict[str, threading.Event] = field(default_factory=dict)
    got: list[Got] = field(default_factory=list)
    most_at_once: dict[str, int] = field(default_factory=dict)
    _now: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, kind: ChannelKind) -> ScriptedReceiver:
        """Be the sender of every kind."""
        del kind
        return self

    def send(self, channel: Channel, announcements: Sequence[Announcement], group_key: str) -> Answer:
        """Keep a message and answer it."""
        with self._lock:
            self.got.append(Got(channel, group_key, tuple(announcements)))
            self._now[channel.name] = self._now.get(channel.name, 0) + 1
            self.most_at_once[channel.name] = max(self.most_at_once.get(channel.name, 0), self._now[channel.name])
            answer = self.answers.pop(0) if self.answers else TAKEN
        if channel.name in self.hold:
            self.hold[channel.name].wait(30)
        with self._lock:
            self._now[channel.name] -= 1
        if isinstance(answer, Exception):
            raise answer
        return answer

    def probe(self, channel: Channel) -> Answer:
        """Say yes."""
        del channel
        return TAKEN


class _DyingReceiver(ScriptedReceiver):
    """Takes a message, says so to a file, and has the process killed before anybody hears the answer."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    def send(self, channel: Channel, announcements: Sequence[Announcement], group_key: str) -> Answer:
        self._file.write_text("\n".join([group_key, *(one.key for one in announcements)]))
        os.kill(os.getpid(), signal.SIGKILL)
        return super().send(channel, announcements, group_key)


def terms(
    owner: str = "gateway-1", clock: Callable[[], object] = utc_now, *, lease_seconds: float = 60.0
) -> AnnouncingTerms:
    """Return how a test's announcer sends."""
    return AnnouncingTerms(owner, lease_seconds, 5.0, "https://oncue.example/", clock, no_jitter)  # type: ignore[arg-type]  # a test clock


def main() -> None:
    """Send what is due of a database and die in the middle: database, objects, file."""
    url, objects, file = sys.argv[1:]
    announcer = Announcer(connect(url), ObjectStore(Path(objects)), terms("killed"), _DyingReceiver(Path(file)))
    announcer.send_due()
    announcer.join(30)


if __name__ == "__main__":
    main()
