"""What reading costs: syllables of known words, verdicts, haiku found in prose, unknown words.

Each bench proves its result against a slow way of getting it, then times it. Collected by run.py
under pytest-benchmark; with --benchmark-disable it proves over small work and times nothing.
"""

from __future__ import annotations

import re
import tracemalloc
from collections import Counter
from collections.abc import Iterator

import numpy as np
import prose
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from constrained_gpt.lexicon import Form, estimate, find_haiku, readings, syllables, validate
from constrained_gpt.lexicon.estimator import estimate_many
from constrained_gpt.lexicon.measure_estimator import counts as held_out
from constrained_gpt.lexicon.normalize import key_of, words
from constrained_gpt.lexicon.pronunciations import pronunciations, vowels
from constrained_gpt.lexicon.train_estimator import HOLD_OUT

SENTENCE_END = re.compile(r"[.!?…]")


def test_known_words(benchmark: BenchmarkFixture) -> None:
    text, _ = prose.text(20_000 if benchmark.disabled else 600_000)
    written = [word.text for word in words(text) if pronunciations(word.key)]
    reference = {word: frozenset(r.count for r in readings(word)) for word in set(written)}

    def run() -> list[frozenset[int]]:
        return [syllables(word) for word in written]

    result = benchmark.pedantic(run, rounds=30, warmup_rounds=1)
    assert result == [reference[word] for word in written]
    said = {word: {vowels(p) for p in pronunciations(key_of(word))} for word in reference}
    agree = sum(bool(said[word] & found) for word, found in reference.items())
    assert agree >= 0.98 * len(reference), "hardly any count is the dictionary's"
    benchmark.extra_info.update(
        name="syllables of known words in running text, words seen before",
        unit="words/s", work=len(written), rate=True, wanted=500_000,
    )  # fmt: skip


@pytest.mark.parametrize("new", [False, True], ids=["seen", "new"])
def test_verdict(benchmark: BenchmarkFixture, new: bool) -> None:
    n, seeds, judged = (50 if benchmark.disabled else 1000), iter(range(1, 1000)), []

    def prepare() -> tuple[tuple[list[str]], dict[str, object]]:
        poems = prose.haiku(n, seed=next(seeds) if new else 0)
        judged.append(poems)
        return (poems,), {}

    def run(poems: list[str]) -> list[bool]:
        return [validate(poem, policy="all").valid for poem in poems]

    before = range(2000, 2010) if new and not benchmark.disabled else (0,)
    for seed in before:
        run(prose.haiku(n, seed))  # in ten, nearly every word of the vocabulary is met
    result = benchmark.pedantic(run, setup=prepare, rounds=30)
    # The full judge gives reasons; the quick one, which was timed, must agree with it.
    slow = [not validate(poem, policy="all").reasons for poem in judged[-1]]
    assert result == slow
    assert 0.3 < sum(slow) / n <= 0.5, "every other poem has a syllable too many"
    benchmark.extra_info.update(
        name="validator, " + ("new poems of words seen before" if new else "poems seen before"),
        unit="haiku/s", work=n, rate=True, wanted=30_000,
    )  # fmt: skip


def slow_find(text: str) -> Counter[str]:
    """The words of every run that begins and ends with a sentence and falls into 5-7-5."""
    found: Counter[str] = Counter()
    for paragraph in re.split(r"\n\s*\n", text):
        run = []  # (word, its counts, whether a sentence may end after it)
        for chunk in paragraph.split():
            own = words(chunk)
            ends = [word.start for word in own[1:]] + [len(chunk)]
            for word, end in zip(own, ends, strict=True):
                closes = SENTENCE_END.search(chunk, word.end, end) is not None
                run.append((word.text, syllables(word.text), closes))
        for start in range(len(run)):
            if start and not run[start - 1][2]:
                continue
            places = {(start, 0)}  # (words until here, syllables until here), at line ends
            for target in (5, 12, 17):
                reached = set()
                while places:
                    at, total = places.pop()
                    for count in run[at][1] if at < len(run) and total < target else ():
                        places.add((at + 1, total + count))
                    if total == target and at > start:
                        reached.add((at, total))
                places = reached
            for at, _ in places:
                if run[at - 1][2]:
                    found[" ".join(word for word, *_ in run[start:at])] += 1
    return found


def peak_of_finding(lines: list[str]) -> int:
    """Bytes held at most while a stream is searched, the stream itself not counted."""
    tracemalloc.start()
    try:
        for _ in find_haiku(iter(lines)):
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_find(benchmark: BenchmarkFixture) -> None:
    text, planted = prose.text(50_000 if benchmark.disabled else 4_000_000)
    lines = text.splitlines(keepends=True)

    def run() -> list[str]:
        return [haiku.text for haiku in find_haiku(iter(lines))]

    result = benchmark.pedantic(run, rounds=5, warmup_rounds=1)
    assert result == [haiku.text for haiku in find_haiku(text)], "a stream is not read as a text is"
    assert all(validate(haiku, Form(rhyme="off")).valid for haiku in result)
    flat = Counter(haiku.replace("\n", " ") for haiku in result)
    assert sum(flat[sentence] for sentence in prose.PLANTED) == planted > 0
    part, _ = prose.text(50_000)
    assert slow_find(part) == Counter(
        " ".join(word.text for word in words(haiku.text)) for haiku in find_haiku(part)
    )
    # What was analysed before is remembered; beyond that the length of a text costs no memory.
    short, long = peak_of_finding(lines[: len(lines) // 8]), peak_of_finding(lines)
    assert long <= short + (1 << 18), f"memory grows with the text: {short} bytes, then {long}"
    benchmark.extra_info.update(
        name="haiku found in prose, words seen before",
        unit="MB/s", work=len(text), rate=True, scale=1e-6, peak_bytes=long,
    )  # fmt: skip


def unknown(n: int) -> Iterator[tuple[str, set[int]]]:
    """Words that the estimator never saw, and their counts in CMUdict."""
    every = held_out(HOLD_OUT)
    read = sorted(word for word in every if re.fullmatch("[a-z'-]+", word))
    return ((word, every[word]) for word in read[:: max(1, len(read) // n)][:n])


@pytest.mark.parametrize("bulk", [False, True], ids=["alone", "bulk"])
def test_estimate(benchmark: BenchmarkFixture, bulk: bool) -> None:
    accepted = dict(unknown(100 if benchmark.disabled else 2000))
    read = list(accepted)

    def run() -> list[list[tuple[int, float]]]:
        return estimate_many(read) if bulk else [estimate(word) for word in read]

    result = benchmark.pedantic(run, rounds=10, warmup_rounds=1)
    other = [estimate(word) for word in read] if bulk else estimate_many(read)
    for one, two in zip(result, other, strict=True):
        chances = dict(one), dict(two)
        both = set(chances[0]) | set(chances[1])
        assert all(abs(chances[0].get(n, 0) - chances[1].get(n, 0)) < 2e-3 for n in both)
    right = np.mean([guess[0][0] in accepted[w] for w, guess in zip(read, result, strict=True)])
    assert right > 0.9, f"only {right:.0%} of the estimates are right"
    benchmark.extra_info.update(
        name=f"syllables of an unknown word, {'in bulk' if bulk else 'alone'}",
        unit="µs/word", work=len(read), rate=False, scale=1e6,
    )  # fmt: skip
