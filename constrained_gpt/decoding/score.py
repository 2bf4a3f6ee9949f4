"""Soft wishes: a score in nats that a poem's share in the target is multiplied with, as exp(score).

A mapping of words to bonuses, a penalty on words said again on another line, a penalty on clichés,
or any function of the text. The hard form stays what it is: a score moves probability among valid
poems. Knows texts; knows no model. Called by the decoders and `generate`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from constrained_gpt.lattice import Lattice
from constrained_gpt.lexicon.function_words import DANGLING
from constrained_gpt.lexicon.normalize import key_of, words

Score = Callable[[str], float]
MOST = 1e6  # nats; past any use, and sums and float32 still tell its neighbours apart

# Turns of phrase that a small model falls back on; ours, from reading what SmolLM2 writes.
CLICHES = (
    "whisper", "whispers", "whispered", "whispering", "dance", "dances", "dancing", "embrace",
    "silence speaks", "heart of", "time stands still", "gentle breeze", "golden light",
    "moonlit night", "tapestry", "symphony", "serene", "serenity", "nature's",
)  # fmt: skip


@dataclass(frozen=True)
class WordScore:
    """Bonuses and penalties of words and phrases, in nats each time one is said.

    words: word or phrase -> nats; repetition: nats for each content word said again on a later
    line. Works on unfinished text too.

    >>> WordScore({"moon": -2.0}, repetition=-1.0)("the moon\\nunder a moon")
    -5.0
    """

    words: Mapping[str, float] = field(default_factory=dict)
    repetition: float = 0.0

    def __post_init__(self) -> None:
        known: dict[tuple[str, ...], float] = {}
        for phrase, nats in self.words.items():
            keys = tuple(word.key for word in words(phrase)) if isinstance(phrase, str) else ()
            if not keys:
                raise ValueError(f"score has {phrase!r} for a word; give words such as 'moon'")
            known[keys] = checked(nats, f"score of {phrase!r}")
        object.__setattr__(self, "words", dict(self.words))
        object.__setattr__(self, "_known", known)
        object.__setattr__(self, "_longest", max(map(len, known), default=0))
        checked(self.repetition, "repetition")

    @property
    def single(self) -> dict[str, float]:
        """Bonus by key of the words that are scored alone."""
        return {keys[0]: nats for keys, nats in self._known.items() if len(keys) == 1}  # type: ignore[attr-defined]

    def __call__(self, text: str) -> float:
        lines = [[word.key for word in words(line)] for line in text.split("\n")]
        total = 0.0
        known: dict[tuple[str, ...], float] = self._known  # type: ignore[attr-defined]
        said = [key for line in lines for key in line]
        for size in range(1, self._longest + 1):  # type: ignore[attr-defined]
            for at in range(len(said) - size + 1):
                total += known.get(tuple(said[at : at + size]), 0.0)
        if self.repetition:
            before: set[str] = set()
            for line in lines:
                content = [key for key in line if key not in DANGLING]
                total += self.repetition * sum(key in before for key in content)
                before.update(content)
        return total


def cliche_score(penalty: float, phrases: Iterable[str] = CLICHES) -> WordScore:
    """A penalty (a positive number of nats) on worn phrases."""
    if checked(penalty, "cliché penalty") < 0:
        raise ValueError(f"the cliché penalty {penalty} is negative; give a positive number")
    return WordScore(dict.fromkeys(phrases, -penalty))


def checked(value: object, name: str) -> float:
    """A number within reason; TypeError or ValueError, with the cure, for anything else."""
    if isinstance(value, bool) or (
        not isinstance(value, (int, float)) and not hasattr(value, "__float__")
    ):
        raise TypeError(f"{name} is {value!r}; a score is a number of nats such as -2.0")
    try:
        number = float(value)  # type: ignore[arg-type]
    except OverflowError:  # an int past all floats
        number = math.inf
    if not abs(number) <= MOST:
        raise ValueError(
            f"{name} is {number}; a score is at most {MOST:,.0f} nats either way, say 50 for very "
            "much"
        )
    return number


def word_bonus(
    score: Score, lattice: Lattice, decode: Callable[[list[int]], str]
) -> np.ndarray | None:
    """What a score gives the word that a token alone is, by the token's place in the lattice's
    order: float32 (S,), for the draws to heed it; None where nothing is known of single words."""
    single = score.single if isinstance(score, WordScore) else {}
    if not single:
        return None
    bonus = np.zeros(len(lattice.order), np.float32)
    for place in np.flatnonzero((lattice.openings.syllables > 0).any(axis=0)).tolist():
        bonus[place] = single.get(key_of(decode([int(lattice.order[place])]).strip()), 0.0)
    return bonus


class Scorer:
    """A score on token paths.

    score: a function of the text; `WordScore` is asked after every token, any other once a line is
    finished. decode: tokens -> text; before: text that stands above what is written.
    """

    def __init__(
        self,
        score: Score | Mapping[str, float],
        decode: Callable[[list[int]], str],
        before: str = "",
    ) -> None:
        self.score: Score = WordScore(score) if isinstance(score, Mapping) else score
        if not callable(self.score):
            raise TypeError(
                f"score is a function of the text or a mapping of words to nats, not {score!r}"
            )
        self._decode, self._before = decode, before
        self._steps = isinstance(self.score, WordScore)

    def __call__(self, tokens: list[int], line: int, finished: bool) -> float | None:
        """The score so far; None where it is as it was. line: lines finished; finished: the poem
        is, its end token being the last."""
        if finished:
            tokens = tokens[:-1]
        elif not self._steps and not self._ended(tokens):
            return None
        return self.of(self._before + self._decode(tokens))

    def of(self, text: str) -> float:
        """The score of a text."""
        found = self.score(text.rstrip("\n"))
        return found if self._steps else checked(found, "score")  # a WordScore checked its parts

    def _ended(self, tokens: list[int]) -> bool:
        return "\n" in self._decode(tokens[-1:])


__all__ = ["CLICHES", "Score", "Scorer", "WordScore", "checked", "cliche_score", "word_bonus"]
