"""How different the poems of a set are from each other: distinct-n, self-BLEU, shared lines.

Knows words as strings; no model, no file. All three depend on how many poems are looked at, so
sets are compared on equally many (`sample`). Called by `evaluate`.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

Words = Sequence[str]

BLEU_N = 3  # n-grams up to this length, as in Texygen
EPSILON = 0.1  # in the place of a count of nought


def sample(n: int, size: int, seed: int) -> list[int]:
    """`size` of the places 0..n-1 in ascending order, always the same ones for a seed; all of
    them if there are no more."""
    if n <= size:
        return list(range(n))
    return sorted(np.random.default_rng([seed, n]).choice(n, size, replace=False).tolist())


def ngrams(words: Words, n: int) -> list[tuple[str, ...]]:
    """The runs of n words, from first to last; across line ends, never across poems."""
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def distinct(poems: Sequence[Words], n: int) -> tuple[float, float] | None:
    """(distinct-n, its standard error); None if there is no word.

    Li, Galley, Brockett, Gao, Dolan, A Diversity-Promoting Objective Function for Neural
    Conversation Models, NAACL 2016, section 5.2: the different n-grams of all poems, over the
    number of all their words (words, not n-grams). The error is the jackknife's (Efron and Stein,
    The Jackknife Estimate of Variance, Annals of Statistics 9:3, 1981): each poem left out once.
    A bootstrap would see copies of poems and find too little that is distinct. nan for one poem.
    """
    owners: dict[tuple[str, ...], int] = {}  # n-gram -> the only poem that has it, else -1
    for place, words in enumerate(poems):
        for gram in ngrams(words, n):
            if owners.setdefault(gram, place) != place:
                owners[gram] = -1
    total = sum(map(len, poems))
    if not total:
        return None
    own = np.bincount([p for p in owners.values() if p >= 0], minlength=len(poems))
    rest = total - np.array([len(words) for words in poems])
    if len(poems) < 2 or not rest.all():
        return len(owners) / total, math.nan
    without = (len(owners) - own) / rest
    m = len(poems)
    return len(owners) / total, float(np.sqrt((m - 1) * without.var()))


def self_bleu(poems: Sequence[Words], n: int = BLEU_N) -> list[float]:
    """BLEU-n of each poem, all the others being its references; high where poems are alike.

    Zhu, Lu, Zheng, Guo, Zhang, Wang, Yu, Texygen, SIGIR 2018, section 3.2; the set's self-BLEU is
    the mean. BLEU as in Papineni et al., ACL 2002, section 2: n-gram precisions clipped by the
    reference that has most of each, equal weights for 1..n, brevity penalty by the reference
    nearest in length (the shorter of two). Smoothing: a count of nought is taken as EPSILON
    (Chen and Cherry, WMT 2014, method 1); without a single common word, or with a single poem,
    0. A poem of fewer than n words has no n-gram: EPSILON over one.

    Time grows with the number of words, not with that of pairs: of each n-gram only the two
    highest counts are kept, and whose the highest is.
    """
    if len(poems) < 2:
        return [0.0] * len(poems)
    scores = [0.0] * len(poems)
    silent = [False] * len(poems)
    for size in range(1, n + 1):
        counts = [Counter(ngrams(words, size)) for words in poems]
        most: dict[tuple[str, ...], tuple[int, int, int]] = {}  # highest, its poem, the next one
        for place, own in enumerate(counts):
            for gram, count in own.items():
                high, poem, second = most.get(gram, (0, -1, 0))
                if count > high:
                    most[gram] = (count, place, high)
                elif count > second:
                    most[gram] = (high, poem, count)
        for place, own in enumerate(counts):
            matched = 0
            for gram, count in own.items():
                high, poem, second = most[gram]
                matched += min(count, second if poem == place else high)
            silent[place] |= size == 1 and not matched
            scores[place] += math.log((matched or EPSILON) / max(1, len(poems[place]) - size + 1))
    lengths = sorted(map(len, poems))
    return [
        0.0 if silent[place] else math.exp(scores[place] / n) * _brevity(len(words), lengths)
        for place, words in enumerate(poems)
    ]


def _brevity(length: int, lengths: list[int]) -> float:
    """The brevity penalty of a poem, given the lengths of all poems, its own among them."""
    at = bisect.bisect_left(lengths, length)
    others = [lengths[i] for i in (at - 1, at + 1) if 0 <= i < len(lengths)]
    nearest = min(others, key=lambda other: (abs(other - length), other))
    return 1.0 if length >= nearest else math.exp(1 - nearest / length)


def shared_lines(poems: Sequence[Sequence[Words]]) -> list[int]:
    """How many lines of each poem stand in another poem of the set too, word for word.

    poems: each a list of lines, each a list of words.
    """
    holders: Counter[tuple[str, ...]] = Counter()
    own = [[tuple(line) for line in poem] for poem in poems]
    for lines in own:
        holders.update(set(lines))
    return [sum(holders[line] > 1 for line in lines) for lines in own]


def commonest(poems: Sequence[set[str]], top: int = 5) -> list[tuple[str, float]]:
    """The words that most poems hold, with the share of poems; ties in the order of the alphabet.

    poems: the words of each that are to be counted.
    """
    holders: Counter[str] = Counter()
    for found in poems:
        holders.update(found)
    ranked = sorted(holders.items(), key=lambda item: (-item[1], item[0]))[:top]
    return [(word, count / len(poems)) for word, count in ranked]
