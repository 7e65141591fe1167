"""Label one lesion of a volume, or abstain with a coded reason."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy import bool_, float32
from numpy.typing import NDArray

from storage.domain import Algorithm, Classification, Volume
from workers.classification import focus, prototypes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.classification.backbone import Backbone

VERSION = "1"
SUPPORT_TOO_SMALL = "support_too_small"
MASK_TOO_SMALL = "mask_too_small"


def embed_lesion(backbone: Backbone, volume: Volume, mask: NDArray[bool_]) -> NDArray[float32] | None:
    """Return the lesion's embedding float32 ``[1280]``, the mean over its largest slices; None for one too small."""
    chosen = focus.largest_slices(mask)
    if not len(chosen):
        return None
    grey, pixel_mm = focus.grey_scale(volume.voxels), volume.geometry.spacing_mm[1:]
    pictures = [focus.cut_out(volume.voxels[z], mask[z], grey=grey, pixel_mm=pixel_mm) for z in chosen]
    return np.asarray(backbone.embed(np.stack(pictures)).mean(axis=0), dtype=float32)


@dataclass(frozen=True, slots=True, eq=False)
class FewShotClassifier:
    """A frozen backbone and the prototypes of one task; ``head`` is None while the support set is too small."""

    backbone: Backbone
    head: prototypes.Prototypes | None
    algorithm: Algorithm

    @classmethod
    def fitted(
        cls, backbone: Backbone, examples: Sequence[prototypes.Example], *, task: str, weights_sha256: str
    ) -> FewShotClassifier:
        """Fit the head on a support set; the algorithm names the backbone's digest and the set's."""
        parameters = {
            "task": task,
            "mode": focus.MODE,
            "temperature": prototypes.TEMPERATURE,
            "support": support_digest(examples),
            "examples": len(examples),
        }
        described = json.dumps(parameters, sort_keys=True, separators=(",", ":"))
        algorithm = Algorithm("few-shot-prototypes", VERSION, weights_sha256, described)
        return cls(backbone, prototypes.fit(examples), algorithm)

    def classify(self, volume: Volume, lesion: NDArray[bool_]) -> Classification:
        """Label the lesion under a mask ``[z, y, x]``."""
        if self.head is None:
            return Classification(None, None, SUPPORT_TOO_SMALL, self.algorithm)
        embedding = embed_lesion(self.backbone, volume, lesion)
        if embedding is None:
            return Classification(None, None, MASK_TOO_SMALL, self.algorithm)
        probabilities = self.head.probabilities(embedding)
        best = int(probabilities.argmax())
        return Classification(self.head.labels[best], float(probabilities[best]), None, self.algorithm)


def support_digest(examples: Sequence[prototypes.Example]) -> str:
    """Return the SHA-256 of a support set, whatever order it comes in."""
    rows = sorted(e.label.encode() + b"\0" + e.embedding.astype(float32).tobytes() for e in examples)
    return hashlib.sha256(b"\n".join(hashlib.sha256(row).digest() for row in rows)).hexdigest()
