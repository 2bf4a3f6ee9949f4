"""What a poem has copied: its longest run of words that stands in a poem of a reference.

A suffix array over the words of all reference poems, built by prefix doubling (Manber and Myers,
Suffix Arrays, SIAM Journal on Computing 22:5, 1993); no model, no file. Called by `evaluate`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

Words = Sequence[str]
_STOP = 0  # stands after every reference poem; smaller than every word


@dataclass(frozen=True, slots=True)
class Copy:
    """The longest copied run: its length in words, the word of the poem it begins with (0 is the
    first), and a reference poem that has it (0 is the first); reference -1 if no word is shared."""

    length: int
    start: int
    reference: int


class Reference:
    """Reference poems, each a list of words, ready to be searched."""

    def __init__(self, poems: Iterable[Words]) -> None:
        self._ids: dict[str, int] = {}
        flat: list[int] = []
        owner: list[int] = []
        longest = count = 0
        for count, words in enumerate(poems, 1):
            flat.extend(self._ids.setdefault(word, len(self._ids) + 1) for word in words)
            flat.append(_STOP)
            owner.extend([count - 1] * (len(words) + 1))
            longest = max(longest, len(words))
        if not count:
            raise ValueError("the reference holds no poems; give a file with at least one")
        self.poems = count
        self._owner = owner
        text = np.array(flat, np.int64)
        self._order: list[int] = _suffix_order(text, longest + 1).tolist()
        self._text = array("q", flat)

    def longest(self, words: Words, *, without: int = -1) -> Copy:
        """The longest run of `words` that stands in a reference poem, the first of several.

        without: a reference poem that does not count, such as the poem itself.
        """
        query = array("q", [self._ids.get(word, -1) for word in words])
        best = Copy(0, 0, -1)
        for start in range(len(query)):
            if len(query) - start <= best.length:
                break
            rest = query[start:]
            if -1 in rest:
                rest = rest[: rest.index(-1)]  # an unknown word ends every run
            if len(rest) <= best.length:
                continue
            at = self._place(rest)
            # What is sorted right before and right after a run shares the most with it.
            for step, first in ((-1, at - 1), (1, at)):
                length, poem = self._neighbour(rest, first, step, without)
                if length > best.length:
                    best = Copy(length, start, poem)
        return best

    def _place(self, rest: array[int]) -> int:
        """How many suffixes are smaller than a run of words."""
        text, order, n = self._text, self._order, len(rest)
        low, high = 0, len(order)
        while low < high:
            middle = (low + high) // 2
            at = order[middle]
            if text[at : at + n] < rest:
                low = middle + 1
            else:
                high = middle
        return low

    def _neighbour(self, rest: array[int], place: int, step: int, without: int) -> tuple[int, int]:
        """(words in common, whose they are) with the nearest suffix of a poem that counts."""
        order, text = self._order, self._text
        while 0 <= place < len(order) and self._owner[order[place]] == without:
            place += step
        if not 0 <= place < len(order):
            return 0, -1
        at = order[place]
        common = 0
        while common < len(rest) and text[at + common] == rest[common]:
            common += 1
        return common, self._owner[at]


def _suffix_order(text: np.ndarray, depth: int) -> np.ndarray:
    """The places of a text, int64 (n,), sorted by the `depth` values that stand from there on.

    No run that matters is longer than the longest poem and its stop, so sorting ends there.
    """
    rank = text - text.min() + 1
    order = np.argsort(rank, kind="stable")
    known = 1  # values that `order` is sorted by
    while known < depth:
        after = np.zeros_like(rank)
        after[: max(0, len(rank) - known)] = rank[known:]
        pair = rank * (int(rank.max()) + 1) + after
        order = np.argsort(pair, kind="stable")
        fresh = np.ones(len(pair), np.int64)
        fresh[1:] = pair[order[1:]] != pair[order[:-1]]
        rank = np.empty_like(pair)
        rank[order] = np.cumsum(fresh)
        known *= 2
    return order
