"""Report: the verdict on one text, and every word, line, kigo, cut and rhyme that led to it.

Knows how to show a verdict (text, JSON), not how to reach one: judge.py does. What a caller does
not ask for is not worked out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .form import Form
from .kigo import Kigo
from .kireji import Cut

SCHEMA = 1
_SCHEMA_FILE = Path(__file__).with_name("data") / "report.schema.json"


def report_schema() -> str:
    """The JSON Schema of what `Report.to_dict` gives, as text."""
    return _SCHEMA_FILE.read_text(encoding="utf-8")


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
    """Two lines (0 is the first) whose last words rhyme: kind "perfect", "identical" or "near"."""

    first: int
    second: int
    word: str
    other: str
    kind: str


@dataclass(frozen=True)
class Detail:
    """All that a Report shows."""

    lines: tuple[LineReport, ...]
    kigo: tuple[Kigo, ...]
    cuts: tuple[Cut, ...]
    rhymes: tuple[RhymePair, ...]
    reasons: tuple[str, ...]


def _mark(word: WordReport) -> str:
    return "*" if word.source == "estimate" else ""


class Report:
    """The verdict on one text and all that led to it.

    Only the verdict is worked out at once; lines, kigo, cuts, rhymes and reasons when asked for.
    """

    __slots__ = ("_detail", "_judge", "_verdict", "form", "policy", "text")

    def __init__(
        self,
        text: str,
        form: Form,
        policy: str,
        judge: Callable[[str], Detail],
        verdict: bool | None = None,
    ) -> None:
        self.text = text
        self.form = form
        self.policy = policy
        self._judge = judge
        self._verdict = verdict
        self._detail: Detail | None = None

    def _look(self) -> Detail:
        if self._detail is None:
            self._detail = self._judge(self.text)
        return self._detail

    @property
    def valid(self) -> bool:
        """Whether the text satisfies the form."""
        if self._verdict is None:
            self._verdict = not self._look().reasons
        return self._verdict

    @property
    def lines(self) -> tuple[LineReport, ...]:
        """The lines of the poem, counted."""
        return self._look().lines

    @property
    def kigo(self) -> tuple[Kigo, ...]:
        """The season words found."""
        return self._look().kigo

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """The cuts found."""
        return self._look().cuts

    @property
    def rhymes(self) -> tuple[RhymePair, ...]:
        """The pairs of lines that rhyme, nearly too."""
        return self._look().rhymes

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the text is not valid; empty if it is."""
        return self._look().reasons

    def __bool__(self) -> bool:
        return self.valid

    def __repr__(self) -> str:
        return f"<Report {self.form.name}: {'valid' if self.valid else '; '.join(self.reasons)}>"

    def __str__(self) -> str:
        out = [f"{self.form.name}: {'valid' if self.valid else 'NOT valid'} (policy {self.policy})"]
        for line in self.lines:
            total = "/".join(map(str, sorted(line.counts))) or "?"
            asked = (
                "" if line.target is None or line.counts == {line.target} else f" of {line.target}"
            )
            said = "  ".join(
                f"{w.text}({'/'.join(map(str, w.counts)) or '?'}{_mark(w)})" for w in line.words
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
        """Plain data for JSON; the key "schema" numbers this layout.

        data/report.schema.json describes it (JSON Schema); `haiku check --schema` prints that.
        """
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
                        {"text": w.text, "counts": [*w.counts], "source": w.source, "note": w.note}
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
