"""From the options of `oncue evaluate classification` to the runs of a study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from console.commands.choices import chosen

if TYPE_CHECKING:
    from lab.fewshot.attention import Attention
    from lab.fewshot.cache import EmbeddingCache
    from lab.fewshot.runs import Material, Run, Thinning
    from lab.fewshot.splits import Amount
    from lab.fewshot.study import Plan, Study
    from workers.config import WorkerSettings

Choice = TypeVar("Choice", bound=StrEnum)
OnProgress = Callable[[str, int, int], None]
KEPT = (1.0, 0.5, 0.25, 0.0)
"""Parts of the thinned sex that a support set is drawn from."""
DEFAULT_SHARE = 5.0


@dataclass(frozen=True, slots=True)
class StudyWishes:
    """The options as they were typed."""

    data: Sequence[str]
    test: Sequence[str]
    shares: Sequence[float]
    shots: Sequence[int]
    seeds: int
    backbones: Sequence[str]
    prompts: Sequence[str]
    heads: Sequence[str]
    freezes: Sequence[str]
    masks: str | None
    control: bool
    thin_sex: str | None
    sam2: Path | None


def study(
    wishes: StudyWishes, state: Path, config: Path | None, *, cache: Path | None, on_progress: OnProgress
) -> list[Run]:
    """Read the folders, open the backbones one after the other, and run the grid on each."""
    from console.config import read
    from lab.fewshot.cache import EmbeddingCache
    from workers.devices import choose_device, choose_dtype
    from workers.fewshot.registry import DEFAULT_BACKBONE, open_backbone

    settings = read(state, file=config).settings.worker
    plan = _plan(wishes)
    store = EmbeddingCache(cache or state / "embeddings")
    planned = _study(wishes, plan, settings, store=store, on_progress=on_progress)
    device = choose_device(settings.device)
    dtype = choose_dtype(device, settings.dtype)
    runs: list[Run] = []
    for name in wishes.backbones or [DEFAULT_BACKBONE]:
        runs.extend(planned.runs(open_backbone(name, models=settings.models_folder(), device=device, dtype=dtype)))
    return runs


def _study(
    wishes: StudyWishes, plan: Plan, settings: WorkerSettings, *, store: EmbeddingCache, on_progress: OnProgress
) -> Study:
    from lab.fewshot.study import Study, gather
    from lab.fewshot.text_towers import texts_of
    from workers.fewshot.pictures import PictureSource, read_pictures

    training, test = (
        read_pictures([PictureSource.parsed(text) for text in texts]) for texts in (wishes.data, wishes.test)
    )
    material = gather(training, test)
    attention = _attention(wishes, material, settings, store=store)
    return Study(material, plan, attention, store, texts_of, on_progress)


def _attention(
    wishes: StudyWishes, material: Material, settings: WorkerSettings, *, store: EmbeddingCache
) -> Attention:
    from lab.fewshot.attention import Attention, fair_source
    from lab.fewshot.regions import Saliency
    from lab.fewshot.segment_anything import SegmentAnything
    from workers.devices import choose_device, choose_dtype
    from workers.fewshot.contracts import MaskSource

    device = choose_device(settings.device)
    source = chosen(MaskSource, wishes.masks) or fair_source(material.pictures)
    segment = SegmentAnything.load(wishes.sam2, device=device).everything if wishes.sam2 else None
    return Attention(
        source, store, lambda: Saliency.load(device=device, dtype=choose_dtype(device, settings.dtype)), segment
    )


def _plan(wishes: StudyWishes) -> Plan:
    from lab.fewshot.freezing.strategies import Freeze
    from lab.fewshot.study import Plan
    from lab.fewshot.text_heads import ComparedHead
    from workers.fewshot.contracts import PromptMode

    prompts = list(PromptMode) if "all" in wishes.prompts else _all(PromptMode, wishes.prompts)
    freezes = _all(Freeze, wishes.freezes) or [Freeze.ALL]
    # The plain probe costs nothing beside three looks, of which it is one; what is trained through sees one picture.
    default = (PromptMode.THREE_LOOKS, PromptMode.NONE) if set(freezes) == {Freeze.ALL} else (PromptMode.NONE,)
    return Plan(
        _amounts(wishes),
        wishes.seeds,
        prompts or default,
        _all(ComparedHead, wishes.heads) or (ComparedHead.LOGISTIC,),
        freezes,
        _thinnings(wishes),
        wishes.control,
    )


def _amounts(wishes: StudyWishes) -> list[Amount]:
    from lab.fewshot.splits import Amount

    amounts = [*(Amount(share=share) for share in wishes.shares), *(Amount(shots=shots) for shots in wishes.shots)]
    return amounts or [Amount(share=DEFAULT_SHARE)]


def _thinnings(wishes: StudyWishes) -> Sequence[Thinning | None]:
    from lab.fewshot.runs import Thinning

    return [Thinning(wishes.thin_sex, kept) for kept in KEPT] if wishes.thin_sex else [None]


def _all(kind: type[Choice], texts: Sequence[str]) -> list[Choice]:
    return [member for text in texts if (member := chosen(kind, text)) is not None]
