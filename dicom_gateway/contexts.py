"""Which SOP classes and transfer syntaxes the listener accepts."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AllStoragePresentationContexts
from pynetdicom._globals import ALL_TRANSFER_SYNTAXES, DEFAULT_TRANSFER_SYNTAXES
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import, from a table

# Retired JPEG processes (PS3.5 2001, A.4.1) that old archives still send; storing them needs no decoder.
_RETIRED_JPEG = tuple(
    f"1.2.840.10008.1.2.4.{number}" for number in (52, 53, 54, 55, 56, 58, 59, 60, 61, 62, 63, 64, 65, 66)
)
_DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
# Referenced pixel data never arrives by C-STORE, and the real-time video syntaxes are no storage (PS3.22).
_WITHOUT_PIXELS = (
    "1.2.840.10008.1.2.4.94",
    "1.2.840.10008.1.2.4.95",
    "1.2.840.10008.1.2.4.204",
    "1.2.840.10008.1.2.4.205",
)
_REAL_TIME = "1.2.840.10008.1.2.7."


class SharedContexts(list[PresentationContext]):
    """A list that is its own deep copy.

    pynetdicom copies every context with every transfer syntax for each association, but only ever reads them.
    """

    def __deepcopy__(self, _memo: object) -> SharedContexts:
        return self


def transfer_syntaxes() -> tuple[str, ...]:
    """Return the transfer syntaxes that are accepted, the one preferred among several of a proposal first.

    Deflated is not among them: a few hundred kilobytes of it inflate to a gigabyte before anybody can look.
    """
    left_out = {DeflatedExplicitVRLittleEndian, _DEFLATED_FRAMES, *_WITHOUT_PIXELS}
    known = [uid for uid in ALL_TRANSFER_SYNTAXES if uid not in left_out and not uid.startswith(_REAL_TIME)]
    explicit_little_endian = str(UID("1.2.840.10008.1.2.1"))
    known.sort(key=lambda uid: uid != explicit_little_endian)
    return (*map(str, known), *_RETIRED_JPEG)


def storage_sop_classes() -> frozenset[str]:
    """Return the SOP classes of objects that are stored."""
    return frozenset(str(context.abstract_syntax) for context in AllStoragePresentationContexts)


def accepted_contexts() -> SharedContexts:
    """Return the presentation contexts of the listener: every storage SOP class, and Verification."""
    syntaxes = list(transfer_syntaxes())
    contexts = SharedContexts(
        build_context(str(context.abstract_syntax), syntaxes) for context in AllStoragePresentationContexts
    )
    contexts.append(build_context(Verification, list(DEFAULT_TRANSFER_SYNTAXES)))
    return contexts


def data_set_contexts(sop_class_uids: Iterable[str]) -> tuple[PresentationContext, ...]:
    """Return the presentation contexts of SOP classes whose data sets are kept in memory and hold no pixels."""
    syntaxes: list[str | UID] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
    return tuple(build_context(uid, syntaxes) for uid in sop_class_uids)
