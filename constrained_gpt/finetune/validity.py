"""How many poems a model writes in form when no mask helps it: drawn token by token, then judged.

A budget-aware model is told where it stands as long as what it wrote is a path of the lattice, and
nothing afterwards. Knows the model, a lattice and the validator. Called by the trainer and by
`evaluate`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..kv_cache import KVCache
from ..lattice import Lattice
from ..lattice.budget import budget_of
from ..lexicon import Form, validate
from ..model import GPT
from ..tokenizer import Tokenizer

LONGEST = 48  # tokens; what has not ended by then is no poem of 17 syllables


def valid_share(texts: Sequence[str], form: Form, policy: str = "any") -> float:
    """The share of texts that have the form."""
    if not texts:
        return float("nan")
    return sum(validate(text, form, policy=policy).valid for text in texts) / len(texts)


@torch.no_grad()
def free_samples(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: Sequence[int],
    end: int,
    lattice: Lattice | None,
    draws: Sequence[np.random.Generator],
    *,
    temperature: float = 1.0,
    longest: int = LONGEST,
    lines: int | None = None,
) -> list[str]:
    """One text from each generator after a prompt, in the model's own distribution, no token
    forbidden; what does not end within `longest` tokens is cut off there.

    lattice: what a budget-aware model is told by; None: it is told nothing. lines: after so many
    `end` tokens a text is over, for a model to which a line break is the end (None: the first).
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    sizes = (model.config.state_lines, model.config.state_left)
    rows = lattice.start(len(draws)) if lattice is not None and model.config.n_states else None
    known = None
    if rows is not None and lattice is not None:
        known = np.zeros(len(prompt), np.int64)
        known[-1:] = budget_of(lattice, rows[:1], sizes)
    astray = np.zeros(len(draws), bool)
    going = np.arange(len(draws))
    written: list[list[int]] = [[] for _ in draws]

    def tensor(array: Sequence[int] | np.ndarray | None) -> torch.Tensor | None:
        return None if array is None else torch.as_tensor(np.asarray(array), device=device)

    asked = tensor(np.asarray(prompt, np.int64))
    assert asked is not None
    hidden, k, v = model.prefill(asked, tensor(known))  # (1, C), (L, KV, P, d) twice
    hidden = hidden.expand(len(draws), -1)
    cache = KVCache(k, v, len(draws), longest)
    every = list(draws)
    for _ in range(min(longest, model.config.block_size - len(prompt))):
        logits = model.lm_head(hidden).float()  # (B, V)
        p = (logits / temperature).softmax(-1).double().cumsum(-1).cpu().numpy()
        uniforms = np.array([every[i].random() for i in going.tolist()])
        tokens = np.array(
            [
                min(int(np.searchsorted(c, u * c[-1], side="right")), len(c) - 1)
                for c, u in zip(p, uniforms, strict=True)
            ]
        )
        over = np.zeros(len(going), bool)
        for place, (i, token) in enumerate(zip(going.tolist(), tokens.tolist(), strict=True)):
            written[i].append(token)
            over[place] = token == end and written[i].count(end) >= (lines or 1)
        stay = np.flatnonzero(~over)
        going, tokens = going[stay], tokens[stay]
        if not len(going):
            break
        if len(stay) < cache.batch:
            cache.select(stay)
        states = None
        if rows is not None and lattice is not None:
            states = np.zeros(len(going), np.int64)
            for place, (i, token) in enumerate(zip(going.tolist(), tokens, strict=True)):
                row = rows[i : i + 1]
                if not astray[i] and not _goes_on(lattice, row, int(token)):
                    astray[i] = True
                if not astray[i]:
                    states[place] = budget_of(lattice, row, sizes)[0]
        read = tensor(tokens)
        assert read is not None
        hidden = model.step(read, cache, tensor(states))
    model.train(was_training)
    limit = tokenizer.n_vocab  # a padded vocabulary has ids that spell nothing
    return [
        tokenizer.decode([t for t in tokens if t < limit and (lines or t != end)]).rstrip("\n")
        for tokens in written
    ]


def _goes_on(lattice: Lattice, row: np.ndarray, token: int) -> bool:
    try:
        lattice.advance(row, np.array([token]))
    except ValueError:
        return False
    return not bool(lattice.finished(row)[0])
