"""Judge: counts the words and lines of a text under given settings and says what is wrong.

Knows forms, readings, kigo, cuts and rhymes; shows nothing (report.py does). This is the full, slow
way to a verdict; quick.py is the fast one, and both must agree. validator.py calls it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .form import MAX_SYLLABLES, Form
from .function_words import is_dangling
from .kigo import Kigo, Saijiki, find_kigo
from .kireji import Cut, find_cuts
from .normalize import Word, key_of, line_spans, words
from .report import Detail, LineReport, RhymePair, WordReport
from .rhyme import Sound, compare, near, sounds
from .syllables import readings
from .user_words import UserWords
from .vocabulary import Lexicon

Ask = Callable[[str], "int | Iterable[int] | None"]
MAX_RHYMED = 64  # lines compared with one another
# Kinds of rhyme that a form's rule refuses; a near rhyme is reported and never refused.
_REFUSED = {"off": (), "perfect": ("perfect",), "identical": ("perfect", "identical")}

_EMOJI = re.compile(
    "[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\u2190-\u21ff\u2300-\u23ff\u3000-\u303f]"
    "[\ufe0f\u200d\U0001f000-\U0001faff\u2640\u2642]*"
)


@dataclass(frozen=True)
class Judge:
    """The settings of one call of validate()."""

    form: Form
    policy: str
    lexicon: Lexicon | None = None
    saijiki: Saijiki | None = None
    lenient: bool = False
    unknown: str | Ask = "estimate"
    user: UserWords | None = None

    def detail(self, text: str) -> Detail:
        """All there is to say about a text."""
        form = self.form
        found = words(text)
        rows = _rows(text, found)
        lines = tuple(
            self._line(text[start:end], own, form.lines[i] if i < len(form.lines) else None)
            for i, (start, end, own) in enumerate(rows)
        )
        kigo = tuple(find_kigo(text, self.book, found))
        cuts = tuple(find_cuts(text, found))
        pairs = self._pairs([own for _, _, own in rows])
        reasons = [
            *self._count_reasons(lines),
            *_kigo_reasons(form, kigo),
            *_cut_reasons(form, cuts),
            *(
                f"lines {p.first + 1} and {p.second + 1} rhyme "
                f"({p.word}, {p.other}: {p.kind}); change one"
                for p in pairs
                if p.kind in _REFUSED[form.rhyme]
            ),
        ]
        if form.dangling != "off":
            reasons += [
                f"line {i + 1} ends on {own[-1].text!r}, {self._left_open(own[-1])}; move it down"
                for i, (_, _, own) in enumerate(rows)
                if own and self.dangling(own[-1], strict=form.dangling == "strict")
            ]
        return Detail(lines, kigo, cuts, pairs, tuple(reasons))

    @property
    def book(self) -> Saijiki | None:
        """The saijiki in force; None is the project's own."""
        if self.saijiki is not None:
            return self.saijiki
        return self.lexicon.saijiki if self.lexicon is not None else None

    def word(self, word: Word) -> WordReport:
        """One word, counted. What the user says of it comes before all else."""
        own = self.user.counts(word.key) if self.user is not None else ()
        if own:
            return WordReport(word.text, own, "user")
        if self.lexicon is not None and word.key in self.lexicon and not word.said:
            return WordReport(word.text, tuple(sorted(self.lexicon.counts(word.key))), "lexicon")
        said = readings(word.said or word.text, lenient=self.lenient)
        if not said:
            return WordReport(word.text, (), "uncountable", _why_not(word.text))
        counts = tuple(dict.fromkeys(r.count for r in said))
        source = said[0].source
        if source == "estimate":
            if self.unknown == "reject":
                return WordReport(word.text, (), "unknown", "not in the dictionary")
            if callable(self.unknown):
                given = _answer(self.unknown(word.text), word.text)
                if given:
                    return WordReport(word.text, given, "user")
            return WordReport(word.text, counts, source, "not in the dictionary: estimated")
        return WordReport(word.text, counts, source)

    def sounds(self, word: Word) -> tuple[Sound, ...]:
        """What a word ends with, for rhyme."""
        own = self.user.sounds(word.key) if self.user is not None else ()
        if own:
            return own
        if self.lexicon is not None and word.key in self.lexicon:
            return self.lexicon.sounds(word.key)
        return sounds(word.text)

    def dangling(self, word: Word, *, strict: bool) -> bool:
        """Whether a line had better not end on this word."""
        if self.lexicon is not None and word.key in self.lexicon:
            return self.lexicon.is_dangling(word.key, strict=strict)
        return is_dangling(word.key, strict=strict)

    def _left_open(self, word: Word) -> str:
        if self.dangling(word, strict=False):
            return "whose phrase has not begun"
        return "which leans on what comes next"

    def _line(self, text: str, own: list[Word], target: int | None) -> LineReport:
        reports = tuple(self.word(word) for word in own)
        if not text.isascii():
            reports += tuple(
                WordReport(m.group(), (0,), "symbol", "not countable: read as silent")
                for m in _EMOJI.finditer(text)
            )
        if not own:
            return LineReport(text, target, frozenset(), reports, None)
        if self.form.unit == "words":
            return LineReport(text, target, frozenset({len(own)}), reports, len(own))
        if not all(r.counts for r in reports):
            return LineReport(text, target, frozenset(), reports, None)
        return LineReport(
            text,
            target,
            totals(r.counts for r in reports),
            reports,
            sum(r.counts[0] for r in reports),
        )

    def fits(self, line: LineReport) -> bool:
        """Whether the line's totals satisfy its target under the policy."""
        target = line.target or 0
        good = {n for n in line.counts if n == target or (self.form.free and n < target)}
        if self.policy == "all":
            return good == line.counts
        return line.first in good if self.policy == "first" else bool(good)

    def _count_reasons(self, lines: tuple[LineReport, ...]) -> list[str]:
        form, reasons = self.form, []
        wanted = len(form.lines)
        if not any(line.counts or line.words for line in lines):
            return ["there are no words; write a poem of " + _plural(wanted, "line")]
        if len(lines) != wanted and not (form.free and len(lines) < wanted):
            reasons.append(
                f"there {'is' if len(lines) == 1 else 'are'} {_plural(len(lines), 'line')} "
                f"instead of {wanted}; mend that"
            )
        for number, line in enumerate(lines, 1):
            if line.target is None:
                continue
            if not line.counts:
                names = ", ".join(w.text[:40] for w in line.words if not w.counts)
                reasons.append(
                    f"line {number} cannot be counted: {names}; use words of the dictionary"
                    if names
                    else f"line {number} has no words; write {line.target} {form.unit}"
                )
            elif not self.fits(line):
                reasons.append(f"line {number} {_off(line, self.policy, form.unit)}")
        return reasons

    def _pairs(self, rows: list[list[Word]]) -> tuple[RhymePair, ...]:
        ends = [
            (i, own[-1], self.sounds(own[-1])) for i, own in enumerate(rows[:MAX_RHYMED]) if own
        ]
        pairs = []
        for place, (i, a, heard) in enumerate(ends):
            for j, b, other in ends[place + 1 :]:
                kind = compare(heard, other) or ("identical" if a.key == b.key else None)
                kind = kind or ("near" if near(heard, other) else None)
                if kind:
                    pairs.append(RhymePair(i, j, a.text, b.text, kind))
        return tuple(pairs)


def totals(parts: Iterable[Iterable[int]]) -> frozenset[int]:
    """The sums that one count out of each part can give."""
    bits = 1
    for counts in parts:
        shifted = 0
        for count in counts:
            shifted |= bits << count
        bits = shifted
    return frozenset(n for n in range(bits.bit_length()) if bits >> n & 1)


def _why_not(text: str) -> str:
    if any(c.isascii() and c.isalnum() for c in text):
        return "cannot be counted: too long for a word"
    return "cannot be counted: not in Latin letters"


def _answer(answer: object, word: str) -> tuple[int, ...]:
    """What an `unknown` function said of a word, checked."""
    if answer is None:
        return ()
    given = tuple(answer) if isinstance(answer, Iterable) else (answer,)
    if not all(type(n) is int and 0 <= n <= MAX_SYLLABLES for n in given):
        raise ValueError(
            f"unknown({word!r}) gave {answer!r}; "
            f"return a count up to {MAX_SYLLABLES}, several, or None"
        )
    return given


def _rows(text: str, found: list[Word]) -> list[tuple[int, int, list[Word]]]:
    """The lines of the poem: blank ones at either end left out."""
    by_line: dict[int, list[Word]] = {}
    for word in found:
        by_line.setdefault(word.line, []).append(word)
    rows = [(s, e, by_line.get(i, [])) for i, (s, e) in enumerate(line_spans(text))]
    while rows and not rows[-1][2] and not text[rows[-1][0] : rows[-1][1]].strip():
        rows.pop()
    first = 0
    while first < len(rows) and not rows[first][2]:
        if text[rows[first][0] : rows[first][1]].strip():
            break
        first += 1
    return rows[first:]


def _off(line: LineReport, policy: str, unit: str) -> str:
    """How far a line is from its target, in words."""
    target = line.target or 0
    low, high = min(line.counts), max(line.counts)
    has = "/".join(map(str, sorted(line.counts)))
    unit = unit[:-1] if has == "1" else unit
    if low > target:
        spare = _spare(line, low - target) if unit.startswith("syllable") else ""
        mend = f"; without {spare!r} it has {target}" if spare else ""
        return f"has {has} {unit}, {low - target} too many for {target}{mend}"
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


def _spare(line: LineReport, surplus: int) -> str:
    """A word that a line could do without to lose its surplus: a function word if there is one."""
    if len(line.counts) != 1:
        return ""
    single = [w.text for w in line.words if w.counts == (surplus,) and not _denies(w.text)]
    return next((text for text in single if is_dangling(text.lower())), "") or "".join(single[:1])


def _denies(word: str) -> bool:
    """Whether a line without this word says the contrary."""
    key = key_of(word)
    return key in {"no", "not", "never", "none", "nor", "without"} or key.endswith("n't")


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _kigo_reasons(form: Form, kigo: tuple[Kigo, ...]) -> list[str]:
    if form.kigo == "off" or any(k.answers(form.kigo) for k in kigo):
        return []
    if form.kigo == "any":
        return ["there is no kigo; name a season word (first snow, frog, ...)"]
    if isinstance(form.kigo, str):
        named = ", ".join(f"{k.phrase} is {k.season}" for k in kigo)
        return [f"there is no {form.kigo} kigo{f' ({named})' if named else ''}; name one"]
    return [f"none of the kigo asked occurs: {', '.join(sorted(form.kigo))}; use one"]


def _cut_reasons(form: Form, cuts: tuple[Cut, ...]) -> list[str]:
    if form.kireji == "required" and len(cuts) != 1:
        has = f"are {len(cuts)} cuts" if cuts else "is no cut"
        return [f"there {has}; a poem has one, such as —"]
    if form.kireji == "forbidden" and cuts:
        return [f"there is a cut ({cuts[0].mark}) in line {cuts[0].line + 1}; leave it out"]
    return []
