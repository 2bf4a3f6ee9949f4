"""A batch of poems under way: model rows and lattice rows kept in step.

The only place where logits meet masks. Knows how to draw, push, drop and fork rows; who loops, and
why, is the business of the decoders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from constrained_gpt.decoding.options import Options
from constrained_gpt.kernels.sampling import sample_tokens
from constrained_gpt.lattice import Lattice


class Cache(Protocol):
    """What a decoder needs of a key-value cache."""

    def select(self, parents: np.ndarray, /) -> None: ...


class LanguageModel(Protocol):
    """What a decoder needs of a model: `constrained_gpt.engine.Engine`, or a test's own."""

    @property
    def n_vocab(self) -> int: ...
    def prefill(self, ids: Sequence[int], batch: int, max_new: int) -> tuple[Any, np.ndarray]: ...
    def decode_step(self, cache: Any, tokens: np.ndarray, /) -> np.ndarray: ...


@dataclass
class Draw:
    """One token for every row: tokens int64 (B,); log_p, log_q, log_mass float64 (B,)."""

    tokens: np.ndarray
    log_p: np.ndarray
    log_q: np.ndarray
    log_mass: np.ndarray


class Batch:
    """Rows of poems under way after one shared prompt.

    states: int64 (B, width), the lattice rows. logits: float32 (B, V), of the next token.
    """

    def __init__(
        self,
        model: LanguageModel,
        lattice: Lattice,
        prompt: Sequence[int],
        rows: int,
        start: np.ndarray | None = None,
    ) -> None:
        if model.n_vocab < lattice.n_vocab:
            raise ValueError(
                f"the model knows {model.n_vocab} tokens and the lattice was compiled for "
                f"{lattice.n_vocab}; compile it with this model's own tokenizer"
            )
        self.model, self.lattice = model, lattice
        self.cache, logits = model.prefill(prompt, rows, lattice.max_tokens)
        self.logits = np.repeat(logits[None], rows, axis=0)
        self.states = lattice.start(rows) if start is None else np.repeat(start, rows, axis=0)
        self.history: list[list[int]] = [[] for _ in range(rows)]

    def __len__(self) -> int:
        return len(self.states)

    def allowed(self) -> list[np.ndarray]:
        """The tokens each row may take."""
        return [self.lattice.allowed(row) for row in self.states]

    def draw(self, options: Options, uniforms: np.ndarray) -> Draw:
        """One token a row, drawn by its own uniform number in [0, 1)."""
        masks = [self.lattice.candidates(row) for row in self.states]
        allowed = [ids for ids, _ in masks]
        outlook = np.concatenate([outlook for _, outlook in masks])
        if not options.lookahead:
            outlook[:] = 0.0
        indptr = np.zeros(len(allowed) + 1, np.int64)
        np.cumsum([len(ids) for ids in allowed], out=indptr[1:])
        n = len(allowed)
        history = np.full((n, 0), -1, np.int64)
        if options.repetition_penalty != 1.0:
            history = np.full((n, max(map(len, self.history))), -1, np.int64)
            for row, written in zip(history, self.history, strict=True):
                row[: len(written)] = written
        out = Draw(np.zeros(n, np.int64), np.zeros(n), np.zeros(n), np.zeros(n))
        sample_tokens(
            self.logits,
            np.concatenate(allowed),
            indptr,
            outlook,
            history,
            np.ascontiguousarray(uniforms, np.float64),
            float(options.temperature),
            int(options.top_k or 0),
            1.0 if options.top_p is None else float(options.top_p),
            float(options.min_p or 0.0),
            float(options.repetition_penalty),
            out.tokens,
            out.log_p,
            out.log_q,
            out.log_mass,
        )
        return out

    def push(self, tokens: np.ndarray) -> np.ndarray:
        """Append a token to every row; returns which rows are finished, bool (B,).

        The model has not read the tokens yet: drop what is finished, then call `read`.
        """
        self.lattice.advance(self.states, tokens)
        for written, token in zip(self.history, tokens.tolist(), strict=True):
            written.append(token)
        return self.lattice.finished(self.states)

    def select(self, parents: np.ndarray) -> None:
        """Row i becomes a copy of row parents[i]; rows may be dropped or forked."""
        parents = np.asarray(parents, np.int64)
        if len(parents) == len(self) and (parents == np.arange(len(self))).all():
            return
        self.states = self.states[parents]
        self.logits = self.logits[parents]
        self.history = [list(self.history[p]) for p in parents]
        self.cache.select(parents)

    def read(self) -> None:
        """Let the model read every row's last token: new logits."""
        last = np.array([written[-1] for written in self.history], np.int64)
        self.logits = self.model.decode_step(self.cache, last)
