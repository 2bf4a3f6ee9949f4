"""Measures `estimator` on the words of CMUdict that it never saw: accuracy, size, speed, errors.

Knows nothing of how the net is trained. Run: python -m constrained_gpt.lexicon.measure_estimator
(wordfreq, if installed, picks out the common words); the tests call `score`.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import time
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .estimator import estimate, estimate_many
from .syllables import dictionary as known_readings
from .train_estimator import HOLD_OUT, SELECTION, WEIGHTS, bucket, dictionary, syllables


class Score(NamedTuple):
    words: int
    top1: float
    top2: float
    wrong: list[tuple[str, list[int], list[tuple[int, float]]]]


def counts(held: range) -> dict[str, set[int]]:
    """The held-out words of CMUdict and the counts of its pronunciations."""
    return {
        word: {syllables(phones) for phones in spoken}
        for word, spoken in dictionary().items()
        if bucket(word) in held
    }


def score(words: Mapping[str, Collection[int]], least_zipf: float | None = None) -> Score:
    """How often the best estimate, or one of the best two, is among the accepted counts."""
    chosen = list(words)
    if least_zipf is not None:
        from wordfreq import zipf_frequency  # type: ignore[import-not-found, unused-ignore]

        chosen = [word for word in words if zipf_frequency(word, "en") >= least_zipf]
    wrong, second = [], 0
    for word, guess in zip(chosen, estimate_many(chosen), strict=True):
        accepted = words[word]
        if not guess or guess[0][0] not in accepted:
            wrong.append((word, sorted(accepted), guess))
            second += len(guess) > 1 and guess[1][0] in accepted
    right = len(chosen) - len(wrong)
    total = max(1, len(chosen))
    return Score(len(chosen), right / total, (right + second) / total, wrong)


def report(held: range, show: int = 0) -> None:
    """Prints the figures for held-out words and, if asked, `show` of the wrong estimates."""
    every = counts(held)
    read = {word: accepted for word, accepted in every.items() if re.fullmatch(r"[a-z'-]+", word)}
    wide = {
        word: accepted | {reading.count for reading in known_readings(word)}
        for word, accepted in read.items()
    }
    digest = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    print(f"weights: {WEIGHTS.stat().st_size:,} bytes, sha256 {digest}")
    print(
        f"held out: {len(every):,} words; with dots or digits, left out: {len(every) - len(read)}"
    )
    for title, measured, least in (
        ("all held-out words", read, None),
        ("with dots and digits", every, None),
        ("wordfreq zipf >= 3", read, 3.0),
        ("not the headline: counts of our reading rules accepted too", wide, None),
        ("not the headline: the same, wordfreq zipf >= 3", wide, 3.0),
    ):
        try:
            got = score(measured, least)
        except ImportError:
            print(f"{title}: not measured, needs `pip install wordfreq`")
            continue
        print(f"{title}: {got.words:,} words, top-1 {got.top1:.2%}, top-2 {got.top2:.2%}")
    words = list(read)
    started = time.perf_counter()
    estimate_many(words)
    many = (time.perf_counter() - started) / len(words)
    single = []
    for word in words[:1000]:
        started = time.perf_counter()
        estimate(word)
        single.append(time.perf_counter() - started)
    print(
        f"speed: {1e6 * float(np.median(single)):.0f} us a word alone, {1e6 * many:.0f} us in bulk"
    )
    wrong = score(read).wrong
    for k in np.random.default_rng(0).permutation(len(wrong))[:show]:
        word, accepted, guess = wrong[k]
        print(f"  {word:20} accepted {accepted}, got", [(n, round(p, 3)) for n, p in guess[:3]])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="measure_estimator", description=__doc__)
    parser.add_argument("--select", action="store_true", help="on the words kept for choosing")
    parser.add_argument("--show", type=int, default=0, help="print so many wrong estimates")
    asked = parser.parse_args(arguments)
    report(SELECTION if asked.select else HOLD_OUT, asked.show)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
