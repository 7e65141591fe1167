"""Hostile bytes from a seed, sent to a gateway: ``python -m tests.support.fuzzing --seconds 300 [--seed N]``.

Each case begins with an exchange that is right and changes it at random: a PDU's framing, the items of an association
request, a command set, or a data set. Case N of a seed is always the same, so what fails can be sent again.
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.support.attacked_gateway import AttackedGateway, assert_faultless, attacked_gateway
from tests.support.hostile import Hostile
from tests.support.known_peer import verify
from tests.support.pdus import (
    ASSOCIATE_AC,
    COMMAND,
    CT_IMAGE,
    IMPLICIT,
    LAST,
    RELEASE_RQ,
    VERIFICATION,
    association_request,
    context,
    echo_command,
    fragment,
    item,
    p_data,
    pdu,
    store_command,
    user_information,
)
from tests.support.senders import ct_image, encoded

_LENGTHS = (0, 1, 2, 3, 4, 5, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
_MOST_CHANGES = 6
_ANSWERED_WITHIN_SECONDS = 5.0
_VERIFY_EVERY = 20
_RELEASE = pdu(RELEASE_RQ, bytes(4))

_IMAGE = ct_image("fuzz")
_UID, _CONTENT = str(_IMAGE.SOPInstanceUID), encoded(_IMAGE)


class Target(StrEnum):
    """What of an exchange is changed."""

    PDUS = "pdus"
    REQUEST = "request"
    COMMAND = "command"
    DATA_SET = "data-set"


class GatewayFault(AssertionError):
    """A gateway did not stand a case; the message says which, and how to send it again."""


@dataclass(frozen=True, slots=True)
class Case:
    """One exchange: the bytes before the association is accepted, and those after; was its target drawn, too?"""

    seed: int
    number: int
    target: Target
    is_drawn: bool
    request: bytes
    exchange: bytes

    def __str__(self) -> str:
        return f"seed {self.seed}, case {self.number} ({self.target})"


def case(seed: int, number: int, target: Target | None = None) -> Case:
    """Return a case of a seed; without a target that is drawn, too."""
    dice = random.Random(f"{seed}/{number}")  # noqa: S311 - it must come again, not be secret
    drawn = dice.choice(tuple(Target))
    chosen = target or drawn
    command, data_set = store_command(_UID), _CONTENT
    request = _rich_request(dice)
    if chosen is Target.REQUEST:
        request = _changed_request(dice, request)
    elif chosen is Target.COMMAND:
        command = changed(dice, dice.choice((command, echo_command())))
    elif chosen is Target.DATA_SET:
        data_set = changed(dice, data_set)
    exchange = p_data(fragment(1, COMMAND | LAST, command)) + _in_pieces(dice, data_set) + _RELEASE
    if chosen is Target.PDUS:
        exchange = changed(dice, exchange)
    return Case(seed, number, chosen, target is None, request, exchange)


def changed(dice: random.Random, content: bytes) -> bytes:
    """Change bytes in one to six places; lengths are drawn from those that break arithmetic."""
    for _ in range(dice.randint(1, _MOST_CHANGES)):
        content = dice.choice(_CHANGES)(dice, content)
    return content


def send(gateway: AttackedGateway, each: Case) -> None:
    """Send a case and read all that is answered, to the end of the connection; GatewayFault where that is late."""
    try:
        with Hostile(gateway.port) as hostile:
            hostile.socket.settimeout(_ANSWERED_WITHIN_SECONDS)
            hostile.send(each.request)
            if each.target is Target.REQUEST or hostile.read_kind() == ASSOCIATE_AC:
                hostile.send(each.exchange)
            hostile.end()
            hostile.is_closed()
    except OSError as error:
        raise _fault(each, f"the exchange comes to no end: {error!r}") from error


def fuzz(
    gateway: AttackedGateway, *, seed: int, goes_on: Callable[[int], bool], target: Target | None = None, first: int = 0
) -> int:
    """Send cases, from number ``first``, while ``goes_on`` agrees to the next number, and return how many there were.

    GatewayFault where the gateway holds a connection, does not answer an honest peer in between, or logs an exception.
    """
    number, logged = first, len(gateway.log_lines())
    while goes_on(number):
        each = case(seed, number, target)
        send(gateway, each)
        number += 1
        if number % _VERIFY_EVERY == 0 or not goes_on(number):
            _check(gateway, each, logged)
            logged = len(gateway.log_lines())
    return number - first


def _check(gateway: AttackedGateway, each: Case, logged: int) -> None:
    began = time.monotonic()
    try:
        verify(gateway.port)
        assert_faultless(gateway.log_lines()[logged:])
    except (OSError, AssertionError) as error:
        raise _fault(each, f"after it, or one of the {_VERIFY_EVERY - 1} before: {error}") from error
    if time.monotonic() - began > _ANSWERED_WITHIN_SECONDS:
        raise _fault(each, "an honest peer waits for its answer")


def _fault(each: Case, what: str) -> GatewayFault:
    again = f"--seed {each.seed} --first {max(0, each.number - _VERIFY_EVERY + 1)} --cases {_VERIFY_EVERY}"
    target = "" if each.is_drawn else f" --target {each.target}"
    return GatewayFault(f"{each}: {what}\nagain: python -m tests.support.fuzzing {again}{target}")


def _rich_request(dice: random.Random) -> bytes:
    """Return a request that is right, with everything that one may hold."""
    contexts = [context(1, CT_IMAGE), context(3, VERIFICATION, (IMPLICIT,))]
    negotiated = (
        item(0x53, struct.pack(">HH", 1, 1)),
        item(0x54, struct.pack(">H", len(CT_IMAGE)) + CT_IMAGE.encode() + b"\1\0"),
        item(0x56, struct.pack(">H", len(CT_IMAGE)) + CT_IMAGE.encode() + b"\2\0\0\0\0\0"),
        item(0x58, b"\2\0" + struct.pack(">H", 4) + b"user" + struct.pack(">H", 4) + b"word"),
    )
    chosen = [each for each in negotiated if dice.random() < 0.5]
    return association_request(contexts, user=user_information(*chosen))


def _changed_request(dice: random.Random, request: bytes) -> bytes:
    """Change the items of a request; in half of the cases the PDU's own length is put right again."""
    body = changed(dice, request[6:])
    return pdu(request[0], body) if dice.random() < 0.5 else request[:6] + body


def _in_pieces(dice: random.Random, data_set: bytes) -> bytes:
    at, pieces = 0, []
    while at < len(data_set):
        size = dice.randint(1, len(data_set))
        last = LAST if at + size >= len(data_set) else 0
        pieces.append(p_data(fragment(1, last, data_set[at : at + size])))
        at += size
    return b"".join(pieces)


def _flip(dice: random.Random, content: bytes) -> bytes:
    at = dice.randrange(len(content) + 1)
    return content[:at] + bytes(byte ^ (1 << dice.randrange(8)) for byte in content[at : at + 1]) + content[at + 1 :]


def _lie(dice: random.Random, content: bytes) -> bytes:
    form = dice.choice((">H", "<H", ">L", "<L"))
    number = dice.choice(_LENGTHS) & (0xFFFF if form.endswith("H") else 0xFFFFFFFF)
    at, lie = dice.randrange(len(content) + 1), struct.pack(form, number)
    return content[:at] + lie + content[at + len(lie) :]


def _cut(dice: random.Random, content: bytes) -> bytes:
    at = dice.randrange(len(content) + 1)
    return content[:at] + content[at + dice.randint(1, 40) :]


def _truncate(dice: random.Random, content: bytes) -> bytes:
    return content[: dice.randrange(len(content) + 1)]


def _repeat(dice: random.Random, content: bytes) -> bytes:
    at, size = dice.randrange(len(content) + 1), dice.randint(1, 60)
    return content[:at] + content[at : at + size] * dice.choice((2, 3, 100)) + content[at + size :]


def _insert(dice: random.Random, content: bytes) -> bytes:
    at = dice.randrange(len(content) + 1)
    return content[:at] + dice.randbytes(dice.randint(1, 20)) + content[at:]


_CHANGES = (_flip, _flip, _lie, _lie, _lie, _cut, _truncate, _repeat, _insert)


def main() -> None:
    """Fuzz a gateway of one's own for a while, and say how many cases it stood."""
    parser = argparse.ArgumentParser(description="Send hostile bytes to a gateway that is started for that.")
    parser.add_argument("--seconds", type=float, default=300.0, help="how long (default 300)")
    parser.add_argument("--seed", type=int, default=None, help="where the cases come from (default: drawn)")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--cases", type=int, default=None, help="how many cases at most")
    parser.add_argument("--target", type=Target, default=None, choices=tuple(Target), help="what is changed")
    chosen = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if chosen.seed is None else chosen.seed
    sys.stdout.write(f"seed {seed}\n")
    sys.stdout.flush()
    with (
        tempfile.TemporaryDirectory(prefix="oncue-fuzz-") as folder,
        attacked_gateway(Path(folder) / "state") as gateway,
    ):
        ends, last = time.monotonic() + chosen.seconds, chosen.first + (chosen.cases or sys.maxsize)
        try:
            done = fuzz(
                gateway,
                seed=seed,
                goes_on=lambda number: number < last and time.monotonic() < ends,
                target=chosen.target,
                first=chosen.first,
            )
        except GatewayFault as fault:
            sys.exit(str(fault))
    sys.stdout.write(f"{done} cases, no fault\n")


if __name__ == "__main__":
    main()
