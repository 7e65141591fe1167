from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from storage.errors import ConfigurationError
from storage.history.errors import AuditKeyExposed, AuditKeyInvalid
from storage.history.keys import load_key, load_or_make_key
from tests.conftest import ROOT

NAME = "hospital.example/oncue"
SITES_OWN = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def _pem(
    key: object = SITES_OWN,
    encryption: KeySerializationEncryption = NoEncryption(),  # noqa: B008 # holds nothing
) -> bytes:
    assert hasattr(key, "private_bytes")
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    assert isinstance(pem, bytes)
    return pem


def _put(path: Path, content: bytes, *, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_the_first_start_makes_a_key_that_only_its_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "audit" / "key"
    made = load_or_make_key(path, NAME)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [item.name for item in path.parent.iterdir()] == ["key"]
    assert load_or_make_key(path, NAME).verifier == load_key(path, NAME).verifier == made.verifier


def test_a_key_that_is_only_read_is_never_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_key(tmp_path / "key", NAME)
    assert not list(tmp_path.iterdir())


def test_a_key_of_the_site_is_read(tmp_path: Path) -> None:
    key = load_or_make_key(_put(tmp_path / "key", _pem()), NAME)
    assert key.verifier.public == SITES_OWN.public_key().public_bytes_raw()
    assert key.name == NAME


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644])
def test_a_key_that_others_can_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = _put(tmp_path / "key", _pem(), mode=mode)
    with pytest.raises(AuditKeyExposed, match=f"mode 0{mode:o}.*chmod 600 {path}") as raised:
        load_or_make_key(path, NAME)
    assert isinstance(raised.value, ConfigurationError)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "holds no private key"),
        (b"ssh-ed25519 AAAA", "holds no private key"),
        (_pem()[:60], "holds no private key"),
        (_pem(encryption=BestAvailableEncryption(b"secret")), "without a password"),
        (SITES_OWN.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "holds no private key"),
        (_pem(generate_private_key(SECP256R1())), "not Ed25519"),
    ],
)
def test_a_file_that_is_no_such_key_is_refused_and_left_alone(tmp_path: Path, content: bytes, reason: str) -> None:
    path = _put(tmp_path / "key", content)
    with pytest.raises(AuditKeyInvalid, match=f"{reason}.*openssl genpkey"):
        load_or_make_key(path, NAME)
    assert path.read_bytes() == content


def test_a_key_that_cannot_be_made_or_read_says_why(tmp_path: Path) -> None:
    _put(tmp_path / "file", b"")
    with pytest.raises(AuditKeyInvalid, match=r"cannot be (read|made): Not a directory"):
        load_or_make_key(tmp_path / "file" / "key", NAME)
    with pytest.raises(AuditKeyInvalid, match="cannot be read: Is a directory"):
        load_or_make_key(tmp_path, NAME)


def test_an_origin_that_no_signature_line_can_carry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AuditKeyInvalid, match=r"audit\.origin"):
        load_or_make_key(tmp_path / "key", "two words")
    assert not list(tmp_path.iterdir())


_RACER = """
import sys
from pathlib import Path
from storage.history.keys import load_or_make_key
folder = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(60):
    print(load_or_make_key(folder / str(number) / "key", "name").verifier.text)
"""


def test_two_processes_that_make_the_key_at_once_get_the_same(tmp_path: Path) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", _RACER, str(tmp_path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for racer in racers:
        assert racer.stdout
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("go\n")
        racer.stdin.flush()
    first, second = (racer.communicate(timeout=60)[0].split() for racer in racers)
    assert [racer.returncode for racer in racers] == [0, 0]
    assert first == second
    assert len(set(first)) == 60
    assert sorted(item.name for item in tmp_path.glob("*/*")) == ["key"] * 60
