"""From what `oncue evaluate classification` was asked for to the runs of an experiment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.fewshot.attention import Attention, fair_source
from lab.fewshot.cache import EmbeddingCache
from lab.fewshot.experiment import Experiment, Grid, gather
from lab.fewshot.freezing.strategies import Freeze
from lab.fewshot.regions import Saliency
from lab.fewshot.runs import ExperimentRun, Material, Thinning
from lab.fewshot.segment_anything import SegmentAnything
from lab.fewshot.splits import Amount
from lab.fewshot.text_heads import ComparedHead, texts_of
from storage.progress import OnProgress
from workers.config import WorkerSettings
from workers.devices import choose_device, choose_dtype
from workers.fewshot.contracts import MaskSource, PromptMode
from workers.fewshot.pictures import PictureSource, read_pictures
from workers.fewshot.registry import DEFAULT_BACKBONE, open_backbone

KEPT = (1.0, 0.5, 0.25, 0.0)
"""Parts of the thinned sex that a support set is drawn from."""
DEFAULT_SHARE = 5.0


@dataclass(frozen=True, slots=True)
class ExperimentOptions:
    """What somebody asks for; an empty sequence or None leaves the choice to the protocol."""

    data: Sequence[str]
    test: Sequence[str] = ()
    shares: Sequence[float] = ()
    shots: Sequence[int] = ()
    seeds: int = 5
    backbones: Sequence[str] = ()
    prompts: Sequence[PromptMode] = ()
    heads: Sequence[ComparedHead] = ()
    freezes: Sequence[Freeze] = ()
    masks: MaskSource | None = None
    control: bool = True
    thin_sex: str | None = None
    sam2: Path | None = None


def classification(
    options: ExperimentOptions, settings: WorkerSettings, *, cache: Path, progress: Callable[[str], OnProgress]
) -> list[ExperimentRun]:
    """Read the folders, open the backbones one after the other, and run the grid on each.

    ``progress`` gives, for what is being done, whom to tell how far it is. ``cache`` is the folder of the vectors.
    """
    store = EmbeddingCache(cache)
    grid = grid_of(options)
    training, test = (
        read_pictures([PictureSource.parsed(text) for text in texts]) for texts in (options.data, options.test)
    )
    material = gather(training, test)
    device = choose_device(settings.device)
    dtype = choose_dtype(device, settings.dtype)
    attention = _attention(options, material, settings, store=store)
    experiment = Experiment(material, grid, attention, store, texts_of, progress)
    runs: list[ExperimentRun] = []
    for name in options.backbones or [DEFAULT_BACKBONE]:
        runs.extend(experiment.runs(open_backbone(name, models=settings.models_folder(), device=device, dtype=dtype)))
    return runs


def grid_of(options: ExperimentOptions) -> Grid:
    """Return the grid that the options mean; what they leave open is as the protocol of the papers has it."""
    freezes = options.freezes or (Freeze.ALL,)
    # The plain probe costs nothing beside three looks, of which it is one; what is trained through sees one picture.
    prompts = (PromptMode.THREE_LOOKS, PromptMode.NONE) if set(freezes) == {Freeze.ALL} else (PromptMode.NONE,)
    amounts = [*(Amount(share=share) for share in options.shares), *(Amount(shots=shots) for shots in options.shots)]
    return Grid(
        amounts=amounts or [Amount(share=DEFAULT_SHARE)],
        seeds=options.seeds,
        prompts=options.prompts or prompts,
        heads=options.heads or (ComparedHead.LOGISTIC,),
        freezes=freezes,
        thinnings=[Thinning(options.thin_sex, kept) for kept in KEPT] if options.thin_sex else [None],
        control=options.control,
    )


def _attention(
    options: ExperimentOptions, material: Material, settings: WorkerSettings, *, store: EmbeddingCache
) -> Attention:
    device = choose_device(settings.device)
    dtype = choose_dtype(device, settings.dtype)
    segment = SegmentAnything.load(options.sam2, device=device).everything if options.sam2 else None
    source = options.masks or fair_source(material.pictures)
    return Attention(source, store, lambda: Saliency.load(device=device, dtype=dtype), segment)
