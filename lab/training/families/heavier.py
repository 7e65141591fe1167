"""Samples that differ more than scanners do: what a second round is trained on, so that its marks are learned anywhere.

Contrast, gain, shading and noise are drawn from wider ranges, slices are made thicker or thinner, fields of view cut.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lab.training.augmentation import Scanner

if TYPE_CHECKING:
    from lab.training.families.painters import Recipe

WIDER = 1.7
"""How much wider the ranges of a scanner are, and how much more often a field of view is cut."""
SHADING = 2.5
THICK_SHARE = 0.5


def heavier(recipe: Recipe) -> Recipe:
    """Return a family's recipe with wider ranges."""
    known = recipe.scanner
    scanner = Scanner(known.curve * WIDER, known.gain * WIDER, known.shading * SHADING, known.noise * WIDER)
    return replace(recipe, scanner=scanner, cut=min(1.0, recipe.cut * WIDER), thick=THICK_SHARE)
