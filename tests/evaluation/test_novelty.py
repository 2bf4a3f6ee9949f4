"""The longest copied span: hand counts, a brute-force twin, and a reference of 100,000 poems."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constrained_gpt.evaluation.novelty import Copy, Reference

words = st.lists(st.sampled_from("abc"), max_size=9)


def _holds(poem: Sequence[str], run: Sequence[str]) -> bool:
    n = len(run)
    return any(list(poem[i : i + n]) == list(run) for i in range(len(poem) - n + 1))


def _longest(poem: list[str], reference: list[list[str]], without: int) -> tuple[int, int]:
    """(length, start) of the longest run, by looking for all of them everywhere."""
    others = [r for i, r in enumerate(reference) if i != without]
    for length in range(len(poem), 0, -1):
        for start in range(len(poem) - length + 1):
            if any(_holds(other, poem[start : start + length]) for other in others):
                return length, start
    return 0, 0


@settings(deadline=None, max_examples=500)
@given(st.lists(words, min_size=1, max_size=8), words, st.integers(-1, 7))
def test_the_longest_span_equals_its_slow_twin(
    reference: list[list[str]], poem: list[str], without: int
) -> None:
    found = Reference(reference).longest(poem, without=without)
    assert (found.length, found.start) == _longest(poem, reference, without)
    if found.length:
        run = poem[found.start : found.start + found.length]
        assert found.reference != without
        assert _holds(reference[found.reference], run)


def test_by_hand() -> None:
    reference = Reference(
        [["old", "pond", "a", "frog", "jumps"], ["snow", "falls", "on", "the", "pond"]]
    )
    assert reference.poems == 2
    assert reference.longest(["a", "frog", "jumps", "on", "the", "pond"]) == Copy(3, 0, 0)
    assert reference.longest(["see", "a", "frog", "on", "the", "pond"]) == Copy(3, 3, 1)
    assert reference.longest(["nothing", "of", "it"]) == Copy(0, 0, -1)
    assert reference.longest([]) == Copy(0, 0, -1)
    # No run goes on from one poem of the reference to the next.
    assert reference.longest(["frog", "jumps", "snow", "falls"]) == Copy(2, 0, 0)


def test_a_poem_of_the_reference_is_compared_with_the_others() -> None:
    poems = [["old", "pond", "a", "frog"], ["an", "old", "pond"], ["old", "pond", "a", "frog"]]
    reference = Reference(poems)
    assert reference.longest(poems[1], without=1).length == 2
    assert reference.longest(poems[0], without=0) == Copy(4, 0, 2)  # its copy counts
    assert Reference(poems[:1]).longest(poems[0], without=0) == Copy(0, 0, -1)


def test_a_reference_needs_a_poem() -> None:
    with pytest.raises(ValueError, match="no poems; give a file"):
        Reference([])


@pytest.mark.slow
def test_a_hundred_thousand_poems() -> None:
    rng = np.random.default_rng(5)
    made = rng.zipf(1.4, (100_000, 14)) % 5000  # words in about the proportions of a language
    poems = [[str(word) for word in row] for row in made.tolist()]
    reference = Reference(poems)
    assert reference.poems == 100_000
    for place in (0, 50_000, 99_999):
        copied = ["new", *poems[place][2:11], "words"]
        found = reference.longest(copied)
        assert (found.length, found.start) == (9, 1)
        assert _holds(poems[found.reference], copied[1:10])
    begun = time.perf_counter()
    for poem in poems[:200]:
        reference.longest(poem)
    assert time.perf_counter() - begun < 10  # some 0.1 s where nothing else runs
