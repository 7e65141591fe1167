"""Vectors must be finite: NaN would silently win or lose every comparison."""

from __future__ import annotations

import numpy as np
from numpy import float32
from numpy.typing import NDArray

from workers.errors import EmbeddingNotFinite


def require_finite(vectors: NDArray[float32], *, what: str) -> None:
    """Raise EmbeddingNotFinite that names the first row with NaN or infinity."""
    finite = np.isfinite(vectors.reshape(len(vectors), -1)).all(axis=1)
    if not finite.all():
        raise EmbeddingNotFinite(f"{what} {int(finite.argmin())}: its vector holds NaN or infinity; look at the input")
