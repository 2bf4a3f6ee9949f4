"""Mask kernels against their slow twins, on walks through the toy lattice and on random arrays."""

from __future__ import annotations

import numpy as np
import pytest
import toy

from constrained_gpt.kernels import mask, reference
from constrained_gpt.lattice import compile
from constrained_gpt.lexicon import Form
from constrained_gpt.lexicon.typography import Typography


@pytest.mark.parametrize("policy", ["all", "any"])
def test_steps_and_masks_equal_twins(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    form = Form(lines=(2, 3, 2), kigo="any", kireji="required")
    lattice = compile(
        form, toy.lexicon(), toy.ToyTokenizer(), policy=policy,
        typography=Typography(marks=toy.MARKS), use_cache=False,
    )  # fmt: skip
    compared = []

    def both(*args: object) -> int:
        out, outlook = args[-2:]
        assert isinstance(out, np.ndarray) and isinstance(outlook, np.ndarray)
        twins = out.copy(), outlook.copy()
        n = mask.allowed_children_(*args)  # type: ignore[attr-defined]
        assert n == reference.allowed_children(*args[:-2], *twins)  # type: ignore[arg-type]
        np.testing.assert_array_equal(out[:n], twins[0][:n])
        np.testing.assert_allclose(outlook[:n], twins[1][:n], atol=1e-9)
        compared.append(n)
        return n

    monkeypatch.setattr(mask, "allowed_children_", mask.allowed_children, raising=False)
    monkeypatch.setattr(mask, "allowed_children", both)
    rng = np.random.default_rng(0)
    for _ in range(300):
        state = lattice.start()
        while not lattice.finished(state)[0]:
            token = np.array([rng.choice(lattice.allowed(state[0]))], np.int64)
            twin = state.copy()
            assert mask.advance_states(lattice._tables, state, token) == -1
            assert reference.advance_states(lattice._tables, twin, token) == -1
            np.testing.assert_array_equal(state, twin)
    assert len(compared) > 100


def test_a_token_that_cannot_follow_is_named() -> None:
    lattice = compile(Form(lines=(1,)), toy.lexicon(), toy.ToyTokenizer(), use_cache=False)
    states = lattice.start(3)
    good = int(lattice.allowed(states[0])[0])
    tokens = np.array([good, lattice.end, good])
    assert reference.advance_states(lattice._tables, states.copy(), tokens) == 1
    with pytest.raises(ValueError, match=r"row 1; take tokens from allowed"):
        lattice.advance(states, tokens)


def test_shift_budget_equals_twin() -> None:
    rng = np.random.default_rng(1)
    for budget, bits in rng.integers(1, 2**12, (500, 2)):
        assert mask.shift_budget(budget, bits) == reference.shift_budget(budget, bits)


@pytest.mark.parametrize("vocab", [1, 31, 32, 33, 50257])
def test_bitmasks_equal_twins(vocab: int) -> None:
    rng = np.random.default_rng(vocab)
    fast = mask.allocate_token_bitmask(3, vocab)
    slow = fast.copy()
    for b in range(3):
        fast[b], slow[b] = -1, -1
        tokens = np.flatnonzero(rng.random(vocab) < 0.3).astype(np.int32)
        mask.set_bits(tokens, fast[b])
        reference.set_bits(tokens, slow[b])
    np.testing.assert_array_equal(fast, slow)
    logits = rng.standard_normal((3, vocab)).astype(np.float32)
    twin = logits.copy()
    mask.apply_token_bitmask_inplace(logits, fast)
    reference.apply_token_bitmask_inplace(twin, slow)
    np.testing.assert_array_equal(logits, twin)
    assert np.isinf(logits).sum() == 3 * vocab - sum(
        int(w).bit_count() for w in fast.view(np.uint32).ravel()
    )


def test_bitmask_sizes_are_checked() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        mask.allocate_token_bitmask(0, 10)
