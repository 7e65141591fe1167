"""Take the labelled pictures of a folder into a task: read, hash, split by patient, embed under a visual prompt."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy import bool_, float32
from numpy.typing import NDArray
from PIL import Image

from storage.database import Database
from storage.fewshot import embeddings, items
from storage.fewshot.embeddings import MaskUsed
from storage.fewshot.errors import ItemRefused
from storage.fewshot.items import Item, NewItem, Split
from storage.fewshot.tasks import Task
from workers.fewshot.contracts import MASKLESS, Mask, MaskSource, PromptMode, item_key
from workers.fewshot.frozen_backbone import TorchBackbone
from workers.fewshot.pictures import LabelledPicture, PictureSource, difference_hash, read_pictures
from workers.fewshot.preprocessing import windowed
from workers.fewshot.visual_prompts import MaskedPicture, embed_prompted

_SHARES = ((0.5, Split.SUPPORT), (0.7, Split.CALIBRATION), (1.0, Split.EVALUATION))
"""Where the patients go that nobody assigned: by their keys, so that the same patient always goes the same way."""
_AT_ONCE = 32


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One listed picture with what identifies it."""

    listed: LabelledPicture
    image_sha256: str
    mask_sha256: str
    look_alike: str
    area: float | None


def read_entries(source: PictureSource) -> list[Entry]:
    """Read every picture of a folder once; errors name the file."""
    return [_entry(listed) for listed in read_pictures([source])]


def new_items(task: Task, entries: Sequence[Entry], *, split: Split | None) -> list[NewItem]:
    """Return the items of a folder; ``split`` is drawn by patient where it is None.

    ItemRefused names a picture without a patient: without one nothing keeps it on one side.
    """
    return [_new_item(task, entry, split) for entry in entries]


def embed_entries(
    database: Database,
    task: Task,
    entries: Sequence[Entry],
    *,
    backbone: TorchBackbone,
    mode: PromptMode,
    now: datetime,
) -> int:
    """Embed the pictures that are items of the task, under their own masks and under shuffled ones; count new vectors.

    The picture is not kept: a new backbone or prompt needs the folder again.
    """
    with database.read() as session:
        present = {(item.image_sha256, item.mask_sha256): item for item in items.in_use(session, task)}
    pairs = [(entry, present[_key(entry)]) for entry in entries if _key(entry) in present]
    key, count = item_key(backbone.card, mode), 0
    for mask in MaskUsed:
        if mask is MaskUsed.SHUFFLED and mode in MASKLESS:
            continue
        vectors = _embedded(pairs, backbone, mode, shuffled=mask is MaskUsed.SHUFFLED)
        with database.write() as session:
            count += embeddings.put(session, vectors, embedding_key=key, mask=mask, now=now)
    return count


def _embedded(
    pairs: Sequence[tuple[Entry, Item]], backbone: TorchBackbone, mode: PromptMode, *, shuffled: bool
) -> dict[int, NDArray[float32]]:
    vectors: dict[int, NDArray[float32]] = {}
    for start in range(0, len(pairs), _AT_ONCE):
        part = pairs[start : start + _AT_ONCE]
        subjects = [
            _subject(entry, _lender(pairs, start + place) if shuffled else entry, mode)
            for place, (entry, _) in enumerate(part)
        ]
        made = embed_prompted(backbone, subjects, mode)
        vectors.update({item.id: vector for (_, item), vector in zip(part, made, strict=True)})
    return vectors


def _lender(pairs: Sequence[tuple[Entry, Item]], place: int) -> Entry:
    """Return the next picture of another patient that has a mask: it lends its mask for the control."""
    for step in range(1, len(pairs)):
        entry, item = pairs[(place + step) % len(pairs)]
        if entry.mask_sha256 and item.patient_key != pairs[place][1].patient_key:
            return entry
    return pairs[place][0]


def _subject(entry: Entry, lender: Entry, mode: PromptMode) -> MaskedPicture:
    if mode in MASKLESS:
        return MaskedPicture(windowed(entry.listed.read()), name=entry.listed.name)
    picture, mask = entry.listed.read(), lender.listed.read_mask()
    return MaskedPicture(picture, None if mask is None else _fitted(mask, picture.shape[:2]), name=entry.listed.name)


def _fitted(mask: Mask, shape: tuple[int, ...]) -> NDArray[bool_]:
    if mask.shape == shape:
        return mask
    resized = Image.fromarray(mask.astype(np.uint8)).resize((shape[1], shape[0]), Image.Resampling.NEAREST)
    return np.asarray(resized, dtype=bool_)


def _entry(listed: LabelledPicture) -> Entry:
    picture, mask = listed.read(), listed.read_mask()
    digest = "" if mask is None else hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()
    area = None if mask is None else float(mask.mean())
    return Entry(listed, listed.digest(), digest, difference_hash(picture), area)


def _new_item(task: Task, entry: Entry, split: Split | None) -> NewItem:
    listed = entry.listed
    if not listed.patient:
        raise ItemRefused(f"{listed.name} has no patient: add a column patient to its list")
    key = task.patient_key(listed.patient)
    traits = listed.traits
    return NewItem(
        patient_key=key,
        split=split or _drawn(key),
        label=listed.label,
        source=f"picture:{entry.image_sha256[:16]}",
        image_sha256=entry.image_sha256,
        mask_sha256=entry.mask_sha256,
        mask_source=(MaskSource.GIVEN if entry.mask_sha256 else MaskSource.NONE).value,
        look_alike=entry.look_alike,
        area=entry.area,
        sex=traits.get("sex", ""),
        age_band=traits.get("age_band", ""),
        site=traits.get("site", ""),
    )


def _drawn(patient_key: str) -> Split:
    place = int(patient_key[:8], 16) / 0x1_0000_0000
    return next(split for limit, split in _SHARES if place < limit)


def _key(entry: Entry) -> tuple[str, str]:
    return entry.image_sha256, entry.mask_sha256
