"""Tokens and cookies that come with a request, made into whoever they stand for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from console.access.attempts import Attempts
from console.access.refusals import RefusalRecord
from console.access.visitor import Visitor
from storage import console_sessions, console_tokens
from storage.access_errors import AccessRefused, TooManyAttempts
from storage.console_tokens import ConsoleToken
from storage.database import Database, utc_now


class Authentication:
    """Looks tokens and cookies up in the database each time: what is revoked is refused with the next request."""

    def __init__(
        self, database: Database, *, session_lifetime: timedelta, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self.session_lifetime = session_lifetime
        self._database = database
        self._clock = clock
        self._attempts = Attempts()
        self._refusals = RefusalRecord(database)

    def by_token(self, secret: str, *, address: str) -> Visitor:
        """Return whose token this is. Raises AccessRefused, and puts that on record in bounded number."""
        return Visitor(address, self._checked(secret, address).name)

    def by_cookie(self, secret: str, *, address: str) -> Visitor:
        """Return who signed in with this browser; nobody with a name where that is over."""
        with self._database.read() as session:
            token = console_sessions.find(session, secret, now=self._clock())
        return Visitor(address, token.name if token else None)

    def sign_in(self, secret: str, *, address: str, replaced: str | None = None) -> str:
        """Sign a browser in and return what its cookie is to hold; a session that it had before ends.

        Raises AccessRefused, and puts that on record in bounded number.
        """
        token, now = self._checked(secret, address), self._clock()
        with self._database.write() as session:
            if replaced is not None:
                console_sessions.end(session, replaced, address=address, now=now)
            return console_sessions.begin(session, token, address=address, lifetime=self.session_lifetime, now=now)

    def sign_out(self, secret: str, *, address: str) -> None:
        """Sign a browser out."""
        with self._database.write() as session:
            console_sessions.end(session, secret, address=address, now=self._clock())

    def note_refusal(self, address: str, error: AccessRefused) -> None:
        """Put on record that a request was refused, in bounded number."""
        self._refusals.note(address, error, now=self._clock())

    def _checked(self, secret: str, address: str) -> ConsoleToken:
        digest, now = console_tokens.digest(secret), self._clock()
        try:
            self._require_attempt(address, digest)
            token = self._looked_up(secret, address, now)
        except AccessRefused as error:
            self.note_refusal(address, error)
            raise
        self._attempts.note_right(digest)
        if console_tokens.is_use_due(token, now=now):
            with self._database.write() as session:
                console_tokens.note_use(session, token, now=now)
        return token

    def _looked_up(self, secret: str, address: str, now: datetime) -> ConsoleToken:
        try:
            with self._database.read() as session:
                return console_tokens.check(session, secret, now=now)
        except AccessRefused:
            self._attempts.note_wrong(address, console_tokens.digest(secret), now=time.monotonic())
            raise

    def _require_attempt(self, address: str, digest: str) -> None:
        seconds = math.ceil(self._attempts.seconds_to_wait(address, digest, now=time.monotonic()))
        if seconds > 0:
            raise TooManyAttempts(f"too many wrong tokens came from here: wait {seconds} s", seconds)
