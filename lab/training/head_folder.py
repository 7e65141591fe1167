"""Write a trained head so that it can be loaded: weights, card, manifest, and a text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers import weights
from workers.weights import MANIFEST_NAME
from workers.zero_shot.feature_head import HEAD_FORMAT, save_head

if TYPE_CHECKING:
    from pathlib import Path

    from workers.weights import Manifest
    from workers.zero_shot.feature_head import FeatureHead

README = """# A head on {foundation}

Adapters and a head on the frozen features of the foundation model *{foundation}* (sha256 `{sha256}`), made by
`oncue train head`. It belongs to that model alone, and under that model's licence.

- trained on {slices} slices that were taken to be healthy, with lesions painted on them: {steps} steps, seed {seed};
  no pixel label was a target;
- images: {modality}, squares of {size} x {size} pixels;
- lesion where the score exceeds {threshold:g}, chosen on lesions painted on {held_out} slices of patients who were held
  out. There the mean Dice is {dice:.3f} and the area under the precision-recall curve {precision:.3f}; the best single
  level of grey reads a mean Dice of {grey:.3f}.

These are **painted** lesions. What the head is worth on lesions of patients is for `oncue evaluate` to say. Not a
medical device. For research use only.
"""


def write(head: FeatureHead, place: Path, *, licence: str) -> Manifest:
    """Write the head to its folder; an interruption leaves one that is refused, never a mixture."""
    (place / MANIFEST_NAME).unlink(missing_ok=True)
    save_head(head, place)
    card = head.card
    text = README.format(
        foundation=card.foundation,
        sha256=card.foundation_sha256,
        slices=card.slices,
        steps=card.steps,
        seed=card.seed,
        modality=card.modality,
        size=card.size,
        threshold=card.threshold,
        held_out=card.held_out.slices,
        dice=card.held_out.dice,
        precision=card.held_out.average_precision,
        grey=card.held_out.grey_dice,
    )
    (place / "README.md").write_text(text, encoding="utf-8")
    return weights.write_manifest(place, name=f"{card.foundation} head", version=str(HEAD_FORMAT), licence=licence)
