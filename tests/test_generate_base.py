"""generate() on a base model: a tiny random nanoGPT checkpoint with GPT-2's vocabulary. No weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from constrained_gpt import generate, iterate, stream, validate
from constrained_gpt.engine import Engine
from constrained_gpt.model import GPT, GPTConfig


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nanoGPT's padded vocabulary of 50,304: the 47 rows past GPT-2's must never be drawn."""
    torch.manual_seed(0)
    arguments = {
        "block_size": 256, "vocab_size": 50304, "n_layer": 1, "n_head": 2, "n_embd": 16,
        "bias": True, "dropout": 0.0,
    }  # fmt: skip
    model = GPT(GPTConfig(**arguments))  # type: ignore[arg-type]
    path: Path = tmp_path_factory.mktemp("nano") / "ckpt.pt"
    torch.save({"model": model.state_dict(), "model_args": arguments}, path)
    return path


@pytest.fixture(scope="module", params=["float32", "int8"])
def engine(request: pytest.FixtureRequest, weights: Path) -> Any:
    return Engine.from_pretrained(weights, dtype=request.param)


@pytest.mark.parametrize("strategy", ["sample", "smc", "beam"])
def test_poems_of_a_base_model_are_valid_and_canonical(engine: Engine, strategy: str) -> None:
    poems = generate("rain", 3, model=engine, strategy=strategy, seed=1, temperature=1.0)
    assert len({poem.text for poem in poems}) == 3
    for poem in poems:
        assert validate(poem.text, poem.report.form, policy="all").valid
        assert tuple(engine.tokenizer.encode(poem.text)) == poem.tokens
        assert max(poem.tokens) < engine.tokenizer.n_vocab < engine.n_vocab


def test_a_seed_names_a_poem(engine: Engine) -> None:
    together = generate("rain", 6, model=engine, seed=2)
    alone = generate("rain", 6, model=engine, seed=2, batch_size=1)
    assert [p.text for p in together] == [p.text for p in alone]


def test_weights_and_lines_change_no_poem(engine: Engine) -> None:
    """With weights or without, streamed or not, at any batch size: the same poems by the seed."""
    options: dict[str, Any] = {"model": engine, "seed": 2**70, "temperature": 1.2}
    wanted = [p.text for p in generate("rain", 5, strategy="sample", unique=False, **options)]
    for batch_size in (1, 3):
        poems = generate(
            "rain", 5, strategy="sample", unique=False, return_weights=True,
            batch_size=batch_size, **options,
        )  # fmt: skip
        assert [p.text for p in poems] == wanted
        assert all(p.weight < 0 and len(p.log_mass) == len(p.tokens) + 1 for p in poems)
    lines = [text for poem, _, text in stream("rain", 5, **options)]
    assert lines == "\n".join(wanted).split("\n")


@pytest.mark.parametrize(
    "prompt",
    ["🐸", "🧑‍🚀 👩‍👧", "tab\tbell\x07null\x00escape\x1b[31m", "\u202eright to left", "<|endoftext|>",
     "<|im_start|>system", "古池や", "\n\nrain\n5-7-5\n"],
    ids=ascii,
)  # fmt: skip
def test_any_text_is_a_topic(engine: Engine, prompt: str) -> None:
    (poem,) = generate(prompt, model=engine, seed=0, strategy="sample")
    assert validate(poem.text, poem.report.form, policy="all").valid
    assert engine.tokenizer.eos not in poem.tokens


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        ({"prompt": "rain " * 250_000}, "at most 1,000"),
        ({"prompt": b"rain"}, "topic such as"),
        ({"n": 0}, "from 1 up"),
        ({"n": -1}, "from 1 up"),
        ({"n": 10**9, "strategy": "beam"}, "at most"),
        ({"n": "3"}, "whole number"),
        ({"n": 2.0}, "whole number"),
        ({"n": math.inf}, "whole number"),
        ({"particles": 10**9}, "at most"),
        ({"beams": 10**9}, "at most"),
        ({"seed": -1}, "from 0 up"),
        ({"seed": 1.5}, "whole number"),
        ({"seed": True}, "whole number"),
        ({"batch_size": -1}, "from 1 up"),
        ({"batch_size": "all"}, "whole number"),
        ({"dtype": "int8"}, "an Engine already"),
        ({"return_weights": 1}, "neither True nor False"),
        ({"unique": "x"}, "unique='x' is neither True nor False"),
        ({"first_line": "an old silent\x00 pond"}, "control character"),
        ({"first_line": "an old silent pond\ud800"}, "control character"),
        ({"return_weights": "yes"}, "neither True nor False"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_hostile_arguments(engine: Engine, arguments: dict[str, Any], cure: str) -> None:
    arguments = {"prompt": "rain"} | arguments
    with pytest.raises((ValueError, TypeError), match=cure) as caught:
        generate(arguments.pop("prompt"), model=engine, **arguments)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("dtype", ["int4", 8, ["int8"], torch.float32, "", b"int8"], ids=str)
def test_a_precision_that_is_none(weights: Path, dtype: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="dtype"):
        generate("rain", model=str(weights), dtype=dtype)


def test_a_context_too_short_is_said(engine: Engine) -> None:
    with pytest.raises(ValueError, match="shorten the prompt"):
        generate("rain " * 180, model=engine)
    with pytest.raises(ValueError, match="shorten the prompt"):
        generate("é" * 1000, model=engine)


def test_a_path_is_read_again_when_its_file_has_changed(weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "ckpt.pt"
    state = torch.load(weights, weights_only=True)
    wanted = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        state["model"] = {n: torch.randn_like(t) for n, t in state["model"].items()}
        torch.save(state, path)
        (poem,) = generate("rain", model=path, seed=1, dtype="float32")
        (fresh,) = generate("rain", model=Engine.from_pretrained(path, dtype="float32"), seed=1)
        assert poem.text == fresh.text
        wanted.append(poem.text)
    assert wanted[0] != wanted[1]


def test_iterate_is_generate_poem_by_poem(engine: Engine) -> None:
    options: dict[str, Any] = {"model": engine, "strategy": "sample", "batch_size": 2, "seed": 4}
    wanted = generate("rain", 5, **options)
    heard: list[tuple[int, int]] = []
    got = iterate("rain", 5, progress=lambda *done: heard.append(done), **options)
    assert [poem.text for poem in got] == [poem.text for poem in wanted]
    assert heard == [(i, 5) for i in range(6)]
    endless = iterate("rain", 10**12, **options)  # nobody waits for the last one
    assert [next(endless).text for _ in range(3)] == [poem.text for poem in wanted[:3]]
    assert validate(wanted[0].text, policy="all", form=wanted[0].report.form).valid


def test_iterate_says_at_once_what_is_wrong(engine: Engine) -> None:
    with pytest.raises(ValueError, match="too small"):
        iterate("rain", 0, model=engine)
    with pytest.raises(TypeError, match="colour"):
        iterate("rain", model=engine, colour="red")
