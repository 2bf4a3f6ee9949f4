"""A first line from outside: judged by the validator, then turned into a lattice state.

Its words need not be in the vocabulary: a line of yours may say what the engine would not. Called
by `generate`.
"""

from __future__ import annotations

import dataclasses
import unicodedata

import numpy as np

from constrained_gpt.lattice import Lattice
from constrained_gpt.lexicon import Form, Lexicon, find_cuts, find_kigo, validate
from constrained_gpt.lexicon.rhyme import sounds
from constrained_gpt.lexicon.typography import CAPITAL_FORM, LOWER_FORM, NEUTRAL_FORM


def _alone(form: Form, dangling: str) -> Form:
    """The first line of a form, with no rule but its count and `dangling`."""
    return dataclasses.replace(
        form, lines=form.lines[:1], kigo="off", kireji="off", rhyme="off", dangling=dangling
    )


def left_open(text: str, form: Form, lexicon: Lexicon) -> str | None:
    """What `form.dangling` says against a first line that `start_after` has accepted, if
    anything."""
    report = validate(text, _alone(form, form.dangling), policy="any", lexicon=lexicon)
    return None if report.valid else "; ".join(report.reasons)


def start_after(
    line: str, form: Form, lexicon: Lexicon, lattice: Lattice, policy: str
) -> tuple[str, np.ndarray]:
    """(the line as it will stand, the lattice row that goes on from it).

    Raises ValueError if the line has not the syllables of the form's first line under any reading.
    """
    text = " ".join(line.split())
    if not text:
        raise ValueError("first_line is empty; give a line or leave it out")
    if any(unicodedata.category(ch) in ("Cc", "Cs") for ch in text):
        raise ValueError("first_line holds a control character or half of one; leave it out")
    if "\n" in line.strip() or "\r" in line.strip():
        raise ValueError("first_line holds several lines; give the first line alone")
    alone = _alone(form, "off")
    report = validate(text, alone, policy="any", lexicon=lexicon)
    if not report.valid:
        raise ValueError(f"first_line {text!r}: {'; '.join(report.reasons)}")
    if policy == "all":
        strict = validate(text, alone, policy="all", lexicon=lexicon)
        if not strict.valid:
            raise ValueError(
                f"first_line {text!r}: {'; '.join(strict.reasons)}; or pass policy='any'"
            )
    whole = f"{text}\nx"  # a mark at the line's end cuts: the poem goes on
    found = find_kigo(whole, lexicon.saijiki)
    words = report.lines[0].words
    last = words[-1].text
    first = words[0].text
    form_of_first = NEUTRAL_FORM
    if first[0].isalpha() and first not in lexicon.words:
        form_of_first = CAPITAL_FORM if first[0].isupper() else LOWER_FORM
    elif first[0].islower():
        form_of_first = LOWER_FORM
    heard = lexicon.sounds(last) if last in lexicon else sounds(last)
    row = lattice.start_after_line(
        done=form.kigo == "off" or any(kigo.answers(form.kigo) for kigo in found),
        cut=len(find_cuts(whole)),
        sounds=tuple(heard) or ((f"={last.lower()}", ""),),
        form=form_of_first,
        new_sentence=text.rstrip("\"'”’)").endswith(("!", "?"))
        or (text.endswith(".") and not text.endswith("..")),
    )
    return text, row
