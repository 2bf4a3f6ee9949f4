"""How a poem is set: which marks may follow a word, where, and how lines use capital letters.

Knows no tokens and counts no syllables. The lattice compiles it; whether a mark *cuts* is the
business of `kireji`.
"""

from __future__ import annotations

from dataclasses import dataclass

CAPITALS = ("consistent", "lower", "lines")


@dataclass(frozen=True)
class Mark:
    """A mark that follows a word, written exactly as `text` (a leading space included).

    mid: more words of the same line may follow; end: it may close a line that is not the last;
    final: it may close the poem; sentence: the next line begins a new sentence.
    """

    text: str
    mid: bool = False
    end: bool = False
    final: bool = False
    sentence: bool = False

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError(f"a mark needs a visible character, got {self.text!r}")
        if any(ch.isalnum() or ch in "'’\n" for ch in self.text):
            raise ValueError(
                f"mark {self.text!r} holds a letter, digit, apostrophe or newline; "
                "marks are punctuation only"
            )
        if not (self.mid or self.end or self.final):
            raise ValueError(f"mark {self.text!r} may stand nowhere; set mid, end or final")


HAIKU_MARKS = (
    Mark(",", mid=True, end=True),
    Mark(";", mid=True, end=True),
    Mark(":", mid=True, end=True),
    Mark(" —", mid=True, end=True),
    Mark("—", end=True),
    Mark("...", mid=True, end=True, final=True),
    Mark(".", end=True, final=True, sentence=True),
    Mark("!", end=True, final=True, sentence=True),
    Mark("?", end=True, final=True, sentence=True),
)


@dataclass(frozen=True)
class Typography:
    """Marks and capitals.

    capitals:
      "consistent"  the first word decides. A poem that begins in lower case stays in lower case;
                    one that begins with a capital goes on as a sentence (capitals only after
                    . ! ?) or with a capital on every line, whichever its next line shows.
      "lower"       every line begins in lower case (but for words always written large: I).
      "lines"       every line begins with a capital.
    """

    marks: tuple[Mark, ...] = HAIKU_MARKS
    capitals: str = "consistent"

    def __post_init__(self) -> None:
        object.__setattr__(self, "marks", tuple(self.marks))
        if self.capitals not in CAPITALS:
            raise ValueError(
                f"capitals={self.capitals!r} is not known; choose one of {', '.join(CAPITALS)}"
            )
        texts = [mark.text for mark in self.marks]
        if len(set(texts)) != len(texts):
            raise ValueError("the same mark is listed twice; list each mark once")


PLAIN = Typography(marks=())
DEFAULT = Typography()

# The case automaton, shared by the lattice and by the tests' own reading of the rule.
# Styles: nothing decided yet, all lower case, capital seen but not yet clear how far, every line
# a capital, sentence case.
UNDECIDED, LOWER, CAPITAL, EVERY_LINE, SENTENCE = range(5)
NEUTRAL_FORM, LOWER_FORM, CAPITAL_FORM = range(3)
REFUSED = -1


def start_style(capitals: str) -> int:
    """The style a poem starts in under a `Typography.capitals` rule."""
    return {"consistent": UNDECIDED, "lower": LOWER, "lines": EVERY_LINE}[capitals]


def next_style(style: int, new_sentence: bool, form: int) -> int:
    """The style after a line starts with a word written in `form`, or REFUSED.

    form: NEUTRAL_FORM (a word always written large, such as I), LOWER_FORM or CAPITAL_FORM.
    new_sentence: the line before ended on . ! or ?
    """
    if form == NEUTRAL_FORM:
        return style
    if style == UNDECIDED:
        return LOWER if form == LOWER_FORM else CAPITAL
    if style == LOWER:
        return LOWER if form == LOWER_FORM else REFUSED
    if style == EVERY_LINE:
        return EVERY_LINE if form == CAPITAL_FORM else REFUSED
    if new_sentence:
        return style if form == CAPITAL_FORM else REFUSED
    if style == CAPITAL:
        return SENTENCE if form == LOWER_FORM else EVERY_LINE
    return SENTENCE if form == LOWER_FORM else REFUSED
