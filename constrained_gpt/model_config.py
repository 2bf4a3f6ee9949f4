"""The numbers that make a model: nanoGPT's configuration, and what turns GPT-2 into a Llama.

Plain data; imports neither torch nor numpy. Read by `model`, `int8_engine` and the checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GPTConfig:
    """nanoGPT's fields first, with nanoGPT's defaults; the rest turns GPT-2 into a Llama."""

    block_size: int = 1024
    vocab_size: int = 50304
    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768
    dropout: float = 0.0
    bias: bool = True
    n_kv_head: int | None = None  # None: as many as n_head
    head_dim: int | None = None  # None: n_embd // n_head
    n_inner: int | None = None  # None: 4 * n_embd
    norm: str = "layernorm"  # or "rmsnorm"
    norm_eps: float = 1e-5
    mlp: str = "gelu"  # or "gelu_tanh" (GPT-2 as published), "swiglu"
    rope_theta: float | None = None  # None: learned positions
    tied: bool = True  # lm_head is wte
    state_lines: int = 0  # lattice states that are embedded (see `StateEmbedding`): lines, and
    state_left: int = 0  # syllables left, told apart; 0: none

    def __post_init__(self) -> None:
        for name in (
            "block_size",
            "vocab_size",
            "n_layer",
            "n_head",
            "n_embd",
            "kv_heads",
            "width",
            "inner",
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(
                    f"{name} must be a positive integer, got {value!r}; mend the model's "
                    "configuration"
                )
        if self.head_dim is None and self.n_embd % self.n_head:
            raise ValueError(
                f"n_embd={self.n_embd} is not a multiple of n_head={self.n_head}; mend the "
                "model's configuration"
            )
        if self.n_head % self.kv_heads:
            raise ValueError(
                f"n_head={self.n_head} is not a multiple of n_kv_head={self.n_kv_head}; "
                "mend the model's configuration"
            )
        if (self.state_lines > 0) != (self.state_left > 0) or self.state_lines < 0:
            raise ValueError(
                f"state_lines={self.state_lines!r} and state_left={self.state_left!r} must both be "
                "positive, or both 0; mend the model's configuration"
            )
        for name, known in (
            ("norm", ("layernorm", "rmsnorm")),
            ("mlp", ("gelu", "gelu_tanh", "swiglu")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        if not isinstance(self.norm_eps, float) or not self.norm_eps > 0:
            raise ValueError(
                f"norm_eps must be a positive number, got {self.norm_eps!r}; mend the model's "
                "configuration"
            )
        if self.rope_theta is not None and not isinstance(self.rope_theta, int | float):
            raise ValueError(
                f"rope_theta must be a number, got {self.rope_theta!r}; mend the model's "
                "configuration"
            )
        if self.rope_theta is not None and (self.width % 2 or not self.rope_theta > 0):
            raise ValueError(
                f"rotary positions need an even head size and a positive base, got {self.width} "
                "and "
                f"{self.rope_theta}; mend the model's configuration"
            )

    @property
    def kv_heads(self) -> int:
        return self.n_head if self.n_kv_head is None else self.n_kv_head

    @property
    def width(self) -> int:
        """Size of one head."""
        return self.n_embd // self.n_head if self.head_dim is None else self.head_dim

    @property
    def n_states(self) -> int:
        """Lattice states the model tells apart, that of no state among them; 0: it knows none."""
        return 1 + 2 * self.state_lines * self.state_left if self.state_lines else 0

    @property
    def inner(self) -> int:
        return 4 * self.n_embd if self.n_inner is None else self.n_inner
