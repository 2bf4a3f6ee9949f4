"""A loaded model that reads a prompt once and then takes one token per row: ids in, logits out.

What the decoders in `decoding/` call, and the choice of who answers: `torch_engine`, `gpu_engine`
or `int8_engine`, each imported when it is needed and torch only with the first two. Knows no words,
no lattice and no sampling.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import device as devices
from .prefix_cache import PrefixCache
from .tokenizer import Tokenizer

DTYPES = ("float32", "bfloat16", "float16")  # of the engine on torch
INT8 = "int8"  # the engine on bytes, for a processor


class Engine(ABC):
    """A model, its tokenizer, and the calls that decoding needs.

    A row's logits depend, to the bit, on that row alone. name: as asked for; n_vocab: logits of a
    row; max_positions: tokens it can hold, the prompt's among them. state_sizes, n_states:
    what it knows of lattice states (`lattice.budget`), 0 for nothing; prompt_style: see
    `Checkpoint`. content_hash: of the files that the weights came from, None if nobody knows.
    """

    name: str
    tokenizer: Tokenizer
    n_vocab: int
    max_positions: int
    device: Any
    dtype: Any
    state_sizes: tuple[int, int] = (0, 0)
    n_states: int = 0
    prompt_style: str | None = None
    _prefixes: PrefixCache[Any]
    content_hash: str | None = None

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | os.PathLike[str], *, device: str = "auto", dtype: str = "float32"
    ) -> Engine:
        """Load a registered name, a Hugging Face folder, a GGUF file or a nanoGPT ckpt.pt.

        dtype: float32, bfloat16, float16, or int8: weights in bytes, on a processor only, kept in
        the cache folder once they are quantised. auto: int8 on a processor; on a GPU
        bfloat16, or float32 where it multiplies no bfloat16.
        """
        known = (*DTYPES, INT8, "auto")
        if not isinstance(dtype, str) or dtype not in known:
            raise ValueError(f"dtype must be one of {', '.join(known)}, got {dtype!r}")
        if dtype == "auto":
            where = devices.resolve(device)
            half = "bfloat16" if devices.multiplies_bfloat16(where) else "float32"
            dtype = INT8 if where == "cpu" else half
        if dtype == INT8:
            if device not in ("auto", "cpu"):
                raise ValueError(
                    f"dtype 'int8' runs on a processor, and device {device!r} was asked for; use "
                    "device='cpu', or dtype='bfloat16' there"
                )
            from .int8_engine import Int8Engine

            engine: Engine = Int8Engine.load(name_or_path)
        else:
            where = devices.resolve(device)
            if where == "cpu":
                from .torch_engine import TorchEngine as OnTorch
            else:
                from .gpu_engine import GpuEngine as OnTorch
            engine = OnTorch.load(name_or_path, device=where, dtype=dtype)
        from .checkpoint import content_hash

        engine.content_hash = content_hash(name_or_path)
        return engine

    @abstractmethod
    def prefill(
        self,
        ids: Sequence[int],
        batch: int,
        max_new: int,
        states: npt.NDArray[np.integer] | None = None,
    ) -> tuple[Any, npt.NDArray[np.float32]]:
        """Read the prompt once for the whole batch. Returns the cache for `batch` rows that may
        grow by `max_new` tokens each, and the logits after the prompt's last token, (n_vocab,).

        states, here and below: the lattice state after each token that is read (`lattice.budget`),
        for a model that knows them; None: no state. Prompts read lately are not read again
        (`forget_prompts`); the result is the same.
        """

    def forget_prompts(self) -> None:
        """Give back the memory of prompts read before, and read them anew when they come again."""
        self._prefixes.clear()

    @abstractmethod
    def decode_step(
        self,
        cache: Any,
        tokens: npt.NDArray[np.int64],
        states: npt.NDArray[np.integer] | None = None,
    ) -> npt.NDArray[np.float32]:
        """Give every row its next token, (B,); returns the logits after it, (B, n_vocab)."""

    @abstractmethod
    def decode_slice(
        self,
        cache: Any,
        tokens: npt.NDArray[np.int64],
        order: npt.NDArray[np.int32],
        prefix: npt.NDArray[np.integer],
        extra_start: npt.NDArray[np.int64],
        extra_token: npt.NDArray[np.integer],
        states: npt.NDArray[np.integer] | None = None,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """As `decode_step`, for some of the logits: (slice (B, W), extra (E,)), float32.

        slice[b, i] is row b's logit of token order[i], for i < prefix[b] <= W; extra[e] is that of
        extra_token[e] in the row b with extra_start[b] <= e < extra_start[b + 1]. These are the
        numbers of `decode_step` to the bit. An engine may write over them at the next call.
        """

    def __repr__(self) -> str:
        where = f"device={self.device}, dtype={self.dtype}"
        return f"Engine({self.name!r}, n_vocab={self.n_vocab}, {where})"


class WeighedEngine(Engine):
    """One that can tell what all logits of a row come to without giving them all."""

    def decode_slice(
        self,
        cache: Any,
        tokens: npt.NDArray[np.int64],
        order: npt.NDArray[np.int32],
        prefix: npt.NDArray[np.integer],
        extra_start: npt.NDArray[np.int64],
        extra_token: npt.NDArray[np.integer],
        states: npt.NDArray[np.integer] | None = None,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """As `Engine.decode_slice`, in arrays that the next call writes over."""
        asked = (order, prefix, extra_start, extra_token)
        return self._slice(cache, tokens, asked, states, weighed=False)[:2]

    def decode_weighed(
        self,
        cache: Any,
        tokens: npt.NDArray[np.int64],
        order: npt.NDArray[np.int32],
        prefix: npt.NDArray[np.integer],
        extra_start: npt.NDArray[np.int64],
        extra_token: npt.NDArray[np.integer],
        states: npt.NDArray[np.integer] | None = None,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        """As `decode_slice`, and log sum exp of each row's logits, of all tokens: float64 (B,)."""
        asked = (order, prefix, extra_start, extra_token)
        return self._slice(cache, tokens, asked, states, weighed=True)

    @abstractmethod
    def _slice(
        self,
        cache: Any,
        tokens: npt.NDArray[np.int64],
        asked: tuple[npt.NDArray[Any], ...],
        states: npt.NDArray[np.integer] | None,
        weighed: bool,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        """Both of these. asked: order, prefix, extra_start and extra_token; the norms are anything
        if not `weighed`."""
