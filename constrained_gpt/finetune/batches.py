"""Prepared poems as batches to learn from: a line of tags, the poem, and what counts in the loss.

Which poems and which of their tags a step sees follows from seed and step alone, so a run that goes
on, or that several processes share, sees the same. Knows files and a tokenizer; no weights. Called
by the trainer and by `evaluate`.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import prompts
from ..corpus.teacher import unpack
from ..lexicon import HAIKU, Form
from ..lexicon.form import FORMS
from ..lexicon.function_words import DANGLING
from ..tokenizer import Tokenizer
from .lattices import Lattices
from .prepare import Tags, checked_card, tokenizer_of

# How often a tag is left out, so that the model learns to do without; and how often a poem that
# came with a topic is asked for by one of its own words instead.
DROPOUT = {"season": 0.4, "kigo": 0.7, "topic": 0.15}
OWN_WORD = 0.3
_TEACHER = "smollm2"  # of rows that were written before they named it
_HELD_OUT = 0x7A65  # the draw of tags for held-out poems: one that no epoch has


@dataclass(frozen=True)
class Batch:
    """Right-padded rows. x, y: int64 (B, T), y one token later; states: int64 (B, T), the lattice
    state after each token of x; counts: bool (B, T), where y is a poem's token or its end.
    thought_ids: int64 (tokens, K), thought_p: float32 (tokens, K), what a teacher thought at each
    place that counts, all 0 where nothing is known; allowed: int32 (tokens, ceil(V / 32)), bitmasks
    of what the form's lines allow there; None where nobody asked."""

    x: torch.Tensor
    y: torch.Tensor
    states: torch.Tensor
    counts: torch.Tensor
    thought_ids: torch.Tensor | None = None
    thought_p: torch.Tensor | None = None
    allowed: torch.Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        parts = (
            self.x, self.y, self.states, self.counts, self.thought_ids, self.thought_p,
            self.allowed,
        )  # fmt: skip
        return Batch(*(None if t is None else t.to(device) for t in parts))  # type: ignore[arg-type]


class Thoughts:
    """A teacher's records in the tokens of a learner, whose spelling may be poorer."""

    def __init__(self, teacher: Tokenizer, learner: Tokenizer, end: int) -> None:
        """end: the token that the teacher ends a poem with."""
        own = {learner.token_bytes(i): i for i in reversed(range(learner.n_vocab))}
        self._id = np.array(
            [own.get(teacher.token_bytes(i), -1) for i in range(teacher.n_vocab)], np.int64
        )
        self._id[list(teacher.special_tokens.values())] = -1
        self._end, self._eos = end, learner.eos

    def rows(self, record: str, tokens: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """(ids, probabilities) of each step; none where the learner spells the poem otherwise."""
        found = unpack(record) if record else []
        if len(found) != tokens:
            return []
        rows = []
        for step, (ids, log_p) in enumerate(found, 1):
            known = ids < len(self._id)
            own = np.where(known, self._id[np.where(known, ids, 0)], -1)
            if step == tokens:  # where a line break may be the end, as after a page of poems
                own[ids == self._end] = self._eos
            p = np.exp(log_p, dtype=np.float64)[own >= 0]
            rows.append((own[own >= 0], p / p.sum() if len(p) else p))
        return rows


class Teachers:
    """The `Thoughts` of each teacher that poems came from, made when first asked for."""

    def __init__(self, learner: Tokenizer) -> None:
        self._learner = learner
        self._known: dict[tuple[str, int], Thoughts] = {}

    def __call__(self, tags: Tags) -> Thoughts:
        """Those of a poem's teacher; SmolLM2's if its row does not say whose they are."""
        key = (tags.taught_by or _TEACHER, tags.taught_end)
        if key not in self._known:
            name, end = key
            teacher = tokenizer_of(name)
            if end < 0:
                end = prompts.build(teacher, "x", HAIKU).end
            self._known[key] = Thoughts(teacher, self._learner, end)
        return self._known[key]


class Poems:
    """One split of a prepared folder, or some of its rows; arrays are mapped from disk."""

    def __init__(
        self,
        data: str | Path,
        split: str,
        tokenizer: Tokenizer,
        *,
        rows: np.ndarray | None = None,
        style: str = prompts.TAGS,
        thoughts: Callable[[Tags], Thoughts] | None = None,
        lattices: Lattices | None = None,
    ) -> None:
        """rows: some of the split's poems. style: how a poem is asked for, one of
        `prompts.STYLES`; a model is trained by its tags, others are measured in their own way.
        thoughts: makes batches to learn from carry what a teacher thought; lattices: what the form
        allows."""
        self.style = style
        self.thoughts, self.lattices = thoughts, lattices
        self.card = checked_card(data, tokenizer)
        self.tokenizer = tokenizer
        folder = Path(data)
        self._tokens = mapped(folder / f"{split}_tokens.npy")
        self._states = mapped(folder / f"{split}_states.npy")
        mask = mapped(folder / f"{split}_mask.npy")
        shape = self._tokens.shape
        wanted = (shape, (*shape[:1], shape[-1] + 1))  # a state after each token, and one before
        if shape[:-1] != (self.card[split]["poems"],) or wanted != (mask.shape, self._states.shape):
            raise ValueError(f"{folder} is not what its card says; run `haiku prepare` again")
        lengths = mask.sum(axis=1, dtype=np.int64)
        if not lengths.all():
            raise ValueError(f"{folder} holds a poem without tokens; run `haiku prepare` again")
        self.rows = np.arange(len(lengths)) if rows is None else np.asarray(rows)
        self.lengths = lengths[self.rows]  # (N,) tokens of each poem, its end included
        self._records = _Lines(folder / f"{split}_tags.jsonl")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def sizes(self) -> tuple[int, int]:
        """Lines and syllables left that the lattice states tell apart."""
        return self.card["states"]["lines"], self.card["states"]["left"]

    @property
    def longest(self) -> int:
        """Tokens of the longest poem."""
        return int(self.lengths.max(initial=0))

    def tags(self, index: int) -> Tags:
        """What is known of a poem."""
        found = self._records[int(self.rows[index])]
        return Tags(**{**found, "kigo": tuple(found["kigo"]), "seasons": tuple(found["seasons"])})

    def asked(self, index: int, draw: np.random.Generator) -> tuple[list[int], int]:
        """The ids of a prompt for a poem, and the token that ends the poem after it."""
        if self.style == prompts.TAGS:
            return self.tokenizer.encode(self.prompt(index, draw)), self.tokenizer.eos
        tags = self.tags(index)
        found = prompts.build(
            self.tokenizer, tags.topic or "anything", form_of(tags.form), self.style
        )
        return list(found.ids), found.end

    def prompt(self, index: int, draw: np.random.Generator) -> str:
        """A line of tags for a poem, some left out by chance."""
        tags = self.tags(index)
        chance = draw.random(4)
        season = kigo = topic = ""
        if tags.kigo:
            which = int(draw.integers(len(tags.kigo)))
            season, kigo = tags.seasons[which], tags.kigo[which]
        topic = tags.topic
        if not topic or chance[3] < OWN_WORD:
            topic = self.own_word(tags, draw) or topic
        return prompts.tags(
            tags.form,
            season if chance[0] >= DROPOUT["season"] else "",
            kigo if chance[1] >= DROPOUT["kigo"] else "",
            topic if chance[2] >= DROPOUT["topic"] else "",
        )

    @staticmethod
    def own_word(tags: Tags, draw: np.random.Generator) -> str:
        """A word of the poem that it may be said to be about, by chance."""
        own = [w for w in _words(tags.text) if w not in DANGLING and len(w) > 3]
        return own[int(draw.integers(len(own)))] if own else ""

    def poem(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens (T,) with the end, and states (T + 1,), the first for the poem's start."""
        length, row = int(self.lengths[index]), int(self.rows[index])
        if int(self._tokens[row, :length].max()) >= self.tokenizer.n_vocab:
            raise ValueError(
                f"poem {row} of the prepared data holds a token that {self.tokenizer.name} has "
                "not; run `haiku prepare` again"
            )
        return (
            self._tokens[row, :length].astype(np.int64),
            self._states[row, : length + 1].astype(np.int64),
        )

    def batch(
        self, indices: Sequence[int], draws: Sequence[np.random.Generator], *, learn: bool = False
    ) -> Batch:
        """These poems, each after a line of tags that its own numbers choose. learn: with what a
        teacher thought, if it is known."""
        rows = []
        for index, draw in zip(indices, draws, strict=True):
            asked, end = self.asked(index, draw)
            tokens, states = self.poem(index)
            tokens[-1] = end
            rows.append((asked, tokens, states))
        t = max(len(asked) + len(tokens) for asked, tokens, _ in rows) - 1
        x = np.full((len(rows), t), self.tokenizer.eos, np.int64)
        y, known = x.copy(), np.zeros_like(x)
        counts = np.zeros(x.shape, bool)
        for i, (asked, tokens, states) in enumerate(rows):
            whole = np.concatenate([asked, tokens])
            size, start = len(whole) - 1, len(asked) - 1
            x[i, :size], y[i, :size] = whole[:-1], whole[1:]
            known[i, start:size] = states[:-1]
            counts[i, start:size] = True
        batch = Batch(*(torch.from_numpy(a) for a in (x, y, known, counts)))
        poems = [tokens for _, tokens, _ in rows]
        if learn and self.thoughts is not None:
            batch = self._with_thoughts(batch, self.thoughts, indices, poems)
        if learn and self.lattices is not None:
            masks = [
                self.lattices.allowed_along(form_of(self.tags(index).form), tokens.tolist())
                for index, tokens in zip(indices, poems, strict=True)
            ]
            batch = replace(batch, allowed=torch.from_numpy(np.concatenate(masks)))
        return batch

    def _with_thoughts(
        self,
        batch: Batch,
        thoughts: Callable[[Tags], Thoughts],
        indices: Sequence[int],
        poems: list[np.ndarray],
    ) -> Batch:
        steps: list[tuple[np.ndarray, np.ndarray]] = []
        nothing = (np.zeros(0, np.int64), np.zeros(0))
        for index, tokens in zip(indices, poems, strict=True):
            tags = self.tags(index)
            found = thoughts(tags).rows(tags.teacher, len(tokens)) if tags.teacher else []
            steps += found or [nothing] * len(tokens)
        width = max(1, *(len(ids) for ids, _ in steps))
        ids = np.zeros((len(steps), width), np.int64)
        p = np.zeros((len(steps), width), np.float32)
        for i, (own, share) in enumerate(steps):
            ids[i, : len(own)], p[i, : len(own)] = own, share
        return replace(batch, thought_ids=torch.from_numpy(ids), thought_p=torch.from_numpy(p))

    def step(self, seed: int, step: int, batch_size: int, micro: int, of: int) -> Batch:
        """Micro-batch `micro` of the `of` that make up a step: poems in an order drawn anew each
        epoch, the step's shorter ones first, so that micro-batches hold little padding."""
        places = self._places(seed, step, batch_size * of)
        places.sort(key=lambda place: int(self.lengths[place[1]]))
        mine = places[micro * batch_size : (micro + 1) * batch_size]
        draws = [np.random.default_rng([seed, epoch, int(self.rows[i])]) for epoch, i in mine]
        return self.batch([index for _, index in mine], draws, learn=True)

    def counted(self, seed: int, step: int, poems: int) -> int:
        """Tokens that a step of so many poems learns from."""
        return sum(int(self.lengths[index]) for _, index in self._places(seed, step, poems))

    def held_out(self, indices: Sequence[int], seed: int) -> Batch:
        """Poems with tags that are always the same."""
        draws = [np.random.default_rng([seed, _HELD_OUT, int(self.rows[i])]) for i in indices]
        return self.batch(indices, draws)

    def _places(self, seed: int, step: int, poems: int) -> list[tuple[int, int]]:
        """(epoch, poem) of a step's poems."""
        found = []
        for place in range(step * poems, (step + 1) * poems):
            epoch, at = divmod(place, len(self))
            found.append((epoch, int(self._order(seed, epoch)[at])))
        return found

    def _order(self, seed: int, epoch: int) -> np.ndarray:
        known: tuple[int, int, np.ndarray] | None = getattr(self, "_known", None)
        if known is None or known[:2] != (seed, epoch):
            order = np.random.default_rng([seed, epoch]).permutation(len(self))
            self._known = known = (seed, epoch, order)
        return known[2]


def form_of(name: str) -> Form:
    """A form by its name or its counts."""
    return FORMS[name] if name in FORMS else Form.of(*map(int, name.split("-")))


class _Lines:
    """The JSON lines of a file by number, read when asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._data: bytes | mmap.mmap = b""
        if path.stat().st_size:
            with path.open("rb") as file:
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        ends = np.flatnonzero(np.frombuffer(self._data, np.uint8) == ord("\n"))
        self._starts = np.concatenate([[0], ends + 1])

    def __getitem__(self, number: int) -> dict[str, Any]:
        try:
            begin, end = self._starts[number : number + 2]
            found: dict[str, Any] = json.loads(self._data[begin:end])
        except ValueError:  # too few lines, or no JSON
            raise ValueError(
                f"{self._path}: line {number + 1} is damaged; run `haiku prepare` again"
            ) from None
        return found


def mapped(path: Path) -> np.ndarray:
    """An array that `prepare` wrote, on disk if it is large."""
    try:
        array: np.ndarray = np.load(path, mmap_mode="r" if path.stat().st_size > 256 else None)
    except (OSError, ValueError, EOFError):
        raise ValueError(f"{path} cannot be read; run `haiku prepare` again") from None
    return array


def _words(text: str) -> list[str]:
    return [word.strip(".,;:!?\"'()-\u2014").lower() for word in text.split()]
