"""The loops people write in torch: nanoGPT's sampling without a cache, and a KV cache by hand.

Both run the layers of `constrained_gpt.model`, so weights and arithmetic are ours; the loop,
attention and draw are torch's. Called by decoding_engines.py as peers.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from constrained_gpt.checkpoint_common import Checkpoint
from constrained_gpt.model import GPT


def loaded(
    checkpoint: Checkpoint,
    *,
    int8: bool = False,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> GPT:
    """The checkpoint as a module. int8: its linear layers as torch quantises them dynamically."""
    with torch.device("meta"):
        model = GPT(checkpoint.config)
    state = {name: t.to(device, dtype) for name, t in checkpoint.state_dict.items()}
    model.load_state_dict(state, assign=True)
    model.eval().requires_grad_(False)
    if int8:
        for module in list(model.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.Linear):  # torch looks for its own class, not for ours
                    plain = nn.Linear(
                        child.in_features, child.out_features, child.bias is not None, "meta"
                    )
                    plain.weight, plain.bias = child.weight, child.bias
                    setattr(module, name, plain)
        with warnings.catch_warnings():  # that all of this will be gone some day
            warnings.simplefilter("ignore")
            torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, torch.qint8, inplace=True)
    return model


def chosen(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """(B, V) -> (B, 1), as nanoGPT draws; the likeliest at temperature 0."""
    if temperature == 0:
        return logits.argmax(-1, keepdim=True)
    return torch.multinomial(F.softmax(logits / temperature, dim=-1), 1, generator=generator)


@torch.inference_mode()
def without_cache(
    model: GPT, prompt: Sequence[int], rows: int, new: int, seed: int, temperature: float
) -> Tensor:
    """nanoGPT's `generate`: the whole text anew for every token. int64 (rows, new)."""
    device = model.transformer["wte"].weight.device
    generator = torch.Generator(device).manual_seed(seed)
    idx = torch.tensor([prompt] * rows, device=device)  # (B, T)
    for _ in range(new):
        logits = model.lm_head(model.hidden(idx)[:, -1])  # (B, V)
        idx = torch.cat((idx, chosen(logits, temperature, generator)), dim=1)
    return idx[:, len(prompt) :]


@torch.inference_mode()
def with_cache(
    model: GPT, prompt: Sequence[int], rows: int, new: int, seed: int, temperature: float
) -> Tensor:
    """The prompt once for all rows, then a token a step into buffers laid out before. int64
    (rows, new)."""
    device = model.transformer["wte"].weight.device
    generator = torch.Generator(device).manual_seed(seed)
    hidden, k, v = model.prefill(torch.tensor(prompt, device=device))  # (1, C), (L, KV, P, d) x 2
    layers, n_kv, length, d = k.shape
    keys = k.new_empty((layers, rows, n_kv, length + new, d))
    values = torch.empty_like(keys)
    keys[:, :, :, :length] = k[:, None]
    values[:, :, :, :length] = v[:, None]
    theta = model.config.rope_theta  # of rotary positions, if it has them
    half = torch.arange(0, d, 2, device=device)
    turns = None if theta is None else 1.0 / theta ** (half / d)  # (d/2,)
    logits = model.lm_head(hidden).expand(rows, -1)
    written = [chosen(logits, temperature, generator)]
    for at in range(length, length + new - 1):
        x = model.transformer["wte"](written[-1][:, 0])  # (B, C)
        if "wpe" in model.transformer:
            x = x + model.transformer["wpe"].weight[at]  # type: ignore[index]
        angles = None  # (d/2,) each
        if turns is not None:
            angles = (at * turns).cos().to(x.dtype), (at * turns).sin().to(x.dtype)
        for layer, block in enumerate(model.blocks):
            query, key, value = block.attn.split(block.ln_1(x), angles)  # (B, H | KV, d)
            keys[layer, :, :, at], values[layer, :, :, at] = key, value
            y = F.scaled_dot_product_attention(
                query[:, :, None], keys[layer, :, :, : at + 1], values[layer, :, :, : at + 1],
                enable_gqa=n_kv != query.shape[1],
            )  # (B, H, 1, d)  # fmt: skip
            x = x + block.attn.c_proj(y.flatten(1))
            x = x + block.mlp(block.ln_2(x))
        logits = model.lm_head(model.transformer["ln_f"](x))  # (B, V)
        written.append(chosen(logits, temperature, generator))
    return torch.cat(written, dim=1)
