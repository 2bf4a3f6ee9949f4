"""GGUF file -> Checkpoint: architectures llama and gpt2, byte-level BPE vocabularies.

Knows llama.cpp's names and its order of rotary rows; the file format itself is `gguf_file`'s
affair. Called by `checkpoint.load`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from .checkpoint_common import Checkpoint, CheckpointError, FloatArray, checked, make_config
from .gguf_file import GGUFError, GGUFFile
from .model_config import GPTConfig
from .tokenizer import PATTERNS, Tokenizer

_CONTROL, _USER_DEFINED = 3, 4  # token types that are matched whole


def load_gguf(path: Path) -> Checkpoint:
    """Read a GGUF file, its weights dequantised to float32."""
    try:
        file = GGUFFile(path)
        config = _config(file)
        return checked(config, _state(file, config), _tokenizer(file), path.stem, str(path))
    except GGUFError as error:
        raise CheckpointError(str(error)) from None


def load_gguf_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a GGUF file alone."""
    try:
        return _tokenizer(GGUFFile(path))
    except GGUFError as error:
        raise CheckpointError(str(error)) from None


def _config(file: GGUFFile) -> GPTConfig:
    arch = file.metadata.get("general.architecture")
    if arch not in ("llama", "gpt2"):
        raise CheckpointError(
            f"{file.path}: architecture {arch!r} is not supported; use a llama or gpt2 GGUF file"
        )

    def get(key: str, default: Any = None) -> Any:
        value = file.metadata.get(f"{arch}.{key}", default)
        if value is None:
            raise CheckpointError(
                f"{file.path}: metadata {arch}.{key} is missing; fetch the file again"
            )
        return value

    table = file.tensors.get("token_embd.weight")
    if table is None or len(table.shape) != 2:
        raise CheckpointError(
            f"{file.path}: tensor token_embd.weight is missing or not a table; fetch the file again"
        )
    n_head = get("attention.head_count")
    shared = {
        "block_size": get("context_length"),
        "vocab_size": table.shape[0],
        "n_layer": get("block_count"),
        "n_head": n_head,
        "n_embd": get("embedding_length"),
        "n_inner": get("feed_forward_length"),
        "tied": "output.weight" not in file.tensors,
    }
    _plausible(file, shared)
    if arch == "gpt2":
        eps = get("attention.layer_norm_epsilon")
        return make_config(str(file.path), **shared, norm_eps=eps, mlp="gelu_tanh")
    scaling = file.metadata.get("llama.rope.scaling.type", "none")
    if scaling != "none" or "rope_freqs.weight" in file.tensors:
        raise CheckpointError(
            f"{file.path}: rotary scaling is not supported; use a checkpoint without it (such as "
            "SmolLM2)"
        )
    head_dim = file.metadata.get("llama.attention.key_length")
    config = make_config(
        str(file.path),
        **shared,
        bias=False,
        n_kv_head=get("attention.head_count_kv", n_head),
        head_dim=head_dim,
        norm="rmsnorm",
        norm_eps=get("attention.layer_norm_rms_epsilon"),
        mlp="swiglu",
        rope_theta=get("rope.freq_base", 10000.0),
    )
    rotated = file.metadata.get("llama.rope.dimension_count", config.width)
    if rotated != config.width:
        raise CheckpointError(
            f"{file.path}: {rotated} of {config.width} dimensions are rotated; only full rotation "
            "is "
            "supported: use another checkpoint"
        )
    return config


def _plausible(file: GGUFFile, fields: dict[str, Any]) -> None:
    """Before a model of the stated size is laid out: can the file hold it at all?"""
    for key, most in (("n_layer", len(file.tensors)), ("n_embd", 1 << 20), ("n_inner", 1 << 22)):
        if not isinstance(fields[key], int) or not 0 < fields[key] <= most:
            raise CheckpointError(
                f"{file.path}: {key}={fields[key]!r} does not fit a file of {len(file.tensors)} "
                "tensors; "
                "its metadata is damaged: fetch it again"
            )


def _state(file: GGUFFile, config: GPTConfig) -> dict[str, FloatArray]:
    """llama.cpp's names -> nanoGPT's. Absent tensors are left out: `checked` reports them."""
    state: dict[str, FloatArray] = {}

    def put(name: str, *sources: str, heads: tuple[int, ...] = ()) -> None:
        if all(s in file.tensors for s in sources):
            parts = [file.tensor(s) for s in sources]
            for i, n in enumerate(heads):
                parts[i] = _unpermuted(parts[i], n)
            state[name] = parts[0] if len(parts) == 1 else np.concatenate(parts)

    put("transformer.wte.weight", "token_embd.weight")
    put("lm_head.weight", "output.weight")
    endings = ("weight", "bias") if config.bias else ("weight",)
    llama = config.rope_theta is not None
    if not llama:
        put("transformer.wpe.weight", "position_embd.weight")
    for end in endings:
        put(f"transformer.ln_f.{end}", f"output_norm.{end}")
        for i in range(config.n_layer):
            ours, theirs = f"transformer.h.{i}", f"blk.{i}"
            put(f"{ours}.ln_1.{end}", f"{theirs}.attn_norm.{end}")
            put(f"{ours}.ln_2.{end}", f"{theirs}.ffn_norm.{end}")
            if llama:
                q, k, v = (f"{theirs}.attn_{x}.{end}" for x in "qkv")
                put(f"{ours}.attn.c_attn.{end}", q, k, v, heads=(config.n_head, config.kv_heads))
                put(f"{ours}.mlp.c_fc.{end}", f"{theirs}.ffn_gate.{end}", f"{theirs}.ffn_up.{end}")
            else:
                put(f"{ours}.attn.c_attn.{end}", f"{theirs}.attn_qkv.{end}")
                put(f"{ours}.mlp.c_fc.{end}", f"{theirs}.ffn_up.{end}")
            put(f"{ours}.attn.c_proj.{end}", f"{theirs}.attn_output.{end}")
            put(f"{ours}.mlp.c_proj.{end}", f"{theirs}.ffn_down.{end}")
    return state


def _unpermuted(rows: FloatArray, heads: int) -> FloatArray:
    """llama.cpp stores the rotated pairs of a head side by side; we, like transformers, in
    halves."""
    if rows.shape[0] % (2 * heads):
        return rows  # a wrong shape: `checked` reports it
    paired = rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:])
    return paired.swapaxes(1, 2).reshape(rows.shape)


def _tokenizer(file: GGUFFile) -> Tokenizer:
    meta = file.metadata
    tokens, merges = meta.get("tokenizer.ggml.tokens"), meta.get("tokenizer.ggml.merges")
    types, eos = meta.get("tokenizer.ggml.token_type"), meta.get("tokenizer.ggml.eos_token_id")
    kind, pre = meta.get("tokenizer.ggml.model"), meta.get("tokenizer.ggml.pre", "default")
    if kind != "gpt2" or not _is_texts(tokens) or not _is_texts(merges):
        raise CheckpointError(
            f"{file.path}: its vocabulary is of kind {kind!r}, not byte-level BPE with merges; "
            "use a "
            "checkpoint with a GPT-2 kind of vocabulary (such as SmolLM2)"
        )
    if pre not in PATTERNS:
        raise CheckpointError(
            f"{file.path}: it splits text by the rule {pre!r}, which is not known here; use one of "
            f"{', '.join(PATTERNS)}"
        )
    if not isinstance(eos, int) or (types is not None and len(types) != len(tokens)):
        raise CheckpointError(
            f"{file.path}: its tokenizer metadata is incomplete (end-of-text {eos!r}); fetch it "
            "again"
        )
    types = np.asarray(types if types is not None else [1] * len(tokens))
    special = {
        tokens[i]: i
        for i in np.flatnonzero((types == _CONTROL) | (types == _USER_DEFINED)).tolist()
    }
    template = meta.get("tokenizer.chat_template")
    chat = "chatml" if isinstance(template, str) and "<|im_start|>" in template else None
    try:
        return Tokenizer.from_merges(
            str(meta.get("general.basename") or file.path.stem),
            tokens, merges, PATTERNS[pre], special, eos=eos, chat=chat,
        )  # fmt: skip
    except (ValueError, KeyError) as error:
        raise CheckpointError(f"{file.path}: {error}") from None


def _is_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and set(map(type, value)) <= {str}
