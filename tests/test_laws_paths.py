"""Laws 5 to 8 on every path: engines, precisions, strategies, batch sizes, threads, slices.

Small random networks over the toy world, so that nothing is smooth and everything can be
enumerated. What one engine alone promises stands in `tests/model`.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

import laws
import numpy as np
import pytest
import torch
import toy
from small_models import DEVICE, network

from constrained_gpt.decoding import STRATEGIES, Options, Path, beam, sample, smc
from constrained_gpt.decoding.stream import sample_lines
from constrained_gpt.gpu_engine import GpuEngine
from constrained_gpt.int8_engine import Int8Engine
from constrained_gpt.kernels.reference import log_sum_exp
from constrained_gpt.lattice import Lattice, compile
from constrained_gpt.lexicon import Form, validate
from constrained_gpt.lexicon.typography import Typography
from constrained_gpt.model import GPTConfig
from constrained_gpt.torch_engine import TorchEngine

TOKENIZER = toy.ToyTokenizer()
PROMPT = [7, 30, 7, 101, 7]
FORM = Form(lines=(1, 2), kigo="any", rhyme="identical")
SMALL = {"block_size": 96, "vocab_size": TOKENIZER.n_vocab + 3, "n_layer": 2, "n_embd": 40}
GPT2 = GPTConfig(**SMALL, n_head=4)
LLAMA = GPTConfig(
    **SMALL, n_head=5, n_kv_head=1, n_inner=56, norm="rmsnorm", mlp="swiglu", rope_theta=1e4,
    bias=False, tied=False,
)  # fmt: skip
ENGINES = {
    "float32-gpt2": (GPT2, "float32"),
    "float32-llama": (LLAMA, "float32"),
    "bfloat16-llama": (LLAMA, "bfloat16"),
    "int8-gpt2": (GPT2, "int8"),
    "int8-llama": (LLAMA, "int8"),
    "lanes-float32-gpt2": (GPT2, "float32"),
    "lanes-float32-llama": (LLAMA, "float32"),
    "lanes-bfloat16-llama": (LLAMA, "bfloat16"),
}
MANY = 64
SIZES = (1, 7, 64)
TASTE = Options(temperature=1.1, min_p=0.01)


def made(name: str, threads: int = 2, loud: float = 1.0) -> Any:
    config, dtype = ENGINES[name]
    if dtype == "int8":
        return Int8Engine.from_checkpoint(network(config, TOKENIZER, loud), threads=threads)
    checkpoint, torch_dtype = network(config, TOKENIZER, loud), getattr(torch, dtype)
    if name.startswith("lanes"):
        return GpuEngine.from_checkpoint(checkpoint, device=DEVICE, dtype=torch_dtype)
    return TorchEngine.from_checkpoint(checkpoint, dtype=torch_dtype)


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Any:
    return made(request.param)


@pytest.fixture(scope="module")
def lattice() -> Lattice:
    typography = Typography(marks=toy.MARKS[2:], capitals="lower")
    return compile(FORM, toy.lexicon(), TOKENIZER, typography=typography, use_cache=False)


def generators(places: Sequence[int]) -> list[np.random.Generator]:
    return [np.random.default_rng([5, place]) for place in places]


def numbers(path: Path) -> tuple[Any, ...]:
    """All that a decoder says of a poem, so that nan equals nan."""
    return (tuple(path.tokens), *map(repr, (path.log_p, path.log_q, path.weight, path.log_mass)))


def written(decode: Callable[..., list[Path]], *args: Any, size: int, **options: Any) -> list[Any]:
    """Poems 0 .. MANY, at most `size` at a time (a batch of one: the first few)."""
    model, lattice_, chosen = args
    end = MANY if size > 1 else 12
    out = []
    for first in range(0, end, size):
        places = range(first, min(first + size, end))
        out += decode(model, lattice_, PROMPT, generators(places), chosen, **options)
    return out


@pytest.mark.parametrize(
    "decode",
    [
        pytest.param(smc, id="smc"),
        pytest.param(functools.partial(sample, weights=True), id="sample-whole"),
        pytest.param(functools.partial(sample, weights=False), id="sample-slices"),
    ],
)
def test_a_seed_names_a_poem_at_every_batch_size(
    engine: Any, lattice: Lattice, decode: Any
) -> None:
    """Laws 6 and 8, to the last bit of every weight; and law 5, no token of the padded tail."""
    options = Options(temperature=1.1, min_p=0.01, particles=3)
    wanted = [numbers(p) for p in written(decode, engine, lattice, options, size=MANY)]
    assert len(set(wanted)) > 20
    for size in SIZES[:-1]:
        got = [numbers(p) for p in written(decode, engine, lattice, options, size=size)]
        assert got == wanted[: len(got)]
    for tokens in (w[0] for w in wanted):
        assert max(tokens) < TOKENIZER.n_vocab < engine.n_vocab
        text = TOKENIZER.decode(tokens)
        assert validate(text, FORM, policy="all", lexicon=toy.lexicon()).valid


@pytest.mark.parametrize(
    "options",
    [
        TASTE,
        Options(temperature=0.0),
        Options(temperature=1.3, top_k=2, min_p=None, lookahead=False),
        Options(top_p=0.8, repetition_penalty=1.5),
    ],
    ids=lambda o: f"{o.temperature}-{o.top_k}-{o.top_p}-{o.repetition_penalty}",
)
def test_slices_draw_what_the_whole_draws(engine: Any, lattice: Lattice, options: Options) -> None:
    """ "The mask is a slice": with and without weights, and streamed, the poems are the same."""
    whole = written(sample, engine, lattice, options, size=MANY, weights=True)
    sliced = written(sample, engine, lattice, options, size=MANY, weights=False)
    assert [p.tokens for p in whole] == [p.tokens for p in sliced]
    assert [p.log_q for p in whole] == [p.log_q for p in sliced]
    assert all(math.isnan(p.log_p) and math.isnan(p.weight) and not p.log_mass for p in sliced)
    for place in range(6):
        (number,) = generators([place])
        lines = [
            TOKENIZER.decode(line)
            for line in sample_lines(engine, lattice, PROMPT, number, options)
        ]
        assert "\n".join(lines) == TOKENIZER.decode(whole[place].tokens)


def test_beams_do_not_depend_on_how_many_are_asked(engine: Any, lattice: Lattice) -> None:
    options = Options(beams=9)
    wanted = [numbers(p) for p in beam(engine, lattice, PROMPT, generators(range(9)), options)]
    for many in (1, 4):
        got = beam(engine, lattice, PROMPT, generators(range(many)), options)
        assert [numbers(p) for p in got] == wanted[:many]
    assert len({w[0] for w in wanted}) == 9


class Separate:
    """Another way through the same engine: a prefill of its own for every row, and one row a step.

    kept False: and nothing is kept, the whole history is read again for every token.
    """

    def __init__(self, engine: Any, kept: bool) -> None:
        self.engine, self.kept = engine, kept
        self.n_vocab = engine.n_vocab

    def prefill(self, ids: Sequence[int], batch: int, max_new: int) -> tuple[Any, np.ndarray]:
        self.max_new = max_new
        rows = [[self.engine.prefill(ids, 1, max_new)[0], list(ids)] for _ in range(batch)]
        return Rows(self, rows), self.engine.prefill(ids, 1, max_new)[1]

    def decode_step(self, cache: Rows, tokens: np.ndarray) -> np.ndarray:
        out = []
        for row, token in zip(cache.rows, tokens.tolist(), strict=True):
            row[1].append(token)
            if self.kept:
                out.append(self.engine.decode_step(row[0], np.array([token]))[0])
            else:
                out.append(self.engine.prefill(row[1], 1, 1)[1])
        return np.stack(out)


class Rows:
    def __init__(self, model: Separate, rows: list[list[Any]]) -> None:
        self.model, self.rows = model, rows

    def select(self, parents: np.ndarray) -> None:
        """A forked row reads its history again."""
        rows, taken = [], set()
        for parent in parents.tolist():
            cache, history = self.rows[parent]
            if parent in taken:
                cache, _ = self.model.engine.prefill(PROMPT, 1, self.model.max_new)
                for token in history[len(PROMPT) :]:
                    self.model.engine.decode_step(cache, np.array([token]))
            taken.add(parent)
            rows.append([cache, list(history)])
        self.rows = rows


@pytest.mark.parametrize("strategy", ["sample", "smc", "beam"])
def test_a_shared_prefix_is_a_prefix_of_ones_own(
    engine: Any, lattice: Lattice, strategy: str
) -> None:
    """Law 6, to the bit: one prefill for all rows, dropped and forked on the way, or one for each."""
    decode, options = STRATEGIES[strategy], Options(particles=3, beams=5, temperature=1.1)
    together = decode(engine, lattice, PROMPT, generators(range(4)), options)
    apart = decode(Separate(engine, kept=True), lattice, PROMPT, generators(range(4)), options)
    if isinstance(engine, GpuEngine):  # which sums the weights where its logits are
        assert [p.tokens for p in together] == [p.tokens for p in apart]
        for a, b in zip(together, apart, strict=True):
            for name in ("log_p", "log_q", "weight", "log_mass"):
                wanted = pytest.approx(getattr(b, name), abs=1e-6, nan_ok=True)
                assert getattr(a, name) == wanted, name
        return
    assert [numbers(p) for p in together] == [numbers(p) for p in apart]


@pytest.mark.parametrize("name", ["float32-gpt2", "float32-llama"])
def test_cached_is_uncached(name: str, lattice: Lattice) -> None:
    """Law 6, to the token: nothing kept, every history read again from its beginning."""
    engine = made(name)
    for decode in (sample, smc):
        cached = decode(engine, lattice, PROMPT, generators(range(4)), TASTE)
        plain = decode(Separate(engine, kept=False), lattice, PROMPT, generators(range(4)), TASTE)
        assert [p.tokens for p in cached] == [p.tokens for p in plain]
        assert [p.weight for p in cached] == pytest.approx([p.weight for p in plain], abs=1e-4)


def test_threads_change_nothing(lattice: Lattice, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 8: torch's threads, the team's, and callers that share an engine and a lattice."""
    before = torch.get_num_threads()
    try:
        for name in ("float32-gpt2", "int8-gpt2", "int8-llama"):
            results = []
            for threads in (1, 2):
                torch.set_num_threads(threads)
                engine = made(name, threads)
                results.append(
                    [numbers(p) for p in written(sample, engine, lattice, TASTE, size=MANY)]
                )
            assert results[0] == results[1], name
            found: dict[int, list[Any]] = {}

            def write(number: int, engine: Any = engine, found: Any = found) -> None:
                found[number] = written(
                    sample, engine, lattice, TASTE, size=9 + number, weights=number == 0
                )

            callers = [threading.Thread(target=write, args=(i,)) for i in range(3)]
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join()
            for number in range(3):
                tokens = [tuple(p.tokens) for p in found[number]]
                assert tokens == [r[0] for r in results[0]], name
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["int8-gpt2", "int8-llama"])
def test_instructions_change_nothing(
    name: str, lattice: Lattice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without AMX (a batch of 8 and more uses it, where there is one)."""
    results = []
    for value in ("1", "0"):
        monkeypatch.setenv("CONSTRAINED_GPT_AMX", value)
        engine = made(name)
        results.append([numbers(p) for p in written(sample, engine, lattice, TASTE, size=MANY)])
    assert results[0] == results[1]
    assert not engine._layout.any()


@pytest.mark.parametrize("name", ["float32-llama", "int8-gpt2"])
def test_smc_weights_estimate_the_mass_of_the_form(name: str, lattice: Lattice) -> None:
    """Law 7 on a network: the estimate of the form's probability is that of enumeration."""
    engine = made(name, loud=0.2)
    z = sum(math.exp(p) for p in enumerated(engine, lattice).values())
    options = Options(temperature=1.0, min_p=None, particles=4, lookahead=False)
    paths = smc(engine, lattice, PROMPT, generators(range(1200)), options)
    estimates = np.array([math.exp(p.weight) for p in paths])
    error = estimates.std() / math.sqrt(len(estimates))
    assert abs(estimates.mean() - z) < 4 * error
    assert error < 0.25 * z


def enumerated(engine: Any, lattice: Lattice) -> dict[tuple[int, ...], float]:
    """Every poem with its log-probability, all of them read as one batch."""
    paths = list(laws.paths(lattice))
    longest = max(map(len, paths))
    cache, logits = engine.prefill(PROMPT, len(paths), longest)
    totals = np.zeros(len(paths))
    rows = np.repeat(logits[None], len(paths), axis=0)
    for step in range(longest):
        tokens = np.array([p[step] if step < len(p) else 0 for p in paths])
        norms = [log_sum_exp(row) for row in rows]
        for i, path in enumerate(paths):
            if step < len(path):
                totals[i] += float(rows[i, path[step]]) - norms[i]
        if step < longest - 1:
            rows = engine.decode_step(cache, tokens)
    return {tuple(p): float(t) for p, t in zip(paths, totals, strict=True)}


@pytest.mark.parametrize("name", ENGINES)
def test_log_p_is_the_models(name: str, lattice: Lattice) -> None:
    """What every strategy says of its poems is what reading them says, to rounding."""
    engine = made(name)
    truth = enumerated(engine, lattice)
    for decode in (sample, smc, beam):
        for path in decode(engine, lattice, PROMPT, generators(range(8)), TASTE):
            assert path.log_p == pytest.approx(truth[tuple(path.tokens)], abs=1e-4)
    best = beam(engine, lattice, PROMPT, generators(range(3)), Options(beams=len(truth)))
    top = sorted(truth.values(), reverse=True)[:3]
    assert [p.log_p for p in best] == pytest.approx(top, abs=1e-4)


def test_a_model_of_fewer_tokens_is_refused(lattice: Lattice) -> None:
    config = GPTConfig(**{**SMALL, "vocab_size": TOKENIZER.n_vocab - 1}, n_head=4)
    small = Int8Engine.from_checkpoint(network(config, TOKENIZER))
    with pytest.raises(ValueError, match="with this model's own tokenizer"):
        sample(small, lattice, PROMPT, generators([0]), TASTE)


def test_a_context_too_short_is_said(engine: Any, lattice: Lattice) -> None:
    with pytest.raises(ValueError, match="shorten the prompt"):
        sample(engine, lattice, [7] * 95, generators([0]), TASTE)
