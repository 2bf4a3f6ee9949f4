"""What may be asked of an engine, checked alike for all of them before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt


class Bounds(Protocol):
    """What an engine says about itself."""

    n_vocab: int
    max_positions: int
    name: str


class StateBounds(Protocol):
    """How many lattice states an engine's model tells apart; 0: it knows none."""

    n_states: int
    name: str


class CacheBounds(Protocol):
    """What a cache says about itself."""

    max_new: int

    @property
    def batch(self) -> int: ...

    @property
    def length(self) -> int: ...


def checked_prompt(
    engine: Bounds, ids: Sequence[int], batch: int, max_new: int
) -> npt.NDArray[np.int64]:
    """The prompt as int64 (P,); ValueError, with the cure, for what cannot be read."""
    prompt = np.asarray(ids)
    if prompt.ndim != 1 or prompt.size == 0 or prompt.dtype.kind not in "iu":
        raise ValueError("the prompt must be a non-empty list of token ids; encode a text first")
    _check_ids(engine, prompt)
    for name, value in (("batch", batch), ("max_new", max_new)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{name} must be a positive integer, got {value!r}")
    if prompt.size + max_new > engine.max_positions:
        raise ValueError(
            f"the prompt has {prompt.size} tokens and up to {max_new} may be written, more than "
            f"the {engine.max_positions} that {engine.name} can hold; shorten the prompt or "
            "choose a shorter form"
        )
    return prompt.astype(np.int64)


def checked_tokens(engine: Bounds, cache: CacheBounds, tokens: Any) -> npt.NDArray[np.int64]:
    """One new token a row as int64 (B,); ValueError, with the cure, where they do not fit."""
    new = np.asarray(tokens)
    if new.shape != (cache.batch,) or new.dtype.kind not in "iu":
        raise ValueError(
            f"tokens must be {cache.batch} integers, one per row of the cache, got shape "
            f"{new.shape} of {new.dtype}; cache.select changes the number of rows"
        )
    _check_ids(engine, new)
    if cache.length >= cache.max_new:
        raise ValueError(
            f"the cache holds the {cache.max_new} new tokens it was made for; prefill with a "
            "larger max_new"
        )
    return np.ascontiguousarray(new, np.int64)


def checked_states(
    engine: StateBounds, states: npt.NDArray[Any] | None, tokens: int
) -> npt.NDArray[np.int64] | None:
    """One lattice state for each token as int64, None for none; ValueError, with the cure."""
    if states is None:
        return None
    known = np.asarray(states)
    if not engine.n_states:
        raise ValueError(
            f"{engine.name} knows no lattice states; leave states out, or train it with --budget"
        )
    if known.shape != (tokens,) or known.dtype.kind not in "iu":
        raise ValueError(
            f"states must be {tokens} integers, one for each token, got shape {known.shape} of "
            f"{known.dtype}; take them from lattice.budget"
        )
    if known.size and (int(known.min()) < 0 or int(known.max()) >= engine.n_states):
        raise ValueError(
            f"states must lie in 0..{engine.n_states - 1}, got {known.min()}..{known.max()}; "
            "count them with the sizes of this model (engine.state_sizes)"
        )
    return np.ascontiguousarray(known, np.int64)


class Slice(NamedTuple):
    """Which logits are wanted, see `Engine.decode_slice`: order int32 (S,), prefix int64 (B,),
    extra_start int64 (B + 1,), extra_token int64 (E,)."""

    order: npt.NDArray[np.int32]
    prefix: npt.NDArray[np.int64]
    extra_start: npt.NDArray[np.int64]
    extra_token: npt.NDArray[np.int64]


def checked_slice(
    engine: Bounds, batch: int, order: Any, prefix: Any, extra_start: Any, extra_token: Any
) -> Slice:
    """What `decode_slice` is asked for; ValueError, with the cure, where it does not fit."""
    parts = [np.asarray(part) for part in (order, prefix, extra_start, extra_token)]
    names = ("order", "prefix", "extra_start", "extra_token")
    for name, part, size in zip(names, parts, (None, batch, batch + 1, None), strict=True):
        fits = part.ndim == 1 and (size is None or part.size == size)
        if not fits or (part.size and part.dtype.kind not in "iu"):
            wanted = "integers" if size is None else f"{size} integers"
            raise ValueError(
                f"{name} must be {wanted}, got shape {part.shape} of {part.dtype}; give what "
                "Lattice.masks says of these rows"
            )
        if name in ("order", "extra_token") and part.size:
            _check_ids(engine, part)
    order, prefix, extra_start, extra_token = parts
    if prefix.size and (prefix.min() < 0 or prefix.max() > order.size):
        raise ValueError(
            f"prefix must lie in 0..{order.size}, the size of the order, got "
            f"{prefix.min()}..{prefix.max()}; give masks of the lattice that the order is of"
        )
    if (
        extra_start[0] != 0
        or extra_start[-1] != extra_token.size
        or (extra_start[1:] < extra_start[:-1]).any()
    ):
        raise ValueError(
            f"extra_start must ascend from 0 to {extra_token.size}, the number of extra tokens; "
            "give what Lattice.masks says of these rows"
        )
    return Slice(
        np.ascontiguousarray(order, np.int32), np.ascontiguousarray(prefix, np.int64),
        np.ascontiguousarray(extra_start, np.int64), np.ascontiguousarray(extra_token, np.int64),
    )  # fmt: skip


def checked_parents(parents: npt.NDArray[Any], batch: int) -> npt.NDArray[Any]:
    """Row numbers of a batch; ValueError, with the cure, for anything else."""
    rows = np.asarray(parents)
    if rows.ndim != 1 or rows.size == 0 or rows.dtype.kind not in "iu":
        raise ValueError(
            f"parents must be a non-empty 1-d array of row numbers, got shape {rows.shape} "
            f"of {rows.dtype}; to finish a batch, drop the cache"
        )
    if rows.min() < 0 or rows.max() >= batch:
        raise ValueError(
            f"parents must lie in 0..{batch - 1}, got {rows.min()}..{rows.max()}; "
            "give row numbers of the batch as it is now"
        )
    return rows


def _check_ids(engine: Bounds, tokens: npt.NDArray[Any]) -> None:
    if int(tokens.min()) < 0 or int(tokens.max()) >= engine.n_vocab:
        raise ValueError(
            f"token ids must lie in 0..{engine.n_vocab - 1}, got {tokens.min()}..{tokens.max()}; "
            "encode with this engine's tokenizer"
        )
