"""The laws of DESIGN as reusable assertions: any lattice, tokenizer and engine can be held to them.

Called by the law tests, for the toy world, the real lexicon and every adapter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

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
