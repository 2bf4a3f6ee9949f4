"""Compile (form, lexicon, tokenizer) to a Lattice, once, and keep the arrays on disk.

Spells every word canonically, builds trie, season automaton and rules, and refuses a form that
cannot be met. Knows no model. Called by `generate`, the adapters and the tests.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import hashlib
import threading
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from constrained_gpt import cache
from constrained_gpt.kernels import mask as km
from constrained_gpt.kernels._jit import get_ready
from constrained_gpt.lattice import season_automaton, trie
from constrained_gpt.lattice.alive import Alive
from constrained_gpt.lattice.boundary import book_of
from constrained_gpt.lattice.compiled import Compiled, joined, rules_of
from constrained_gpt.lattice.lattice import Lattice, LatticeError, style_table
from constrained_gpt.lattice.rules import Rules, WordSounds
from constrained_gpt.lattice.season_automaton import SeasonAutomaton
from constrained_gpt.lexicon import kigo as kigo_rules
from constrained_gpt.lexicon.form import Form
from constrained_gpt.lexicon.function_words import LEANING
from constrained_gpt.lexicon.typography import (
    CAPITAL_FORM,
    DEFAULT,
    LOWER_FORM,
    NEUTRAL_FORM,
    Typography,
)
from constrained_gpt.lexicon.vocabulary import Entry, Lexicon

POLICIES = ("all", "any")
_VERSION = 13  # of the arrays on disk; raise it when their meaning changes


class Spelling(Protocol):
    """What the lattice needs of a tokenizer (`constrained_gpt.tokenizer.Tokenizer`). One that has
    `encode_many` too is asked for all words at once: for their ids, one text's after the other's,
    and how many each has."""

    @property
    def n_vocab(self) -> int: ...
    @property
    def eos(self) -> int: ...
    @property
    def content_hash(self) -> str: ...
    def encode(self, text: str) -> list[int]: ...


def compile(
    form: Form,
    lexicon: Lexicon,
    tokenizer: Spelling,
    *,
    policy: str = "all",
    typography: Typography = DEFAULT,
    end: int | None = None,
    use_cache: bool = True,
) -> Lattice:
    """The lattice of a form.

    policy "all": only words whose syllables nobody can dispute, so that every reading of a line
    fits; "any": some reading fits. end: token that ends a poem, by default the tokenizer's eos.
    Raises LatticeError if no poem over this lexicon meets the form; it names the rule to loosen.
    """
    if policy not in POLICIES:
        raise ValueError(f"policy={policy!r} is unknown; use one of {', '.join(POLICIES)}")
    if form.free:
        raise LatticeError(
            f"form {form.name!r} has no fixed length to write to; give exact counts, e.g. (5, 7, 5)"
        )
    end = tokenizer.eos if end is None else end
    key = hashlib.sha256(
        repr(
            (
                _VERSION,
                (form.lines, form.unit, form.kireji, form.rhyme, form.dangling),
                sorted(LEANING) if form.dangling == "strict" else (),
                sorted(form.kigo) if isinstance(form.kigo, frozenset) else form.kigo,
                lexicon.content_hash,
                tokenizer.content_hash,
                policy,
                dataclasses.astuple(typography),
                end,
            )
        ).encode()
    ).hexdigest()
    kept = cache.load_arrays("lattice", key) if use_cache else None
    if kept is not None:
        compiled = Compiled(form, typography, kept)
    else:
        with _no_garbage():
            compiled = _compiled(form, lexicon, tokenizer, policy, typography, end)
    lattice = Lattice(compiled, end=end, n_vocab=tokenizer.n_vocab, content_hash=key)
    if kept is None:
        lattice.prepare()
        if use_cache:
            cache.save_arrays("lattice", key, {**compiled.arrays, **lattice.kept()})
    return lattice


@contextlib.contextmanager
def _no_garbage() -> Iterator[None]:
    """Python does not look for cycles meanwhile: of some 500,000 lists and tuples none is in one,
    and each search through them all takes as long as making a fair part of them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _compiled(
    form: Form,
    lexicon: Lexicon,
    tokenizer: Spelling,
    policy: str,
    typography: Typography,
    end: int,
) -> Compiled:
    """Everything that is made once: words, trie, season automaton, what is alive, the book."""
    entries, bits = _countable(form, lexicon, policy)
    words = [entry.word for entry in entries]
    built = _built_trie(tokenizer, words, typography, end)
    season, column = _season(form, lexicon, words)
    dangling = np.zeros(len(words), bool)
    if form.dangling != "off":
        strict = form.dangling == "strict"
        dangling = np.array([entry.dangles or (strict and entry.leans) for entry in entries])
    parts: dict[str, int] = {}
    onsets: dict[str, int] = {}
    start, part, onset = [0], [], []
    for entry in entries:
        # A word nobody has heard still equals itself: it gets a sound of its own.
        for heard_part, heard_onset in entry.sounds or ((f"={entry.word}", ""),):
            part.append(parts.setdefault(heard_part, len(parts)))
            onset.append(onsets.setdefault(heard_onset, len(onsets)))
        start.append(len(part))
    numbers = tuple(np.array(a, np.int32) for a in (start, part, onset))
    heard = WordSounds([*parts], [*onsets], *numbers)
    rules = rules_of(
        form, typography, bits=bits, column=column, dangling=dangling, sounds=heard, season=season
    )
    alive = Alive(rules)
    if not alive.line_start(0, 0, 0, frozenset()):
        raise LatticeError(_diagnose(form, rules, typography))
    tables = _tables(rules, built, typography)
    learned = alive.learned()
    arrays = {
        "book": book_of(tables, rules, alive, numbers, len(parts), tokenizer.n_vocab),
        "words": joined(words),
        "parts": joined([*parts]),
        "onsets": joined([*onsets]),
        "type_bits": rules.type_bits,
        "critical": joined(learned["critical"].tolist()),
        "starts": learned["starts"],
    }
    compiled = Compiled(form, typography, arrays)
    vars(compiled).update(words=words, rules=rules, alive=alive)  # made already
    return compiled


def wanted_phrases(form: Form, lexicon: Lexicon) -> dict[tuple[str, ...], bool] | None:
    """Saijiki entry -> does it satisfy the form's kigo rule (None: the form asks for none)."""
    if form.kigo == "off":
        return None
    saijiki = lexicon.saijiki
    if isinstance(form.kigo, str):  # which asks for seasons, not for phrases by name
        return {
            keys: kigo_rules.satisfies(form.kigo, seasons)
            for keys, seasons in saijiki.entries.items()
        }
    return {
        keys: kigo_rules.satisfies(
            form.kigo, seasons, keys, kigo_rules.phrase_keys(saijiki.phrases[keys])
        )
        for keys, seasons in saijiki.entries.items()
    }


def _countable(form: Form, lexicon: Lexicon, policy: str) -> tuple[list[Entry], np.ndarray]:
    """Words the policy lets the lattice write, with their counts as bits."""
    kept, bits = [], []
    bits_of: dict[frozenset[int], int] = {}  # 0: such a word may not be written
    for entry in lexicon.entries():
        found = bits_of.get(entry.counts)
        if found is None:
            counts = {1} if form.unit == "words" else entry.counts
            found = 0 if 0 in counts else sum(1 << c for c in counts if c <= 62)
            if policy == "all" and found & (found - 1):
                found = 0
            bits_of[entry.counts] = found
        if found:
            kept.append(entry)
            bits.append(found)
    return kept, np.array(bits, np.int64)


def _built_trie(
    tokenizer: Spelling, words: list[str], typography: Typography, end: int
) -> trie.Trie:
    """All units, spelled."""
    if not words:
        raise LatticeError("the lexicon holds no word that can be counted; add words to it")
    capitals = [word[0].upper() + word[1:] for word in words]
    # A word inside a line, at its start, and there with a capital, if it is not so already or knows
    # none: 9th, 'tis.
    texts = [
        text
        for word, capital in zip(words, capitals, strict=True)
        for text in ((" " + word, word) if word == capital else (" " + word, word, capital))
    ]
    marks = [mark.text for mark in typography.marks]
    # The words are spelled without Python's lock; kernels are wanted only afterwards.
    meanwhile = threading.Thread(target=get_ready, daemon=True)
    with contextlib.suppress(RuntimeError):  # no more threads: kernels get ready when called
        meanwhile.start()
    ids, lengths = _spelled(tokenizer, [*texts, *marks])
    if meanwhile.ident is not None:
        meanwhile.join()
    break_tokens = tokenizer.encode("\n")
    if len(break_tokens) != 1:
        raise LatticeError("this tokenizer has no token of its own for a line break; use another")
    ends = np.cumsum(lengths)
    few = [0, 1, *range(len(texts), len(lengths))]  # the first word, and the marks
    alone = [ids[ends[i] - lengths[i] : ends[i]].tolist() for i in few]
    _check_spelling(tokenizer, texts[:2], alone, typography)
    others = [*break_tokens, end] if end != break_tokens[0] else break_tokens
    units = _units(np.array(words) == np.array(capitals), len(marks), len(others))
    built = trie.build(
        units,
        np.concatenate([ids, others]),
        np.concatenate([lengths, np.ones(len(others), np.int64)]),
    )
    _check_unambiguous(built)
    return built


def _spelled(tokenizer: Spelling, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The tokens of all texts, one after the other, and how many each has."""
    encode_many = getattr(tokenizer, "encode_many", None)
    if encode_many is not None:
        ids, lengths = encode_many(texts)
        return ids, lengths
    rows = [tokenizer.encode(text) for text in texts]
    return np.array([token for row in rows for token in row]), np.array([len(row) for row in rows])


def _units(one_form: np.ndarray, n_marks: int, n_others: int) -> trie.Units:
    """Two units of each word, three if not `one_form`; the marks; the line break and, if it is not
    the same, the end."""
    forms = np.where(one_form, 2, 3)
    word = np.repeat(np.arange(len(forms)), forms)
    place = np.arange(len(word)) - np.repeat(np.cumsum(forms) - forms, forms)
    written = np.array([NEUTRAL_FORM, LOWER_FORM, CAPITAL_FORM])[place]
    more = n_marks + n_others
    return trie.Units(
        starts_line=np.append(place > 0, np.zeros(more, bool)),
        kind=np.concatenate([
            np.full(len(word), trie.WORD), np.full(n_marks, trie.MARK),
            [trie.BREAK, trie.END][:n_others],
        ]),
        word=np.concatenate([word, np.arange(more)]),
        form=np.concatenate([
            np.where(one_form[word], NEUTRAL_FORM, written), np.full(more, NEUTRAL_FORM),
        ]),
    )  # fmt: skip


def _season(form: Form, lexicon: Lexicon, words: list[str]) -> tuple[SeasonAutomaton, np.ndarray]:
    """The automaton of the form's season words; the column of each word, int32 (words,)."""
    wanted = wanted_phrases(form, lexicon)
    if wanted is None:
        return season_automaton.satisfied(), np.zeros(len(words), np.int32)
    word_keys = [kigo_rules.keys(word) for word in words]
    season = season_automaton.build(wanted, word_keys)
    return season, np.array([season.column.get(k, 0) for k in word_keys], np.int32)


def _check_spelling(
    tokenizer: Spelling, words: list[str], spelled: list[list[int]], typography: Typography
) -> None:
    """Units must be spelled the same in company as alone, or paths would not be canonical. words:
    one inside a line, and at its start; spelled: those two and the marks."""
    word, start = words
    texts = [*words, *(mark.text for mark in typography.marks)]
    by_text = dict(zip(texts, spelled, strict=True)) | {"\n": tokenizer.encode("\n")}
    for mark in [*(m.text for m in typography.marks), ""]:
        for after in (word, "\n" + start):
            pieces = [
                word,
                *([mark] if mark else []),
                *([after] if after == word else ["\n", start]),
            ]
            if tokenizer.encode("".join(pieces)) != [t for p in pieces for t in by_text[p]]:
                raise LatticeError(
                    f"this tokenizer spells {''.join(pieces)!r} differently in one piece than word "
                    "by word; leave that mark out of the typography"
                )


def _check_unambiguous(built: trie.Trie) -> None:
    """A token after a whole word must either go on with the word or begin the next unit."""
    start, count = int(built.first[trie.MID_ROOT]), int(built.count[trie.MID_ROOT])
    begins = np.zeros(int(built.token.max(initial=0)) + 1, bool)
    begins[built.token[start : start + count]] = True
    whole = np.flatnonzero((built.unit >= 0) & (built.count > 0))
    before = np.cumsum(built.count[whole]) - built.count[whole]
    children = np.arange(int(built.count[whole].sum())) + np.repeat(
        built.first[whole] - before, built.count[whole]
    )
    both = children[begins[built.token[children]]]
    if len(both):
        raise LatticeError(
            f"token {int(built.token[both[0]])} may go on with a word or begin the next; "
            "remove the word or mark that is spelled so"
        )


def _tables(rules: Rules, built: trie.Trie, typography: Typography) -> km.Tables:
    n_marks = len(typography.marks)
    cut_after = np.array(
        [[rules.cut_after(cut, m) for m in range(n_marks)] for cut in range(rules.n_cuts)], np.int32
    ).reshape(rules.n_cuts, n_marks)
    return km.Tables(
        **{field.name: getattr(built, field.name) for field in dataclasses.fields(built)},
        bits=rules.bits,
        column=np.ascontiguousarray(rules.column, np.int32),
        season_next=np.ascontiguousarray(rules.season.next, np.int32),
        season_flush=np.ascontiguousarray(rules.season.flush, np.int32),
        mark_mid=rules.mark_mid.astype(np.uint8),
        mark_close=np.stack([rules.mark_end, rules.mark_final]).astype(np.uint8),
        mark_sentence=np.array([m.sentence for m in typography.marks], np.uint8),
        cut_after=cut_after,
        style_next=style_table(),
        line_bits=np.int64(1) << np.array(rules.lines, np.int64),
    )


def _diagnose(form: Form, rules: Rules, typography: Typography) -> str:
    """Which rule makes the form impossible, found by loosening one at a time."""

    def possible(changes: dict[str, object]) -> bool:
        return Alive(dataclasses.replace(rules, **changes)).line_start(  # type: ignore[arg-type]
            0, 0, 0, frozenset()
        )

    n = len(rules.bits)
    loosened: dict[str, dict[str, object]] = {
        f"kigo={_shown(form.kigo)}; loosen the season or add season words": {
            "season": season_automaton.satisfied(),
            "column": np.zeros(n, np.int32),
        },
        f"kireji={form.kireji!r}; ask for kireji='off'": {"kireji": "off"},
        f"rhyme={form.rhyme!r}; ask for rhyme='off' or add words": {"rhyme": "off"},
        f"dangling={form.dangling!r}; ask for dangling='off'": {"dangling": np.zeros(n, bool)},
    }
    for blame, changes in loosened.items():
        if possible(changes):
            return f"no poem of {len(rules.lines)} lines {rules.lines} meets {blame}"
    everything: dict[str, object] = {
        k: v for changes in loosened.values() for k, v in changes.items()
    }
    if possible(everything):
        return "no poem meets kigo, kireji, rhyme and dangling together; loosen one of them"
    reachable = sorted({s for s in range(1, 32) if (rules.bits >> s & 1).any()})
    return (
        f"no poem of lines {rules.lines} can be made of words with {reachable} syllables; "
        "add shorter words to the lexicon or change lines"
    )


def _shown(kigo: object) -> str:
    return repr(sorted(kigo)) if isinstance(kigo, frozenset) else repr(kigo)


__all__ = ["Lattice", "LatticeError", "compile", "wanted_phrases"]
