"""One model under the names of others: random GPT-2 shapes, transformers, CTranslate2, GGUF.

Knows tensors and file formats; times nothing. Called by decoding_engines.py, which proves that all
of them give the logits of the checkpoint they were made from.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from constrained_gpt.checkpoint_common import Checkpoint, checked, expected_shapes
from constrained_gpt.model_config import GPTConfig
from constrained_gpt.tokenizer import Tokenizer, gpt2_merges, to_spelling

SHAPES = {  # layers, heads, width
    "124M": (12, 12, 768),
    "355M": (24, 16, 1024),
    "tiny": (2, 2, 64),
}


def random_gpt2(shape: str, seed: int = 0) -> Checkpoint:
    """A GPT-2 of one of SHAPES, with GPT-2's tokenizer.

    Normal numbers, at width 768 nanoGPT's 0.02, scaled by 1 / sqrt(inputs) elsewhere; but a layer's
    first matrices are four times as large and its last ones not made smaller, or the likeliest text
    would be one token over and over. Biases and norms are a little off 0 and 1. So a peer that
    forgets or swaps something is found out.
    """
    layers, heads, width = SHAPES[shape]
    config = GPTConfig(
        vocab_size=50257, n_layer=layers, n_head=heads, n_embd=width, mlp="gelu_tanh"
    )
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, size in expected_shapes(config).items():
        scale = 0.08 if name.endswith(("c_attn.weight", "c_fc.weight")) else 0.02
        tensor = scale * math.sqrt(768 / size[-1]) * torch.randn(size, generator=generator)
        norm = ".ln_" in name
        state[name] = tensor + 1 if norm and name.endswith("weight") else tensor
    return checked(config, state, Tokenizer.gpt2(), f"random-{shape}", "random weights")


def transformers_twin(checkpoint: Checkpoint) -> Any:
    """The same model as transformers has it, float32."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    config = checkpoint.config
    with torch.device("meta"):
        if config.rope_theta is None:
            model = transformers.GPT2LMHeadModel(_gpt2_config(config))
        else:
            model = transformers.LlamaForCausalLM(_llama_config(config))
    state = dict(_transformers_state(checkpoint))
    absent, unknown = model.load_state_dict(state, strict=False, assign=True)
    if unknown or set(absent) - {"lm_head.weight"}:
        raise SystemExit(f"transformers' twin lacks {absent} and does not know {unknown}")
    model.tie_weights()
    if config.rope_theta is not None:  # its table of frequencies is no parameter
        model.model.rotary_emb = type(model.model.rotary_emb)(model.config)
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = checkpoint.tokenizer.eos
    return model.eval().requires_grad_(False)


def _gpt2_config(config: GPTConfig) -> Any:
    import transformers

    return transformers.GPT2Config(
        vocab_size=config.vocab_size, n_positions=config.block_size, n_embd=config.n_embd,
        n_layer=config.n_layer, n_head=config.n_head, n_inner=config.inner,
        layer_norm_epsilon=config.norm_eps,
    )  # fmt: skip


def _llama_config(config: GPTConfig) -> Any:
    import transformers

    return transformers.LlamaConfig(
        vocab_size=config.vocab_size, max_position_embeddings=config.block_size,
        hidden_size=config.n_embd, intermediate_size=config.inner,
        num_hidden_layers=config.n_layer, num_attention_heads=config.n_head,
        num_key_value_heads=config.kv_heads, head_dim=config.width,
        rms_norm_eps=config.norm_eps, tie_word_embeddings=config.tied,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
    )  # fmt: skip


def _transformers_state(checkpoint: Checkpoint) -> Iterator[tuple[str, Tensor]]:
    """Undoes `checkpoint_hf`: GPT-2's products are kept as (in, out), Llama's by their parts."""
    config, state = checkpoint.config, checkpoint.state_dict
    if config.rope_theta is None:
        for name, tensor in state.items():
            product = tensor.ndim == 2 and ".h." in name
            yield name, tensor.t().contiguous() if product else tensor
        return
    yield "model.embed_tokens.weight", state["transformer.wte.weight"]
    yield "model.norm.weight", state["transformer.ln_f.weight"]
    if not config.tied:
        yield "lm_head.weight", state["lm_head.weight"]
    for i in range(config.n_layer):
        ours, theirs = f"transformer.h.{i}", f"model.layers.{i}"
        parts = {
            "self_attn.q_proj": _query_key_value(checkpoint, i)[0],
            "self_attn.k_proj": _query_key_value(checkpoint, i)[1],
            "self_attn.v_proj": _query_key_value(checkpoint, i)[2],
            "self_attn.o_proj": state[f"{ours}.attn.c_proj.weight"],
            "mlp.gate_proj": state[f"{ours}.mlp.c_fc.weight"][: config.inner],
            "mlp.up_proj": state[f"{ours}.mlp.c_fc.weight"][config.inner :],
            "mlp.down_proj": state[f"{ours}.mlp.c_proj.weight"],
            "input_layernorm": state[f"{ours}.ln_1.weight"],
            "post_attention_layernorm": state[f"{ours}.ln_2.weight"],
        }
        for name, tensor in parts.items():
            yield f"{theirs}.{name}.weight", tensor.contiguous()


def _query_key_value(checkpoint: Checkpoint, layer: int) -> tuple[Tensor, ...]:
    config = checkpoint.config
    keys = config.kv_heads * config.width
    rows = checkpoint.state_dict[f"transformer.h.{layer}.attn.c_attn.weight"]
    return rows.split((config.n_head * config.width, keys, keys))


def ctranslate2_folder(model: Any, checkpoint: Checkpoint, quantization: str, folder: Path) -> Path:
    """Convert transformers' twin; its vocabulary is the ids as text ("7"), for nobody needs
    spellings where ids go in and out."""
    import tokenizers
    import transformers
    from ctranslate2.converters import TransformersConverter

    vocabulary = {str(i): i for i in range(checkpoint.config.vocab_size)}
    end = str(checkpoint.tokenizer.eos)
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token=end))
    with tempfile.TemporaryDirectory(dir=folder) as source:
        model.save_pretrained(source)
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=plain, unk_token=end, bos_token=end, eos_token=end
        ).save_pretrained(source)
        target = folder / f"ctranslate2-{quantization}"
        TransformersConverter(source).convert(str(target), quantization=quantization)
    return target


def write_gguf(checkpoint: Checkpoint, kind: str, path: Path) -> Path:
    """The model as a GGUF file for llama.cpp. kind: "Q8_0" or "F16", of the matrices."""
    import gguf

    config, tokenizer = checkpoint.config, checkpoint.tokenizer
    llama = config.rope_theta is not None
    out = gguf.GGUFWriter(path, "llama" if llama else "gpt2")
    out.add_context_length(config.block_size)
    out.add_embedding_length(config.n_embd)
    out.add_feed_forward_length(config.inner)
    out.add_block_count(config.n_layer)
    out.add_head_count(config.n_head)
    if llama:
        out.add_head_count_kv(config.kv_heads)
        out.add_layer_norm_rms_eps(config.norm_eps)
        out.add_rope_freq_base(float(config.rope_theta or 0))
        out.add_rope_dimension_count(config.width)
        out.add_vocab_size(config.vocab_size)
    else:
        out.add_layer_norm_eps(config.norm_eps)
    spelled = [to_spelling(tokenizer.token_bytes(i)) for i in range(tokenizer.n_vocab)]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(spelled)
    out.add_token_types([1] * len(spelled))
    out.add_token_merges([" ".join(pair) for pair in gpt2_merges()])  # read, and never used
    out.add_bos_token_id(tokenizer.eos)
    out.add_eos_token_id(tokenizer.eos)
    quantised = gguf.GGMLQuantizationType[kind]
    for name, tensor in _gguf_state(checkpoint):
        array = np.ascontiguousarray(tensor.numpy(), np.float32)
        if array.ndim == 2 and name != "position_embd.weight":
            out.add_tensor(name, gguf.quants.quantize(array, quantised), raw_dtype=quantised)
        else:
            out.add_tensor(name, array)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path


def _gguf_state(checkpoint: Checkpoint) -> Iterator[tuple[str, Tensor]]:
    """Undoes `checkpoint_gguf`."""
    config, state = checkpoint.config, checkpoint.state_dict
    outer = {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm"}
    inner = {
        "ln_1": "attn_norm", "ln_2": "ffn_norm", "attn.c_attn": "attn_qkv",
        "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
    }  # fmt: skip
    for name, tensor in state.items():
        where, _, end = name.removeprefix("transformer.").rpartition(".")
        if where == "lm_head":
            if not config.tied:
                yield "output.weight", tensor
        elif not where.startswith("h."):
            yield f"{outer[where]}.{end}", tensor
        else:
            _, layer, part = where.split(".", 2)
            block = f"blk.{layer}"
            if config.rope_theta is None or part not in ("attn.c_attn", "mlp.c_fc"):
                yield f"{block}.{inner[part]}.{end}", tensor
            elif part == "mlp.c_fc":
                yield f"{block}.ffn_gate.weight", tensor[: config.inner]
                yield f"{block}.ffn_up.weight", tensor[config.inner :]
            else:
                query, key, value = _query_key_value(checkpoint, int(layer))
                yield f"{block}.attn_q.weight", _paired(query, config.n_head)
                yield f"{block}.attn_k.weight", _paired(key, config.kv_heads)
                yield f"{block}.attn_v.weight", value


def _paired(rows: Tensor, heads: int) -> Tensor:
    """Undoes `checkpoint_gguf._unpermuted`: rotated halves of a head side by side."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)
