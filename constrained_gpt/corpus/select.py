"""Keep the poems of a corpus that are worth learning from, by figures of the project's own making.

What a poem says again, how much the form forced it, what the teacher thought of it, lines and
words that all the others have too. Reads rows of `write`; knows no model. Called by `haiku corpus
select`.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from constrained_gpt.cache import written_whole
from constrained_gpt.corpus.files import data, is_number
from constrained_gpt.evaluation import diversity, text

Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Rules:
    """What a poem must be like to be kept.

    repeated: most content words said again. line_log_mass: least log of the mass that the form left
    the teacher, a line, in nats. worst: share of poems dropped for the lowest log p a token. line:
    most poems with one line. word: largest share of poems with one content word, opening: with one
    pair of words at their start, cliche: with one phrase of `data/cliches.txt`; these are watched
    as poems are taken, from the `first` on. seed: of the order in which they are looked at.
    """

    repeated: int = 0
    line_log_mass: float = -2.5
    worst: float = 0.2
    line: int = 3
    word: float = 0.06
    opening: float = 0.04
    cliche: float = 0.005
    first: int = 400
    seed: int = 0

    def __post_init__(self) -> None:
        if not is_number(self.line_log_mass):  # nan is less than nothing: the rule would be off
            raise ValueError(
                f"line_log_mass={self.line_log_mass!r} is no finite number; give e.g. -2.5"
            )
        for name in ("worst", "word", "opening", "cliche"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is no share; give one from 0 to 1")
        for name in ("repeated", "line", "first", "seed"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(f"{name}={value!r} is not a whole number from 0 up; mend it")


def select(
    files: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    rules: Rules | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the poems of `files` that are kept to `out`, and return the figures: how many were
    read, dropped for what, kept, and how diverse and how strained they are.

    progress: called with (poems measured, poems).
    """
    rules = Rules() if rules is None else rules
    for file in files:
        if Path(out).exists() and Path(out).samefile(file):
            raise ValueError(f"{out} is {file}, which is read; give another --out to keep it")
    rows = [row for file in files for row in _rows(Path(file))]
    if not rows:
        raise ValueError("the files hold no poems; write some with `haiku corpus write`")
    seen: set[str] = set()
    rejects: Counter[str] = Counter()
    fit: list[tuple[dict[str, Any], text.TextMeasures]] = []
    for number, row in enumerate(rows, 1):
        measured = text.measure(row["text"])
        reason = _reason(row, measured, rules, seen)
        if reason is None:
            fit.append((row, measured))
        else:
            rejects[reason] += 1
        if progress is not None:
            progress(number, len(rows))
    kept = _taken(_liked(fit, rules, rejects), rules, rejects)
    if not kept:
        raise ValueError("no poem is kept; loosen the rules or write more poems")
    figures = {
        "rules": asdict(rules),
        "read": len(rows),
        "rejects": dict(rejects.most_common()),
        **_figures(kept),
    }
    with written_whole(Path(out)) as temporary:
        temporary.write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row, _ in kept), "utf-8"
        )
    return figures


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return  # a batch that is being written
            try:
                row = json.loads(line)
                wrong = _wrong(row)
            except (ValueError, RecursionError) as error:
                wrong = str(error)
            if wrong is not None:
                raise ValueError(
                    f"{path}: line {number} is no row of `haiku corpus write` ({wrong}); give its "
                    "files"
                )
            yield row


def _wrong(row: object) -> str | None:
    """What is not as `write` puts it; None if all that is looked at is."""
    if not isinstance(row, dict):
        return "it is no object"
    for name in ("text", "form", "topic"):
        if not isinstance(row.get(name), str):
            return f"{name} is no string"
    if not isinstance(row.get("season", ...), str | None):
        return "season is neither a string nor null"
    for name in ("log_p", "log_mass", "tokens"):
        if not is_number(row.get(name)):
            return f"{name} is no number"
    return None if row["tokens"] > 0 else "it has no tokens"


def _reason(
    row: dict[str, Any], measured: text.TextMeasures, rules: Rules, seen: set[str]
) -> str | None:
    """Why a poem is dropped for what it is itself; None if it is not."""
    key = " ".join(measured.keys)
    if key in seen:
        return "the same words"
    seen.add(key)
    if len(measured.repeated) > rules.repeated:
        return "said again"
    if row["log_mass"] < rules.line_log_mass * measured.lines:
        return "forced"
    if any(not line[:1].isalpha() for line in row["text"].split("\n")):
        return "no letter at a line's start"
    return None


def _liked(
    fit: list[tuple[dict[str, Any], text.TextMeasures]], rules: Rules, rejects: Counter[str]
) -> list[tuple[dict[str, Any], text.TextMeasures]]:
    """Without those that the teacher thought least of."""
    if not fit:
        return fit
    score = np.array([row["log_p"] / row["tokens"] for row, _ in fit])
    least = float(np.quantile(score, rules.worst))
    rejects["low log p"] += int((score < least).sum())
    return [one for one, mean in zip(fit, score.tolist(), strict=True) if mean >= least]


def _taken(
    fit: list[tuple[dict[str, Any], text.TextMeasures]], rules: Rules, rejects: Counter[str]
) -> list[tuple[dict[str, Any], text.TextMeasures]]:
    """Poem after poem in an order drawn by the seed, as long as no line, word, opening or phrase
    is in too many."""
    phrases = cliches()
    limits = {"word": rules.word, "opening": rules.opening, "phrase": rules.cliche}
    counts: Counter[tuple[str, str]] = Counter()
    kept: list[tuple[dict[str, Any], text.TextMeasures]] = []
    for place in np.random.default_rng(rules.seed).permutation(len(fit)).tolist():
        row, measured = fit[place]
        keys = measured.keys
        whole = f" {' '.join(keys)} "
        marks = {("word", key) for key in keys if text.is_content(key)}
        marks |= {("opening", " ".join(keys[:2]))}
        marks |= {("phrase", phrase) for phrase in phrases if f" {phrase} " in whole}
        lines = {("line", line.strip(" .,;:!?").lower()) for line in row["text"].split("\n")}
        size = max(len(kept) + 1, rules.first)
        full = next((kind for kind, what in sorted(marks)
                     if counts[kind, what] + 1 > limits[kind] * size), None)  # fmt: skip
        if full is None and any(counts[line] + 1 > rules.line for line in lines):
            full = "line"
        if full is not None:
            rejects[f"too many with its {full}"] += 1
            continue
        counts.update(marks | lines)
        kept.append((row, measured))
    return kept


def cliches() -> list[str]:
    """The phrases of the list, as word keys."""
    lines = data("cliches.txt").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _figures(kept: Sequence[tuple[dict[str, Any], text.TextMeasures]]) -> dict[str, Any]:
    keys = [measured.keys for _, measured in kept]
    some = [keys[i] for i in diversity.sample(len(keys), 1000, 0)]
    words = [{key for key in one if text.is_content(key)} for one in keys]
    forms = Counter(row["form"] for row, _ in kept)
    seasons = Counter(row["season"] or "any" for row, _ in kept)
    tokens = sum(row["tokens"] for row, _ in kept)
    two = diversity.distinct(some, 2)
    return {
        "kept": len(kept),
        "tokens": tokens,
        "forms": dict(forms.most_common()),
        "seasons": dict(seasons.most_common()),
        "topics": len({row["topic"] for row, _ in kept}),
        "log_p_per_token": round(sum(row["log_p"] for row, _ in kept) / tokens, 4),
        "log_mass_per_poem": round(sum(row["log_mass"] for row, _ in kept) / len(kept), 4),
        "articles": round(
            sum(m.articles for _, m in kept) / max(1, sum(len(m.keys) for _, m in kept)), 4
        ),
        "moon": round(sum("moon" in k for k in keys) / len(keys), 4),
        "distinct_2_of_1000": None if two is None else round(two[0], 4),
        "self_bleu_3_of_1000": round(float(np.mean(diversity.self_bleu(some))), 4),
        "commonest": [[word, round(share, 4)] for word, share in diversity.commonest(words, 8)],
    }
