"""The laws of the lattice as reusable assertions: any lattice, tokenizer and engine can be held to them.

Called by the law tests, for the toy world, the real lexicon and every adapter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from constrained_gpt.kernels.mask import allocate_token_bitmask
from constrained_gpt.lattice import Lattice
from constrained_gpt.lexicon import Lexicon, validate


def paths(lattice: Lattice, row: np.ndarray | None = None) -> Iterator[list[int]]:
    """Every accepted path, by walking the masks. Law 4 on the way: no state is stuck."""
    state = lattice.start() if row is None else row
    stack: list[tuple[np.ndarray, list[int]]] = [(state, [])]
    while stack:
        state, tokens = stack.pop()
        if lattice.finished(state)[0]:
            yield tokens
            continue
        allowed = lattice.allowed(state[0])
        assert len(allowed), f"law 4 (alive): stuck after {tokens}"
        assert (np.diff(allowed) > 0).all(), "allowed ids are not ascending"
        for token in allowed:
            following = state.copy()
            lattice.advance(following, np.array([token]))
            stack.append((following, [*tokens, int(token)]))


def assert_sound_and_complete(
    lattice: Lattice, tokenizer: Any, lexicon: Lexicon, texts: Iterable[str], policy: str
) -> int:
    """Laws 1 to 4 by brute force: the accepted paths are exactly the valid texts, each once.

    texts: every text of the surface grammar, valid or not. Returns how many are valid.
    """
    accepted: set[str] = set()
    for path in paths(lattice):
        assert path[-1] == lattice.end
        text = tokenizer.decode(path[:-1])
        assert tokenizer.encode(text) == path[:-1], f"law 3 (canonical): {text!r}"
        assert text not in accepted, f"two paths for {text!r}"
        report = validate(text, lattice.form, policy=policy, lexicon=lexicon)
        assert report.valid, f"law 1 (sound): {text!r}: {report.reasons}"
        accepted.add(text)
    valid = {
        text for text in texts if validate(text, lattice.form, policy=policy, lexicon=lexicon).valid
    }
    missing, extra = valid - accepted, accepted - valid
    assert not missing, f"law 2 (complete): {len(missing)} missing, e.g. {sorted(missing)[:5]}"
    assert not extra, f"accepted beyond the grammar: {sorted(extra)[:5]}"
    return len(valid)


def assert_never_stuck(
    lattice: Lattice, tokenizer: Any, lexicon: Lexicon, *, policy: str, walks: int, seed: int
) -> None:
    """Laws 1, 3, 4 on random walks: steps drawn evenly, so that corners are visited."""
    rng = np.random.default_rng(seed)
    for _ in range(walks):
        state, path = lattice.start(), []
        while not lattice.finished(state)[0]:
            allowed = lattice.allowed(state[0])
            assert len(allowed), f"law 4 (alive): stuck after {tokenizer.decode(path)!r}"
            token = int(rng.choice(allowed))
            lattice.advance(state, np.array([token]))
            path.append(token)
        assert len(path) <= lattice.max_tokens
        text = tokenizer.decode(path[:-1] if path[-1] == lattice.end else path)
        text = text.rstrip("\n")
        report = validate(text, lattice.form, policy=policy, lexicon=lexicon)
        assert report.valid, f"law 1 (sound): {text!r}: {report.reasons}"
        body = path[:-1]
        assert tokenizer.encode(text) == body, f"law 3 (canonical): {text!r}"


def assert_masks_are_slow_twins(lattice: Lattice, states: np.ndarray) -> int:
    """Law 5 for a batch: masks, outlooks and bitmasks of rows (B, width) are those of `candidates`.

    Nothing is missing, nothing is too much, and everything stands where `Masks` says. Returns B.
    """
    masks = lattice.masks(states)
    bitmask = allocate_token_bitmask(len(states), lattice.n_vocab)
    bitmask[:] = -1
    lattice.fill_next_token_bitmask(states, bitmask)
    for b in range(len(states)):
        tokens, outlook = lattice.candidates(states[b])
        inside = slice(masks.start[b], masks.stop[b] if masks.entry[b] >= 0 else masks.start[b])
        places = masks.position[inside]
        drops = masks.drop[masks.drop_start[b] : masks.drop_start[b + 1]]
        extras = slice(masks.extra_start[b], masks.extra_start[b + 1])
        for ascending in (places, drops, masks.extra_token[extras]):
            assert (np.diff(ascending) > 0).all()
        held = ~np.isin(places, drops)
        assert (~held).sum() == len(drops), "a token is dropped that was none"
        assert masks.prefix[b] == (places[-1] + 1 if len(places) else 0)
        got = np.concatenate([lattice.order[places[held]], masks.extra_token[extras]])
        ahead = np.concatenate([masks.outlook[inside][held], masks.extra_outlook[extras]])
        by_token = np.argsort(got, kind="stable")
        missing, extra = np.setdiff1d(tokens, got), np.setdiff1d(got, tokens)
        assert not len(missing), f"missing {missing[:5]} in state {states[b].tolist()}"
        assert not len(extra), f"too much: {extra[:5]} in state {states[b].tolist()}"
        np.testing.assert_array_equal(got[by_token], tokens)
        np.testing.assert_array_equal(ahead[by_token], outlook.astype(np.float32))
        bits = np.flatnonzero(np.unpackbits(bitmask[b].view(np.uint8), bitorder="little"))
        np.testing.assert_array_equal(bits, tokens)
    return len(states)
