"""Validator: judges a text against a form and explains every verdict.

Reads text, never tokens. Per line and per word it says what was counted and why, which season words
and cuts it found and which lines rhyme. The command line, the tests and generate() call it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .form import HAIKU, Form
from .function_words import DANGLING
from .kigo import Kigo, Saijiki, find_kigo, keys
from .kireji import Cut, find_cuts
from .normalize import Word, line_spans, words
from .rhyme import Sound, compare, sounds
from .syllables import readings
from .vocabulary import Lexicon

SCHEMA = 1
POLICIES = ("any", "all", "first")
UNKNOWN = ("estimate", "reject")
Ask = Callable[[str], "int | Iterable[int] | None"]


@dataclass(frozen=True)
class WordReport:
    """One word: its counts, usual one first, where they come from, and a remark if one is due."""

    text: str
    counts: tuple[int, ...]
    source: str
    note: str = ""


@dataclass(frozen=True)
class LineReport:
    """One line: the count asked, the totals its readings give, its words."""

    text: str
    target: int | None
    counts: frozenset[int]
    words: tuple[WordReport, ...]
    first: int | None = None


@dataclass(frozen=True)
class RhymePair:
    """Two lines (0 is the first) whose last words rhyme."""

    first: int
    second: int
    word: str
    other: str
    kind: str


@dataclass(frozen=True)
class Report:
    """The verdict on one text and all that led to it."""

    text: str
    form: Form
    policy: str
    lines: tuple[LineReport, ...]
    kigo: tuple[Kigo, ...]
    cuts: tuple[Cut, ...]
    rhymes: tuple[RhymePair, ...]
    reasons: tuple[str, ...]

    @property
    def valid(self) -> bool:
        """Whether the text satisfies the form."""
        return not self.reasons

    def __bool__(self) -> bool:
        return self.valid

    def __str__(self) -> str:
        out = [f"{self.form.name}: {'valid' if self.valid else 'NOT valid'} (policy {self.policy})"]
        for line in self.lines:
            total = "/".join(map(str, sorted(line.counts))) or "?"
            asked = (
                "" if line.target is None or line.counts == {line.target} else f" of {line.target}"
            )
            said = "  ".join(
                f"{w.text}({'/'.join(map(str, w.counts)) or '?'}{'*' if w.source == 'estimate' else ''})"
                for w in line.words
            )
            out.append(f"  {total}{asked}  {line.text.strip()}")
            out.append(f"      {said}")
            out.extend(f"      {w.text}: {w.note}" for w in line.words if w.note)
        out.extend(f"  kigo: {k.phrase} ({k.season}), line {k.line + 1}" for k in self.kigo)
        out.extend(f"  cut: {c.mark} in line {c.line + 1}" for c in self.cuts)
        out.extend(
            f"  rhyme: {r.word} / {r.other} (lines {r.first + 1} and {r.second + 1}, {r.kind})"
            for r in self.rhymes
        )
        out.extend(f"  ! {reason}" for reason in self.reasons)
        return "\n".join(out)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; the key "schema" numbers this layout."""
        return {
            "schema": SCHEMA,
            "valid": self.valid,
            "form": self.form.name,
            "policy": self.policy,
            "text": self.text,
            "lines": [
                {
                    "text": line.text,
                    "target": line.target,
                    "counts": sorted(line.counts),
                    "words": [
                        {"text": w.text, "counts": list(w.counts), "source": w.source, "note": w.note}
                        for w in line.words
                    ],
                }
                for line in self.lines
            ],
            "kigo": [
                {"phrase": k.phrase, "seasons": sorted(k.seasons), "line": k.line, "start": k.start,
                 "end": k.end, "phase": k.phase, "category": k.category}
                for k in self.kigo
            ],
            "cuts": [
                {"mark": c.mark, "line": c.line, "start": c.start, "end": c.end} for c in self.cuts
            ],
            "rhymes": [
                {"lines": [r.first, r.second], "words": [r.word, r.other], "kind": r.kind}
                for r in self.rhymes
            ],
            "reasons": list(self.reasons),
        }  # fmt: skip


class _Judge:
    """One call of validate(): the settings, and how a word is counted under them."""

    def __init__(
        self, form: Form, policy: str, lexicon: Lexicon | None, lenient: bool, unknown: str | Ask
    ) -> None:
        self.form, self.policy, self.lexicon = form, policy, lexicon
        self.lenient, self.unknown = lenient, unknown
        self.asked: dict[str, frozenset[int]] = {}

    def word(self, word: Word) -> WordReport:
        if self.lexicon is not None and word.key in self.lexicon:
            counts = tuple(sorted(self.lexicon.counts(word.key)))
            return WordReport(word.text, counts, "lexicon")
        said = readings(word.text, lenient=self.lenient)
        if not said:
            return WordReport(word.text, (), "uncountable", "cannot be counted (not Latin script)")
        counts = tuple(dict.fromkeys(r.count for r in said))
        source = said[0].source
        if source == "estimate":
            if self.unknown == "reject":
                return WordReport(word.text, (), "unknown", "not in the dictionary")
            if callable(self.unknown):
                answer = self.unknown(word.text)
                if answer is not None:
                    given = (answer,) if isinstance(answer, int) else tuple(answer)
                    return WordReport(word.text, given, "user")
            return WordReport(word.text, counts, source, "not in the dictionary: estimated")
        return WordReport(word.text, counts, source)

    def sounds(self, word: Word) -> tuple[Sound, ...]:
        if self.lexicon is not None and word.key in self.lexicon:
            return self.lexicon.sounds(word.key)
        return sounds(word.text)

    def dangling(self, word: Word) -> bool:
        if self.lexicon is not None and word.key in self.lexicon:
            return self.lexicon.is_dangling(word.key)
        return word.key in DANGLING


def _totals(parts: Iterable[tuple[int, ...]]) -> frozenset[int]:
    bits = 1
    for counts in parts:
        shifted = 0
        for count in counts:
            shifted |= bits << count
        bits = shifted
    return frozenset(n for n in range(bits.bit_length()) if bits >> n & 1)


def validate(
    text: str,
    form: Form = HAIKU,
    *,
    policy: str = "any",
    lexicon: Lexicon | None = None,
    saijiki: Saijiki | None = None,
    lenient: bool = False,
    unknown: str | Ask = "estimate",
) -> Report:
    """Judge a text against a form.

    policy   "any": some reading of each line fits; "all": every reading fits, so no reader can
             dispute it; "first": the usual reading of each word fits
    lexicon  its counts and sounds are trusted for its own words
    lenient  readings that some readers refuse count too (file as two)
    unknown  words in no dictionary: "estimate", "reject", or a function word -> counts or None

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
    judge = _Judge(form, policy, lexicon, lenient, unknown)
    found = words(text)
    rows = _rows(text, found)
    lines = tuple(
        _line(judge, text[start:end], own, form.lines[i] if i < len(form.lines) else None)
        for i, (start, end, own) in enumerate(rows)
    )
    first_line = rows[0][2][0].line if rows and rows[0][2] else 0
    book = saijiki or (lexicon.saijiki if lexicon is not None else None)
    kigo = tuple(find_kigo(text, book, found))
    cuts = tuple(find_cuts(text, found))
    pairs = _pairs(judge, [own for _, _, own in rows])
    reasons = [
        *_count_reasons(judge, lines),
        *_kigo_reasons(form, kigo, book),
        *_cut_reasons(form, cuts),
        *(
            f"lines {p.first + 1} and {p.second + 1} rhyme ({p.word}, {p.other}: {p.kind}); change one"
            for p in pairs
            if form.rhyme == "identical" or (form.rhyme == "perfect" and p.kind == "perfect")
        ),
    ]
    if form.dangling == "forbidden":
        reasons += [
            f"line {i + 1} ends on {own[-1].text!r}, whose phrase has not begun; move it down"
            for i, (_, _, own) in enumerate(rows)
            if own and judge.dangling(own[-1])
        ]
    return Report(text, form, policy, lines, kigo, cuts, pairs, tuple(reasons))


def _rows(text: str, found: list[Word]) -> list[tuple[int, int, list[Word]]]:
    """The lines of the poem: blank ones at either end left out."""
    by_line: dict[int, list[Word]] = {}
    for word in found:
        by_line.setdefault(word.line, []).append(word)
    rows = [(s, e, by_line.get(i, [])) for i, (s, e) in enumerate(line_spans(text))]
    while rows and not rows[-1][2] and not text[rows[-1][0] : rows[-1][1]].strip():
        rows.pop()
    while rows and not rows[0][2] and not text[rows[0][0] : rows[0][1]].strip():
        rows.pop(0)
    return rows


def _line(judge: _Judge, text: str, own: list[Word], target: int | None) -> LineReport:
    reports = tuple(judge.word(word) for word in own)
    if judge.form.unit == "words":
        return LineReport(text, target, frozenset({len(own)}), reports, len(own))
    if not all(r.counts for r in reports):
        return LineReport(text, target, frozenset(), reports, None)
    return LineReport(
        text, target, _totals(r.counts for r in reports), reports, sum(r.counts[0] for r in reports)
    )


def _count_reasons(judge: _Judge, lines: tuple[LineReport, ...]) -> list[str]:
    form, reasons = judge.form, []
    wanted = len(form.lines)
    if not lines:
        return ["there are no words; write a poem of " + _plural(wanted, "line")]
    if len(lines) != wanted and not (form.free and len(lines) < wanted):
        reasons.append(f"there are {_plural(len(lines), 'line')} instead of {wanted}")
    for number, line in enumerate(lines, 1):
        if line.target is None:
            continue
        if not line.words:
            reasons.append(f"line {number} has no words; write {line.target} {form.unit}")
            continue
        if not line.counts:
            names = ", ".join(w.text[:40] for w in line.words if not w.counts)
            reasons.append(f"line {number} cannot be counted: {names}; spell it in Latin letters")
            continue
        fits = {n for n in line.counts if n == line.target or (form.free and n < line.target)}
        if judge.policy == "all":
            ok = fits == line.counts
        elif judge.policy == "first":
            ok = line.first in fits
        else:
            ok = bool(fits)
        if not ok:
            reasons.append(f"line {number} {_off(line, judge.policy, form.unit)}")
    return reasons


def _off(line: LineReport, policy: str, unit: str) -> str:
    """How far a line is from its target, in words."""
    target = line.target or 0
    low, high = min(line.counts), max(line.counts)
    has = "/".join(map(str, sorted(line.counts)))
    if low > target:
        return f"has {has} {unit}, {low - target} too many for {target}"
    if high < target:
        return f"has {has} {unit}, {target - high} too few for {target}"
    disputed = ", ".join(
        f"{w.text} ({'/'.join(map(str, sorted(w.counts)))})"
        for w in line.words
        if len(set(w.counts)) > 1
    )
    if policy == "first":
        return f"has {line.first} {unit} in its usual reading instead of {target} ({disputed})"
    return f"has {has} {unit} by reading, not only {target}; replace {disputed}"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _kigo_reasons(form: Form, kigo: tuple[Kigo, ...], book: Saijiki | None) -> list[str]:
    if form.kigo == "off":
        return []
    if form.kigo == "any":
        return [] if kigo else ["there is no kigo; name a season word (first snow, frog, ...)"]
    if isinstance(form.kigo, str):
        if any(form.kigo in k.seasons for k in kigo):
            return []
        named = ", ".join(f"{k.phrase} is {k.season}" for k in kigo)
        return [f"there is no {form.kigo} kigo{f' ({named})' if named else ''}; name one"]
    wanted = {
        own for phrase in form.kigo for own in (tuple(k for w in phrase.split() for k in keys(w)),)
    }
    for k in kigo:
        if tuple(p for w in k.phrase.split() for p in keys(w)) in wanted:
            return []
        if tuple(p for w in k.text.split() for p in keys(w)) in wanted:
            return []
    return [f"none of the kigo asked occurs: {', '.join(sorted(form.kigo))}; use one"]


def _cut_reasons(form: Form, cuts: tuple[Cut, ...]) -> list[str]:
    if form.kireji == "required" and len(cuts) != 1:
        return [
            f"there {'is no cut' if not cuts else f'are {len(cuts)} cuts'}; a poem has one, such as —"
        ]
    if form.kireji == "forbidden" and cuts:
        return [f"there is a cut ({cuts[0].mark}) in line {cuts[0].line + 1}; leave it out"]
    return []


def _pairs(judge: _Judge, rows: list[list[Word]]) -> tuple[RhymePair, ...]:
    ends = [(i, own[-1], judge.sounds(own[-1])) for i, own in enumerate(rows[:64]) if own]
    pairs = []
    for place, (i, a, heard) in enumerate(ends):
        for j, b, other in ends[place + 1 :]:
            kind = compare(heard, other)
            if kind is None and a.key == b.key:
                kind = "identical"
            if kind:
                pairs.append(RhymePair(i, j, a.text, b.text, kind))
    return tuple(pairs)
