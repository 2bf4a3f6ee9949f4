"""Hugging Face folder (config.json + safetensors + tokenizer files) -> Checkpoint.

Knows transformers' names for GPT-2 and Llama and the two layouts of tokenizer files; text is JSON
and weights are safetensors, so nothing in the folder can run. Called by `checkpoint.load`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from .checkpoint_common import (
    KEY,
    STATES,
    Checkpoint,
    CheckpointError,
    FloatArray,
    checked,
    make_config,
    read_safetensors,
)
from .hf_tokenizer import load_folder_tokenizer, read_json
from .model_config import GPTConfig

__all__ = ["folder_files", "load_folder", "load_folder_tokenizer"]

_GELU = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}


def load_folder(folder: Path) -> Checkpoint:
    """Read a folder that `save_pretrained` wrote or the hub gave."""
    card = read_json(folder / "config.json")
    kind = card.get("model_type")
    tensors = _read_weights(folder)
    if kind == "gpt2":
        config = _gpt2_config(folder, card)
        state = _gpt2_state(tensors)
    elif kind == "llama":
        config = _llama_config(folder, card)
        state = _llama_state(tensors, config)
    else:
        raise CheckpointError(
            f"{folder}: model_type {kind!r} is not supported; give a gpt2 or llama model (such as "
            "SmolLM2)"
        )
    said = card.get(KEY)
    said = said if isinstance(said, dict) else {}
    if said.get("bias") is False and kind == "gpt2":  # transformers' GPT-2 has none without
        biases = [tensor for name, tensor in state.items() if name.endswith(".bias")]
        if not any(bool(tensor.any()) for tensor in biases):  # it may have been trained there
            config = replace(config, bias=False)
    if STATES in tensors:  # transformers leaves them out of what it saves
        sizes = {name: said.get(name) for name in ("state_lines", "state_left")}
        config = make_config(str(folder), **{**asdict(config), **sizes})
        state[STATES] = tensors[STATES]
    tokenizer, style = load_folder_tokenizer(folder), said.get("prompt_style")
    return checked(config, state, tokenizer, folder.name, str(folder), style)


def folder_files(folder: Path) -> list[Path]:
    """The files that hold the configuration and may hold weights."""
    return sorted(
        path
        for pattern in ("config.json", "*.safetensors", "*.safetensors.index.json")
        for path in folder.glob(pattern)
        if path.is_file()
    )


def _need(folder: Path, card: Mapping[str, Any], key: str) -> Any:
    value = card.get(key)
    if value is None:
        raise CheckpointError(f"{folder}: config.json lacks {key}; fetch the folder again")
    return value


def _refuse(folder: Path, card: Mapping[str, Any], usual: Mapping[str, Any]) -> None:
    """Variants that this decoder does not compute must be errors, not wrong logits."""
    for key, value in usual.items():
        if card.get(key, value) not in (value, None):
            raise CheckpointError(
                f"{folder}: {key}={card[key]!r} is not supported (only {value!r}); use another "
                "model"
            )


def _gpt2_config(folder: Path, card: Mapping[str, Any]) -> GPTConfig:
    _refuse(
        folder, card,
        {
            "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False,
            "add_cross_attention": False,
        },
    )  # fmt: skip
    gelu = card.get("activation_function", "gelu_new")
    if not isinstance(gelu, str) or gelu not in _GELU:
        raise CheckpointError(
            f"{folder}: activation_function={gelu!r} is not supported; use one of "
            f"{', '.join(_GELU)}"
        )
    return make_config(
        str(folder),
        block_size=_need(folder, card, "n_positions"),
        vocab_size=_need(folder, card, "vocab_size"),
        n_layer=_need(folder, card, "n_layer"),
        n_head=_need(folder, card, "n_head"),
        n_embd=_need(folder, card, "n_embd"),
        n_inner=card.get("n_inner"),
        norm_eps=card.get("layer_norm_epsilon", 1e-5),
        mlp=_GELU[gelu],
        tied=bool(card.get("tie_word_embeddings", True)),
    )


def _llama_config(folder: Path, card: Mapping[str, Any]) -> GPTConfig:
    _refuse(
        folder, card,
        {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "pretraining_tp": 1},
    )  # fmt: skip
    rope = card.get("rope_parameters") or card.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default")) if isinstance(rope, dict) else rope
    if kind != "default":
        raise CheckpointError(
            f"{folder}: rotary scaling {kind!r} is not supported; use a model without it (such as "
            "SmolLM2)"
        )
    return make_config(
        str(folder),
        block_size=_need(folder, card, "max_position_embeddings"),
        vocab_size=_need(folder, card, "vocab_size"),
        n_layer=_need(folder, card, "num_hidden_layers"),
        n_head=_need(folder, card, "num_attention_heads"),
        n_embd=_need(folder, card, "hidden_size"),
        n_inner=_need(folder, card, "intermediate_size"),
        n_kv_head=card.get("num_key_value_heads"),
        head_dim=card.get("head_dim"),
        bias=False,
        norm="rmsnorm",
        norm_eps=card.get("rms_norm_eps", 1e-6),
        mlp="swiglu",
        rope_theta=rope.get("rope_theta", card.get("rope_theta", 10000.0)),
        tied=bool(card.get("tie_word_embeddings", False)),
    )


def _read_weights(folder: Path) -> dict[str, FloatArray]:
    """All tensors of model.safetensors, or of the files that its index names, as float32."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        names = {single.name}
    elif index.is_file():
        weight_map = read_json(index).get("weight_map")
        names = set(weight_map.values()) if isinstance(weight_map, dict) else set()
        if not names or not all(isinstance(n, str) and Path(n).name == n for n in names):
            raise CheckpointError(
                f"{index}: does not name files of its folder; fetch the folder again"
            )
    elif any(folder.glob("pytorch_model*.bin")):
        raise CheckpointError(
            f"{folder}: its weights are pickled (pytorch_model.bin), which can run code; give "
            "safetensors: model.save_pretrained(folder, safe_serialization=True)"
        )
    else:
        raise CheckpointError(
            f"{folder}: no model.safetensors in it; give a folder that save_pretrained wrote"
        )
    tensors: dict[str, FloatArray] = {}
    for name in sorted(names):
        tensors.update(read_safetensors(folder / name))
    return tensors


def _gpt2_state(tensors: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """transformers keeps GPT-2's products as (in, out); nanoGPT and torch as (out, in)."""
    state: dict[str, FloatArray] = {}
    for name, tensor in tensors.items():
        ours = name if name.startswith(("transformer.", "lm_head.")) else f"transformer.{name}"
        if ours.endswith((".attn.bias", ".attn.masked_bias")):  # causal masks of old versions
            continue
        turned = (
            ours.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")) and tensor.ndim == 2
        )
        state[ours] = np.ascontiguousarray(tensor.T) if turned else tensor
    return state


def _llama_state(tensors: Mapping[str, FloatArray], config: GPTConfig) -> dict[str, FloatArray]:
    state: dict[str, FloatArray] = {}

    def put(name: str, *sources: str) -> None:
        parts = [tensors[s] for s in sources if s in tensors]
        if len(parts) == len(sources):  # an absent one is reported by `checked`
            state[name] = parts[0] if len(parts) == 1 else np.concatenate(parts)

    put("transformer.wte.weight", "model.embed_tokens.weight")
    put("transformer.ln_f.weight", "model.norm.weight")
    put("lm_head.weight", "lm_head.weight")
    for i in range(min(config.n_layer, len(tensors))):
        ours, theirs = f"transformer.h.{i}", f"model.layers.{i}"
        put(f"{ours}.ln_1.weight", f"{theirs}.input_layernorm.weight")
        put(f"{ours}.ln_2.weight", f"{theirs}.post_attention_layernorm.weight")
        put(f"{ours}.attn.c_attn.weight", *(f"{theirs}.self_attn.{x}_proj.weight" for x in "qkv"))
        put(f"{ours}.attn.c_proj.weight", f"{theirs}.self_attn.o_proj.weight")
        put(f"{ours}.mlp.c_fc.weight", *(f"{theirs}.mlp.{x}_proj.weight" for x in ("gate", "up")))
        put(f"{ours}.mlp.c_proj.weight", f"{theirs}.mlp.down_proj.weight")
    return state
