"""Measures of one poem's text: line ends, articles, repetition, season word, cut, rhyme.

Knows words and sounds; no model, no token, no file. Called by `evaluate`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from constrained_gpt.lexicon import DANGLING, Saijiki, find_cuts, find_kigo, rhymes
from constrained_gpt.lexicon.function_words import is_dangling
from constrained_gpt.lexicon.normalize import Word, words

ARTICLES = frozenset({"a", "an", "the"})

# Function words that may well end a line, so that DANGLING leaves them out on purpose.
_CLOSING = """
on up by out off over under down through along across around about above below behind near after
before not all some any each both this these those me you him us them it so too then just mine
yours ours hers his myself yourself itself one
"""
FUNCTION_WORDS: frozenset[str] = DANGLING | frozenset(_CLOSING.split())


@dataclass(frozen=True, slots=True)
class TextMeasures:
    """What can be counted in one poem.

    keys             its words in order, in plain form (lower case, no accents)
    lines            lines that hold a word
    function_ends    lines that end on a function word, by `lexicon.function_words.is_dangling`
    articles         words that are a, an or the
    content          words that are no function word (DANGLING and those that may end a line)
    repeated         each occurrence of a content word after its first: "rain rain rain" gives two
    repeated_lines   lines whose words are those of an earlier line
    kigo             season words, as the saijiki names them
    cuts             cutting marks, as written
    rhymes, near     pairs of line ends that rhyme (perfect or identical), and that nearly do
    """

    keys: tuple[str, ...]
    lines: int
    function_ends: int
    articles: int
    content: int
    repeated: tuple[str, ...]
    repeated_lines: int
    kigo: tuple[str, ...]
    cuts: tuple[str, ...]
    rhymes: tuple[tuple[str, str], ...]
    near: tuple[tuple[str, str], ...]


def is_content(key: str) -> bool:
    """Whether a word carries meaning of its own: it is no function word."""
    return key not in FUNCTION_WORDS


def measure(text: str, saijiki: Saijiki | None = None) -> TextMeasures:
    """Count one poem.

    >>> m = measure("the rain and the rain\\nfalls on the roof of the\\nhouse")
    >>> m.function_ends, m.articles, m.repeated
    (1, 4, ('rain',))
    """
    found = words(text)
    by_line: dict[int, list[Word]] = {}
    for word in found:
        by_line.setdefault(word.line, []).append(word)
    lines = [tuple(w.key for w in line) for line in by_line.values()]
    ends = [line[-1] for line in by_line.values()]
    content = [w.key for w in found if is_content(w.key)]
    kinds = [(a.text, b.text, rhymes(a.text, b.text)) for a, b in combinations(ends, 2)]
    return TextMeasures(
        keys=tuple(w.key for w in found),
        lines=len(lines),
        function_ends=sum(is_dangling(w.key) for w in ends),
        articles=sum(w.key in ARTICLES for w in found),
        content=len(content),
        repeated=_again(content),
        repeated_lines=len(lines) - len(set(lines)),
        kigo=tuple(k.phrase for k in find_kigo(text, saijiki)),
        cuts=tuple(c.mark for c in find_cuts(text, found)),
        rhymes=tuple((a, b) for a, b, kind in kinds if kind in ("perfect", "identical")),
        near=tuple((a, b) for a, b, kind in kinds if kind == "near"),
    )


def _again(keys: Sequence[str]) -> tuple[str, ...]:
    seen: Counter[str] = Counter()
    again = []
    for key in keys:
        if seen[key]:
            again.append(key)
        seen[key] += 1
    return tuple(again)
