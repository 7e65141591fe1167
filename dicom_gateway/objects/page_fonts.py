"""The typefaces of the report page, and which text each of them can show.

Noto Sans is embedded: Latin, Greek and Cyrillic letters. Chinese characters, kana and hangul are set in the typefaces
that PDF names for them (Adobe's Asian font packs, ISO 32000-1 9.7.5.2): they are not embedded, viewers have them.
"""

from __future__ import annotations

import functools
import io
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

import pymupdf_fonts
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont

_MISSING = "?"
_COMPOSED_SCRIPTS = ("LATIN", "GREEK", "CYRILLIC")
"""Scripts whose letters stand side by side as they are: others need shaping, or run from right to left."""
_SPACES = {"\u00a0": " ", "\u2007": " ", "\u3000": " "}


class Face(StrEnum):
    """The two weights that the page is set in."""

    TEXT = "NotoSans"
    STRONG = "NotoSans-Bold"


class Language(StrEnum):
    """A language whose characters are set in a typeface of the viewer's; the value is the typeface's name in PDF."""

    JAPANESE = "HeiseiKakuGo-W5"
    CHINESE = "STSong-Light"
    KOREAN = "HYGothic-Medium"

    @property
    def codec(self) -> str:
        """The characters that such a typeface has for certain."""
        return _CODECS[self]


_CODECS = {Language.JAPANESE: "cp932", Language.CHINESE: "gbk", Language.KOREAN: "cp949"}


@dataclass(frozen=True, slots=True)
class Run:
    """A piece of text in one typeface."""

    font: str
    text: str


def runs(text: str, face: Face = Face.TEXT, *, language: Language | None = None) -> tuple[Run, ...]:
    """Split text by the typeface that shows it; what none can show is a question mark."""
    prepare()
    fonts = ((_font_of(character, face, language), character) for character in _plain(text))
    shown = ((font or face.value, character if font else _MISSING) for font, character in fonts)
    return tuple(
        Run(font, "".join(character for _, character in pieces)) for font, pieces in groupby(shown, lambda one: one[0])
    )


def is_shown(text: str, *, language: Language | None = None) -> bool:
    """Say whether the page can show every character of a text."""
    prepare()
    return all(_font_of(character, Face.TEXT, language) for character in _plain(text))


def width(text: str, face: Face, size: float, *, language: Language | None = None) -> float:
    """Return how long a text is when it is set in a size; both in points."""
    return sum(pdfmetrics.stringWidth(run.text, run.font, size) for run in runs(text, face, language=language))


def fitted(text: str, face: Face, size: float, *, within: float) -> str:
    """Return a text, or as much of it with an ellipsis as is not longer than ``within`` points."""
    if width(text, face, size) <= within:
        return text
    kept = text
    while kept and width(f"{kept}\u2026", face, size) > within:
        kept = kept[:-1].rstrip()
    return f"{kept}\u2026"


def wrapped(text: str, face: Face, size: float, *, within: float, most: int) -> tuple[str, ...]:
    """Break a text between words into lines of at most ``within`` points; the last of ``most`` ends in an ellipsis."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and width(longer, face, size) <= within:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > most:
        lines[most - 1 :] = [" ".join(lines[most - 1 :])]
    return tuple(fitted(line, face, size, within=within) for line in lines)


@functools.cache
def prepare() -> None:
    """Read the typefaces, once for each process."""
    for face in Face:
        pdfmetrics.registerFont(_typeface(face))
    for language in Language:
        pdfmetrics.registerFont(UnicodeCIDFont(language.value))


@functools.cache
def _typeface(face: Face) -> TTFont:
    name = "notosbo" if face is Face.STRONG else "notos"
    return TTFont(face.value, io.BytesIO(pymupdf_fonts.myfont(name)))


def _plain(text: str) -> Iterator[str]:
    """Yield the characters of a text composed, with one kind of space, and without control characters."""
    for character in unicodedata.normalize("NFC", text):
        if character.isprintable() or character in _SPACES:
            yield _SPACES.get(character, character)


def _font_of(character: str, face: Face, language: Language | None) -> str | None:
    if _stands_alone(character) and ord(character) in _typeface(face).face.charToGlyph:
        return face.value
    likely = [language] if language else []
    return next((one.value for one in (*likely, *Language) if _has(one, character)), None)


def _stands_alone(character: str) -> bool:
    if character.isascii() or not character.isalpha():
        return unicodedata.combining(character) == 0
    return unicodedata.name(character, "").startswith(_COMPOSED_SCRIPTS)


def _has(language: Language, character: str) -> bool:
    if unicodedata.east_asian_width(character) not in ("W", "F"):
        return False
    try:
        character.encode(language.codec)
    except UnicodeEncodeError:
        return False
    return True
