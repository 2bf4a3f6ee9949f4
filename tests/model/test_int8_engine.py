"""The engine on bytes: its slow twin, its promises about rows and threads, and what it costs."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import MODELS

from constrained_gpt.checkpoint import load
from constrained_gpt.engine import Engine
from constrained_gpt.int8_engine import Int8Engine
from constrained_gpt.kernels import reference_decoder
from constrained_gpt.model import GPT

TEXT = "an old silent pond a frog jumps into the pond splash silence again"


@pytest.fixture(scope="module", params=sorted(MODELS))
def engine(request: pytest.FixtureRequest, saved: Any) -> Int8Engine:
    folder, _ = saved(request.param)
    made = Engine.from_pretrained(folder, dtype="int8")
    assert isinstance(made, Int8Engine)
    return made


def stepped(engine: Any, ids: list[int], prompt: int, rows: int = 1) -> np.ndarray:
    """Logits after the prompt and after each further token, float32 (len(ids) - prompt + 1, V)."""
    cache, logits = engine.prefill(ids[:prompt], rows, len(ids) - prompt + 1)
    out = [logits]
    for token in ids[prompt:]:
        out.append(engine.decode_step(cache, np.full(rows, token))[rows - 1])
    return np.stack(out)


def test_is_its_slow_twin(engine: Int8Engine) -> None:
    ids = engine.tokenizer.encode(TEXT)[:30]
    model = engine.model
    hidden = reference_decoder.hidden(model.shape, model.weights, np.array(ids))
    wanted = reference_decoder.logits(hidden, model.head, model.head_scales)[:, : engine.n_vocab]
    for prompt in (1, 7, len(ids)):
        got = stepped(engine, ids, prompt)
        # a sum rounded otherwise may tip a byte, worth a part in 4,000
        np.testing.assert_allclose(got, wanted[prompt - 1 :], atol=2e-2 * np.abs(wanted).max())
        assert np.median(np.abs(got - wanted[prompt - 1 :])) < 2e-3 * np.abs(wanted).max()


def test_is_near_the_model(engine: Int8Engine, saved: Any, request: Any) -> None:
    folder, _ = saved(request.node.callspec.params["engine"])
    checkpoint = load(folder)
    model = GPT(checkpoint.config)
    model.load_state_dict(dict(checkpoint.state_dict))
    ids = engine.tokenizer.encode(TEXT)[:30]
    with torch.inference_mode():
        exact = model.eval()(torch.tensor([ids]))[0].numpy()
    got = stepped(engine, ids, 1)
    error = np.abs(got - exact).mean() / np.abs(exact).mean()
    assert error < 0.05, error


def test_rows_do_not_depend_on_company_or_threads(engine: Int8Engine) -> None:
    ids = engine.tokenizer.encode(TEXT)
    prompt, own = ids[:5], ids[5:12]
    alone = Int8Engine(
        engine.model, engine.tokenizer, "alone", n_vocab=engine.n_vocab,
        max_positions=engine.max_positions, threads=1,
    )  # fmt: skip
    wanted = stepped(alone, [*prompt, *own], len(prompt))
    rng = np.random.default_rng(0)
    for rows in (1, 2, 3, 7, 64):
        for threads in (1, 2, 3):
            other = Int8Engine(
                engine.model, engine.tokenizer, "other", n_vocab=engine.n_vocab,
                max_positions=engine.max_positions, threads=threads,
            )  # fmt: skip
            cache, logits = other.prefill(prompt, rows, 9)
            np.testing.assert_array_equal(logits, wanted[0])
            mine = int(rng.integers(rows))
            for step, token in enumerate(own):
                tokens = rng.integers(0, engine.n_vocab, rows)
                tokens[mine] = token
                logits = other.decode_step(cache, tokens)
                np.testing.assert_array_equal(logits[mine], wanted[step + 1])


def test_slices_are_the_whole_to_the_bit(engine: Int8Engine) -> None:
    rng = np.random.default_rng(1)
    ids = engine.tokenizer.encode(TEXT)[:6]
    order = rng.permutation(engine.n_vocab)[:200].astype(np.int32)
    rows = 5
    whole_cache, _ = engine.prefill(ids, rows, 4)
    slice_cache, _ = engine.prefill(ids, rows, 4)
    for _ in range(3):
        tokens = rng.integers(0, engine.n_vocab, rows)
        whole = engine.decode_step(whole_cache, tokens)
        prefix = rng.integers(0, 201, rows)
        prefix[0] = 0
        start = np.array([0, 3, 3, 4, 9, 9])
        extra = rng.integers(0, engine.n_vocab, 9)
        part, single = engine.decode_slice(slice_cache, tokens, order, prefix, start, extra)
        for row in range(rows):
            np.testing.assert_array_equal(
                part[row, : prefix[row]], whole[row, order[: prefix[row]]]
            )
        np.testing.assert_array_equal(single, whole[np.repeat(np.arange(5), np.diff(start)), extra])


def test_forks_and_drops(engine: Int8Engine) -> None:
    """Any selection of rows goes on as a row of its own history would."""
    rng = np.random.default_rng(2)
    prompt = engine.tokenizer.encode(TEXT)[:4]
    cache, _ = engine.prefill(prompt, 3, 8)
    histories: list[list[int]] = [[], [], []]
    for parents in ([0, 1, 2], [2, 2, 0, 1, 0], [4, 1, 1], [0], [0, 0, 0, 0, 0, 0, 0]):
        cache.select(np.array(parents))
        histories = [list(histories[p]) for p in parents]
        tokens = rng.integers(0, engine.n_vocab, len(parents))
        for history, token in zip(histories, tokens.tolist(), strict=True):
            history.append(token)
        logits = engine.decode_step(cache, tokens)
    for row in (0, 3, 6):
        wanted = stepped(engine, [*prompt, *histories[row]], len(prompt))[-1]
        np.testing.assert_array_equal(logits[row], wanted)
    with pytest.raises(ValueError, match="parents"):
        cache.select(np.array([7]))


def test_two_threads_may_call_at_once(engine: Int8Engine) -> None:
    ids = engine.tokenizer.encode(TEXT)[:12]
    wanted = stepped(engine, ids, 4)
    wrong: list[int] = []

    def work() -> None:
        for _ in range(5):
            if not np.array_equal(stepped(engine, ids, 4, rows=3), wanted):
                wrong.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_bad_calls(engine: Int8Engine, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="non-empty"):
        engine.prefill([], 1, 1)
    with pytest.raises(ValueError, match="token ids"):
        engine.prefill([engine.n_vocab], 1, 1)
    with pytest.raises(ValueError, match="shorten"):
        engine.prefill([1], 1, engine.max_positions)
    cache, _ = engine.prefill([1], 2, 1)
    with pytest.raises(ValueError, match="2 integers"):
        engine.decode_step(cache, np.array([1]))
    engine.decode_step(cache, np.array([1, 2]))
    with pytest.raises(ValueError, match="larger max_new"):
        engine.decode_step(cache, np.array([1, 2]))
    with pytest.raises(ValueError, match="processor"):
        Engine.from_pretrained(tmp_path, dtype="int8", device="cuda")
