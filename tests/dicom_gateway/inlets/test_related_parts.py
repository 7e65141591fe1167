from __future__ import annotations

import email.message
import email.parser
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_gateway.errors import BodyBroken
from dicom_gateway.inlets.related_parts import MediaType, RelatedParts, boundary_of


def parts(body: bytes, *, boundary: str = "b", piece_bytes: int = 1 << 16) -> list[tuple[dict[str, str], bytes]]:
    left = bytearray(body)

    def source() -> bytes:
        piece = bytes(left[:piece_bytes])
        del left[:piece_bytes]
        return piece

    return [(dict(part.headers), part.read()) for part in RelatedParts(boundary, source)]


def written(contents: list[bytes], boundary: str = "b") -> bytes:
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return b"".join(head + content + b"\r\n" for content in contents) + f"--{boundary}--\r\n".encode()


# Bytes that delimiters are made of, so that contents come close to them.
_CONTENT = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"-", b"--", b"--x", b"x"])).map(b"".join)


@given(st.lists(_CONTENT, min_size=1, max_size=4), st.integers(1, 40))
def test_every_content_comes_out_as_it_went_in_however_it_arrives(contents: list[bytes], piece_bytes: int) -> None:
    found = parts(written(contents), piece_bytes=piece_bytes)
    assert [content for _, content in found] == contents
    assert {headers["content-type"] for headers, _ in found} == {"application/dicom"}


@pytest.mark.parametrize("piece_bytes", [1, 3, 1000])
def test_preamble_epilogue_blanks_and_headers_are_read_as_the_standard_library_does(piece_bytes: int) -> None:
    body = b"say\r\n--b \t\r\n\r\nfirst\r\n--b\r\nContent-Location: a/1\r\nX-Y:\r\n\r\n\r\n--b--\r\nafter\r\n--b\r\n"
    read = parts(body, piece_bytes=piece_bytes)
    head = b'Content-Type: multipart/related; boundary="b"\r\n\r\n'
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    assert isinstance(message, email.message.EmailMessage)
    assert [content for _, content in read] == [part.get_payload(decode=True) for part in message.iter_parts()]
    assert read == [({}, b"first"), ({"content-location": "a/1", "x-y": ""}, b"")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no boundary at all",
        b"--c\r\n\r\nof another boundary\r\n--c--\r\n",
        b"--b\n\nline feeds alone\n--b--\n",
        b"--b\r\nContent-Type: x\r\n\r\nwithout an end",
        b"--b\r\nContent-Type: x\r\n\r\ncut off in its boundary\r\n--",
        b"--b\r\nContent-Type: x\r\n\r\nwithout the last hyphens\r\n--b",
        b"--b\r\nContent-Ty",
        b"--b\r\nno field\r\n\r\nx\r\n--b--\r\n",
        b"--b\r\nX: " + b"y" * 9000 + b"\r\n\r\nx\r\n--b--\r\n",
        b"--bX\r\n\r\na longer boundary\r\n--b--\r\n",
        b"x" * 20_000 + b"\r\n--b--\r\n",
    ],
)
def test_a_body_that_is_not_as_it_must_be_is_broken(body: bytes) -> None:
    with pytest.raises(BodyBroken):
        parts(body)


def test_what_is_left_unread_of_a_part_is_passed_over() -> None:
    pieces = iter([written([b"first" * 100_000, b"second"]), b""])
    read = [part.read(7) for part in RelatedParts("b", lambda: next(pieces, b""))]
    assert read == [b"firstfi", b"second"]


@pytest.mark.parametrize(
    ("text", "boundary"),
    [
        ('multipart/related; Boundary="a b"', "a b"),
        ("x/y;boundary=1.2", "1.2"),
        ("x/y; boundary*=utf-8''a%20b; type*=undefined'en'x", "a b"),
        ("x/y; boundary*0=a; boundary*1=b", "ab"),
    ],
)
def test_a_boundary_is_read_with_quotes_and_without(text: str, boundary: str) -> None:
    assert boundary_of(MediaType.parse(text)) == boundary


@pytest.mark.parametrize(
    "text", ["", "multipart/related", "x/y; boundary=", f"x/y; boundary={'a' * 256}", 'x/y; boundary="a "']
)
def test_a_content_type_without_a_boundary_is_refused(text: str) -> None:
    with pytest.raises(BodyBroken):
        boundary_of(MediaType.parse(text))
