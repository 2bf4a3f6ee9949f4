"""One decoder in nanoGPT's style and names, configured as GPT-2 or as a Llama-class model.

Knows tensors; knows no tokenizer, no lattice and no text. The engine runs it with a cache, the
trainer without. Shapes in the comments: B rows, T positions, C width, H heads, KV key/value heads,
d head size.

GPT-2: learned positions, LayerNorm, GELU. Llama: rotary positions, RMSNorm, SwiGLU, grouped
queries.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn as nn
from torch import Tensor
from torch.nn import functional as F

from .model_config import GPTConfig


class Cache(Protocol):
    """What a step needs of a key-value cache: `kv_cache.KVCache`, or `lanes.Lanes`.

    positions: int64 (B,), the position that each row's next token takes, all below `end`.
    """

    @property
    def positions(self) -> Tensor: ...
    @property
    def end(self) -> int: ...
    def append(self, layer: int, k: Tensor, v: Tensor) -> None: ...
    def attend(self, layer: int, q: Tensor) -> Tensor: ...
    def advance(self) -> None: ...


class Linear(nn.Linear):
    """Left as allocated: GPT sets the weights of all its layers, or they are loaded."""

    def reset_parameters(self) -> None:
        """Nothing: torch's own values would be drawn only to be replaced."""


class Embedding(nn.Embedding):
    """Left as allocated, as `Linear` is."""

    def reset_parameters(self) -> None:
        """Nothing."""


class LayerNorm(nn.Module):
    """LayerNorm with an optional bias."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.n_embd))
        self.bias = nn.Parameter(torch.zeros(config.n_embd)) if config.bias else None
        self.eps = config.norm_eps

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class RMSNorm(nn.Module):
    """x / rms(x), computed in float32."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.n_embd))
        self.eps = config.norm_eps

    def forward(self, x: Tensor) -> Tensor:
        y = x.float()
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * y.to(x.dtype)


def _norm(config: GPTConfig) -> nn.Module:
    return RMSNorm(config) if config.norm == "rmsnorm" else LayerNorm(config)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: the halves of each head turned by the angles of its position."""
    a, b = x.chunk(2, dim=-1)  # (..., d/2) each
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class CausalSelfAttention(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_head, self.n_kv, self.d = config.n_head, config.kv_heads, config.width
        self.dropout = config.dropout
        # query, key and value of all heads in one product
        self.c_attn = Linear(
            config.n_embd, (self.n_head + 2 * self.n_kv) * self.d, bias=config.bias
        )
        self.c_proj = Linear(self.n_head * self.d, config.n_embd, bias=config.bias)
        self.resid_dropout = nn.Dropout(config.dropout)

    def split(
        self, x: Tensor, angles: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(..., C) -> q (..., H, d), k (..., KV, d), v (..., KV, d), where there are rotary
        positions q and k turned by the angles (..., d/2) of theirs."""
        qkv = self.c_attn(x).unflatten(
            -1, (self.n_head + 2 * self.n_kv, self.d)
        )  # (..., H + 2 KV, d)
        if angles is None:
            q, k, v = qkv.split((self.n_head, self.n_kv, self.n_kv), dim=-2)
            return q, k, v
        turning, v = qkv.split((self.n_head + self.n_kv, self.n_kv), dim=-2)
        cos, sin = (part.unsqueeze(-2) for part in angles)
        q, k = rotate(turning, cos, sin).split((self.n_head, self.n_kv), dim=-2)
        return q, k, v

    def forward(
        self, x: Tensor, angles: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (t.transpose(1, 2) for t in self.split(x, angles))  # (B, H | KV, T, d)
        y = F.scaled_dot_product_attention(
            q, k, v,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=True,
            enable_gqa=self.n_kv != self.n_head,
        )  # (B, H, T, d)  # fmt: skip
        y = y.transpose(1, 2).flatten(2)  # (B, T, H d)
        return self.resid_dropout(self.c_proj(y)), k, v

    def step(
        self, x: Tensor, angles: tuple[Tensor, Tensor] | None, cache: Cache, layer: int
    ) -> Tensor:
        """One new position for every row of the cache: x (B, C)."""
        q, k, v = self.split(x, angles)  # (B, H, d), (B, KV, d), (B, KV, d)
        cache.append(layer, k, v)
        return self.c_proj(cache.attend(layer, q).flatten(1))  # (B, C)


class MLP(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.kind = config.mlp
        wide = 2 * config.inner if config.mlp == "swiglu" else config.inner  # swiglu: gate, then up
        self.c_fc = Linear(config.n_embd, wide, bias=config.bias)
        self.c_proj = Linear(config.inner, config.n_embd, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c_fc(x)
        if self.kind == "swiglu":
            gate, up = x.chunk(2, dim=-1)
            x = F.silu(gate) * up
        else:
            x = F.gelu(x, approximate="tanh" if self.kind == "gelu_tanh" else "none")
        return self.dropout(self.c_proj(x))


class Block(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.ln_1 = _norm(config)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = _norm(config)
        self.mlp = MLP(config)

    def forward(
        self, x: Tensor, angles: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        y, k, v = self.attn(self.ln_1(x), angles)
        x = x + y
        return x + self.mlp(self.ln_2(x)), k, v

    def step(
        self, x: Tensor, angles: tuple[Tensor, Tensor] | None, cache: Cache, layer: int
    ) -> Tensor:
        x = x + self.attn.step(self.ln_1(x), angles, cache, layer)
        return x + self.mlp(self.ln_2(x))


class StateEmbedding(nn.Module):
    """What is added to a token for the lattice state that the sampler is in after it.

    A state is 1 + 2 (line * state_left + left) + inside, or 0 for none, as `lattice.budget` counts
    it; its vector is the sum of one for its line, one for the syllables left and one for being
    inside a word. Zero where nothing was learned, so that a pretrained model starts unchanged.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.sizes = (config.state_lines, config.state_left, 1)
        self.weight = nn.Parameter(torch.zeros(sum(self.sizes), config.n_embd))

    def table(self) -> Tensor:
        """The vector of every state: (n_states, C)."""
        line, left, inside = self.weight.split(self.sizes)
        inside = torch.cat((torch.zeros_like(inside), inside))  # (2, C)
        every = line[:, None, None] + left[None, :, None] + inside  # (lines, left, 2, C)
        none = torch.zeros_like(inside[:1])
        return torch.cat((none, every.reshape(-1, inside.shape[1])))

    def forward(self, states: Tensor) -> Tensor:
        return F.embedding(states, self.table())


class GPT(nn.Module):
    """tokens -> logits of the next one."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        parts: dict[str, nn.Module] = {"wte": Embedding(config.vocab_size, config.n_embd)}
        if config.rope_theta is None:
            parts["wpe"] = Embedding(config.block_size, config.n_embd)
        if config.n_states:
            parts["wse"] = StateEmbedding(config)
        parts["drop"] = nn.Dropout(config.dropout)
        parts["h"] = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        parts["ln_f"] = _norm(config)
        self.transformer = nn.ModuleDict(parts)
        self.lm_head = Linear(config.n_embd, config.vocab_size, bias=False)
        if config.tied:
            self.lm_head.weight = self.transformer["wte"].weight  # type: ignore[assignment]
        if self.lm_head.weight.device.type == "meta":
            return  # weights are about to be loaded
        self.apply(self._init_weights)
        for name, p in self.named_parameters():
            if name.endswith("c_proj.weight"):
                nn.init.normal_(p, mean=0.0, std=0.02 / math.sqrt(2 * config.n_layer))

    @property
    def blocks(self) -> list[Block]:
        """The layers, first to last."""
        return list(self.transformer["h"].children())  # type: ignore[arg-type]

    @staticmethod
    def _init_weights(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, mean=0.0, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def _angles(self, position: Tensor, like: Tensor) -> tuple[Tensor, Tensor] | None:
        """cos and sin of the rotary angles of positions (N,): (N, d/2) each."""
        theta = self.config.rope_theta
        if theta is None:
            return None
        half = torch.arange(0, self.config.width, 2, dtype=torch.float32, device=like.device)
        frequency = 1.0 / theta ** (half / self.config.width)  # (d/2,)
        angle = torch.outer(position.float(), frequency)  # (N, d/2)
        return angle.cos().to(like.dtype), angle.sin().to(like.dtype)

    def _embed(self, idx: Tensor, position: Tensor, end: int, states: Tensor | None) -> Tensor:
        """(B, T) -> (B, T, C) for positions (T,), or (B,) -> (B, C) for positions (B,), all below
        `end`."""
        if end > self.config.block_size:
            raise ValueError(
                f"{end} positions asked of a model that has {self.config.block_size}; shorten the "
                "prompt or the text"
            )
        x = self.transformer["wte"](idx)
        if "wpe" in self.transformer:
            x = x + self.transformer["wpe"](position)
        if states is not None and "wse" in self.transformer:
            x = x + self.transformer["wse"](states)
        return self.transformer["drop"](x)

    def hidden(self, idx: Tensor, states: Tensor | None = None) -> Tensor:
        """(B, T) -> (B, T, C): the last layer's output after its norm."""
        x, _, _ = self._read(idx, states)
        return x

    def _read(
        self, idx: Tensor, states: Tensor | None
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        end = idx.shape[1]
        position = torch.arange(end, device=idx.device)
        x = self._embed(idx, position, end, states)  # (B, T, C)
        angles = self._angles(position, x)
        keys, values = [], []
        for block in self.blocks:
            x, k, v = block(x, angles)  # (B, T, C), (B, KV, T, d) twice
            keys.append(k)
            values.append(v)
        return self.transformer["ln_f"](x), keys, values

    def forward(
        self, idx: Tensor, cache: Cache | None = None, states: Tensor | None = None
    ) -> Tensor:
        """Logits. Without a cache: (B, T) -> (B, T, V). With one: (B,) or (B, 1), one new token a
        row -> (B, V); the cache moves on by one position. states: lattice states like idx."""
        if cache is None:
            return self.lm_head(self.hidden(idx, states))
        if states is not None:
            states = states.reshape(-1)
        return self.lm_head(self.step(idx.reshape(-1), cache, states))

    def prefill(self, idx: Tensor, states: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Read a prompt (P,). Returns the hidden state of its last token, (1, C), and the keys and
        values, (L, KV, P, d) each."""
        if states is not None:
            states = states[None]
        x, keys, values = self._read(idx[None], states)  # (1, P, C)
        return x[0, -1:], torch.cat(keys), torch.cat(values)

    def step(self, idx: Tensor, cache: Cache, states: Tensor | None = None) -> Tensor:
        """One new token for every row, (B,) -> hidden (B, C); the cache moves on by one
        position."""
        position = cache.positions  # (B,)
        x = self._embed(idx, position, cache.end, states)  # (B, C)
        angles = self._angles(position, x)
        for layer, block in enumerate(self.blocks):
            x = block.step(x, angles, cache, layer)
        cache.advance()
        return self.transformer["ln_f"](x)
