"""The heads by the names that the command line and the records call them."""

from __future__ import annotations

from enum import StrEnum

from workers.errors import BackboneUnusable
from workers.fewshot.contracts import Head
from workers.fewshot.heads.contrastive import LinearProbePlus, ZeroShot
from workers.fewshot.heads.logistic import Logistic, TunedLogistic
from workers.fewshot.heads.prototypes import Prototypes
from workers.fewshot.heads.text import ClassTexts
from workers.fewshot.heads.tip_adapter import TipAdapter


class HeadName(StrEnum):
    """Every head there is."""

    PROTOTYPES = "prototypes"
    LOGISTIC = "logistic"
    LOGISTIC_TUNED = "logistic-tuned"
    TIP_ADAPTER = "tip-adapter"
    LP_PLUS = "lp++"
    ZERO_SHOT = "clip-zero-shot"


NEED_TEXT = frozenset({HeadName.LP_PLUS, HeadName.ZERO_SHOT})


def make_head(name: HeadName, *, texts: ClassTexts | None = None) -> Head:
    """Return an unfitted head; BackboneUnusable where it needs a text tower and there are no texts."""
    if name in NEED_TEXT and texts is None:
        raise BackboneUnusable(f"the head {name.value} needs a backbone with a text tower, such as CLIP")
    if name is HeadName.PROTOTYPES:
        return Prototypes()
    if name is HeadName.LOGISTIC:
        return Logistic()
    if name is HeadName.LOGISTIC_TUNED:
        return TunedLogistic()
    if name is HeadName.TIP_ADAPTER or texts is None:
        return TipAdapter(texts)
    return LinearProbePlus(texts) if name is HeadName.LP_PLUS else ZeroShot(texts)
