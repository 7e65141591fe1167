"""What a PDF file shows, read by poppler: its text, and where each word of it stands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.support.peers import executable, run

_WORD = re.compile(r'<word xMin="([\d.]+)" yMin="([\d.]+)" xMax="([\d.]+)" yMax="([\d.]+)">(.*)</word>')


@dataclass(frozen=True, slots=True)
class Word:
    """One word and its box, in points from the upper left corner of the page."""

    text: str
    left: float
    top: float
    right: float
    bottom: float

    def covers(self, other: Word) -> bool:
        """Say whether two words lie on each other: boxes of lines are higher than their letters, by a third."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return across > 0.5 and down > 0.4 * min(self.bottom - self.top, other.bottom - other.top)


def page_text(path: Path) -> str:
    """Return the text of a PDF file, lines as they stand."""
    result = run(executable("pdftotext"), "-layout", path, "-")
    assert result.returncode == 0, result.stdout
    return result.stdout


def words(path: Path) -> tuple[Word, ...]:
    """Return the words of a PDF file's first page."""
    result = run(executable("pdftotext"), "-bbox", "-l", "1", path, "-")
    assert result.returncode == 0, result.stdout
    return tuple(
        Word(text, float(left), float(top), float(right), float(bottom))
        for left, top, right, bottom, text in _WORD.findall(result.stdout)
    )


def facts(path: Path) -> dict[str, str]:
    """Return what poppler says of a PDF file: pages, page size, title, fonts that are not embedded."""
    lines = run(executable("pdfinfo"), path).stdout.splitlines()
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def fonts(path: Path) -> dict[str, bool]:
    """Return the typefaces of a PDF file by name, and whether each is embedded."""
    found = {}
    for line in run(executable("pdffonts"), path).stdout.splitlines()[2:]:
        name, embedded = line.split()[0], line.split()[-5]
        found[name.partition("+")[2] or name] = embedded == "yes"
    return found
