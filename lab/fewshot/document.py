"""A study's result as the JSON document that other programs read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from lab.fewshot.measures import Measures
from lab.fewshot.runs import Run


def to_json(runs: Sequence[Run]) -> dict[str, object]:
    """Return ``{"runs": [...]}`` with one object for each run; figures are shares of 1."""
    return {"runs": [_run(one) for one in runs]}


def _run(one: Run) -> dict[str, object]:
    setting = one.setting
    content: dict[str, object] = {
        "backbone": setting.backbone,
        "prompt": setting.prompt.value,
        "masks": setting.masks.value,
        "head": setting.head,
        "freeze": setting.freeze,
        "share": setting.amount.share,
        "shots": setting.amount.shots,
        "support": one.support,
        **measures(one.measures),
        "groups": {name: measures(part) for name, part in one.groups.items()},
    }
    if setting.thinning is not None:
        content["thinned"] = asdict(setting.thinning)
    if one.control is not None:
        content["control"] = {**measures(one.control.measures), "drop": one.control.drop}
    return content


def measures(part: Measures) -> Mapping[str, object]:
    """Return the three figures with their intervals, and the number of test pictures."""
    return {
        "pictures": part.pictures,
        "accuracy": asdict(part.accuracy),
        "f1": asdict(part.f1),
        "auroc": asdict(part.auroc),
    }
