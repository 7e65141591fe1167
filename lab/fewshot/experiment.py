"""One study of few-shot classification from its grid to its runs: the protocols of both papers in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lab.fewshot.attention import Attention
from lab.fewshot.cache import EmbeddingCache
from lab.fewshot.embedding import Embedder, Subjects
from lab.fewshot.freezing.strategies import Freeze
from lab.fewshot.freezing.tuning import predict_tuned
from lab.fewshot.lookalikes import joined_groups, require_apart
from lab.fewshot.runs import ExperimentRun, Material, Predict, Setting, Thinning, controlled, predict_with, run
from lab.fewshot.splits import Amount
from lab.fewshot.text_heads import ClassTexts, ComparedHead, make_compared_head
from storage.progress import OnProgress, unheard
from workers.errors import OneClassOnly
from workers.fewshot.contracts import MASKLESS, MaskSource, PromptMode, Vectors
from workers.fewshot.frozen_backbone import TorchBackbone
from workers.fewshot.pictures import LabelledPicture


@dataclass(frozen=True, slots=True)
class Grid:
    """The grid; every combination is run once with all seeds."""

    amounts: Sequence[Amount] = (Amount(share=5.0),)
    seeds: int = 5
    prompts: Sequence[PromptMode] = (PromptMode.NONE,)
    heads: Sequence[ComparedHead] = (ComparedHead.LOGISTIC,)
    freezes: Sequence[Freeze] = (Freeze.ALL,)
    thinnings: Sequence[Thinning | None] = (None,)
    control: bool = True
    """Repeat every run that uses masks with the masks of other pictures."""


def gather(training: Sequence[LabelledPicture], test: Sequence[LabelledPicture]) -> Material:
    """Put the lists together; look-alikes of one list become one group, between the lists they are refused.

    Raises OneClassOnly, PatientInTwoSplits, DuplicateAcrossSplits, UnreadablePicture; each names the item.
    """
    labels = {picture.label for picture in training}
    if len(labels) < 2:  # noqa: PLR2004 - one class leaves nothing to decide
        raise OneClassOnly(f"every picture is labelled {', '.join(labels)}: there is nothing to decide")
    groups = joined_groups(training)
    if not test:
        return Material(training, groups)
    require_apart(training, test)
    marks = np.array([True] * len(training) + [False] * len(test))
    return Material([*training, *test], [*groups, *(f"test:{one.group}" for one in test)], marks)


@dataclass(frozen=True, slots=True)
class Experiment:
    """Everything that the runs of one backbone need."""

    material: Material
    grid: Grid
    attention: Attention
    cache: EmbeddingCache
    texts: Callable[[TorchBackbone, Sequence[str]], ClassTexts | None]
    progress: Callable[[str], OnProgress] = lambda _what: unheard
    """Gives, for what is being done, whom to tell how far it is."""

    def runs(self, backbone: TorchBackbone) -> Iterator[ExperimentRun]:
        """Yield the runs of a backbone, prompt by prompt."""
        for prompt in self.grid.prompts:
            yield from self._of_prompt(backbone, prompt)

    def _of_prompt(self, backbone: TorchBackbone, prompt: PromptMode) -> Iterator[ExperimentRun]:
        attention = replace(self.attention, source=MaskSource.NONE) if prompt in MASKLESS else self.attention
        subjects = attention.subjects(self.material.pictures)
        right = self._predictors(backbone, prompt, subjects)
        wrong: dict[tuple[Freeze, str], Predict] = {}
        if self.grid.control and attention.source is not MaskSource.NONE:
            wrong = self._predictors(backbone, prompt, attention.wrong_subjects(self.material.pictures))
        for (freeze, head), predict in right.items():
            for setting in self._settings(backbone, prompt, attention.source, freeze=freeze, head=head):
                result = run(setting, predict, material=self.material, seeds=self.grid.seeds)
                if (freeze, head) in wrong:
                    astray = replace(setting, masks=MaskSource.SHUFFLED)
                    again = run(astray, wrong[freeze, head], material=self.material, seeds=self.grid.seeds)
                    result = controlled(result, again)
                yield result

    def _settings(
        self, backbone: TorchBackbone, prompt: PromptMode, masks: MaskSource, *, freeze: Freeze, head: str
    ) -> list[Setting]:
        return [
            Setting(backbone.card.name, prompt, masks, head, freeze.value, amount, thinning)
            for amount in self.grid.amounts
            for thinning in self.grid.thinnings
        ]

    def _predictors(
        self, backbone: TorchBackbone, prompt: PromptMode, subjects: Subjects
    ) -> dict[tuple[Freeze, str], Predict]:
        """Return what predicts for each way of freezing and each head; only a frozen backbone has several heads."""
        predictors: dict[tuple[Freeze, str], Predict] = {}
        vectors = self._embed(backbone, prompt, subjects)
        for freeze in self.grid.freezes:
            if freeze is not Freeze.ALL:
                predictors[freeze, ComparedHead.LOGISTIC.value] = predict_tuned(
                    backbone,
                    freeze,
                    prompt,
                    subjects=subjects,
                    vectors=vectors,
                    material=self.material,
                    on_epoch=self.progress(f"{backbone.card.name}, {prompt.value}, {freeze.value}"),
                )
                continue
            texts = self.texts(backbone, sorted(set(self.material.labels)))
            for name in self.grid.heads:
                head = make_compared_head(name, texts=texts)
                predictors[freeze, name.value] = predict_with(head, vectors, self.material)
        return predictors

    def _embed(self, backbone: TorchBackbone, prompt: PromptMode, subjects: Subjects) -> Vectors:
        embedder = Embedder(backbone, self.cache, self.progress(f"{backbone.card.name}, {prompt.value}"))
        return embedder.embed(subjects, prompt)
