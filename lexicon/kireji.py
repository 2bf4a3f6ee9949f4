"""Kireji: where a poem is cut, and by which mark.

Knows punctuation and lines, no syllables. A cut is a mark that stands after a word and before the
end of the poem's last line. The validator and the lattice call it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .normalize import Word, line_spans, words

# A lone hyphen cuts only with a space before it and a space or line end after it; a comma never.
MARKS: tuple[str, ...] = ("—", "–", "―", "--", "-", "…", "...", ";", ":", "!", "?", ".")
_RUN = re.compile(r"(?:[—–―…;:!?.‥‽]|-{2,}|(?<=[\s])-(?=\s|$))+")


@dataclass(frozen=True)
class Cut:
    """One cut: the mark as written, its line (0 is the first), its span in the text."""

    mark: str
    line: int
    start: int
    end: int


def find_cuts(text: str, found: list[Word] | None = None) -> list[Cut]:
    """Every cut of the poem in order. Marks that close the poem, and commas, are no cuts.

    >>> [c.mark for c in find_cuts("old pond...\\na frog leaps in\\nwater's sound.")]
    ['...']
    """
    if not isinstance(text, str):
        raise TypeError(f"find_cuts reads a str, not {type(text).__name__}; decode bytes first")
    found = words(text) if found is None else found
    if not found:
        return []
    cuts: list[Cut] = []
    by_line: dict[int, list[Word]] = {}
    for word in found:
        by_line.setdefault(word.line, []).append(word)
    last = found[-1]
    spans = line_spans(text)
    for number, here in by_line.items():
        line_end = spans[number][1]
        for place, word in enumerate(here):
            stop = here[place + 1].start if place + 1 < len(here) else line_end
            if word is last:
                break
            run = _RUN.search(text, word.end, stop)
            if run:
                final = run
                # Marks of one gap are one cut, whatever stands between them ('..." —').
                for more in _RUN.finditer(text, run.end(), stop):
                    final = more
                mark = re.sub(r"\s+", " ", text[run.start() : final.end()])
                cuts.append(Cut(mark, number, run.start(), final.end()))
    return cuts
