"""Small random models of transformers' own, and a tokenizer for them: the oracles of these tests."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from constrained_gpt.checkpoint import Checkpoint
from constrained_gpt.model import GPT, GPTConfig
from constrained_gpt.tokenizer import Tokenizer, to_spelling

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # where the engine for a GPU is tried


def write_tokenizer(folder: Path, size: int) -> None:
    """A byte-level vocabulary of 256 bytes, an end token and merges up to `size`, as vocab.json has it."""
    tokens = [to_spelling(bytes([b])) for b in range(256)] + ["<|endoftext|>"]
    merges = []
    for a in "abcdefghijklmnopqrstuvwxyz":
        for b in "aeiou":
            if len(tokens) < size:
                merges.append(f"{a} {b}")
                tokens.append(a + b)
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))


def random_weights(model: Any, seed: int) -> Any:
    """Weights far from their initial values: norms and biases too, so that none can be forgotten."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * (0.15 if p.ndim > 1 else 0.4))
    return model.eval()


def gpt2_model(**changes: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        **{
            "vocab_size": 301, "n_positions": 64, "n_embd": 48, "n_layer": 3, "n_head": 4,
            "bos_token_id": 256, "eos_token_id": 256, **changes,
        }
    )  # fmt: skip
    return random_weights(transformers.GPT2LMHeadModel(config), 1)


def llama_model(**changes: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        **{
            "vocab_size": 300, "max_position_embeddings": 64, "hidden_size": 48, "intermediate_size": 80,
            "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2,
            "rms_norm_eps": 1e-5, "bos_token_id": 256, "eos_token_id": 256, **changes,
        }
    )  # fmt: skip
    return random_weights(transformers.LlamaForCausalLM(config), 2)


MODELS: dict[str, Callable[[], Any]] = {
    "gpt2": gpt2_model,
    "gpt2-exact-gelu": lambda: gpt2_model(activation_function="gelu", n_inner=100),
    "gpt2-untied": lambda: gpt2_model(tie_word_embeddings=False),
    "llama-gqa-untied": llama_model,
    "llama-gqa-tied": lambda: llama_model(tie_word_embeddings=True),
    "llama-mha": lambda: llama_model(num_key_value_heads=6),
    "llama-one-kv": lambda: llama_model(num_key_value_heads=1, rope_theta=500.0),
    "llama-head-dim": lambda: llama_model(head_dim=16),
}


@functools.cache
def network(config: GPTConfig, tokenizer: Any = None, loud: float = 1.0) -> Checkpoint:
    """A random network of any shape, its weights far from their initial values; loud: scale of its
    logits. tokenizer: GPT-2's if none is given, which fits nothing here."""
    model = GPT(config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            spread = 0.25 if parameter.ndim > 1 else 0.4
            parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
        for parameter in model.transformer.ln_f.parameters():
            parameter *= loud
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    return Checkpoint(config, arrays, tokenizer or Tokenizer.gpt2(), "small")
