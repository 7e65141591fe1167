"""Codes for the names that models give their labels: DICOM's own dictionary of SNOMED CT terms, and common aliases."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from pydicom.sr._concepts_dict import concepts
from pydicom.sr.codedict import codes

from storage.domain import Code, LabelEntry, LabelRole, Site
from workers.errors import LabelsInvalid
from workers.site_models.model_file import LabelSection

LEFT = Code("7771000", "SCT", "Left")
RIGHT = Code("24028007", "SCT", "Right")
NEOPLASM = Code("108369006", "SCT", "Neoplasm")
LESION = Code("52988006", "SCT", "Lesion")
_SIDES = {"left": LEFT, "right": RIGHT, "l": LEFT, "r": RIGHT}
_ANATOMY = frozenset({4, 3010, 6109, 6300, 7192, 8134, 12305})
"""Context groups of PS3.16 that list structures of the body, and nothing else."""
_LESION_WORDS = re.compile(
    r"\b(tumou?rs?|lesions?|cancer|carcinoma|neoplasm|metasta(?:sis|ses)|mets?|nodules?|glioma|adenoma|lymphoma|sarcoma"
    r"|cysts?|masses|necrosis|oedema|edema|enhancing|primaries|whole tumou?r)\b"
)
_NEOPLASM_WORDS = re.compile(
    r"\b(tumou?rs?|cancer|carcinoma|neoplasm|metasta(?:sis|ses)|mets?|glioma|adenoma|lymphoma|sarcoma)\b"
)


def code_labels(names: Mapping[int, str], declared: Sequence[LabelSection] = ()) -> tuple[LabelEntry, ...]:
    """Return the table of a model's labels by value; ``declared`` (model.toml) comes before what the names say.

    LabelsInvalid names a label whose value stands twice, that the model does not have, or that has no code.
    """
    by_value = {section.value: section for section in declared}
    if len(by_value) != len(declared):
        raise LabelsInvalid(f"label value {_twice([section.value for section in declared])} stands twice in model.toml")
    unknown = sorted(set(by_value) - set(names))
    if unknown:
        raise LabelsInvalid(f"model.toml names label {unknown[0]}, which the model does not have")
    if not names:
        raise LabelsInvalid("the model has no label beside the background")
    return tuple(_entry(value, names[value], by_value.get(value)) for value in sorted(names))


def _entry(value: int, name: str, declared: LabelSection | None) -> LabelEntry:
    words = _plain(declared.name if declared else name)
    role = declared.role if declared and declared.role else _role(words)
    side = _side(declared.laterality) if declared and declared.laterality else _named_side(words)
    if role is LabelRole.LESION:
        concept = _declared(declared) or (NEOPLASM if _NEOPLASM_WORDS.search(words) else LESION)
        return LabelEntry(value, name, role, concept, None, _declared_site(declared) or _site(words, side))
    whole = None if declared and declared.laterality else _alias(words)  # of a concept that has its side in it
    organ = _declared(declared) or whole or _known(_without_side(words))
    if organ is None:
        raise LabelsInvalid(
            f"label {value} ({name}) has no code that oncue knows: "
            f"add [[labels]] with value = {value}, role and code = [value, scheme, meaning] to model.toml"
        )
    return LabelEntry(value, name, role, organ, None if organ == whole and words != _without_side(words) else side)


def _declared(section: LabelSection | None) -> Code | None:
    return Code(*section.code) if section and section.code else None


def _declared_site(section: LabelSection | None) -> Site | None:
    if section is None or section.site is None:
        return None
    return Site(Code(*section.site), _side(section.site_laterality))


def _role(words: str) -> LabelRole:
    return LabelRole.LESION if _LESION_WORDS.search(words) else LabelRole.ORGAN


def _site(words: str, side: Code | None) -> Site | None:
    """Return the organ that a lesion's name speaks of, or None where it names none: «liver tumour», «tumor»."""
    rest = _without_side(_LESION_WORDS.sub(" ", words))
    concept = _known(rest) if rest else None
    return Site(concept, side) if concept else None


def _plain(name: str) -> str:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return " ".join(re.sub(r"[^a-z0-9]+", " ", spaced.lower()).split())


def _named_side(words: str) -> Code | None:
    found = {_SIDES[word] for word in words.split() if word in ("left", "right")}
    return found.pop() if len(found) == 1 else None


def _side(name: str | None) -> Code | None:
    return _SIDES[name] if name else None


def _without_side(words: str) -> str:
    return " ".join(word for word in words.split() if word not in ("left", "right"))


def _known(words: str) -> Code | None:
    """Return the code of an anatomical term in plain words, or None."""
    keyword = _keywords().get(words.replace(" ", ""))
    return _alias(words) or (_code(keyword) if keyword else None)


def _alias(words: str) -> Code | None:
    keyword = _aliases().get(words)
    return _code(keyword) if keyword else None


def _code(keyword: str) -> Code:
    found = getattr(codes.SCT, keyword)
    return Code(found.value, found.scheme_designator, found.meaning)


@cache
def _keywords() -> Mapping[str, str]:
    """Return the dictionary's anatomical terms alone: «anterior» and «surface» are terms too, but no structures."""
    dictionary: Any = concepts["SCT"]  # keyword: {code: (meaning, context groups)}
    return {
        keyword.lower(): keyword
        for keyword, terms in dictionary.items()
        if any(_ANATOMY.intersection(groups) for _, groups in terms.values())
    }


@cache
def _aliases() -> Mapping[str, str]:
    """Return the names that models use for terms which the dictionary calls otherwise."""
    text = resources.files("workers.site_models").joinpath("label-aliases.toml").read_text(encoding="utf-8")
    aliases: Mapping[str, str] = tomllib.loads(text)["aliases"]
    return aliases


def _twice(values: Iterable[int]) -> int:
    seen: set[int] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    raise ValueError("no value stands twice")
