"""What a teacher thought at each step of its poems: its likeliest allowed tokens, packed small.

`Recorder` stands in for an engine and keeps, for every beginning a decoder has it read, the tokens
near the top; `Recorder.along` reads a finished poem's record off. `pack` and `unpack` turn it into
a string for a JSON row and back. Knows logits and lattice rows. Called by `write` and by training.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from constrained_gpt.lattice import Lattice

NEAR = 10.0  # nats below the likeliest token that are still worth keeping
_UNIT = 1 / 16  # nats; a log-probability is kept as a multiple of it in one byte
Array = np.ndarray[Any, Any]
Foresight = Callable[[Array, Array], Array]  # state (1, width), tokens (k,) -> float64 (k,), nats


class Thought(NamedTuple):
    """One step: ids int64 (k,) among the allowed, likeliest first; log_p float32 (k,), natural log,
    normalised over those. Empty where the teacher had none of the allowed in mind."""

    ids: Array
    log_p: Array


class _Cache:
    """A cache and what its rows have read so far."""

    def __init__(self, inner: Any, rows: int) -> None:
        self.inner = inner
        self.read: list[tuple[int, ...]] = [()] * rows

    def select(self, parents: Array) -> None:
        self.inner.select(parents)
        self.read = [self.read[int(i)] for i in parents]


class Recorder:
    """An engine that remembers. All rows of its life share one prompt: make one a batch."""

    def __init__(self, engine: Any, top: int) -> None:
        self.engine, self.top = engine, top
        self.n_vocab = engine.n_vocab
        self._near: dict[tuple[int, ...], tuple[Array, Array]] = {}
        # Budget-aware engines are told where their rows stand: `decoding.Batch` asks for these.
        self.n_states = getattr(engine, "n_states", 0)
        self.state_sizes = getattr(engine, "state_sizes", (0, 0))

    def prefill(
        self, ids: Sequence[int], batch: int, max_new: int, **known: Any
    ) -> tuple[_Cache, Array]:
        inner, logits = self.engine.prefill(ids, batch, max_new, **known)
        self._keep([()], logits[None])
        return _Cache(inner, batch), logits

    def decode_step(self, cache: _Cache, tokens: Array, **known: Any) -> Array:
        logits: Array = self.engine.decode_step(cache.inner, tokens, **known)
        cache.read = [(*read, int(token)) for read, token in zip(cache.read, tokens, strict=True)]
        self._keep(cache.read, logits)
        return logits

    def _keep(self, beginnings: list[tuple[int, ...]], logits: Array) -> None:
        if not self.top:
            return
        rows, ids = np.nonzero(logits > logits.max(axis=1, keepdims=True) - np.float32(NEAR))
        values = logits[rows, ids]
        bounds = np.searchsorted(rows, np.arange(len(beginnings) + 1))
        for row, beginning in enumerate(beginnings):
            part = slice(bounds[row], bounds[row + 1])
            self._near[beginning] = (ids[part], values[part])

    def along(
        self, lattice: Lattice, tokens: Sequence[int], foresight: Foresight | None = None
    ) -> list[Thought]:
        """The record of a poem, step by step, its end token's the last.

        foresight: what a look-ahead adds to the lattice's own outlook (`Guide.ahead`): the record
        is then what a decoder with look-ahead draws from at temperature 1. None: the bare mask,
        under which much goes to tokens that cannot be closed well: "the" as the last syllable of a
        line, which may begin "theft". Who learns from that walks into such corners where no mask
        holds it back.
        """
        state = lattice.start()
        thoughts = []
        for step, token in enumerate(tokens):
            ids, values = self._near[tuple(tokens[:step])]
            allowed, ahead = lattice.candidates(state[0])
            if foresight is None:
                ahead = np.zeros(len(allowed))
            else:
                ahead = ahead + foresight(state, allowed)
            place = np.searchsorted(allowed, ids).clip(0, len(allowed) - 1)
            held = allowed[place] == ids
            ids, values = ids[held], values[held].astype(np.float64) + ahead[place[held]]
            order = np.argsort(-values, kind="stable")[: self.top]
            ids, values = ids[order], values[order]
            if len(values):
                values = values - values[0]
                values -= np.log(np.exp(values).sum())
            thoughts.append(Thought(ids.astype(np.int64), values.astype(np.float32)))
            lattice.advance(state, np.array([token], np.int64))
        return thoughts


def pack(thoughts: Sequence[Thought]) -> str:
    """A record as text: base64 of, step by step, a count, ids of two bytes, log p of one.

    Log p is rounded to a sixteenth of a nat; what is below -15.9 becomes that.
    """
    parts = []
    for ids, log_p in thoughts:
        if len(ids) > 255 or (len(ids) and ids.max() > 0xFFFF):
            raise ValueError("a record holds at most 255 tokens a step, of ids below 65,536")
        coded = np.clip(np.rint(-log_p / _UNIT), 0, 255).astype(np.uint8)
        parts.append(bytes([len(ids)]) + ids.astype("<u2").tobytes() + coded.tobytes())
    return base64.b64encode(b"".join(parts)).decode("ascii")


def unpack(text: str) -> list[Thought]:
    """A record back from text; undoes `pack` but for its rounding."""
    data = base64.b64decode(text, validate=True)
    thoughts, at = [], 0
    while at < len(data):
        count = data[at]
        ids = np.frombuffer(data, "<u2", count, at + 1).astype(np.int64)
        coded = np.frombuffer(data, np.uint8, count, at + 1 + 2 * count)
        thoughts.append(Thought(ids, (-_UNIT * coded).astype(np.float32)))
        at += 1 + 3 * count
    return thoughts
