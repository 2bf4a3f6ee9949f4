"""A checkpoint written in a format of others: Hugging Face folder, nanoGPT's ckpt.pt, adapter.

Knows transformers' and nanoGPT's names, and the JSON of byte-level tokenizers; the readers of the
same formats are the `checkpoint_*` modules. Called by `haiku export`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .cache import written_whole
from .checkpoint import Checkpoint, load
from .checkpoint_adapter import save_adapter
from .checkpoint_common import KEY
from .checkpoint_nanogpt import read_file
from .model_config import GPTConfig
from .tokenizer import DIGITS_PATTERN, GPT2_PATTERN, Tokenizer, to_spelling

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
NANOGPT = ("n_layer", "n_head", "n_embd", "block_size", "bias", "vocab_size", "dropout")
_GELU = {"gelu": "gelu", "gelu_tanh": "gelu_new"}
_CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% endif %}"
)


def export(model: str | Path, out: str | Path, *, dtype: str = "float32") -> Path:
    """Write a model, by name or path, to `out`: a path ending in .pt for nanoGPT, in .safetensors
    for the adapter of a LoRA run's ckpt.pt, else a folder as transformers saves it."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} is unknown; use one of {', '.join(DTYPES)}")
    path = Path(out)
    if path.suffix == ".safetensors":
        _adapter(Path(model), path, DTYPES[dtype])
    elif path.suffix == ".pt":
        _nanogpt(load(str(model)), path, DTYPES[dtype])
    else:
        to_folder(load(str(model)), path, DTYPES[dtype])
    return path


def _adapter(run: Path, path: Path, dtype: torch.dtype) -> None:
    state = read_file(run) if run.is_file() else {}
    if not state.get("lora"):
        raise ValueError(
            f"{run} holds no adapter; give the ckpt.pt or best.pt of a run with --lora, or export "
            "a whole model to a folder"
        )
    config, args = state["config"], state["model_args"]
    rank = config["lora"]
    said = {
        "base": config["init"],
        "alpha": 2.0 * rank if config["lora_alpha"] is None else config["lora_alpha"],
        **{name: args[name] for name in ("state_lines", "state_left")},
        "prompt_style": config["prompt_style"],
    }
    with written_whole(path) as scratch:
        save_adapter(scratch, state["lora"], said, dtype)


def _nanogpt(checkpoint: Checkpoint, path: Path, dtype: torch.dtype) -> None:
    """With nanoGPT's own arguments alone where they say all there is to say."""
    args = asdict(checkpoint.config)
    plain = {name: args[name] for name in NANOGPT}
    if GPTConfig(**plain) == checkpoint.config:
        args = plain
    state = {name: tensor.to(dtype) for name, tensor in checkpoint.state_dict.items()}
    if checkpoint.config.tied:  # one tensor under both names, as nanoGPT saves it
        state["lm_head.weight"] = state["transformer.wte.weight"]
    config: dict[str, Any] = {"prompt_style": checkpoint.prompt_style}
    if checkpoint.tokenizer.content_hash != Tokenizer.gpt2().content_hash:
        raise ValueError(
            f"{checkpoint.name} does not use GPT-2's tokens, which a ckpt.pt cannot carry; export "
            "it to a folder"
        )
    with written_whole(path) as scratch:
        torch.save({"model": state, "model_args": args, "iter_num": 0, "config": config}, scratch)


def to_folder(checkpoint: Checkpoint, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """config.json, model.safetensors and the tokenizer's files, as transformers reads them. What
    it does not know (lattice states, the style of prompts) is kept beside, under "constrained_gpt".
    """
    from safetensors.torch import save_file

    config = checkpoint.config
    llama = config.rope_theta is not None
    card = _llama_card(config) if llama else _gpt2_card(config)
    state = _llama_tensors(checkpoint) if llama else _gpt2_tensors(checkpoint)
    eos = checkpoint.tokenizer.eos
    card |= {"bos_token_id": eos, "eos_token_id": eos, "torch_dtype": str(dtype).split(".")[-1]}
    card[KEY] = {
        "prompt_style": checkpoint.prompt_style,
        "state_lines": config.state_lines,
        "state_left": config.state_left,
        "bias": config.bias,
    }
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / "model.safetensors") as scratch:
        tensors = {name: tensor.to(dtype).contiguous() for name, tensor in state.items()}
        save_file(tensors, scratch, {"format": "pt"})
    _write_json(folder / "config.json", card)
    _write_tokenizer(folder, checkpoint.tokenizer)


def _gpt2_card(config: GPTConfig) -> dict[str, Any]:
    if config.norm != "layernorm" or config.mlp not in _GELU or config.kv_heads != config.n_head:
        raise ValueError(
            "the model is neither a GPT-2 nor a Llama, so transformers has no name for it; export "
            "it to a .pt file"
        )
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_positions": config.block_size,
        "vocab_size": config.vocab_size,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_embd": config.n_embd,
        "n_inner": config.n_inner,
        "activation_function": _GELU[config.mlp],
        "layer_norm_epsilon": config.norm_eps,
        "tie_word_embeddings": config.tied,
    }


def _llama_card(config: GPTConfig) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "max_position_embeddings": config.block_size,
        "vocab_size": config.vocab_size,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.width,
        "hidden_size": config.n_embd,
        "intermediate_size": config.inner,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.tied,
    }


def _gpt2_tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """transformers keeps GPT-2's products as (in, out), and has a bias everywhere."""
    config, found = checkpoint.config, {}
    for name, tensor in checkpoint.state_dict.items():
        if name == "lm_head.weight" and config.tied:
            continue
        turned = name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))
        found[name] = tensor.t() if turned else tensor
        layer = turned or ".ln_" in name
        if layer and name.endswith(".weight") and not config.bias:
            found[name.removesuffix("weight") + "bias"] = torch.zeros(tensor.shape[0])
    return found


def _llama_tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    config, state = checkpoint.config, checkpoint.state_dict
    found = {
        "model.embed_tokens.weight": state["transformer.wte.weight"],
        "model.norm.weight": state["transformer.ln_f.weight"],
    }
    if not config.tied:
        found["lm_head.weight"] = state["lm_head.weight"]
    if config.n_states:
        found["transformer.wse.weight"] = state["transformer.wse.weight"]
    q, kv = config.n_head * config.width, config.kv_heads * config.width
    for i in range(config.n_layer):
        ours, theirs = f"transformer.h.{i}", f"model.layers.{i}"
        found[f"{theirs}.input_layernorm.weight"] = state[f"{ours}.ln_1.weight"]
        found[f"{theirs}.post_attention_layernorm.weight"] = state[f"{ours}.ln_2.weight"]
        qkv = state[f"{ours}.attn.c_attn.weight"].split((q, kv, kv))
        for name, part in zip("qkv", qkv, strict=True):
            found[f"{theirs}.self_attn.{name}_proj.weight"] = part
        found[f"{theirs}.self_attn.o_proj.weight"] = state[f"{ours}.attn.c_proj.weight"]
        gate, up = state[f"{ours}.mlp.c_fc.weight"].chunk(2)
        found[f"{theirs}.mlp.gate_proj.weight"] = gate
        found[f"{theirs}.mlp.up_proj.weight"] = up
        found[f"{theirs}.mlp.down_proj.weight"] = state[f"{ours}.mlp.c_proj.weight"]
    return {name: tensor.clone() for name, tensor in found.items()}  # no two share memory


def _write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    special = {i: text for text, i in tokenizer.special_tokens.items()}
    spelled = [to_spelling(tokenizer.token_bytes(i)) for i in range(tokenizer.n_vocab)]
    vocab = {text: i for i, text in enumerate(spelled) if i not in special and text}
    steps: list[dict[str, Any]] = [
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    ]
    if tokenizer.pattern == DIGITS_PATTERN:
        steps.insert(0, {"type": "Digits", "individual_digits": True})
    elif tokenizer.pattern != GPT2_PATTERN:
        raise ValueError(f"{tokenizer.name} splits text in a way that has no name; not exported")
    added = [
        {
            "id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": True,
        }
        for i, text in sorted(special.items())
    ]  # fmt: skip
    rule = steps[0] if len(steps) == 1 else {"type": "Sequence", "pretokenizers": steps}
    content = {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": rule,
        "post_processor": None,
        "decoder": steps[-1],
        "model": {
            "type": "BPE",
            "vocab": vocab | {text: i for i, text in special.items()},
            "merges": [f"{to_spelling(a)} {to_spelling(b)}" for a, b in tokenizer.merges()],
        },
    }
    _write_json(folder / "tokenizer.json", content)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": special.get(tokenizer.eos, spelled[tokenizer.eos]),
    }
    if tokenizer.chat == "chatml":
        settings["chat_template"] = _CHATML
    _write_json(folder / "tokenizer_config.json", settings)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with written_whole(path) as scratch:
        scratch.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", "utf-8")
