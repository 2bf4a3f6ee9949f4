"""Walks of a model under a lattice, and what it would have said after each word.

Poems are drawn; at every step other words are tried beside those drawn (probes), so that rarer ones
are seen too. After each word the model's next-token distribution is boiled down to a few numbers.
Knows models and lattices; draws no conclusion. Called by `store.learn`; read by `fit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from constrained_gpt.decoding.batch import Batch, LanguageModel
from constrained_gpt.decoding.guide import Guide
from constrained_gpt.decoding.options import Options
from constrained_gpt.kernels import book as bk
from constrained_gpt.kernels import mask as km
from constrained_gpt.lattice import Lattice
from constrained_gpt.lattice.openings import INSIDE, START

TOP = 128  # next words kept of each distribution, the others spread over them
_DRAWS = Options(temperature=1.0, min_p=0.02)


@dataclass
class Seen:
    """One row for every word that was read (events) and for every line begun (starts).

    place: int, the token in `Lattice.order`; where: START or INSIDE; left: syllables left in the
    line before it. close: (n, 2), mass of what may close an inner and the last line after it;
    longer: of tokens that go on with a word; mid: of marks inside the line. next, next_p: (n, TOP),
    the likeliest tokens that begin a word inside a line, by place, and their mass. start, start_p:
    the same at the start of a line, for every line begun.
    """

    place: list[int] = field(default_factory=list)
    where: list[int] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    close: list[tuple[float, float]] = field(default_factory=list)
    longer: list[float] = field(default_factory=list)
    mid: list[float] = field(default_factory=list)
    next: list[np.ndarray] = field(default_factory=list)
    next_p: list[np.ndarray] = field(default_factory=list)
    start: list[np.ndarray] = field(default_factory=list)
    start_p: list[np.ndarray] = field(default_factory=list)


class Walker:
    """Walks of one model under one lattice. counts: int64 (S,), how often each token was seen."""

    def __init__(self, model: LanguageModel, lattice: Lattice, spell: dict[str, list[int]]) -> None:
        """spell: token ids of what may close an inner line ("inner"), the last ("last"), and of
        marks inside a line ("mid")."""
        self.model, self.lattice = model, lattice
        self.seen = Seen()
        self.counts = np.zeros(len(lattice.order))
        self._closers = [np.array(spell["inner"]), np.array(spell["last"])]
        self._mid = np.array(spell["mid"], np.int64)
        tables = bk.opened(lattice.book)[1]
        self._unit, self._kind = tables["unit"], tables["kind"]
        self._first, self._count, self._token = tables["first"], tables["count"], tables["token"]
        self._node = tables["node_at"].reshape(2, -1)
        self._words = lattice.openings.exists & ~lattice.openings.mark

    def walk(
        self,
        prompt: Sequence[int],
        rows: int,
        probes: int,
        rng: np.random.Generator,
        guide: Guide | None = None,
    ) -> None:
        """Draw `rows` poems after a prompt, trying `probes` other words at every step."""
        lattice = self.lattice
        batch = Batch(self.model, lattice, prompt, rows, guide=guide)
        self._begun(batch, np.arange(rows))
        while True:
            before, left = batch.states.copy(), lattice.left(batch.states)
            where = np.where(before[:, km.NODE] == km.LINE_ROOT, START, INSIDE)
            draw = batch.draw(_DRAWS, rng.random(len(batch)))
            parents, tried = self._tries(batch, where, left, probes, rng)
            n = len(batch)
            source = np.concatenate([np.arange(n), parents])
            tokens = np.concatenate([draw.tokens, lattice.order[tried]])
            batch.select(source)
            finished = batch.push(tokens)
            going = np.flatnonzero(~finished)
            if not (going < n).any():
                return
            batch.select(going)
            batch.read()
            node = batch.states[:, km.NODE]
            place = self.lattice.rank[tokens[going]]
            source = source[going]
            words = (place >= 0) & (node == self._node[where[source], np.maximum(place, 0)])
            for row in np.flatnonzero(words).tolist():
                self._word(batch.logits_of(row), int(place[row]), int(where[source[row]]),
                           int(left[source[row]]))  # fmt: skip
            drawn = np.flatnonzero(going < n)
            self._begun(batch, drawn[node[drawn] == km.LINE_ROOT])
            batch.select(drawn)

    def _tries(
        self, batch: Batch, where: np.ndarray, left: np.ndarray, probes: int,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """(row, place in the order) of words to try: likely ones, and seldom seen ones more."""
        node = batch.states[:, km.NODE]
        between = np.flatnonzero((node <= km.MID_ROOT) | (self._unit[node] >= 0))
        if not len(between):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        parents = np.sort(rng.choice(between, probes))
        order, norms = self.lattice.order, batch.log_norms()
        tried = np.empty(probes, np.int64)
        for i, row in enumerate(parents.tolist()):
            fits = self._words[where[row]]
            last = fits & (self.lattice.openings.syllables[where[row]] == left[row])
            if rng.random() < 0.5 and last.any():  # it is at the line's end that tokens differ most
                fits = last
            log_p = batch.logits_of(row)[order] - norms[row]
            weight = np.where(fits, np.exp(0.5 * log_p) / (1 + self.counts), 0.0)
            tried[i] = rng.choice(len(order), p=weight / weight.sum())
            self.counts[tried[i]] += 1
        return parents, tried

    def _word(self, logits: np.ndarray, place: int, where: int, left: int) -> None:
        p = _softmax(logits)
        node = self._node[where, place]
        first = int(self._first[node])
        children = self._token[first : first + int(self._count[node])]
        seen = self.seen
        seen.place.append(place)
        seen.where.append(where)
        seen.left.append(left)
        seen.close.append((float(p[self._closers[0]].sum()), float(p[self._closers[1]].sum())))
        seen.longer.append(float(p[children].sum()))
        seen.mid.append(float(p[self._mid].sum()))
        following, mass = self._likeliest(p, INSIDE)
        seen.next.append(following)
        seen.next_p.append(mass)
        self.counts[place] += 1

    def _begun(self, batch: Batch, rows: np.ndarray) -> None:
        for row in rows.tolist():
            following, mass = self._likeliest(_softmax(batch.logits_of(row)), START)
            self.seen.start.append(following)
            self.seen.start_p.append(mass)

    def _likeliest(self, p: np.ndarray, where: int) -> tuple[np.ndarray, np.ndarray]:
        mass = np.where(self._words[where], p[self.lattice.order], 0.0)
        top = min(TOP, len(mass))
        kept = np.argpartition(-mass, top - 1)[:top]
        share = mass[kept] * (mass.sum() / max(float(mass[kept].sum()), 1e-30))
        return kept.astype(np.int32), share.astype(np.float32)


def _softmax(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits - logits.max())
    return np.asarray(p / p.sum())
