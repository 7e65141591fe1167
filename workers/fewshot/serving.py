"""Serve what was promoted: each job asks which adapter holds now, so a rollback takes effect with the next study."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import structlog
from numpy import bool_
from numpy.typing import NDArray

from storage.database import Database
from storage.domain import Algorithm, Classification
from storage.errors import OncueError
from storage.explanations import Neighbour, Prediction, SaliencyMap
from storage.fewshot import adapters, evaluations, promotions, tasks
from storage.fewshot.adapters import Adapter
from storage.fewshot.tasks import Task
from storage.volumes import Volume
from workers.errors import AnotherBackbone, TaskNotPromoted, TaskUnsuitable, UnsuitableVolume
from workers.fewshot.classifier import Abstention, FittedAdapter, Opinion, read_adapter
from workers.fewshot.contracts import Scope
from workers.fewshot.lesion_views import LesionEncoder, LesionView, telling_slice
from workers.fewshot.saliency import class_activation, in_mask_share, part_activation, pooled_part, saliency_of
from workers.image_labels import ImageLabel

log = structlog.get_logger(__name__)


class Encoders(Protocol):
    """Opens the encoder that an adapter was fitted with."""

    def open(self, adapter: Adapter) -> LesionEncoder:
        """Return it, loaded once; AnotherBackbone, BackboneMissing or WeightsMismatch where it is not there."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ServedAdapter:
    """A promoted adapter with its encoder, ready to label lesions, or whole images where that is its scope."""

    record: Adapter
    fitted: FittedAdapter
    encoder: LesionEncoder
    attends_to_lesion: bool
    algorithm: Algorithm

    def classify(self, volume: Volume, lesion: NDArray[bool_]) -> Classification:
        """Label the lesion under a mask ``[z, y, x]``, or abstain with a coded reason; say why in either case."""
        view = self.encoder.view(volume, lesion)
        if view is None:
            reason = Abstention.AREA_OUT_OF_RANGE if lesion.any() else Abstention.NO_MASK
            return Classification(None, None, reason.value, self.algorithm, Prediction(self.record.id))
        opinion = self.fitted.opinion(view.vector, area=view.area)
        saliency = self._saliency(view, shape=(lesion.shape[1], lesion.shape[2]))
        prediction = replace(
            self._prediction(opinion),
            attends_to_lesion=self.attends_to_lesion,
            in_mask_share=None if saliency is None else in_mask_share(saliency, lesion),
        )
        return self._classification(opinion, prediction, saliency)

    def classify_image(self, volume: Volume) -> ImageLabel:
        """Label a whole image, or the slice that stands for a series, or abstain; no mask is looked at.

        The saliency map covers the whole slice. UnsuitableVolume where it has hardly a pixel.
        """
        z = telling_slice(volume)
        _, rows, columns = volume.voxels.shape
        plane = replace(volume, voxels=volume.voxels[z : z + 1], frames=volume.frames[z : z + 1])
        view = self.encoder.view(plane, np.ones((1, rows, columns), dtype=bool))
        if view is None:
            raise UnsuitableVolume(f"an image of {rows} x {columns} pixels shows too little")
        opinion = self.fitted.opinion(view.vector, area=None)
        saliency = self._saliency(replace(view, slices=(z,)), shape=(rows, columns))
        given = self._classification(opinion, self._prediction(opinion), saliency)
        return ImageLabel(given, self.fitted.unfamiliarity(opinion.distance))

    def _classification(self, opinion: Opinion, prediction: Prediction, saliency: SaliencyMap | None) -> Classification:
        abstained = None if opinion.abstained is None else opinion.abstained.value
        return Classification(opinion.label, opinion.probability, abstained, self.algorithm, prediction, saliency)

    def _prediction(self, opinion: Opinion) -> Prediction:
        numbers, labels = self.record.snapshot.support, self.fitted.labels
        return Prediction(
            adapter=self.record.id,
            label_set=opinion.label_set,
            distance=opinion.distance,
            nearest=tuple(Neighbour(numbers[row], labels[row], cosine) for row, cosine in opinion.nearest),
        )

    def _saliency(self, view: LesionView, *, shape: tuple[int, int]) -> SaliencyMap | None:
        """Return Grad-CAM where the vector or a part of it is a mean of its grid, else attention rollout, if any."""
        best = self.fitted.classes[int(self.fitted.probabilities(view.vector[None])[0].argmax())]
        if _is_mean_of_grid(view):
            return saliency_of(view, class_activation(self.fitted, view, best), shape=shape)
        part = pooled_part(view)
        if part is not None:
            return saliency_of(view, part_activation(self.fitted, view, part, best), shape=shape)
        attention = self.encoder.attention(view)
        return None if attention is None else saliency_of(view, attention, shape=shape)


@dataclass(frozen=True, slots=True)
class UnusableAdapter:
    """Stands in where the promoted adapter cannot be served: it abstains with the error's code, and the job goes on."""

    algorithm: Algorithm
    code: str

    def classify(self, volume: Volume, lesion: NDArray[bool_]) -> Classification:
        """Abstain."""
        del volume, lesion
        return Classification(None, None, self.code, self.algorithm)

    def classify_image(self, volume: Volume) -> ImageLabel:
        """Abstain."""
        del volume
        return ImageLabel(Classification(None, None, self.code, self.algorithm), 0.0)


class PromotedClassifiers:
    """Finds the promoted adapter for a volume; adapters and encoders are loaded once and kept."""

    def __init__(self, database: Database, encoders: Encoders) -> None:
        self._database = database
        self._encoders = encoders
        self._served: dict[int, ServedAdapter] = {}

    def for_volume(self, volume: Volume, *, task: str | None = None) -> ServedAdapter | UnusableAdapter | None:
        """Return what labels the lesions of a volume now; None where no adapter was promoted for its kind.

        With a task it is that task's; TaskNotPromoted, or TaskUnsuitable for another modality or for whole images.
        """
        return self._chosen(volume, Scope.LESION, task)

    def for_image(self, volume: Volume, *, task: str | None = None) -> ServedAdapter | UnusableAdapter | None:
        """Return what labels a whole image now; errors as those of ``for_volume``, TaskUnsuitable for lesions."""
        return self._chosen(volume, Scope.IMAGE, task)

    def named(self, task: str) -> ServedAdapter | UnusableAdapter | None:
        """Return the adapter that a task predicts with; None where there is no such task, or nothing was promoted."""
        found = self._of_task(task)
        return None if found is None else self._served_or_not(*found)

    def _chosen(self, volume: Volume, scope: Scope, task: str | None) -> ServedAdapter | UnusableAdapter | None:
        if task is None:
            found = self._fitting(volume, scope)
            return None if found is None else self._served_or_not(*found)
        asked = self._of_task(task)
        if asked is None:
            raise TaskNotPromoted(
                f"no adapter of the few-shot task {task!r} is promoted: `oncue classification show {task}` says what"
                " it has, `oncue classification promote` lets one predict"
            )
        _check_fit(*asked, volume=volume, scope=scope)
        return self._served_or_not(*asked)

    def _served_or_not(self, task: Task, record: Adapter) -> ServedAdapter | UnusableAdapter:
        try:
            return self.serve(task, record)
        except OncueError as error:
            log.warning("adapter.unusable", adapter=record.id, code=error.code, reason=str(error))
            return UnusableAdapter(_algorithm(task, record), error.code)

    def warm(self) -> None:
        """Load what is promoted now; raises where it cannot be served, so that a worker refuses to start with it."""
        with self._database.read() as session:
            known = tasks.listed(session)
            found = [(task, promotions.promoted_adapter(session, task)) for task in known]
        for task, record in found:
            if record is not None:
                self.serve(task, record)

    def serve(self, task: Task, record: Adapter) -> ServedAdapter:
        """Load an adapter and the encoder that it was fitted with; AnotherBackbone where it is not the same one."""
        if record.id not in self._served:
            encoder = self._encoders.open(record)
            if (encoder.key, encoder.backbone_sha256) != (record.recipe.embedding_key, record.recipe.backbone_sha256):
                raise AnotherBackbone(f"adapter {record.id} was fitted with {record.recipe.embedding_key}")
            with self._database.read() as session:
                fitted = read_adapter(adapters.artefact(session, record.id))
                evaluation = evaluations.newest(session, record.id)
            attends = evaluation is not None and evaluation.judgement.attends_to_lesion
            self._served[record.id] = ServedAdapter(record, fitted, encoder, attends, _algorithm(task, record))
        return self._served[record.id]

    def _of_task(self, name: str) -> tuple[Task, Adapter] | None:
        with self._database.read() as session:
            for task in tasks.listed(session):
                if task.name == name:
                    record = promotions.promoted_adapter(session, task)
                    return None if record is None else (task, record)
        return None

    def _fitting(self, volume: Volume, scope: Scope) -> tuple[Task, Adapter] | None:
        with self._database.read() as session:
            for task in _ranked(tasks.listed(session), volume):
                record = promotions.promoted_adapter(session, task)
                if record is not None and Scope.of(record.recipe.prompt_mode) is scope:
                    return task, record
        return None


def _check_fit(task: Task, record: Adapter, *, volume: Volume, scope: Scope) -> None:
    if task.draft.modality not in ("", volume.modality.upper()):
        raise TaskUnsuitable(
            f"the few-shot task {task.name!r} is for {task.draft.modality}, the route's images are {volume.modality}:"
            " name another task in the route"
        )
    own = Scope.of(record.recipe.prompt_mode)
    if own is not scope:
        raise TaskUnsuitable(
            f"the few-shot task {task.name!r} labels each {own.value}, not each {scope.value} as the route asks:"
            f" its adapter was fitted with --prompt {record.recipe.prompt_mode}"
        )


def _ranked(tasks: Sequence[Task], volume: Volume) -> list[Task]:
    """Return the tasks that fit a volume, those that name its modality and body part before those that take any."""
    part = volume.body_part.upper()
    fitting = [
        task
        for task in tasks
        if task.draft.modality in ("", volume.modality.upper()) and task.draft.body_part in ("", part)
    ]
    return sorted(fitting, key=lambda task: (not task.draft.body_part, not task.draft.modality, task.name))


def _is_mean_of_grid(view: LesionView) -> bool:
    if view.weights is not None:
        return True
    return view.grids.shape[-1] == len(view.vector) and np.allclose(
        view.grids.mean(axis=(0, 1, 2)), view.vector, atol=1e-4
    )


def _algorithm(task: Task, record: Adapter) -> Algorithm:
    recipe = record.recipe
    parameters = {
        "task": task.name,
        "adapter": record.id,
        "backbone": recipe.backbone,
        "backbone_sha256": recipe.backbone_sha256,
        "prompt": recipe.prompt_mode,
        "freeze": recipe.freeze,
        "seed": recipe.seed,
        "support": record.snapshot.support_sha256,
        "calibration": record.snapshot.calibration_sha256,
        "alpha": task.draft.alpha,
    }
    described = json.dumps(parameters, sort_keys=True, separators=(",", ":"))
    return Algorithm(f"few-shot-{recipe.head}", str(record.version), record.artefact_sha256, described)
