"""What an evaluation found, as a table, as lines a poem, and as JSON.

Knows results and how to show them; measures nothing. Made by `evaluate`, shown by the command
line; eval.schema.json describes the JSON.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from constrained_gpt.evaluation import intervals
from constrained_gpt.evaluation.diversity import BLEU_N
from constrained_gpt.evaluation.intervals import Estimate
from constrained_gpt.evaluation.measures import MEASURES, Judged, Measure
from constrained_gpt.lexicon import Form

SCHEMA = 1
_SCHEMA_FILE = Path(__file__).with_name("eval.schema.json")


def eval_schema() -> str:
    """The JSON Schema of what `Evaluation.to_dict` gives, as text."""
    return _SCHEMA_FILE.read_text(encoding="utf-8")


@dataclass(frozen=True)
class Settings:
    """What the figures depend on besides the poems; see `evaluate_poems`."""

    judge: str | None
    topic: str | None
    own_prompts: bool
    form: Form | None
    policy: str | None
    reference: str | None
    reference_poems: int | None
    seed: int


@dataclass(frozen=True)
class SetResult:
    """One set. totals: by name of measure, None where it could not be taken. sample: poems that
    diversity was measured on. unread: poems too long for the judge. commonest: content words
    with the share of poems that hold them."""

    name: str
    file: str | None
    poems: list[Judged]
    totals: dict[str, Estimate | None]
    sample: int
    unread: int
    commonest: list[tuple[str, float]]

    @property
    def form_loss_lines(self) -> list[float] | None:
        """Mean form loss of line 1, 2, ...; of poems with a figure for each of their lines."""
        whole = [
            p.form_loss for p in self.poems if p.form_loss and len(p.form_loss) == p.text.lines
        ]
        if not whole or len({len(losses) for losses in whole}) > 1:
            return None
        return [sum(line) / len(whole) for line in zip(*whole, strict=True)]

    @property
    def most_copied(self) -> int | None:
        """Place of the poem with the longest copied span, the first of several; None: no span."""
        spans = [0 if p.copied is None else p.copied.length for p in self.poems]
        longest = max(spans)
        return spans.index(longest) if longest else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        most = self.most_copied
        return {
            "name": self.name,
            "file": self.file,
            "poems": len(self.poems),
            "sample": self.sample,
            "unread": self.unread,
            "totals": {
                name: None if found is None else
                {"value": found.value, "low": found.low, "high": found.high, "poems": found.poems}
                for name, found in self.totals.items()
            },
            "form_loss_lines": self.form_loss_lines,
            "most_copied": None if most is None else most + 1,
            "commonest": [{"word": word, "share": share} for word, share in self.commonest],
            "per_poem": [_poem(number, poem) for number, poem in enumerate(self.poems, 1)],
        }  # fmt: skip


def _poem(number: int, poem: Judged) -> dict[str, Any]:
    entry, text, copied = poem.entry, poem.text, poem.copied
    return {
        "poem": number,
        "line": entry.line or None,
        "text": entry.text,
        "prompt": entry.prompt,
        "model": entry.model,
        "logprob": entry.logprob,
        "weight": entry.weight,
        "lines": text.lines,
        "words": len(text.keys),
        "log_p": poem.log_p,
        "tokens": None if poem.log_p is None else poem.tokens,
        "form_loss": None if poem.form_loss is None else list(poem.form_loss),
        "function_word_ends": text.function_ends,
        "articles": text.articles,
        "content_words": text.content,
        "repeated_words": list(text.repeated),
        "repeated_lines": text.repeated_lines,
        "kigo": list(text.kigo),
        "cuts": list(text.cuts),
        "rhymes": [list(pair) for pair in text.rhymes],
        "near_rhymes": [list(pair) for pair in text.near],
        "copied": None
        if copied is None
        else {
            "words": copied.length,
            "text": poem.copied_words(),
            "reference": copied.reference + 1 if copied.length else None,
        },
        "self_bleu": poem.bleu,
        "shared_lines": poem.shared,
    }


@dataclass(frozen=True)
class Evaluation:
    """Sets of poems measured side by side. Prints as a table."""

    settings: Settings
    sets: tuple[SetResult, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; the key "schema" numbers this layout.

        eval.schema.json describes it (JSON Schema); `haiku eval --schema` prints that.
        """
        own = self.settings
        form = own.form
        return {
            "schema": SCHEMA,
            "settings": {
                "judge": own.judge,
                "topic": own.topic,
                "own_prompts": own.own_prompts,
                "form_loss": None if form is None else {
                    "form": form.name,
                    "lines": list(form.lines),
                    "kigo": form.kigo if isinstance(form.kigo, str) else sorted(form.kigo),
                    "kireji": form.kireji,
                    "rhyme": form.rhyme,
                    "dangling": form.dangling,
                    "policy": own.policy,
                },
                "reference": own.reference,
                "reference_poems": own.reference_poems,
                "self_bleu_n": BLEU_N,
                "confidence": intervals.CONFIDENCE,
                "resamples": intervals.RESAMPLES,
                "seed": own.seed,
            },
            "sets": [one.to_dict() for one in self.sets],
        }  # fmt: skip

    def __str__(self) -> str:
        return "\n".join([*self._table(), "", *self._notes()])

    def _table(self) -> list[str]:
        rows = [["", *(one.name for one in self.sets)]]
        rows.append(["poems", *(f"{len(one.poems):,}" for one in self.sets)])
        for measure in MEASURES:
            found = [one.totals[measure.name] for one in self.sets]
            if any(f is not None for f in found):
                rows.append([measure.label, *(_cell(measure, f) for f in found)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
            for row in rows
        ]

    def _notes(self) -> Iterator[str]:
        own = self.settings
        yield (
            f"In brackets: {intervals.CONFIDENCE:.0%} intervals, bootstrap over poems "
            f"({intervals.RESAMPLES:,} resamples, seed {own.seed}); of distinct-n, jackknife."
        )
        sizes = sorted({one.sample for one in self.sets})
        yield (
            f"Diversity (distinct, self-BLEU, lines of other poems too) on "
            f"{' or '.join(f'{size:,}' for size in sizes)} poems of each set."
        )
        if own.judge is None:
            yield "No judge."
        else:
            each = "each poem's own prompt, else " if own.own_prompts else ""
            yield f"Judge: {own.judge}, asked for {each}a haiku about {own.topic!r}."
        for one in self.sets:
            if one.unread:
                yield f"{one.name}: {one.unread:,} poems are too long for the judge, left out."
        yield from self._form_loss_notes()
        if own.reference is not None:
            yield f"Copied from: {own.reference}, {own.reference_poems:,} poems."
            yield from self._copy_notes()
        for one in self.sets:
            said = ", ".join(f"{word} {share:.0%}" for word, share in one.commonest)
            yield f"{one.name}: content words most poems hold: {said or 'none'}."

    def _form_loss_notes(self) -> Iterator[str]:
        own = self.settings
        if own.form is not None:
            asked = f"{own.form.name}, kigo {_kigo(own.form)}, kireji {own.form.kireji}"
            yield (
                f"Form loss: by the judge; {asked}, rhyme {own.form.rhyme}, dangling "
                f"{own.form.dangling}, policy {own.policy}."
            )
        elif any(one.totals["form_loss_per_line"] for one in self.sets):
            yield "Form loss: as the poems carry it, of the model and form they were written with."
        else:
            return
        for one in self.sets:
            total = one.totals["form_loss_per_line"]
            counted = 0 if total is None else total.poems
            lines = " / ".join(f"{loss:.2f}" for loss in one.form_loss_lines or ())
            why = "carry none" if own.form is None else "are not in the lattice"
            rest = len(one.poems) - counted
            said = f"{one.name}: form loss of {counted:,} poems"
            said += f", by line {lines}" if lines else ""
            yield said + (f"; {rest:,} {why}, left out." if rest else ".")

    def _copy_notes(self) -> Iterator[str]:
        for one in self.sets:
            if (place := one.most_copied) is not None:
                poem = one.poems[place]
                assert poem.copied is not None
                yield (
                    f"{one.name}: most copied, {poem.copied.length} words: "
                    f"{poem.copied_words()!r} (poem {place + 1}, of reference poem "
                    f"{poem.copied.reference + 1})."
                )

    def per_poem(self) -> Iterator[str]:
        """A paragraph a poem: where it stands, its text, its own figures."""
        for one in self.sets:
            for number, poem in enumerate(one.poems, 1):
                at = f"{one.file}:{poem.entry.line}" if one.file else f"{one.name} {number}"
                yield f"{at}: {' / '.join(poem.entry.lines)}\n  {'; '.join(_remarks(poem))}"


def _kigo(form: Form) -> str:
    return form.kigo if isinstance(form.kigo, str) else " or ".join(sorted(form.kigo))


def _cell(measure: Measure, found: Estimate | None) -> str:
    if found is None:
        return "-"
    scale, digits = (100, 1) if measure.percent else (1, 3 if abs(found.value) < 10 else 1)
    unit = "%" if measure.percent else ""
    value = f"{scale * found.value:.{digits}f}{unit}"
    if found.low is None or found.high is None:
        return value
    return f"{value} [{scale * found.low:.{digits}f}, {scale * found.high:.{digits}f}]"


def _remarks(poem: Judged) -> Iterator[str]:
    text = poem.text
    if poem.log_p is not None:
        yield f"log p {poem.log_p:.1f}, {poem.log_p / poem.tokens:.2f} a token"
    if poem.form_loss is not None:
        yield "form loss " + " / ".join(f"{loss:.2f}" for loss in poem.form_loss)
    yield f"{text.articles} articles in {len(text.keys)} words"
    if text.function_ends:
        yield f"{text.function_ends} lines end on a function word"
    if text.repeated:
        yield f"again: {', '.join(text.repeated)}"
    if text.repeated_lines:
        yield f"{text.repeated_lines} lines again"
    yield f"kigo {', '.join(text.kigo) or 'none'}"
    yield f"cut {' '.join(text.cuts) or 'none'}"
    for name, pairs in (("rhyme", text.rhymes), ("near rhyme", text.near)):
        if pairs:
            yield f"{name} {', '.join(' / '.join(pair) for pair in pairs)}"
    if poem.copied is not None:
        yield f"copied {poem.copied.length} words: {poem.copied_words()!r}"
    if poem.bleu is not None:
        yield f"self-BLEU {poem.bleu:.3f}"
