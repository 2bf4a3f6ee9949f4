"""The judge against slow sums of one token at a time, and form loss against all texts there are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
from small_models import MODELS, write_tokenizer

from constrained_gpt.engine import Engine
from constrained_gpt.evaluation import judge
from constrained_gpt.evaluation.form_loss import FormLoss
from constrained_gpt.evaluation.judge import Script, log_p, script
from constrained_gpt.lattice import compile
from constrained_gpt.lexicon import Form, validate
from constrained_gpt.lexicon.typography import Typography


class ChattyTokenizer(toy.ToyTokenizer):
    """The toy's tokenizer with what a prompt needs."""

    chat = None

    def encode_special(self, text: str) -> list[int]:
        return self.encode(text)


TOKENIZER = ChattyTokenizer()
ENGINE: Any = toy.ToyEngine(TOKENIZER)
TEXTS = ["snow\nwinter moon", "a\nfire", "moon", "winter snow, a fire\nglow", "snow\nwinter moon"]


def slow_log_p(engine: Any, one: Script) -> float:
    """One token at a time, the whole history before it."""
    history, total = list(one.prompt), 0.0
    for token in one.path:
        logits = np.asarray(engine.logits(history), np.float64)
        total += float(logits[token]) - math.log(np.exp(logits).sum())
        history.append(token)
    return total


@pytest.mark.parametrize("batch", [1, 2, 3, 32])
def test_log_p_is_the_sum_over_tokens_one_at_a_time(batch: int) -> None:
    topics = ["anything", "rain", "anything", "rain", "anything"]
    scripts = [script(ENGINE, t, topic) for t, topic in zip(TEXTS, topics, strict=True)]
    assert None not in scripts
    read: list[int] = []
    found = log_p(ENGINE, scripts, batch=batch, progress=read.append)  # type: ignore[arg-type]
    assert found == pytest.approx([slow_log_p(ENGINE, s) for s in scripts], abs=1e-6)  # type: ignore[arg-type]
    assert found[0] == found[4]
    assert read == sorted(read)
    assert read[-1] == len(TEXTS)


def test_a_script_is_the_prompt_and_the_poem_with_its_end() -> None:
    one = script(ENGINE, "snow\nmoon", "rain")
    assert one is not None
    assert TOKENIZER.decode(one.path) == "snow\nmoon\n"
    assert TOKENIZER.decode(one.prompt).endswith("Haiku about rain:\n")
    short: Any = toy.ToyEngine(TOKENIZER)
    short.max_positions = len(one.prompt) + len(one.path)
    assert script(short, "snow\nmoon", "rain") == one
    short.max_positions -= 1
    assert script(short, "snow\nmoon", "rain") is None  # too long for it


def test_a_batch_has_a_poem() -> None:
    assert log_p(ENGINE, []) == []
    with pytest.raises(ValueError, match="batch=0"):
        log_p(ENGINE, [Script((1,), (2,))], batch=0)


@pytest.mark.parametrize("name", ["gpt2", "llama-gqa-untied"])
def test_log_p_of_a_real_network_equals_its_forward_pass(name: str, tmp_path: Path) -> None:
    """Whole sequences through GPT.forward, no cache, no batch, no padding."""
    MODELS[name]().save_pretrained(tmp_path)
    write_tokenizer(tmp_path, 300)
    engine = Engine.from_pretrained(tmp_path, device="cpu")
    rng = np.random.default_rng(1)
    scripts = [
        Script((9, 8, 7), tuple(rng.integers(0, 300, length).tolist())) for length in (1, 5, 30, 12)
    ]
    slow = []
    for one in scripts:
        ids = torch.tensor([*one.prompt, *one.path])
        with torch.inference_mode():
            logits = engine.model(ids[None, :-1])[0].double().log_softmax(-1)  # (T, V)
        here = logits[len(one.prompt) - 1 :]
        slow.append(float(here[torch.arange(len(one.path)), ids[len(one.prompt) :]].sum()))
    assert log_p(engine, scripts, batch=3) == pytest.approx(slow, abs=1e-3)


FORM = Form(lines=(1, 2), kigo="any", rhyme="identical", dangling="forbidden")
WORDS = {w: toy.WORDS[w] for w in ("snow", "glow", "a", "fire", "winter", "moon")}
TYPOGRAPHY = Typography(marks=toy.MARKS[2:], capitals="lower")


def test_form_loss_is_what_the_valid_texts_leave_of_the_models_mass() -> None:
    """The mask read off the list of all valid texts: no lattice on that side."""
    lexicon = toy.lexicon(WORDS)
    lattice = compile(FORM, lexicon, TOKENIZER, typography=TYPOGRAPHY, use_cache=False)
    valid = [
        text
        for text in toy.all_texts(FORM, WORDS, TYPOGRAPHY)
        if validate(text, FORM, policy="all", lexicon=lexicon).valid
    ]
    paths = [(*TOKENIZER.encode(text), TOKENIZER.eos) for text in valid]
    following: dict[tuple[int, ...], set[int]] = {}
    for path in paths:
        for step, token in enumerate(path):
            following.setdefault(path[:step], set()).add(token)
    prompt = (3, 1, 4)
    others = [(*TOKENIZER.encode("moon\nmoon"), TOKENIZER.eos), (5,)]
    scripts = [Script(prompt, path) for path in [*paths[::11], *others]]
    assert len(scripts) > 10
    loss = FormLoss(lattice, scripts)
    log_p(ENGINE, scripts, watch=loss, batch=4)
    for place, one in enumerate(scripts[: -len(others)]):
        lines = [0.0, 0.0]
        for step in range(len(one.path)):
            logits = np.asarray(ENGINE.logits([*prompt, *one.path[:step]]), np.float64)
            p = np.exp(logits) / np.exp(logits).sum()
            line = TOKENIZER.decode(one.path[:step]).count("\n")
            lines[line] -= math.log(sum(p[t] for t in following[one.path[:step]]))
        assert loss.lines(place) == pytest.approx(lines, abs=1e-6)
    assert [loss.lines(len(scripts) - 1 - i) for i in range(len(others))] == [None, None]


@pytest.mark.weights
@pytest.mark.slow
def test_the_judge_agrees_with_the_generator_on_its_own_poems() -> None:
    """What generate() says of a poem while it writes is what the judge reads off it afterwards."""
    from constrained_gpt import generate
    from constrained_gpt.evaluation import evaluate_poems

    engine = Engine.from_pretrained("smollm2", device="cpu")
    poems = [
        *generate("first snow", 2, model=engine, seed=3, strategy="sample", return_weights=True),
        *generate("a frog", 1, model=engine, seed=4, particles=2),
    ]
    (one,) = evaluate_poems(
        {"own": poems}, judge=engine, own_prompts=True, form_loss=poems[0].report.form, policy="all"
    ).sets
    for poem, judged in zip(poems, one.poems, strict=True):
        assert judged.log_p == pytest.approx(poem.logprob, abs=1e-3)
        assert judged.tokens == len(poem.tokens) + 1
        assert judged.form_loss is not None
        assert judged.form_loss == pytest.approx([-m for m in poem.line_log_mass], abs=1e-3)
        assert sum(poem.line_log_mass) == pytest.approx(sum(poem.log_mass))
        assert len(poem.log_mass) == len(poem.tokens) + 1
    neutral = evaluate_poems({"own": poems}, judge=engine).sets[0]
    assert neutral.poems[0].log_p != pytest.approx(poems[0].logprob, abs=0.1)
    assert neutral.poems[0].form_loss == tuple(-m for m in poems[0].line_log_mass)
    assert judge.NEUTRAL_TOPIC == "anything"
