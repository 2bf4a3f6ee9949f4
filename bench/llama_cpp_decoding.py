"""llama.cpp through the C calls of llama-cpp-python: many sequences after one prompt.

Its Python class writes one sequence at a time; these calls write a batch. It has a process of its
own, for it sets a thread's matrix tiles once and for all, and others in that thread set them anew.
Knows token ids and a GGUF file. Called by decoding_engines.py as a peer.

    python bench/llama_cpp_decoding.py FILE THREADS EXTRA

answers lines [prompt, rows, new, seed, temperature] with lines of tokens. EXTRA: 1 for weights
repacked for the processor, as llama.cpp does of itself; 0 for weights as they are.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

_CELLS = 256  # llama.cpp pads a sequence's room to so many positions


class Died(Exception):
    """The process of llama.cpp has ended."""


class LlamaProcess:
    """A process that writes with one GGUF file."""

    def __init__(self, path: Path, threads: int, *, extra: bool) -> None:
        command = [sys.executable, __file__, str(path), str(threads), str(int(extra))]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def write(
        self, prompt: Sequence[int], rows: int, new: int, seed: int, temperature: float
    ) -> np.ndarray:
        """As `LlamaModel.write`; raises Died where there is no answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps([list(prompt), rows, new, seed, temperature]),
                  file=self._process.stdin, flush=True)  # fmt: skip
        except BrokenPipeError:
            raise Died from None
        answer = self._process.stdout.readline()
        if not answer:
            raise Died
        return np.array(json.loads(answer), np.int64)


@llama_cpp.llama_log_callback
def _silent(level: int, text: bytes, data: ctypes.c_void_p) -> None:
    """Swallows what it would print while loading."""


class LlamaModel:
    """A GGUF file, and a context for each number of rows."""

    def __init__(self, path: Path, threads: int, extra: bool) -> None:
        llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        params.use_extra_bufts = extra
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        if not self._model:
            raise RuntimeError(f"llama.cpp cannot load {path.name}")
        self._threads = threads
        self._contexts: dict[int, Any] = {}

    def _context(self, rows: int) -> Any:
        if rows not in self._contexts:
            params = llama_cpp.llama_context_default_params()
            params.n_ctx, params.n_seq_max, params.kv_unified = rows * _CELLS, rows, False
            params.n_batch = params.n_ubatch = max(rows, _CELLS)
            params.n_threads = params.n_threads_batch = self._threads
            self._contexts[rows] = llama_cpp.llama_init_from_model(self._model, params)
        return self._contexts[rows]

    def write(
        self, prompt: Sequence[int], rows: int, new: int, seed: int, temperature: float
    ) -> np.ndarray:
        """Tokens drawn by llama.cpp's own chain of samplers: int64 (rows, new)."""
        if len(prompt) + new > _CELLS:
            raise ValueError(f"{len(prompt)} + {new} positions do not fit {_CELLS}; ask for fewer")
        context = self._context(rows)
        memory = llama_cpp.llama_get_memory(context)
        llama_cpp.llama_memory_clear(memory, True)
        batch = llama_cpp.llama_batch_init(max(len(prompt), rows), 0, 1)
        chains = [_chain(seed + row, temperature) for row in range(rows)]
        written = np.empty((rows, new), np.int64)
        try:
            _fill(batch, prompt, range(len(prompt)), [0] * len(prompt))
            _decode(context, batch)
            for row in range(1, rows):  # the prompt is read once
                llama_cpp.llama_memory_seq_cp(memory, 0, row, -1, -1)
            for step in range(new):
                for row, chain in enumerate(chains):
                    place = row if step else len(prompt) - 1
                    written[row, step] = llama_cpp.llama_sampler_sample(chain, context, place)
                if step + 1 < new:
                    at = len(prompt) + step
                    _fill(batch, written[:, step].tolist(), [at] * rows, range(rows))
                    _decode(context, batch)
        finally:
            llama_cpp.llama_batch_free(batch)
            for chain in chains:
                llama_cpp.llama_sampler_free(chain)
        return written


def _chain(seed: int, temperature: float) -> Any:
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    if temperature == 0:
        llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_greedy())
    else:
        if temperature != 1:
            llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_temp(temperature))
        llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_dist(seed))
    return chain


def _fill(
    batch: Any, tokens: Sequence[int], positions: Sequence[int], sequences: Sequence[int]
) -> None:
    """Tokens, each at a position of a sequence; logits of the last one, or of each if every
    sequence has one."""
    each = len(set(sequences)) == len(tokens)
    batch.n_tokens = len(tokens)
    for i, (token, position, sequence) in enumerate(zip(tokens, positions, sequences, strict=True)):
        batch.token[i], batch.pos[i] = token, position
        batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
        batch.logits[i] = each or i == len(tokens) - 1


def _decode(context: Any, batch: Any) -> None:
    status = llama_cpp.llama_decode(context, batch)
    if status:
        raise RuntimeError(f"llama_decode gives {status}")


def main() -> None:
    path, threads, extra = sys.argv[1:]
    model = LlamaModel(Path(path), int(threads), extra == "1")
    for line in sys.stdin:
        print(json.dumps(model.write(*json.loads(line)).tolist()), flush=True)


if __name__ == "__main__":
    main()
