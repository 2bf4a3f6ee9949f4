"""Measure the validator on a file of real haiku: `python tests/lexicon/measure_corpus.py FILE.tsv`.

The file has two columns, upstream_check (on/off) and text (lines joined by " / "). Prints how many
poems are accepted, what was rejected and why, and how many lines made one syllable too long or too
short are accepted all the same.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from constrained_gpt.lexicon import Form, syllables, validate
from constrained_gpt.lexicon.normalize import words

HAIKU = Form(rhyme="off")
SHORT = ("the", "old", "and", "moon", "night", "soft", "now", "rain")


def poems(path: Path) -> list[tuple[str, str]]:
    """(upstream_check, poem) of every row."""
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    return [(check, text.replace(" / ", "\n")) for check, text in rows]


def mutations(poem: str, rng: random.Random) -> list[str]:
    """The poem with one line a syllable too long, and with one a syllable too short."""
    lines = poem.split("\n")
    place = rng.randrange(len(lines))
    line = lines[place]
    found = words(line)
    result = []
    at = rng.choice(found).start
    longer = f"{line[:at]}{rng.choice(SHORT)} {line[at:]}"
    result.append("\n".join([*lines[:place], longer, *lines[place + 1 :]]))
    single = [w for w in found if syllables(w.text) == {1}]
    if single and len(found) > 1:
        gone = rng.choice(single)
        shorter = line[: gone.start] + line[gone.end :]
        result.append("\n".join([*lines[:place], shorter, *lines[place + 1 :]]))
    return result


def main(path: Path) -> None:
    """Print the figures."""
    rows = poems(path)
    for check in ("on", "off"):
        own = [text for c, text in rows if c == check]
        for policy in ("any", "first", "all"):
            good = sum(validate(text, HAIKU, policy=policy).valid for text in own)
            print(
                f"upstream {check}, policy {policy}: {good} of {len(own)} = {good / len(own):.2%}"
            )
        good = sum(validate(text, HAIKU, lenient=True).valid for text in own)
        print(f"upstream {check}, any with lenient readings: {good / len(own):.2%}")
    for start, policy in (("all", "any"), ("all", "all"), ("any", "any"), ("any", "all")):
        rng = random.Random(5)
        tried = [
            mutant
            for _, text in rows
            if validate(text, HAIKU, policy=start).valid
            for _ in range(4)
            for mutant in mutations(text, rng)
        ]
        good = sum(validate(text, HAIKU, policy=policy).valid for text in tried)
        print(
            f"one syllable more or less, poems valid under {start!r}: {good} of {len(tried)} "
            f"accepted under {policy!r} = {good / len(tried):.2%}"
        )
    for check, text in rows:
        report = validate(text, HAIKU)
        if check == "on" and not report.valid:
            print(report.reasons[0], "|", text.replace("\n", " / "))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
