"""Budget-aware models: the state after each token, the same in training and on every path of
generation, and no difference at all where nothing was learned."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import toy
from small_models import DEVICE

from constrained_gpt.checkpoint_common import Checkpoint
from constrained_gpt.corpus.teacher import Recorder
from constrained_gpt.decoding import STRATEGIES, Options, Path
from constrained_gpt.decoding.batch import Batch
from constrained_gpt.decoding.stream import sample_lines
from constrained_gpt.finetune.validity import free_samples
from constrained_gpt.gpu_engine import GpuEngine
from constrained_gpt.int8_engine import Int8Engine
from constrained_gpt.kernels import mask as km
from constrained_gpt.kernels import reference_decoder
from constrained_gpt.lattice import Lattice, compile
from constrained_gpt.lattice.budget import budget_of, walk
from constrained_gpt.lexicon import Form
from constrained_gpt.lexicon.typography import Typography
from constrained_gpt.model import GPT
from constrained_gpt.model_config import GPTConfig
from constrained_gpt.torch_engine import TorchEngine

TOKENIZER = toy.ToyTokenizer()
SIZES = (2, 4)
PROMPT = [7, 8, 9]
FORM = Form(lines=(2, 3, 1), kigo="off", rhyme="off")


@pytest.fixture(scope="module", params=["all", "any"])
def lattice(request: pytest.FixtureRequest) -> Lattice:
    typography = Typography(marks=toy.MARKS, capitals="consistent")
    form = replace(FORM, lines=(2, 2))
    return compile(
        form, toy.lexicon(), TOKENIZER, policy=request.param, typography=typography, use_cache=False
    )


@pytest.fixture(scope="module")
def long_lattice() -> Lattice:
    return compile(FORM, toy.lexicon(), TOKENIZER, use_cache=False)


def slow_state(lattice: Lattice, row: np.ndarray, sizes: tuple[int, int]) -> int:
    """`budget_of` written from its description, on the slow tables."""
    tables = lattice._tables
    node, budget, inside = int(row[km.NODE]), int(row[km.BUDGET]), 0
    if node == km.FINISHED:
        return 0
    if node > km.MID_ROOT:
        unit, inside = int(tables.unit[node]), 1
        if unit >= 0 and tables.kind[unit] != km.WORD:
            inside = 0
        elif unit >= 0:
            left = {
                b - s
                for b in range(40)
                for s in range(10)
                if budget >> b & 1 and int(tables.bits[tables.word[unit]]) >> s & 1 and b >= s
            }
            if left:
                budget, inside = sum(1 << b for b in left), 0
    counts = [b for b in range(40) if budget >> b & 1 and b >= inside]
    left = min(counts[0] if counts else 0, sizes[1] - 1)
    line = min(len(lattice.form.lines) - 1 - int(row[km.LINE]), sizes[0] - 1)
    return 1 + 2 * (line * sizes[1] + left) + inside


def test_is_its_slow_twin_everywhere(lattice: Lattice) -> None:
    for sizes in (SIZES, (8, 16), (1, 1)):
        for row in reachable(lattice):
            assert budget_of(lattice, row[None], sizes)[0] == slow_state(lattice, row, sizes)


def reachable(lattice: Lattice) -> list[np.ndarray]:
    """Every state row that the lattice can be in."""
    first = lattice.start()[0]
    found = {first.tobytes(): first}
    queue = [first]
    while queue:
        row = queue.pop()
        if row[km.NODE] == km.FINISHED:
            continue
        for token in lattice.allowed(row):
            after = row[None].copy()
            lattice.advance(after, np.array([token]))
            if after.tobytes() not in found:
                found[after.tobytes()] = after[0]
                queue.append(after[0])
    assert len(found) > 50
    return list(found.values())


def test_a_walk_meets_the_states_of_the_sampler(lattice: Lattice) -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        row, path = lattice.start(), []
        wanted = [int(budget_of(lattice, row)[0])]
        while not lattice.finished(row)[0]:
            path.append(int(rng.choice(lattice.allowed(row[0]))))
            lattice.advance(row, np.array(path[-1:]))
            wanted.append(int(budget_of(lattice, row)[0]))
        found = walk(lattice, path)
        assert found is not None
        assert found.tolist() == wanted
        assert wanted[-1] == 0


def test_a_walk_refuses_what_is_no_poem_of_the_form(lattice: Lattice) -> None:
    def states(text: str) -> np.ndarray | None:
        return walk(lattice, [*TOKENIZER.encode(text), TOKENIZER.eos])

    assert states("snow glow\nwinter") is not None
    assert states("snow\nwinter") is None  # too short
    assert states("snow glow a\nwinter") is None  # too long
    assert states("snow glow\nwinter\nsnow glow") is None  # a line too many
    assert states("snow glow") is None
    assert states("snow dog\nwinter") is None  # a word it does not know
    assert walk(lattice, TOKENIZER.encode("snow glow\nwinter")) is None  # no end


# engines


def checkpoint(table: np.ndarray | None, rope: bool = False) -> Checkpoint:
    """A small random model; table: what the states add, (lines + left + 1, C), or None."""
    kind: dict[str, Any] = {"state_lines": SIZES[0], "state_left": SIZES[1]}
    if rope:
        kind.update(norm="rmsnorm", mlp="swiglu", rope_theta=1e4, bias=False, n_kv_head=1)
    config = GPTConfig(128, TOKENIZER.n_vocab + 2, 2, 2, 32, **kind)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        state = dict(GPT(config).state_dict())
    for name, tensor in state.items():
        if tensor.dim() > 1 and "wse" not in name:
            state[name] = 4 * tensor  # so that it is sure of something
    if table is None:
        del state["transformer.wse.weight"]
        config = replace(config, state_lines=0, state_left=0)
    else:
        state["transformer.wse.weight"] = torch.from_numpy(table)
    arrays = {name: tensor.detach().numpy() for name, tensor in state.items()}
    return Checkpoint(config, arrays, TOKENIZER, "tiny")  # type: ignore[arg-type]


ROWS = sum(SIZES) + 1
NOTHING = np.zeros((ROWS, 32), np.float32)
LEARNED = np.random.default_rng(5).normal(0, 0.3, (ROWS, 32)).astype(np.float32)
ENGINES = {
    "float32": TorchEngine.from_checkpoint,
    "lanes": functools.partial(GpuEngine.from_checkpoint, device=DEVICE),
    "int8": Int8Engine.from_checkpoint,
}


def write(engine: Any, lattice: Lattice, strategy: str, **more: Any) -> list[Path]:
    draws = [np.random.default_rng([9, i]) for i in range(5)]
    return STRATEGIES[strategy](engine, lattice, PROMPT, draws, Options(), **more)


@pytest.mark.parametrize("rope", [False, True], ids=["gpt2", "llama"])
@pytest.mark.parametrize("kind", ENGINES)
def test_a_table_of_zeros_changes_no_bit(kind: str, rope: bool, long_lattice: Lattice) -> None:
    plain = ENGINES[kind](checkpoint(None, rope))
    aware = ENGINES[kind](checkpoint(NOTHING, rope))
    assert (plain.n_states, aware.n_states) == (0, 1 + 2 * SIZES[0] * SIZES[1])
    for strategy, more in (
        ("sample", {"weights": False}),
        ("sample", {}),
        ("smc", {}),
        ("beam", {}),
    ):
        wanted, found = (write(e, long_lattice, strategy, **more) for e in (plain, aware))
        assert [p.tokens for p in found] == [p.tokens for p in wanted]
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_array_equal([a.log_p, a.log_q], [b.log_p, b.log_q])


@pytest.mark.parametrize("rope", [False, True], ids=["gpt2", "llama"])
@pytest.mark.parametrize("kind", ENGINES)
def test_what_was_learned_is_used_on_every_path(
    kind: str, rope: bool, long_lattice: Lattice
) -> None:
    """Each poem's log p, wherever a path gives it, is that of one pass over the whole text with
    the states that training walks to."""
    made = checkpoint(LEARNED, rope)
    engine = ENGINES[kind](made)
    model = GPT(made.config)
    model.load_state_dict(dict(made.state_dict))
    near = 1e-3 if kind == "float32" else 0.15
    unaware = 0.0
    for strategy in STRATEGIES:
        for path in write(engine, long_lattice, strategy):
            wanted = whole_log_p(model.eval(), long_lattice, path.tokens)
            assert path.log_p == pytest.approx(wanted, abs=near * len(path.tokens))
            if kind == "float32":
                unaware = max(unaware, abs(wanted - whole_log_p(model, None, path.tokens)))
    if kind == "float32":
        assert unaware > 0.1  # the states matter, so the test can tell
    # slices draw as whole logits do, and lines as poems do
    sliced = write(engine, long_lattice, "sample", weights=False)
    whole = write(engine, long_lattice, "sample")
    if kind == "int8":
        assert [p.tokens for p in sliced] == [p.tokens for p in whole]
    lines = list(
        sample_lines(engine, long_lattice, PROMPT, np.random.default_rng([9, 0]), Options())
    )
    joined = [t for line in lines for t in (*line, -1)]
    assert [t if t >= 0 else 0 for t in joined][: len(lines[0])] == sliced[0].tokens[
        : len(lines[0])
    ]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_recorded_teacher_is_told_where_it_stands(strategy: str, long_lattice: Lattice) -> None:
    engine = ENGINES["float32"](checkpoint(LEARNED))
    recorded = write(Recorder(engine, 4), long_lattice, strategy)
    assert [p.tokens for p in recorded] == [p.tokens for p in write(engine, long_lattice, strategy)]


def whole_log_p(model: GPT, lattice: Lattice | None, tokens: list[int]) -> float:
    states = torch.zeros(1, len(PROMPT) + len(tokens) - 1, dtype=torch.long)
    if lattice is not None:
        known = walk(lattice, tokens, SIZES)
        assert known is not None
        states[0, len(PROMPT) - 1 :] = torch.from_numpy(known[:-1])
    text = torch.tensor([[*PROMPT, *tokens]])
    with torch.inference_mode():
        log_p = model(text[:, :-1], states=states).log_softmax(-1)[0, len(PROMPT) - 1 :]
    return float(log_p.gather(1, text[0, len(PROMPT) :, None]).sum())


@pytest.mark.parametrize("kind", ENGINES)
def test_forked_and_dropped_rows_keep_their_states(kind: str, long_lattice: Lattice) -> None:
    engine = ENGINES[kind](checkpoint(LEARNED))
    batch = Batch(engine, long_lattice, PROMPT, 3)
    rng = np.random.default_rng(1)
    for _ in range(3):
        done = batch.push(batch.draw(Options(), rng.random(len(batch))).tokens)
        assert not done.any()
        batch.select(np.array([1, 1, 0, 2])[: len(batch) + 1])
        batch.read()
    alone = Batch(engine, long_lattice, PROMPT, 1)
    for token in batch.history[2]:
        alone.push(np.array([token]))
        alone.read()
    np.testing.assert_array_equal(alone.logits_of(0), batch.logits_of(2))


def test_int8_is_its_slow_twin() -> None:
    engine = Int8Engine.from_checkpoint(checkpoint(LEARNED))
    rng = np.random.default_rng(2)
    ids, states = rng.integers(0, engine.n_vocab, 12), rng.integers(0, engine.n_states, 12)
    hidden = reference_decoder.hidden(engine.model.shape, engine.model.weights, ids, states)
    wanted = reference_decoder.logits(hidden, engine.model.head, engine.model.head_scales)
    cache, logits = engine.prefill(ids[:5], 1, 8, states[:5])
    found = [logits]
    for token, state in zip(ids[5:], states[5:], strict=True):
        found.append(engine.decode_step(cache, np.array([token]), np.array([state]))[0])
    np.testing.assert_allclose(
        found, wanted[4:, : engine.n_vocab], atol=2e-2 * float(np.abs(wanted).max())
    )


@pytest.mark.parametrize("kind", ENGINES)
def test_states_that_cannot_be_are_refused(kind: str) -> None:
    aware, plain = ENGINES[kind](checkpoint(LEARNED)), ENGINES[kind](checkpoint(None))
    with pytest.raises(ValueError, match="train it with --budget"):
        plain.prefill(PROMPT, 1, 4, np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="one for each token"):
        aware.prefill(PROMPT, 1, 4, np.zeros(2, np.int64))
    with pytest.raises(ValueError, match=r"engine\.state_sizes"):
        aware.prefill(PROMPT, 1, 4, np.full(3, aware.n_states))


def test_free_samples_are_the_models_own(long_lattice: Lattice) -> None:
    """No mask, no state once astray: the tokens' frequencies are the softmax of the first step."""
    made = checkpoint(LEARNED)
    model = GPT(made.config)
    model.load_state_dict(dict(made.state_dict))
    states = torch.zeros(1, len(PROMPT), dtype=torch.long)
    states[0, -1] = int(budget_of(long_lattice, long_lattice.start(), SIZES)[0])
    with torch.inference_mode():
        p = model.eval()(torch.tensor([PROMPT]), states=states)[0, -1].softmax(-1).numpy()
    draws = [np.random.default_rng([4, i]) for i in range(2000)]
    spelled = _Letters()
    texts = free_samples(model, spelled, PROMPT, TOKENIZER.eos, long_lattice, draws, longest=1)  # type: ignore[arg-type]
    found = np.array([int(t) if t else TOKENIZER.eos for t in texts])
    best = int(p.argmax())
    assert abs((found == best).mean() - p[best]) < 4 * np.sqrt(p[best] / 2000)


class _Letters:
    n_vocab = TOKENIZER.n_vocab + 2

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))
