"""Laws through the adapters: what other engines write under the lattice is valid and canonical."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from constrained_gpt.adapters.llama_cpp import LatticeLogitsProcessor as LlamaCppProcessor
from constrained_gpt.adapters.transformers import LatticeLogitsProcessor
from constrained_gpt.lattice import Lattice, compile
from constrained_gpt.lexicon import HAIKU, Lexicon, validate
from constrained_gpt.tokenizer import Tokenizer

FORM = dataclasses.replace(HAIKU, kigo="any", rhyme="identical", dangling="strict")


@pytest.fixture(scope="module")
def lattice() -> Lattice:
    return compile(FORM, Lexicon.default(), Tokenizer.gpt2())


def check(tokens: list[int], lattice: Lattice) -> None:
    tokenizer = Tokenizer.gpt2()
    body = tokens[: tokens.index(lattice.end)]
    text = tokenizer.decode(body)
    assert validate(text, FORM, policy="all").valid, text
    assert tokenizer.encode(text) == body
    assert set(tokens[len(body) :]) == {lattice.end}


def test_transformers_generate(lattice: Lattice) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_layer=1, n_head=2, n_embd=16, vocab_size=50257)
    model = transformers.GPT2LMHeadModel(config).eval()
    prompt = torch.tensor([Tokenizer.gpt2().encode("A haiku about rain:\n")] * 3)
    processor = LatticeLogitsProcessor(lattice, prompt.shape[1])
    written = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=True,
        max_new_tokens=lattice.max_tokens,
        logits_processor=transformers.LogitsProcessorList([processor]),
        eos_token_id=lattice.end,
        pad_token_id=lattice.end,
    )
    poems = [row[prompt.shape[1] :].tolist() for row in written]
    for poem in poems:
        check(poem, lattice)
    assert len({tuple(p) for p in poems}) == 3


def test_llama_cpp_loop(lattice: Lattice) -> None:
    """llama-cpp-python's calling convention, played by hand with random scores."""
    rng = np.random.default_rng(0)
    processor = LlamaCppProcessor(lattice, 4)
    history = [1, 2, 3, 4]
    while history[-1] != lattice.end:
        scores = rng.standard_normal(50257).astype(np.single)
        scores = processor(np.array(history, np.intc), scores)
        history.append(int(scores.argmax()))
    check(history[4:], lattice)
