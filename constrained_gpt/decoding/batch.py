"""A batch of poems under way: model rows and lattice rows kept in step.

The only place where logits meet masks. Knows how to draw, push, drop and fork rows; who loops, and
why, is the business of the decoders.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from constrained_gpt.decoding.guide import Guide
from constrained_gpt.decoding.options import Options
from constrained_gpt.kernels._team import shared_team
from constrained_gpt.kernels.log_norm import log_sum_exp_rows, panel_room, sequence
from constrained_gpt.kernels.mask import Masks
from constrained_gpt.kernels.sampling import sample_masked
from constrained_gpt.lattice import Lattice
from constrained_gpt.lattice.budget import budget_of


class Cache(Protocol):
    """What a decoder needs of a key-value cache."""

    def select(self, parents: np.ndarray, /) -> None: ...


class LanguageModel(Protocol):
    """What a decoder needs of a model: `constrained_gpt.engine.Engine`, or a test's own.

    A model that also has `decode_slice` (see `Engine`) is asked for no more logits than the mask
    needs, where nobody wants to know the others' mass; one that has `decode_weighed` (see
    `engine.WeighedEngine`) for no more than those and that mass. One that has `n_states` above 0
    is given the lattice state after each token as `states` too.
    """

    @property
    def n_vocab(self) -> int: ...
    def prefill(self, ids: Sequence[int], batch: int, max_new: int) -> tuple[Any, np.ndarray]: ...
    def decode_step(self, cache: Any, tokens: np.ndarray, /) -> np.ndarray: ...


@dataclass
class Draw:
    """One token for every row: tokens int64 (B,), and float64 (B,): log_p, log_q, log_mass as
    `sample_masked` has them; log_target, see `Options`; ahead, the look-ahead that the token was
    drawn with. All but log_q and ahead are nan where the batch computes slices."""

    tokens: np.ndarray
    log_p: np.ndarray
    log_q: np.ndarray
    log_mass: np.ndarray
    log_target: np.ndarray
    ahead: np.ndarray

    @property
    def log_total(self) -> np.ndarray:
        """Log of what the draw chose from: the target's mass of all candidates it kept, each times
        the exponential of its look-ahead. The same whichever of them was drawn."""
        return self.log_target + self.ahead - self.log_q


class Batch:
    """Rows of poems under way after one shared prompt.

    states: int64 (B, width), the lattice rows. whole: keep the logits of all tokens, for
    `logits_of` and the weights of a repetition penalty; else of those that the masks allow, where
    the model can. weighed: draws carry log_p and log_mass. guide: a learned look-ahead that the
    draws follow where `Options.lookahead` is on.
    """

    def __init__(
        self,
        model: LanguageModel,
        lattice: Lattice,
        prompt: Sequence[int],
        rows: int,
        start: np.ndarray | None = None,
        *,
        guide: Guide | None = None,
        whole: bool = True,
        weighed: bool = True,
    ) -> None:
        if model.n_vocab < lattice.n_vocab:
            raise ValueError(
                f"the model knows {model.n_vocab} tokens and the lattice was compiled for "
                f"{lattice.n_vocab}; compile it with this model's own tokenizer"
            )
        self.model, self.lattice = model, lattice
        self.states = lattice.start(rows) if start is None else np.repeat(start, rows, axis=0)
        # A budget-aware model is told where each row stands; the prompt stands nowhere but at its
        # end, where the poem begins.
        self._sizes = getattr(model, "state_sizes", (0, 0))
        self._aware = bool(getattr(model, "n_states", 0))
        known: dict[str, Any] = {}
        if self._aware:
            known["states"] = np.zeros(len(prompt), np.int64)
            known["states"][-1:] = budget_of(lattice, self.states[:1], self._sizes)
        self.cache, logits = model.prefill(prompt, rows, lattice.max_tokens, **known)
        able = hasattr(model, "decode_weighed" if weighed else "decode_slice")
        self._slices = not whole and able
        self._weighed = weighed or not self._slices
        self._begin = self.states[:1].copy(), logits  # how a row begins
        self._masks: Masks | None = lattice.masks(self.states)
        self._sequence = sequence(lattice.order, model.n_vocab)
        # The present logits: float32 (., V), or a slice (., W), those of row b in row _row[b].
        self._whole, self._logits = True, logits[None]
        self._row = np.zeros(rows, np.int64)
        self._fresh = True  # are they of what stands written?
        self._extra, self._extra_start = np.zeros(0, np.float32), np.zeros(rows + 1, np.int64)
        self._norms: np.ndarray | None = None
        self._guide = guide
        self._team = shared_team()
        self._written = np.full((rows, lattice.max_tokens + 1), -1, np.int64)
        self._steps = np.zeros(rows, np.int64)  # tokens of each row

    def __len__(self) -> int:
        return len(self.states)

    @property
    def history(self) -> list[list[int]]:
        """The tokens each row has written."""
        return [row[:n].tolist() for row, n in zip(self._written, self._steps, strict=True)]

    def candidates(self, row: int, options: Options) -> tuple[np.ndarray, np.ndarray]:
        """The tokens a row may take, ascending, and the look-ahead of each: float64."""
        masks = self.masks()
        entry = slice(masks.start[row], masks.stop[row] if masks.entry[row] >= 0 else 0)
        places = masks.position[entry]
        held = ~np.isin(places, masks.drop[masks.drop_start[row] : masks.drop_start[row + 1]])
        extras = slice(masks.extra_start[row], masks.extra_start[row + 1])
        more = masks.extra_token[extras]
        tokens = np.concatenate([self.lattice.order[places[held]], more])
        ahead = np.zeros(len(tokens))
        if options.lookahead:
            ahead += np.concatenate([masks.outlook[entry][held], masks.extra_outlook[extras]])
        guide, guide_row = self.guide_rows(options)
        if guide_row[row] >= 0:
            ahead += guide[guide_row[row], np.concatenate([places[held], self.lattice.rank[more]])]
        by_token = np.argsort(tokens)
        return tokens[by_token], ahead[by_token]

    def logits_of(self, row: int) -> np.ndarray:
        """A row's logits of all tokens, float32 (V,); for a batch that keeps them (`whole`)."""
        return np.asarray(self._logits[self._row[row]])

    def log_norms(self) -> np.ndarray:
        """Log sum exp of each row's logits over all tokens, float64 (B,); nan if not `weighed`."""
        if not self._weighed:
            return np.full(len(self), np.nan)
        if self._norms is None:
            self._norms = self._norms_of(self._logits)
        return self._norms[self._row]

    def _norms_of(self, logits: np.ndarray) -> np.ndarray:
        norms = np.empty(len(logits))
        room = panel_room(self._team.threads, len(self._sequence))
        wide = np.ascontiguousarray(logits, np.float32)
        self._team.run(log_sum_exp_rows, wide, self._sequence, room, norms)
        return norms

    def masks(self) -> Masks:
        """What each row may take next."""
        if self._masks is None:
            self._masks = self.lattice.masks(self.states)
        return self._masks

    def guide_rows(self, options: Options) -> tuple[np.ndarray, np.ndarray]:
        """The look-ahead's table and each row's line in it, as `sample_masked` takes them."""
        if self._guide is None or not options.lookahead:
            return np.zeros((1, 1), np.float32), np.full(len(self), -1, np.int64)
        return self._guide.table, self._guide.rows(self.states)

    @property
    def can_admit(self) -> bool:
        """Does this model's cache take rows that begin when others are under way?"""
        return hasattr(self.cache, "admit")

    def admit(self, options: Options, uniforms: np.ndarray) -> Draw:
        """New rows after those there are, one a uniform number, each with its first token, which
        the model has yet to read."""
        begun = copy.copy(self)
        more = len(uniforms)
        states, logits = self._begin
        begun.states = np.repeat(states, more, axis=0)
        begun._logits, begun._whole, begun._norms = logits[None], True, None
        begun._row = np.zeros(more, np.int64)
        begun._masks = None
        begun._written = np.full((more, self._written.shape[1]), -1, np.int64)
        begun._steps = np.zeros(more, np.int64)
        drawn = begun.draw(options, uniforms)
        begun.push(drawn.tokens)
        self.cache.admit(more)
        self.states = np.concatenate([self.states, begun.states])
        self._written = np.concatenate([self._written, begun._written])
        self._steps = np.concatenate([self._steps, begun._steps])
        self._row = np.concatenate([self._row, begun._row])  # read anew before anybody looks
        self._masks = None
        return drawn

    def draw(self, options: Options, uniforms: np.ndarray) -> Draw:
        """One token a row, drawn by its own uniform number in [0, 1)."""
        masks, norms = self.masks(), self.log_norms()
        guide, guide_row = self.guide_rows(options)
        n = len(self)
        longest = int(self._steps.max(initial=0)) if options.repetition_penalty != 1.0 else 0
        history = self._written[:, :longest]
        out = Draw(np.zeros(n, np.int64), *(np.zeros(n) for _ in range(5)))
        most = int((masks.stop - masks.start + np.diff(masks.extra_start)).max())
        self._team.run(
            sample_masked,
            np.ascontiguousarray(self._logits, np.float32),
            self._row,
            self._extra,
            self._whole,
            self.lattice.order,
            self.lattice.rank,
            masks,
            norms,
            np.ascontiguousarray(history),
            np.ascontiguousarray(uniforms, np.float64),
            float(options.temperature),
            min(int(options.top_k or 0), self.model.n_vocab),
            1.0 if options.top_p is None else float(options.top_p),
            float(options.min_p or 0.0),
            float(options.repetition_penalty),
            options.lookahead,
            guide,
            guide_row,
            np.empty((self._team.threads, 2, max(most + 16, 512)), np.float32),
            out.tokens,
            out.log_p,
            out.log_q,
            out.log_mass,
            out.ahead,
        )
        if (out.tokens < 0).any():
            raise ValueError(
                "the model gives no finite number to any token the form allows; its weights are "
                "damaged: fetch or train them again"
            )
        out.log_target = self._log_target(options, history, out)
        return out

    def _log_target(self, options: Options, history: np.ndarray, drawn: Draw) -> np.ndarray:
        """log_p of the tokens drawn, after the penalty, over the temperature: float64 (B,)."""
        log_p = drawn.log_p
        if history.shape[1] and not self._slices:
            # The penalty changes the logits of what was written, and with them every norm.
            penalty = options.repetition_penalty
            changed = np.asarray(self._logits, np.float32)[self._row]
            rows = np.repeat(np.arange(len(self)), history.shape[1])
            known = history.reshape(-1) >= 0
            at = (rows[known], history.reshape(-1)[known])
            was = changed[at]
            changed[at] = np.where(was > 0, was / penalty, was * penalty)
            chosen = changed[np.arange(len(self)), drawn.tokens]
            log_p = chosen.astype(np.float64) - self._norms_of(changed)
        return log_p / (options.temperature or 1.0)

    def push(self, tokens: np.ndarray) -> np.ndarray:
        """Append a token to every row; returns which rows are finished, bool (B,).

        The model has not read the tokens yet: drop what is finished, then call `read`.
        """
        self.lattice.advance(self.states, tokens)
        self._masks, self._fresh = None, False
        self._written[np.arange(len(self)), self._steps] = tokens
        self._steps = self._steps + 1
        return self.lattice.finished(self.states)

    def select(self, parents: np.ndarray) -> None:
        """Row i becomes a copy of row parents[i]; rows may be dropped or forked."""
        parents = np.asarray(parents, np.int64)
        if len(parents) == len(self) and (parents == np.arange(len(self))).all():
            return
        if self._fresh and not self._whole:  # extras lie row after row
            start = self._extra_start
            many = np.diff(start)[parents]
            self._extra_start = np.concatenate([[0], np.cumsum(many)])
            moved = np.repeat(start[parents] - self._extra_start[:-1], many)
            self._extra = self._extra[moved + np.arange(len(moved))]
        self.states = self.states[parents]
        self._masks = None
        self._written, self._steps = self._written[parents], self._steps[parents]
        self._row = self._row[parents]
        self.cache.select(parents)

    def read(self) -> None:
        """Let the model read every row's last token: new logits."""
        last = self._written[np.arange(len(self)), self._steps - 1]
        known: dict[str, Any] = {}
        if self._aware:
            known["states"] = budget_of(self.lattice, self.states, self._sizes)
        self._row, self._norms, self._fresh = np.arange(len(self)), None, True
        if not self._slices:
            self._logits = self.model.decode_step(self.cache, last, **known)
            return
        masks = self.masks()
        asked = (
            self.cache, last, self.lattice.order, masks.prefix, masks.extra_start,
            masks.extra_token,
        )  # fmt: skip
        self._whole, self._extra_start = False, masks.extra_start
        if self._weighed:
            self._logits, self._extra, self._norms = self.model.decode_weighed(*asked, **known)  # type: ignore[attr-defined]
        else:
            self._logits, self._extra = self.model.decode_slice(*asked, **known)  # type: ignore[attr-defined]
