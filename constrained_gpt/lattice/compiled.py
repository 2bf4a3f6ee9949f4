"""A lattice's arrays, as they lie on disk, and the objects they stand for, made when asked for.

What masks need at every step is in the book and in the entries, used as they lie. Rules, sounds by
name, spellings and tables of reachability serve the rare and the slow ways. Knows no model. Made by
`compile`, used by `lattice` and `boundary`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from constrained_gpt.kernels import book as bk
from constrained_gpt.kernels import mask as km
from constrained_gpt.lattice.alive import Alive
from constrained_gpt.lattice.rules import Rules, Sound, WordSounds
from constrained_gpt.lattice.season_automaton import SeasonAutomaton
from constrained_gpt.lexicon.form import Form
from constrained_gpt.lexicon.kireji import find_cuts
from constrained_gpt.lexicon.typography import Typography


class Names:
    """Rhyme parts and onsets by name and number."""

    def __init__(self, parts: Sequence[str], onsets: Sequence[str]) -> None:
        self.parts = {part: i for i, part in enumerate(parts)}
        self.onsets = {onset: i for i, onset in enumerate(onsets)}


def joined(names: Sequence[str]) -> np.ndarray:
    """Names, none with a line break, as one array of bytes."""
    return np.frombuffer("\n".join(names).encode(), np.uint8)


def split(data: np.ndarray) -> list[str]:
    """Undoes `joined` (one empty name comes back as one, none as one too: ask for none)."""
    return data.tobytes().decode().split("\n")


class Compiled:
    """arrays: "book" (see `kernels.book`), "words", "parts", "onsets" (`joined`), "type_bits"
    (int64), "critical", "starts" (`Alive.learned`), and those of `boundary.Boundary.kept`."""

    def __init__(
        self, form: Form, typography: Typography, arrays: Mapping[str, np.ndarray]
    ) -> None:
        self.form, self.typography, self.arrays = form, typography, arrays

    @cached_property
    def words(self) -> list[str]:
        """Spellings of the words, in their order."""
        return split(self.arrays["words"])

    @cached_property
    def names(self) -> Names:
        return Names(split(self.arrays["parts"]), split(self.arrays["onsets"]))

    @cached_property
    def rules(self) -> Rules:
        scalars, tables = bk.opened(self.arrays["book"])
        n_words = scalars["n_words"]
        of, heard = tables["type_of"][:n_words], bk.heard(self.arrays["book"])[:n_words]
        usual = tables["usual_next"].reshape(2, scalars["n_columns"])
        following = usual[tables["to_done"]]  # (states, columns)
        states = np.repeat(np.arange(scalars["n_states"]), np.diff(tables["odd_start"]))
        following[states, tables["odd_column"]] = tables["odd_next"]
        season = SeasonAutomaton(following, tables["flush"], scalars["season_done"], {})
        return rules_of(
            self.form,
            self.typography,
            bits=self.arrays["type_bits"][of],
            column=tables["type_column"][of],
            dangling=tables["shape_dangles"][tables["type_shape"][of]] != 0,
            sounds=WordSounds(
                split(self.arrays["parts"]),
                split(self.arrays["onsets"]),
                np.append(heard[:1, bk.FROM], heard[:, bk.TO]),
                tables["sound"][::2],
                tables["sound"][1::2],
            ),
            season=season,
        )

    @cached_property
    def tables(self) -> km.Tables:
        """The trie and the rules as the slow kernels read them."""
        scalars, tables = bk.opened(self.arrays["book"])
        rules = self.rules
        n_cuts, n_marks = scalars["n_cuts"], scalars["n_marks"]
        return km.Tables(
            **{
                name: np.ascontiguousarray(tables[name])
                for name in ("first", "count", "token", "lo", "hi", "unit", "kind", "word", "form")
            },
            bits=rules.bits,
            column=np.ascontiguousarray(rules.column, np.int32),
            season_next=rules.season.next,
            season_flush=rules.season.flush,
            mark_mid=tables["mark_mid"].astype(np.uint8),
            mark_close=tables["mark_close"].reshape(2, n_marks).astype(np.uint8),
            mark_sentence=tables["mark_sentence"].astype(np.uint8),
            cut_after=tables["cut_after"].reshape(n_cuts, n_marks),
            style_next=tables["style_next"].reshape(-1, 2, 3),
            line_bits=np.int64(1) << np.array(self.form.lines, np.int64),
        )

    @cached_property
    def alive(self) -> Alive:
        learned = {
            "critical": np.array([p for p in split(self.arrays["critical"]) if p], np.str_),
            "starts": self.arrays["starts"],
        }
        return Alive(self.rules, learned)


def rules_of(
    form: Form,
    typography: Typography,
    *,
    bits: np.ndarray,
    column: np.ndarray,
    dangling: np.ndarray,
    sounds: Sequence[tuple[Sound, ...]],
    season: SeasonAutomaton,
) -> Rules:
    """A form's rules about these words: see `Rules`."""
    marks = typography.marks
    return Rules(
        lines=form.lines,
        bits=bits,
        column=column,
        dangling=dangling,
        sounds=sounds,
        rhyme=form.rhyme,
        kireji=form.kireji,
        season=season,
        mark_mid=np.array([m.mid for m in marks], bool),
        mark_end=np.array([m.end for m in marks], bool),
        mark_final=np.array([m.final for m in marks], bool),
        mark_cuts=np.array([bool(find_cuts(f"a{m.text}\nb")) for m in marks], bool),
    )
