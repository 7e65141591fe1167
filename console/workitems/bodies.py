"""What a request about workitems says in its headers and its body, within bounds (PS3.18 8.7, 11.1.2)."""

from __future__ import annotations

import json

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from console.media_types import DICOM_JSON, JSON_TYPES
from console.request_errors import BodyInvalid, BodyTooLarge, MediaTypeUnsupported
from storage.attributes import Attributes
from storage.errors import OncueError
from storage.workitems.requirements import LARGEST_CONTENT_CHARACTERS


async def data_set_of(request: Request) -> Attributes:
    """Return the one data set of a body, an object or an array of one; RequestRefused where there is none."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in JSON_TYPES:
        raise MediaTypeUnsupported(f"send the data set as {DICOM_JSON}")
    return await run_in_threadpool(_data_set, await _body(request))


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST_CONTENT_CHARACTERS:
            raise BodyTooLarge("the body is larger than 1 MiB, and than any workitem")
    return bytes(body)


def _data_set(body: bytes) -> Attributes:
    """Return what a body says, as it would have come over DIMSE: values that are none of their VR are refused here."""
    from pydicom.uid import ExplicitVRLittleEndian

    from dicom_gateway import data_sets

    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise BodyInvalid("the body is no JSON") from None
    if isinstance(content, list):
        if len(content) != 1:
            raise BodyInvalid(f"the body holds {len(content)} data sets: send one")
        content = content[0]
    try:
        encoded = data_sets.encode(Attributes.of_json(content), ExplicitVRLittleEndian)
        return data_sets.decode(encoded, ExplicitVRLittleEndian)
    except OncueError as error:
        raise BodyInvalid(str(error)) from None
