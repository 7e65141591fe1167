"""Credentials files."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from dicom_gateway.sending.credentials import read_credentials
from storage.errors import FileUnusable


def file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "credentials"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("content", [b"Zoe:pass:word", b"Zoe:pass:word\r\n", b"  Zoe:pass:word  \n\n"])
def test_a_user_and_a_password_are_basic_authentication(content: bytes, tmp_path: Path) -> None:
    found = read_credentials(file(tmp_path, content))
    assert found.authorization == "Basic " + base64.b64encode(b"Zoe:pass:word").decode()
    assert not found.is_exposed


@pytest.mark.parametrize("content", [b"eyJhbGciOi.J9-_~+/==", b"Bearer eyJhbGciOi.J9-_~+/==\n"])
def test_a_line_without_a_colon_is_a_bearer_token(content: bytes, tmp_path: Path) -> None:
    assert read_credentials(file(tmp_path, content)).authorization == "Bearer eyJhbGciOi.J9-_~+/=="


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_told(mode: int, tmp_path: Path) -> None:
    assert read_credentials(file(tmp_path, b"token", mode)).is_exposed


def test_what_was_read_is_not_shown(tmp_path: Path) -> None:
    assert "secret" not in repr(read_credentials(file(tmp_path, b"secret")))


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"a:b\nc:d\n", b"\xff\xfe", b"tok\x00en"])
def test_what_is_no_credentials_says_so_and_not_what_it_is(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(FileUnusable, match="holds no credentials: write one line") as raised:
        read_credentials(file(tmp_path, content))
    assert "words" not in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileUnusable, match="absent cannot be read"):
        read_credentials(tmp_path / "absent")
