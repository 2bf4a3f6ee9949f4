"""The measures by name: what each is called, how it is shown, and what it adds up.

Plain data. Read by `evaluate`, `report` and `plot`; described in eval.schema.json.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from constrained_gpt.evaluation.novelty import Copy
from constrained_gpt.evaluation.sources import Entry
from constrained_gpt.evaluation.text import TextMeasures


@dataclass(slots=True)
class Judged:
    """One poem and all that was found out about it.

    log_p, tokens   under the judge; None if there is none, or the poem is too long for it
    form_loss       nats a line: the poem's own, or the judge's where `form_loss` was asked
    copied          None without a reference
    bleu, shared    self-BLEU and lines shared; None for a poem outside the sample
    """

    entry: Entry
    text: TextMeasures
    log_p: float | None = None
    tokens: int = 0
    form_loss: tuple[float, ...] | None = None
    copied: Copy | None = None
    bleu: float | None = None
    shared: int | None = None

    def copied_words(self) -> str:
        """The words of the longest copied run, in plain form."""
        if self.copied is None:
            return ""
        return " ".join(self.text.keys[self.copied.start :][: self.copied.length])


Parts = tuple[float, float]  # what a poem adds above and below the line of a total


@dataclass(frozen=True)
class Measure:
    """One figure. parts(poem): its share of numerator and denominator, None if it has none; a
    measure of the whole set (distinct-n) has no parts. percent: shown as a percentage."""

    name: str
    label: str
    parts: Callable[[Judged], Parts | None] | None
    percent: bool = False


def _log_p_per_token(poem: Judged) -> Parts | None:
    return None if poem.log_p is None else (poem.log_p, poem.tokens)


def _log_p(poem: Judged) -> Parts | None:
    return None if poem.log_p is None else (poem.log_p, 1)


def _form_loss(poem: Judged) -> Parts | None:
    return None if poem.form_loss is None else (sum(poem.form_loss), len(poem.form_loss))


def _copied(poem: Judged) -> Parts | None:
    return None if poem.copied is None else (poem.copied.length, 1)


def _self_bleu(poem: Judged) -> Parts | None:
    return None if poem.bleu is None else (poem.bleu, 1)


def _shared(poem: Judged) -> Parts | None:
    return None if poem.shared is None else (poem.shared, poem.text.lines)


MEASURES: tuple[Measure, ...] = (
    Measure("log_p_per_token", "log p per token (nats)", _log_p_per_token),
    Measure("log_p_per_poem", "log p per poem (nats)", _log_p),
    Measure("form_loss_per_line", "form loss per line (nats)", _form_loss),
    Measure(
        "function_word_ends", "lines ending on a function word",
        lambda p: (p.text.function_ends, p.text.lines), percent=True,
    ),
    Measure("articles", "articles among words", lambda p: (p.text.articles, len(p.text.keys)),
            percent=True),
    Measure(
        "repeated_words", "content words said again in a poem",
        lambda p: (len(p.text.repeated), p.text.content), percent=True,
    ),
    Measure(
        "repeated_lines", "lines said again in a poem",
        lambda p: (p.text.repeated_lines, p.text.lines), percent=True,
    ),
    Measure("kigo", "poems with a season word", lambda p: (bool(p.text.kigo), 1), percent=True),
    Measure("cut", "poems with a cut", lambda p: (bool(p.text.cuts), 1), percent=True),
    Measure("rhyme", "poems with a rhyme", lambda p: (bool(p.text.rhymes), 1), percent=True),
    Measure("near_rhyme", "poems with a near rhyme", lambda p: (bool(p.text.near), 1),
            percent=True),
    Measure("copied_words", "longest copied span (words)", _copied),
    Measure("distinct_1", "distinct-1", None),
    Measure("distinct_2", "distinct-2", None),
    Measure("self_bleu", "self-BLEU-3", _self_bleu),
    Measure("shared_lines", "lines of other poems too", _shared, percent=True),
)  # fmt: skip
