"""Validator: judges a text against a form and explains every verdict.

Reads text, never tokens. Chooses between the quick way (a verdict) and the full one (every word,
line, kigo, cut and rhyme). The command line, the tests and generate() call it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from . import quick
from .form import HAIKU, Form
from .judge import Ask, Judge
from .kigo import Saijiki
from .report import LineReport, Report, RhymePair, WordReport
from .user_words import UserWords
from .vocabulary import Lexicon

__all__ = ["POLICIES", "LineReport", "Report", "RhymePair", "WordReport", "validate"]

POLICIES = ("any", "all", "first")
UNKNOWN = ("estimate", "reject")


def validate(
    text: str,
    form: Form = HAIKU,
    *,
    policy: str = "any",
    lexicon: Lexicon | None = None,
    saijiki: Saijiki | None = None,
    lenient: bool = False,
    unknown: str | Ask = "estimate",
    words: UserWords | Mapping[str, str | int | Iterable[int]] | None = None,
) -> Report:
    """Judge a text against a form.

    policy   "any": some reading of each line fits; "all": every reading fits, so no reader can
             dispute it; "first": the usual reading of each word fits
    lexicon  its counts and sounds are trusted for its own words
    lenient  readings that some readers refuse count too (file as two)
    unknown  words in no dictionary: "estimate", "reject", or a function word -> counts or None
    words    readings of your own, which go before all others: {"fire": 1}, or UserWords.load(file)

    >>> validate("an old silent pond\\na frog jumps into the pond\\nsplash silence again").valid
    True
    """
    if not isinstance(text, str):
        raise TypeError(f"validate() reads a str, not {type(text).__name__}; decode bytes first")
    if not isinstance(form, Form):
        raise TypeError(f"form={form!r} is no Form; use HAIKU, TANKA, ... or Form(lines=(5, 7, 5))")
    if policy not in POLICIES:
        raise ValueError(f"policy={policy!r} is unknown; use one of {', '.join(POLICIES)}")
    if not callable(unknown) and unknown not in UNKNOWN:
        raise ValueError(f"unknown={unknown!r} is unknown; use {', '.join(UNKNOWN)} or a function")
    if lexicon is not None and not isinstance(lexicon, Lexicon):
        raise TypeError(f"lexicon={lexicon!r} is none; make one with Lexicon.from_words([...])")
    if saijiki is not None and not isinstance(saijiki, Saijiki):
        raise TypeError(f"saijiki={saijiki!r} is none; make one with Saijiki.from_files(FILE)")
    user = UserWords(words) if words is not None and not isinstance(words, UserWords) else words
    judge = Judge(form, policy, lexicon, saijiki, lenient, unknown, user)
    plain = lexicon is None and not lenient and unknown == "estimate" and not user
    verdict = quick.verdict(text, form, policy) if plain and quick.can_judge(form) else None
    return Report(text, form, policy, judge.detail, verdict)
