"""Presentation contexts as we propose them (PS3.8 9.3.2.2)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Proposal:
    """One presentation context to propose: a SOP class in one transfer syntax."""

    sop_class_uid: str
    transfer_syntax_uid: str
