"""Text to measure on, made up and the same every time: prose of any length, and haiku.

Words follow Zipf's law over the project's vocabulary, function words first; one in 200 is a figure
and one in 200 a name that no dictionary has. Known haiku are planted as paragraphs of their own,
so that whoever searches can be checked. Knows no bench; the others call it.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from constrained_gpt.lexicon import Lexicon

_COMMON = """
the of and a to in he was that it his her i with had as for you she not at but be on him is my
have they by from all so this me which there or one were would we if no when what up said out
them then an could been who their do into more very will some now like time your than only about
over down come made other before upon little man did old must has after these can know see any go
"""
_STARTS = "B Br Ch D Dr F Fl G Gr H J K Kr L M N P Qu R S Sh St T Tr V W Y Z"
_MIDDLES = """
abel adri alo ami andre aro avi edo eli emba eno eri ildo imbro indi iro olan ombi ondo oru uli
umbe undi uro ava eka ita ova uma yri
"""
_ENDS = """
ck de dan fax gar hurst ka l las mond n na nard ne ra rick rin s sa sen st ta th ton vane wick x
zar zel
"""
COMMON = _COMMON.split()
NAMES = tuple(pieces.split() for pieces in (_STARTS, _MIDDLES, _ENDS))
PLANTED = (
    "An old silent pond, a frog jumps into the pond, splash, silence again.",
    "Over the wintry forest, winds howl in rage with no leaves left to blow.",
    "I walk to the shop, the rain begins to fall down, I open my coat.",
)
EVERY = 50  # paragraphs to one with a haiku in it
BLOCK = 20_000  # words made at a time


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[list[str], np.ndarray]:
    """Words, and the running sum of their chances."""
    rest = sorted({w for w in Lexicon.default().words if w.isascii()} - set(COMMON))
    random.Random(0).shuffle(rest)
    words = COMMON + rest
    chances = (np.arange(len(words)) + 2.7) ** -1.1
    return words, np.cumsum(chances / chances.sum())


def paragraphs(seed: int = 0) -> Iterator[tuple[str, bool]]:
    """Paragraphs without end, each with its lines and a blank one after it; is it a planted one?"""
    vocabulary, sums = _vocabulary()
    rng = np.random.default_rng(seed)
    number = 0
    while True:
        at = np.searchsorted(sums, rng.random(BLOCK)).clip(max=len(vocabulary) - 1)
        words = [vocabulary[i] for i in at.tolist()]
        for place in rng.integers(0, BLOCK, BLOCK // 200).tolist():
            words[place] = str(rng.integers(1, 2000))
        for place, parts in zip(
            rng.integers(0, BLOCK, BLOCK // 200).tolist(),
            rng.random((BLOCK // 200, 3)),
            strict=True,
        ):
            words[place] = "".join(p[int(x * len(p))] for p, x in zip(NAMES, parts, strict=True))
        for place in rng.integers(0, BLOCK, BLOCK // 14).tolist():
            words[place] += ","
        begin = 0
        while begin < BLOCK - 200:
            stop = begin
            for length in rng.integers(4, 25, int(rng.integers(2, 8))).tolist():
                first, last = words[stop], words[stop + length - 1]
                words[stop] = "Then" if first[0].isdigit() else first[:1].upper() + first[1:]
                words[stop + length - 1] = last.rstrip(",") + "...!?"[int(rng.integers(0, 5))]
                stop += length
            lines = [" ".join(words[i : min(i + 12, stop)]) for i in range(begin, stop, 12)]
            yield "\n".join(lines) + "\n\n", False
            begin = stop
            number += 1
            if number % EVERY == 0:
                yield PLANTED[number // EVERY % len(PLANTED)] + "\n\n", True


def text(size: int, seed: int = 0) -> tuple[str, int]:
    """About `size` characters of prose, and how many haiku are planted in it."""
    parts, have, haiku = [], 0, 0
    for paragraph, is_planted in paragraphs(seed):
        parts.append(paragraph)
        have += len(paragraph)
        haiku += is_planted
        if have >= size:
            return "".join(parts), haiku
    raise AssertionError("paragraphs() has no end")


def write(path: Path, size: int, seed: int = 0) -> tuple[int, list[int]]:
    """A file of at least `size` bytes: its size, and the lines that planted haiku stand on."""
    have, line, places = 0, 1, []
    with path.open("w", encoding="ascii", newline="\n") as file:
        for paragraph, is_planted in paragraphs(seed):
            file.write(paragraph)
            if is_planted:
                places.append(line)
            have += len(paragraph)
            line += paragraph.count("\n")
            if have >= size:
                return have, places
    raise AssertionError("paragraphs() has no end")


def haiku(n: int, seed: int) -> list[str]:
    """Different texts in 5-7-5, each word of one count; every other one has a syllable too many."""
    lexicon, rng = Lexicon.default(), random.Random(seed)
    pools: dict[int, list[str]] = defaultdict(list)
    for word in lexicon.words:
        counts = lexicon.counts(word)
        if len(counts) == 1 and min(counts) <= 4:
            pools[min(counts)].append(word)
    poems = []
    for number in range(n):
        lines = []
        for target in (5, 7, 5):
            line, left = [], target
            while left:
                count = min(left, rng.choice((1, 1, 1, 2, 2, 3, 4)))
                line.append(rng.choice(pools[count]))
                left -= count
            lines.append(" ".join(line))
        if number % 2:
            lines[1] += " so"
        poems.append("\n".join(lines))
    return poems
