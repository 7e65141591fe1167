"""Why the console does not do what somebody asks of it."""

from __future__ import annotations

from storage.errors import OncueError


class AccessRefused(OncueError):
    """The console does not do this for whoever asked."""

    code = "access_refused"


class TokenMissing(AccessRefused):
    """The console asks for a token here, and none was given."""

    code = "token_missing"


class TokenUnknown(AccessRefused):
    """What was given is no token of this installation."""

    code = "token_unknown"


class TokenLapsed(AccessRefused):
    """The token is not taken any more; ``name`` says whose it was."""

    code = "token_lapsed"

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


class TokenExpired(TokenLapsed):
    """The token has expired."""

    code = "token_expired"


class TokenRevoked(TokenLapsed):
    """The token was revoked."""

    code = "token_revoked"


class TooManyAttempts(AccessRefused):
    """So many wrong tokens came from this address that it has to wait ``seconds``."""

    code = "too_many_attempts"
    retryable = True

    def __init__(self, message: str, seconds: int) -> None:
        super().__init__(message)
        self.seconds = seconds


class ForeignOrigin(AccessRefused):
    """A page of another site had a browser send this, or the browser does not say which page did."""

    code = "foreign_origin"


class TokenNameInvalid(OncueError):
    """The name cannot be that of a token."""

    code = "token_name_invalid"
